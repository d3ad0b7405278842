"""Searchers by name."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from cloudtune.config_space import non_constant_hyperparameter_keys
from cloudtune.errors import SpecError
from cloudtune.optimizer.searchers.grid_searcher import GridSearcher
from cloudtune.optimizer.searchers.random_searcher import RandomSearcher
from cloudtune.optimizer.searchers.searcher import Searcher

SEARCHERS: dict[str, Callable[..., Searcher]] = {"random": RandomSearcher, "grid": GridSearcher}

logger = logging.getLogger(__name__)

#: With these, scripts of Syne Tune configure all of their methods at once; searchers without a model ignore them.
_FOR_OTHER_SEARCHERS = frozenset(
    {"debug_log", "max_size_data_for_model", "num_init_random", "opt_skip_init_length", "opt_skip_period"}
)
_METHODS = ("suggest", "on_start", "on_report", "on_end", "reseed", "metadata")


def make_searcher(
    searcher: str | Searcher,
    config_space: dict[str, Any],
    points_to_evaluate: Sequence[Mapping[str, Any]] | None,
    search_options: Mapping[str, Any] | None,
    random_seed: int,
) -> Searcher:
    """A searcher over ``config_space``, by its name, or as it was built by the user.

    Args:
        searcher: A key of :data:`SEARCHERS`, or an object.
        config_space: Domains and constants by name.
        points_to_evaluate: For a searcher by name only; an object has its own.
        search_options: Further arguments of the searcher; likewise. Some that only model-based searchers have are
            ignored.
        random_seed: For a searcher that was not given one.

    Raises:
        SpecError: For an unknown name or option, or an object that does not fit.
    """
    if isinstance(searcher, str):
        made = _make_by_name(searcher, config_space, points_to_evaluate, search_options or {})
    else:
        made = _check_object(searcher, config_space)
        for name, value in (("points_to_evaluate", points_to_evaluate), ("search_options", search_options)):
            if value is not None:
                raise SpecError(
                    f"{name} was given together with a searcher that is built already.",
                    f"Pass {name} to {type(searcher).__name__}(...) instead.",
                )
    if not made.random_seed_given:
        made.reseed(random_seed)
    return made


def _make_by_name(
    name: str,
    config_space: dict[str, Any],
    points_to_evaluate: Sequence[Mapping[str, Any]] | None,
    options: Mapping[str, Any],
) -> Searcher:
    factory = SEARCHERS.get(name)
    if factory is None:
        raise SpecError(f"There is no searcher {name!r}.", f"Searchers: {', '.join(SEARCHERS)}.")
    taken = {"config_space", "points_to_evaluate"}
    valid = [option for option in inspect.signature(factory).parameters if option not in taken]
    for option in options:
        if option not in valid and option not in _FOR_OTHER_SEARCHERS:
            raise SpecError(f"The searcher {name!r} has no option {option!r}.", f"Options: {', '.join(valid)}.")
    unused = [option for option in options if option not in valid]
    if unused:
        logger.info("The searcher %r has no use for the options %s.", name, ", ".join(unused))
    used = {option: value for option, value in options.items() if option in valid}
    return factory(config_space, points_to_evaluate=points_to_evaluate, **used)


def _check_object(searcher: Any, config_space: dict[str, Any]) -> Searcher:
    missing = [name for name in _METHODS if not callable(getattr(searcher, name, None))]
    if missing or isinstance(searcher, type):
        why = f"it lacks {', '.join(missing)}" if missing else "it is a class"
        raise SpecError(
            f"searcher={searcher!r} is no searcher: {why}.",
            f"Pass one of the names {', '.join(SEARCHERS)}, or an object such as RandomSearcher(config_space).",
        )
    made = cast(Searcher, searcher)
    ours = set(non_constant_hyperparameter_keys(config_space))
    theirs = set(non_constant_hyperparameter_keys(made.config_space))
    if ours != theirs:
        differing = ", ".join(sorted(ours ^ theirs))
        raise SpecError(
            f"The searcher's config_space and the scheduler's differ in the hyperparameters {differing}.",
            "Build both with the same config_space.",
        )
    return made

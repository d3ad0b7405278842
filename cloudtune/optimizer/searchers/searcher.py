"""The searcher's contract, and what every searcher keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cloudtune.config_space import (
    Domain,
    config_to_match_string,
    impute_points_to_evaluate,
    non_constant_hyperparameter_keys,
    normalise_config_space,
)
from cloudtune.errors import SpecError
from cloudtune.trial import Config, Metrics, Outcome


class Searcher(Protocol):
    """Chooses configurations for new trials. As for schedulers: ``suggest`` changes nothing, and the state is a
    function of the seed and of the calls of ``on_*``, which are those of the scheduler for a trial's first start,
    for the reports that it passes on, and for the trial's end."""

    #: The search space, constants included.
    config_space: dict[str, Any]

    @property
    def random_seed(self) -> int:
        """Every draw is a function of it."""
        ...

    @property
    def random_seed_given(self) -> bool:
        """Whether the seed was chosen, not drawn; a drawn one is replaced by the scheduler's."""
        ...

    def reseed(self, random_seed: int) -> None:
        """Replaces the seed, before the first ``on_*``."""
        ...

    def suggest(self, trial_id: int) -> Config | None:
        """A configuration, constants included; None if there is no other one."""
        ...

    def on_start(self, trial_id: int, config: Config) -> None:
        """A trial with ``config`` begins, suggested or not."""
        ...

    def on_report(self, trial_id: int, config: Config, metrics: Metrics) -> None: ...

    def on_end(self, trial_id: int, config: Config, outcome: Outcome) -> None:
        """The trial is over; pauses and interruptions are not passed on."""
        ...

    def metadata(self) -> dict[str, Any]:
        """JSON-able facts for ``metadata.json``."""
        ...


class Candidates:
    """What was tried, and the points to evaluate first.

    Args:
        config_space: Domains and constants.
        points_to_evaluate: Configurations to try before any other, in order; partial ones are completed. None for
            the one in the middle of the space, ``[]`` for none.
    """

    def __init__(
        self, config_space: Mapping[str, Any], points_to_evaluate: Sequence[Mapping[str, Any]] | None
    ) -> None:
        self.config_space: dict[str, Any] = normalise_config_space(config_space)
        self._keys = non_constant_hyperparameter_keys(self.config_space)
        if not self._keys:
            raise SpecError(
                "config_space has constants only, so there is nothing to tune.",
                'Add a hyperparameter, say config_space["learning_rate"] = loguniform(1e-5, 1).',
            )
        self._points: list[Config] = impute_points_to_evaluate(points_to_evaluate, self.config_space)
        self._next_point = 0
        self._tried: set[str] = set()

    @property
    def domains(self) -> dict[str, Domain]:
        """The hyperparameters that vary."""
        return {key: self.config_space[key] for key in self._keys}

    def key(self, config: Mapping[str, Any]) -> str:
        """Equal for configurations that count as equal."""
        return config_to_match_string(config, self.config_space, self._keys)

    def complete(self, values: Mapping[str, Any]) -> Config:
        """``values`` with the constants, in the order of the space."""
        return {key: values.get(key, constant) for key, constant in self.config_space.items()}

    def restrict_points(self, allowed: Sequence[Mapping[str, Any]]) -> None:
        """Drops points to evaluate that are not in ``allowed``."""
        keys = {self.key(config) for config in allowed}
        self._points = [point for point in self._points if self.key(point) in keys]

    @property
    def points_to_evaluate(self) -> list[Config]:
        """All of them, completed."""
        return [dict(point) for point in self._points]

    def next_point(self) -> Config | None:
        """The next point to evaluate; None if all have been started."""
        return dict(self._points[self._next_point]) if self._next_point < len(self._points) else None

    def is_new(self, config: Mapping[str, Any]) -> bool:
        """Whether no trial with this configuration has been started."""
        return self.key(config) not in self._tried

    def on_start(self, config: Mapping[str, Any]) -> None:
        """A trial with this configuration begins."""
        self._tried.add(self.key(config))
        while self._next_point < len(self._points) and not self.is_new(self._points[self._next_point]):
            self._next_point += 1

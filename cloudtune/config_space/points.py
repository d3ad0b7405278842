"""Configurations that people give: points to evaluate first, and the only ones allowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from cloudtune.config_space.space import Config, ConfigSpace, as_domain, cast_value
from cloudtune.errors import SpecError


def impute_points_to_evaluate(
    points: Sequence[Mapping[str, Any]] | None, config_space: ConfigSpace
) -> list[Config]:
    """Complete, valid, distinct configurations to evaluate first, in order, constants included.

    Args:
        points: May be partial; what they leave open becomes the domain's default (the middle of a range, the
            first of a choice). None stands for one point that leaves everything open, ``[]`` for no point.
        config_space: The space; its constants may be in the points if they are equal.

    Raises:
        SpecError: Naming point, key, value and the valid values.
    """
    name = "points_to_evaluate"
    defaults: Config = {}
    for key, value in config_space.items():
        domain = as_domain(value)
        defaults[key] = value if domain is None else domain.default_value()
    given = [{}] if points is None else _check_list(points, name)
    return _distinct([{**defaults, **_cast(point, config_space, f"{name}[{i}]")} for i, point in enumerate(given)])


def check_restricted(configs: Sequence[Mapping[str, Any]], config_space: ConfigSpace) -> list[Config]:
    """The configurations of ``restrict_configurations``, cast, distinct, in order, with constants added.

    Raises:
        SpecError: If the list is empty, or a configuration is not complete or not valid.
    """
    name = "restrict_configurations"
    result = []
    for i, config in enumerate(_check_list(configs, name)):
        where = f"{name}[{i}]"
        cast = _cast(config, config_space, where)
        missing = [key for key, value in config_space.items() if as_domain(value) is not None and key not in cast]
        if missing:
            raise SpecError(f"{where} lacks {', '.join(missing)}.", "Give every hyperparameter a value.")
        result.append({key: cast.get(key, value) for key, value in config_space.items()})
    if not result:
        raise SpecError(f"{name} is empty: nothing could be evaluated.", "Pass None for no restriction.")
    return _distinct(result)


def _check_list(points: Any, name: str) -> Sequence[Mapping[str, Any]]:
    if isinstance(points, Mapping) or not isinstance(points, Sequence) or isinstance(points, str):
        raise SpecError(f"{name} is a {type(points).__name__}, not a list.", f"Write {name}=[{{...}}, ...].")
    for i, point in enumerate(points):
        if not isinstance(point, Mapping):
            raise SpecError(f"{name}[{i}] is {point!r}, not a dictionary.", "Each point maps names to values.")
    return points


def _cast(point: Mapping[str, Any], config_space: ConfigSpace, where: str) -> Config:
    config: Config = {}
    for key, value in point.items():
        if key not in config_space:
            near = difflib.get_close_matches(str(key), config_space, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise SpecError(
                f"{where}: {key!r} is not in the search space.", f"{hint}Valid names: {', '.join(config_space)}."
            )
        entry = config_space[key]
        domain = as_domain(entry)
        if domain is not None:
            config[key] = cast_value(key, domain, value, where)
        elif value != entry:
            raise SpecError(
                f"{where}: {key}={value!r}, but {key!r} is the constant {entry!r} of the search space.",
                f"Leave {key!r} out of the point.",
            )
    return config


def _distinct(configs: list[Config]) -> list[Config]:
    return list({repr(config): config for config in configs}.values())

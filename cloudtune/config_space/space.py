"""Whole search spaces: dictionaries from names to domains and constants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cloudtune.config_space.distribution import from_scipy, is_scipy
from cloudtune.config_space.domain import Domain
from cloudtune.config_space.scale import is_passable, plain
from cloudtune.constants import RESERVED_PREFIX, ST_INSTANCE_COUNT, ST_INSTANCE_TYPE
from cloudtune.errors import SpecError

ConfigSpace = Mapping[str, Any]
Config = dict[str, Any]

#: Reserved names that may be tuned: backends that choose instances read them.
_FOR_BACKENDS = (ST_INSTANCE_TYPE, ST_INSTANCE_COUNT)


def as_domain(value: Any) -> Domain | None:
    """The domain that an entry of a space stands for; None for a constant.

    Frozen distributions of ``scipy.stats`` are converted.

    Raises:
        SpecError: For an object of ``scipy.stats`` that is no such distribution.
    """
    if isinstance(value, Domain):
        return value
    return from_scipy(value) if is_scipy(value) else None


def normalise_config_space(config_space: ConfigSpace) -> dict[str, Any]:
    """A copy in which every entry is a Domain or a JSON-able constant, in the same order.

    Raises:
        SpecError: For names that a training script could not be called with, and for values that are neither.
    """
    if not isinstance(config_space, Mapping):
        raise SpecError(
            f"The search space is a {type(config_space).__name__}, not a dictionary.",
            'Pass for instance {"lr": loguniform(1e-4, 1e-1), "epochs": 27}.',
        )
    space: dict[str, Any] = {}
    for name, value in config_space.items():
        _check_name(name)
        try:
            domain = as_domain(value)
        except SpecError as error:
            raise SpecError(f"Search space, {name!r}: {error.message}", error.hint) from error
        space[name] = _constant(name, value) if domain is None else domain
    return space


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise SpecError(f"Search space: the name {name!r} is a {type(name).__name__}.", "Names are strings.")
    if not name or name.split() != [name] or name.startswith("-") or "=" in name or not is_passable(name):
        raise SpecError(
            f"Search space: {name!r} cannot be passed as a command-line argument.",
            "Names are not empty, have no spaces or '=', and do not begin with '-'.",
        )
    if name.startswith(RESERVED_PREFIX) and name not in _FOR_BACKENDS:
        raise SpecError(
            f"Search space: the name {name!r} begins with {RESERVED_PREFIX!r}, which is reserved.",
            f"Rename it, say to {name[len(RESERVED_PREFIX) :]!r}.",
        )


def _constant(name: str, value: Any) -> Any:
    constant = plain(value)
    if not _is_json(constant):
        raise SpecError(
            f"Search space: {name!r} is {value!r}, neither a domain nor a constant that JSON can hold exactly.",
            "Constants are str, int, finite float, bool, None, and lists and dictionaries (with string keys) of "
            "these; domains are made by uniform(...), choice([...]) and the like.",
        )
    return constant


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    if isinstance(value, dict):
        return all(type(key) is str and _is_json(item) for key, item in value.items())
    if type(value) is str:
        return is_passable(value)
    return type(value) in (int, bool, type(None)) or (type(value) is float and math.isfinite(value))


def non_constant_hyperparameter_keys(config_space: ConfigSpace) -> list[str]:
    """Names of the entries that are domains, in the order of the space."""
    return [name for name, value in config_space.items() if as_domain(value) is not None]


def config_space_size(config_space: ConfigSpace, upper_limit: int = 2**20) -> int | None:
    """Number of distinct configurations; None if there are infinitely many or more than ``upper_limit``."""
    size = 1
    for value in config_space.values():
        domain = as_domain(value)
        if domain is not None:
            size *= len(domain)
    return size if 0 < size <= upper_limit else None


def sample_configuration(config_space: ConfigSpace, rng: np.random.Generator) -> Config:
    """Draws a configuration, constants included, in the order of the space.

    One uniform number is drawn for each domain, whatever it is.
    """
    config: Config = {}
    for name, value in config_space.items():
        domain = as_domain(value)
        config[name] = value if domain is None else domain.from_unit(rng.random())
    return config


def cast_value(name: str, domain: Domain, value: Any, where: str) -> Any:
    """``domain.cast(value)``, with an error that names ``where`` and ``name``."""
    try:
        return domain.cast(value)
    except SpecError as error:
        raise SpecError(f"{where}: {name}={value!r} is not valid.", error.hint) from error


def cast_config_values(config: Mapping[str, Any], config_space: ConfigSpace) -> Config:
    """``config`` with the values of domains cast (say from the texts of a table); others stay.

    Raises:
        SpecError: If a value is not in its domain.
    """
    result: Config = {}
    for name, value in config.items():
        domain = as_domain(config_space.get(name))
        result[name] = value if domain is None else cast_value(name, domain, value, "Configuration")
    return result


def config_to_match_string(config: Mapping[str, Any], config_space: ConfigSpace, keys: Iterable[str]) -> str:
    """Text that two configurations share if and only if their values at ``keys`` count as equal.

    Args:
        config: Valid values, at least at ``keys``.
        config_space: Has a domain at each of ``keys``.
        keys: Usually :func:`non_constant_hyperparameter_keys`.
    """
    parts = []
    for key in keys:
        domain = as_domain(config_space[key])
        value = config[key]
        parts.append(f"{key}:{value if domain is None else domain.match_string(value)}")
    return ",".join(parts)

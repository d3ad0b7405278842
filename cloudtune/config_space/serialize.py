"""Domains and spaces as JSON, exactly: what is read back equals what was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudtune.config_space.distribution import Distribution
from cloudtune.config_space.domain import Domain
from cloudtune.config_space.finite import Categorical, FiniteRange, Ordinal, OrdinalNearestNeighbor
from cloudtune.config_space.numeric import Float, Integer
from cloudtune.config_space.space import ConfigSpace, normalise_config_space
from cloudtune.errors import SpecError

_CLASSES: dict[str, type[Domain]] = {
    cls.__name__: cls
    for cls in (Float, Integer, Categorical, Ordinal, OrdinalNearestNeighbor, FiniteRange, Distribution)
}
_CLASS, _KWARGS, _CONSTANT = "domain_cls", "domain_kwargs", "constant"


def to_dict(domain: Domain) -> dict[str, Any]:
    """A JSON-able dictionary from which :func:`from_dict` makes an equal domain."""
    return {_CLASS: type(domain).__name__, _KWARGS: domain.kwargs()}


def from_dict(content: Mapping[str, Any]) -> Domain:
    """The domain that :func:`to_dict` wrote.

    Raises:
        SpecError: For an unknown class, or missing or unknown fields.
    """
    if not isinstance(content, Mapping) or set(content) != {_CLASS, _KWARGS}:
        raise SpecError(f"{content!r} is no domain.", f"A domain has the keys {_CLASS} and {_KWARGS}.")
    cls = _CLASSES.get(str(content[_CLASS]))
    if cls is None:
        raise SpecError(f"Unknown domain class {content[_CLASS]!r}.", f"Known: {', '.join(_CLASSES)}.")
    try:
        return cls(**content[_KWARGS])
    except TypeError as error:
        raise SpecError(f"{content!r}: {error}", "Was it written by another version of cloudtune?") from error


def config_space_to_json_dict(config_space: ConfigSpace) -> dict[str, Any]:
    """The space for ``json.dumps``: domains by :func:`to_dict`, constants as they are (dictionaries wrapped)."""
    result: dict[str, Any] = {}
    for name, value in normalise_config_space(config_space).items():
        if isinstance(value, Domain):
            result[name] = to_dict(value)
        else:
            result[name] = {_CONSTANT: value} if isinstance(value, dict) else value
    return result


def config_space_from_json_dict(content: Mapping[str, Any]) -> dict[str, Any]:
    """The space that :func:`config_space_to_json_dict` wrote."""
    result: dict[str, Any] = {}
    for name, value in content.items():
        if not isinstance(value, Mapping):
            result[name] = value
        elif set(value) == {_CONSTANT}:
            result[name] = value[_CONSTANT]
        else:
            result[name] = from_dict(value)
    return normalise_config_space(result)

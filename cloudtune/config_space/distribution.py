"""Frozen ``scipy.stats`` distributions as domains.

Recognised by the module of their type, so that nothing of scipy is imported for spaces that have none.
"""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any

import numpy as np

from cloudtune.config_space.domain import Domain
from cloudtune.config_space.numeric import Float, Integer
from cloudtune.config_space.scale import LOG, check_integer, check_number, is_number, plain, to_number
from cloudtune.errors import SpecError

_HINT = "Freeze one with scalar parameters, such as scipy.stats.norm(0, 1), or use cloudtune.config_space."
#: Quantiles used stay this far from 0 and 1, where unbounded distributions are infinite.
_EDGE = 2.0**-53


class Distribution(Domain):
    """A distribution of ``scipy.stats`` with its parameters; the unit cube holds its quantiles.

    Args:
        name: Its name there, such as ``"norm"``.
        parameters: Value of each shape parameter and of ``loc`` and ``scale``.
    """

    def __init__(self, name: str, parameters: dict[str, float]) -> None:
        self.name = name
        self.parameters = {
            key: float(check_number(value, f"Parameter {key} of scipy.stats.{name}"))
            for key, value in sorted(parameters.items())
        }
        self._is_discrete = not hasattr(_scipy_distribution(name), "pdf")
        if not np.isfinite(self._frozen.ppf(0.5)):
            raise SpecError(f"scipy.stats.{name} is not defined for the parameters {parameters}.", _HINT)
        self.lower, self.upper = (float(bound) for bound in self._frozen.support())
        if self._is_discrete and float(self._frozen.ppf(0.5)) % 1 != 0:
            raise SpecError(f"scipy.stats.{name} with {parameters} has values that are not integers.", _HINT)

    @cached_property
    def _frozen(self) -> Any:
        try:
            return _scipy_distribution(self.name)(**self.parameters)
        except TypeError as error:
            raise SpecError(
                f"scipy.stats.{self.name} has no parameters {self.parameters}: {error}", _HINT
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_frozen"}

    @property
    def value_type(self) -> type:
        return int if self._is_discrete else float

    @property
    def scale(self) -> str:
        return "quantile"

    @property
    def domain_str(self) -> str:
        return f"{self.value_type.__name__} in [{self.lower}, {self.upper}], distributed as {self.name}"

    def kwargs(self) -> dict[str, Any]:
        return {"name": self.name, "parameters": dict(self.parameters)}

    def from_unit(self, u: float) -> Any:
        value = float(self._frozen.ppf(min(max(u, _EDGE), 1 - _EDGE)))
        return int(value) if self._is_discrete else value

    def to_unit(self, value: Any) -> float:
        at = float(self._frozen.cdf(value))
        return 0.5 * (at + float(self._frozen.cdf(value - 1))) if self._is_discrete else at

    def default_value(self) -> Any:
        """The median."""
        return self.from_unit(0.5)

    def cast(self, value: Any) -> Any:
        number = to_number(value)
        if number is None or not self.is_valid(int(number) if number == int(number) else number):
            self._refuse(value)
        return self.value_type(number)

    def is_valid(self, value: Any) -> bool:
        value = plain(value)
        if not is_number(value) or (self._is_discrete and not isinstance(value, int)):
            return False
        return bool(self.lower <= value <= self.upper)

    def match_string(self, value: Any) -> str:
        return str(value) if self._is_discrete else f"{value:.6e}"

    def __len__(self) -> int:
        finite = self._is_discrete and np.isfinite(self.upper - self.lower)
        return int(self.upper - self.lower) + 1 if finite else 0


def is_scipy(value: Any) -> bool:
    """Whether ``value`` comes from ``scipy.stats``."""
    return type(value).__module__.startswith("scipy.stats")


def from_scipy(frozen: Any) -> Domain:
    """The domain that a frozen distribution stands for: ``uniform``, ``loguniform`` and ``randint`` become
    Float and Integer domains, any other one a :class:`Distribution`.

    Raises:
        SpecError: For anything else of ``scipy.stats``.
    """
    distribution = getattr(frozen, "dist", None)
    name = getattr(distribution, "name", None)
    if not hasattr(frozen, "ppf") or not isinstance(name, str):
        raise SpecError(f"{type(frozen).__name__} is no frozen distribution of scipy.stats.", _HINT)
    if type(distribution) is not type(_scipy_distribution(name)):
        raise SpecError(f"{name!r} is a distribution of your own, it cannot be stored.", _HINT)
    domain = Distribution(name, _parameters(frozen))
    if name == "uniform":
        return Float(domain.lower, domain.upper)
    if name in ("loguniform", "reciprocal") and domain.parameters["loc"] == 0:
        return Float(domain.lower, domain.upper, LOG)
    if name == "randint":
        return Integer(check_integer(domain.lower, "low"), check_integer(domain.upper, "high"))
    return domain


def _parameters(frozen: Any) -> dict[str, Any]:
    """All parameters by name, whether they were given by position, by name, or not at all."""
    shapes = [name.strip() for name in (frozen.dist.shapes or "").split(",") if name.strip()]
    is_continuous = hasattr(frozen.dist, "pdf")
    names = [*shapes, "loc", *(["scale"] if is_continuous else [])]
    defaults = {"loc": 0, **({"scale": 1} if is_continuous else {})}
    return {**defaults, **dict(zip(names, frozen.args, strict=False)), **frozen.kwds}


def _scipy_distribution(name: str) -> Any:
    # On use alone: naming scipy at the top would make every training script load it.
    stats = importlib.import_module("scipy.stats")
    distribution = getattr(stats, name, None)
    if not isinstance(distribution, (stats.rv_continuous, stats.rv_discrete)):
        raise SpecError(f"scipy.stats has no distribution {name!r}.", _HINT)
    return distribution

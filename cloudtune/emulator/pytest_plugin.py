"""Fixtures for tests against AWS; pytest finds them where cloudtune is installed.

``sagemaker_emulator`` starts an emulator for the test, ``shared_sagemaker_emulator`` hands on one of the session,
emptied. Options are the arguments of :class:`cloudtune.emulator.SageMakerEmulator`, by marker or in the
configuration::

    @pytest.mark.sagemaker_emulator(scenario="bad_day", seed=3, time_scale=60)
    def test_my_tuner(sagemaker_emulator): ...

    # pytest.ini; these three
    sagemaker_emulator_scenario = realistic
    sagemaker_emulator_time_scale = 60
    sagemaker_emulator_isolation = none

This module is loaded in everybody's pytest: it imports what it needs when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cloudtune.emulator import SageMakerEmulator

_MARKER = "sagemaker_emulator"
_INI = {
    "scenario": "what goes wrong: calm, realistic, bad_day, or a JSON file",
    "time_scale": "how many times faster than real time the service's time passes",
    "isolation": "how jobs get a private /opt/ml: auto, root, user or none",
}
_WHILE_IT_RUNS = ("scenario", "seed")


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, text in _INI.items():
        parser.addini(f"{_MARKER}_{name}", f"cloudtune's emulator of AWS: {text}", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(**arguments): arguments of cloudtune.emulator.SageMakerEmulator for the test's fixture",
    )


class _Emulators:
    """Has at most one emulator open: moto's state is the process's."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._shared: SageMakerEmulator | None = None
        self._in_use = False

    @contextmanager
    def fresh(self, marked: dict[str, Any]) -> Iterator[SageMakerEmulator]:
        with self._alone():
            self.close()
            with self._new(marked) as emulator:
                yield emulator

    @contextmanager
    def shared(self, marked: dict[str, Any]) -> Iterator[SageMakerEmulator]:
        fixed = [name for name in marked if name not in _WHILE_IT_RUNS]
        if fixed:
            raise pytest.UsageError(
                f"{fixed[0]} cannot differ between tests that share an emulator. Use the fixture "
                f"sagemaker_emulator, or set {_MARKER}_{fixed[0]} for all in pytest's configuration."
            )
        with self._alone():
            if self._shared is None:
                self._shared = self._new({}).start()
            emulator = self._shared
            try:
                if marked:
                    scenario = marked.get("scenario", self._configured().get("scenario", "calm"))
                    emulator.apply_scenario(scenario, marked.get("seed", 0))
                yield emulator
            finally:
                emulator.reset()

    def close(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._in_use:
            raise pytest.UsageError("A test can have one emulator: sagemaker_emulator or the shared one.")
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False

    def _new(self, marked: dict[str, Any]) -> SageMakerEmulator:
        from cloudtune.emulator import SageMakerEmulator

        return SageMakerEmulator(**{**self._configured(), **marked})

    def _configured(self) -> dict[str, Any]:
        found: dict[str, Any] = {name: self._config.getini(f"{_MARKER}_{name}").strip() for name in _INI}
        if found["time_scale"]:
            try:
                found["time_scale"] = float(found["time_scale"])
            except ValueError:
                raise pytest.UsageError(
                    f"{_MARKER}_time_scale = {found['time_scale']} in pytest's configuration is no number."
                ) from None
        return {name: value for name, value in found.items() if value != ""}


@pytest.fixture(scope="session")
def _sagemaker_emulators(request: pytest.FixtureRequest) -> Iterator[_Emulators]:
    emulators = _Emulators(request.config)
    yield emulators
    emulators.close()


@pytest.fixture
def sagemaker_emulator(
    request: pytest.FixtureRequest, _sagemaker_emulators: _Emulators, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SageMakerEmulator]:
    """A fresh emulator; the environment of the test points to it."""
    with _sagemaker_emulators.fresh(_marked(request)) as aws:
        _point_to(aws, monkeypatch)
        yield aws


@pytest.fixture
def shared_sagemaker_emulator(
    request: pytest.FixtureRequest, _sagemaker_emulators: _Emulators, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SageMakerEmulator]:
    """The session's emulator, without what other tests have left; the environment of the test points to it."""
    with _sagemaker_emulators.shared(_marked(request)) as aws:
        _point_to(aws, monkeypatch)
        yield aws


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The nearest marker's arguments win over those of its class and module."""
    found: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers(_MARKER))):
        if marker.args:
            raise pytest.UsageError(f"@pytest.mark.{_MARKER} takes named arguments, such as scenario='bad_day'.")
        found |= marker.kwargs
    return found


def _point_to(emulator: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers the environment of its first use

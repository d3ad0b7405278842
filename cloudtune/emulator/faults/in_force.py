"""Puts a scenario in force everywhere at once: faults, quotas, delays."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cloudtune.emulator.faults.job_faults import Faults
from cloudtune.emulator.faults.killing import Killer
from cloudtune.emulator.faults.scenario import Scenario, load_scenario
from cloudtune.emulator.fleet.delays import CALM, REALISTIC, Delays
from cloudtune.emulator.fleet.quotas import Quotas
from cloudtune.emulator.service_error import JsonObject
from cloudtune.errors import SpecError

_TABLES = {"calm": CALM, "realistic": REALISTIC}


class InForce:
    """The scenario in force. Thread-safe.

    Args:
        faults: Holds the faults.
        quotas: Are limited as the scenario says; the limits from before it come back after it.
        delays: Are drawn as it says.
        killer: Kills the emulator where it says so.
        recheck: Called after a change: jobs that run look at the faults again.
    """

    def __init__(
        self, faults: Faults, quotas: Quotas, delays: Delays, killer: Killer, recheck: Callable[[], None]
    ) -> None:
        self._faults = faults
        self._quotas = quotas
        self._delays = delays
        self._killer = killer
        self._recheck = recheck
        self._lock = threading.Lock()
        self._limits_before: list[tuple[str, str, int | None]] = []

    def apply(self, scenario: Scenario, seed: int) -> None:
        """Replaces the scenario; its times begin now.

        Raises:
            SpecError: It kills the emulator, which is not alone in this process.
        """
        self._killer.check(scenario)
        with self._lock:
            for limit in self._limits_before:
                self._quotas.set_limit(*limit)
            self._limits_before = [
                (name, kind, self._quotas.own_limit(name, kind)) for name, kind, _ in scenario.quotas
            ]
            for limit in scenario.quotas:
                self._quotas.set_limit(*limit)
            self._delays.use(_TABLES[scenario.delays], seed)
            self._faults.apply(scenario, seed)
            self._killer.watch()
        self._recheck()

    def put(self, document: object) -> None:
        """Applies what a client sends: a scenario, which may have a ``seed``; or the name of a preset.

        Raises:
            SpecError: It is neither.
        """
        seed = 0
        if isinstance(document, dict) and "seed" in document:
            seed = document["seed"]
            document = {name: value for name, value in document.items() if name != "seed"}
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise SpecError(f"seed={seed!r} of the scenario is no whole number.", 'Example: "seed": 7.')
        self.apply(load_scenario(document) if isinstance(document, str) else Scenario.from_json(document), seed)

    def to_json(self) -> JsonObject:
        """What :meth:`put` takes."""
        return {**self._faults.scenario.to_json(), "seed": self._faults.seed}

"""The emulator killed and restarted by its scenario."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from cloudtune.emulator.faults.job_faults import Faults
from cloudtune.emulator.faults.kinds import EmulatorKilled
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.errors import SpecError

#: In the environment of a restarted emulator: how often it has been killed.
_KILLS = "CLOUDTUNE_EMULATOR_KILLS"
Restart = Callable[[], NoReturn]


def restart_process(arguments: Sequence[str], port: int) -> NoReturn:
    """Replaces this process as ``kill -9`` and another start would: nothing is closed in good order.
    The process number and the port stay.

    Args:
        arguments: Of ``python -m cloudtune.emulator``.
        port: Where it serves.
    """
    kept = list(arguments)
    if "--ready_fd" in kept:  # whoever waited for the start knows
        index = kept.index("--ready_fd")
        del kept[index : index + 2]
    command = [sys.executable, "-m", "cloudtune.emulator", *kept, "--port", str(port)]
    os.execve(sys.executable, command, {**os.environ, _KILLS: str(_kills() + 1)})


def _kills() -> int:
    return int(os.environ.get(_KILLS) or 0)


def check_killable(scenario: Scenario, restart: Restart | None) -> None:
    """Raises SpecError for a scenario that would kill somebody else's process."""
    if restart is None and any(isinstance(fault, EmulatorKilled) for fault in scenario.faults):
        raise SpecError(
            f"The scenario {scenario.name!r} kills the emulator, which shares its process with your program.",
            "Start it in one of its own: cloudtune emulator --scenario FILE.",
        )


class Killer:
    """Kills in time.

    Args:
        faults: The scenario in force.
        restart: Ends this process at once and starts another; None: this process is not the emulator's own.
    """

    def __init__(self, faults: Faults, restart: Restart | None) -> None:
        self._faults = faults
        self._restart = restart
        self._timers: list[threading.Timer] = []

    def check(self, scenario: Scenario) -> None:
        """Raises SpecError for a scenario that would kill somebody else's process."""
        check_killable(scenario, self._restart)

    def watch(self) -> None:
        """To be called when another scenario is in force."""
        self.cancel()
        for armed in self._faults.armed(EmulatorKilled):
            times = armed.spec.limits.times
            if times is None or _kills() < times:
                timer = threading.Timer(self._faults.clock.real(armed.spec.at_s), self._kill, [armed.number])
                timer.daemon = True
                self._timers.append(timer)
                timer.start()

    def cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _kill(self, number: int) -> None:
        self._faults.record("emulator_killed", rule=number)
        if self._restart is not None:
            self._restart()

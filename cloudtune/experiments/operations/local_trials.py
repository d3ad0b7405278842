"""Processes of trials that a tuner has left behind on this machine."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from cloudtune.backend.local import start_record
from cloudtune.backend.local.process import Marker, TrialProcess
from cloudtune.clock import Clock
from cloudtune.experiment.events import Event, TrialEnded, TrialStarted
from cloudtune.paths import ExperimentPaths

#: Between SIGTERM and SIGKILL.
_GRACE_S = 10.0
_LOOK_S = 0.05


def stop_local_trials(paths: ExperimentPaths, events: Iterable[Event], clock: Clock) -> int:
    """Ends the attempts that the journal does not know to have ended, as far as they run here; how many did. The
    next session finds them interrupted, with all that they have reported."""
    running: dict[int, int] = {}
    for event in events:
        if isinstance(event, TrialStarted):
            running[event.trial_id] = event.attempt
        elif isinstance(event, TrialEnded):
            running.pop(event.trial_id, None)
    found = [process for key in running.items() if (process := _find(paths, *key)) is not None]
    for process in found:
        process.signal_all(signal.SIGTERM)
    give_up = clock.now() + _GRACE_S
    while any(not process.has_ended() for process in found) and clock.now() < give_up:
        clock.sleep(_LOOK_S)
    for process in found:
        process.signal_all(signal.SIGKILL)
        process.kill_leftovers()
        process.release()
    return len(found)


def _find(paths: ExperimentPaths, trial_id: int, attempt: int) -> TrialProcess | None:
    trial = paths.trial(trial_id)
    record = start_record.read(trial.start_record(attempt))
    return None if record is None else TrialProcess.find(Marker(trial.claim(attempt), record.token))

"""What the tuner does besides tuning: keeps results and snapshots, and shows what goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

from cloudtune import experiment_record as record
from cloudtune.clock import Clock
from cloudtune.errors import SnapshotError, StoreError
from cloudtune.experiment import events as ev
from cloudtune.instance_info import prices_date
from cloudtune.live_view import LiveView
from cloudtune.paths import ExperimentPaths
from cloudtune.results.frame import ResultsBuilder
from cloudtune.trial import Outcome
from cloudtune.tuning_status import MIN_SHOWN_COST, TuningStatus

logger = logging.getLogger(__name__)

#: Saving may take this part of the time at most; larger experiments are saved less often.
_SAVING_SHARE = 0.05


class RecordKeeper:
    """Writes ``results.csv.zip`` and ``tuner.dill`` every ``interval_s`` seconds if there is news, and at the end.

    Args:
        save_snapshot: Writes the snapshot; None: there is to be none.
        saved: Called after each save.
    """

    def __init__(
        self,
        paths: ExperimentPaths,
        clock: Clock,
        interval_s: float,
        save_snapshot: Callable[[], None] | None,
        saved: Callable[[], None],
    ) -> None:
        self._paths = paths
        self._clock = clock
        self._interval_s = interval_s
        self._save_snapshot = save_snapshot
        self._saved = saved
        self._results = ResultsBuilder()
        self._due = clock.now() + interval_s
        self._dirty = True

    def on_session(self, past: Sequence[ev.Event]) -> None:
        for event in past:
            self._results.add(event)

    def on_events(self, events: Sequence[ev.Event]) -> None:
        for event in events:
            self._results.add(event)
        self._dirty = True

    def on_turn(self) -> None:
        if self._dirty and self._clock.now() >= self._due:
            self.save()

    def on_session_end(self) -> None:
        if self._dirty:
            self.save()

    def save(self) -> None:
        """Writes both files now."""
        begin = self._clock.now()
        written = self._write()
        self._dirty = not written
        now = self._clock.now()
        self._due = now + max(self._interval_s, (now - begin) / _SAVING_SHARE)
        if written:
            self._saved()

    def _write(self) -> bool:
        # The journal is the truth: tuning goes on whatever happens here.
        try:
            self._results.write(self._paths.results)
            if self._save_snapshot is not None:
                self._save_snapshot()
        except SnapshotError as error:
            logger.warning("%s Snapshots are off from now on.", error)
            self._save_snapshot = None
        except OSError as error:
            logger.warning("Results cannot be written to %s (%s); the journal has them.", self._paths.dir, error)
            return False
        return True


class CostKeeper:
    """Writes into ``metadata.json``, at the end of each session, what the experiment has cost so far, if anything.

    Args:
        paths: Of the experiment.
        status: Knows the cost.
    """

    def __init__(self, paths: ExperimentPaths, status: TuningStatus) -> None:
        self._paths = paths
        self._status = status

    def on_session(self, past: Sequence[ev.Event]) -> None:
        """Nothing to do."""

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Nothing to do: the status is told."""

    def on_turn(self) -> None:
        """Nothing to do."""

    def on_session_end(self) -> None:
        status, metadata = self._status, record.read_metadata(self._paths.dir)
        if metadata is None or status.cost < MIN_SHOWN_COST:
            return
        cost = {
            "usd": status.cost,
            "trials_usd": status.cost - status.costs.other_usd,
            "other_usd": status.costs.other_usd,
            "billed_s": status.costs.billed_s,
            "prices_date": prices_date(),
            "estimated": status.cost_is_estimated,
        }
        try:
            record.write_metadata(self._paths, {**metadata, "cost": cost})
        except StoreError as error:
            logger.warning("The cost is not in metadata.json (%s); the journal has it.", error)


class LiveObserver:
    """Feeds the live view, and says why trials failed.

    Args:
        view: To be fed.
        start: Begins it.
        status: What it shows.
        metric: Whose best value it shows, ``mode`` being ``"min"`` or ``"max"``.
        closing: Returns what there is to be said at the end of the session.
        waiting: Returns the trials for which no machine runs yet.
    """

    def __init__(
        self,
        view: LiveView,
        start: Callable[[LiveView], None],
        status: TuningStatus,
        metric: str,
        mode: str,
        closing: Callable[[], str],
        waiting: Callable[[], Collection[int]] = tuple,
    ) -> None:
        self._view = view
        self._start = start
        self._status = status
        self._closing = closing
        self._metric, self._mode = metric, mode
        self._find_waiting = waiting
        self._waiting = ""

    def on_session(self, past: Sequence[ev.Event]) -> None:
        self._start(self._view)
        self._update()

    def on_events(self, events: Sequence[ev.Event]) -> None:
        before = self._waiting
        for event in events:
            if isinstance(event, ev.TrialEnded) and event.outcome == Outcome.failed:
                logger.warning("Trial %d has failed: %s", event.trial_id, _shortened(event.reason))
            elif isinstance(event, ev.TuningStopped):
                awaited = "running trials end" if event.drain else "running trials have been stopped"
                self._waiting = f"Ending, since {event.reason}; waiting until {awaited}."
            elif isinstance(event, ev.StopRequested) and event.outcome == Outcome.interrupted:
                self._waiting = "Interrupted; running trials are being stopped. Ctrl-C again: do not wait."
            elif isinstance(event, ev.ExperimentEnded):
                self._waiting = ""
        if self._waiting != before:
            self._update(self._waiting)

    def on_turn(self) -> None:
        self._update(self._waiting)

    def on_session_end(self) -> None:
        self._update(self._closing())
        self._view.stop()

    def _update(self, note: str = "") -> None:
        best = self._status.best(self._metric, self._mode)
        shown = None if best is None else (best.trial_id, best.value, best.config)
        self._view.update(self._status, shown, note, self._find_waiting())


def _shortened(reason: str) -> str:
    """Its first and its last line: for a script, exit code and exception."""
    lines = reason.strip().splitlines()
    return "; ".join(lines if len(lines) < 3 else [lines[0], lines[-1]])

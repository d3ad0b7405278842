"""The tuner: put together from scheduler, backend and stopping criterion; run; resumed by running it again."""

from __future__ import annotations

import logging
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

from cloudtune import experiment_record as record
from cloudtune import names
from cloudtune.clock import Clock, VirtualClock, WallClock
from cloudtune.errors import Conflict, NotFound, SpecError, StoreError, TuningFailed
from cloudtune.experiment.core import CoreOptions, ExperimentCore
from cloudtune.experiment.ports import (
    ExperimentStore,
    HasCost,
    HasWaiting,
    ProvidesStore,
    SupportsCheckpoints,
    SupportsRestore,
    SupportsTakeover,
    TrialBackend,
)
from cloudtune.live_view import LiveView
from cloudtune.optimizer.scheduler import HasDrawnSeed, Scheduler
from cloudtune.paths import ExperimentPaths, experiments_root
from cloudtune.results_callback import StoreResultsCallback
from cloudtune.snapshot import load_snapshot, write_snapshot
from cloudtune.stopping_criterion import StoppingCriterion
from cloudtune.stores.file import FileStore
from cloudtune.trial import Config
from cloudtune.tuner_callback import CallbackObserver, TunerCallback
from cloudtune.tuner_loop import LoopObserver, TunerLoop
from cloudtune.tuner_observers import CostKeeper, LiveObserver, RecordKeeper
from cloudtune.tuning_status import TuningStatus

logger = logging.getLogger(__name__)

Criterion: TypeAlias = "StoppingCriterion | Callable[[TuningStatus], bool]"
#: A signal is noticed after this time at the latest.
_SIGNAL_WAIT_S = 0.25
#: Schedulers that tuners of this process have used, by their ids.
_used_schedulers: weakref.WeakValueDictionary[int, Scheduler] = weakref.WeakValueDictionary()


class Tuner:
    """Tunes: keeps ``n_workers`` trials running until ``stop_criterion`` holds, and loses nothing meanwhile.

    If the tuner dies, run the same command again: trials that still run are adopted, others resume from their
    checkpoints, decisions are those that would have been taken. The experiment is looked for under
    ``tuner_name``; with ``suffix_tuner_name``, the newest unfinished one of that name with the same settings.

    Args:
        trial_backend: Runs trials.
        scheduler: Decides what to try. Must be new: not used by another tuner.
        stop_criterion: A :class:`StoppingCriterion`, or any function of a ``TuningStatus``.
        n_workers: Trials that run at the same time.
        sleep_time: Longest wait for news, seconds. News end the wait at once.
        results_update_interval: Seconds between two writings of ``results.csv.zip`` and ``tuner.dill``.
        print_update_interval: Seconds between two status lines where there is no terminal.
        max_failures: Tuning ends with an error when more trials than this have failed.
        tuner_name: Default: the script's name. Letters, digits and hyphens.
        asynchronous_scheduling: False: start ``n_workers`` trials, wait for all of them, and so on.
        wait_trial_completion_when_stopping: Let running trials finish when the criterion holds.
        callbacks: Hooks.
        metadata: Added to ``metadata.json``; JSON-able.
        suffix_tuner_name: Append the time to the name.
        save_tuner: Write ``tuner.dill``.
        start_jobs_without_delay: A trial that is being stopped does not count as busy.
        trial_backend_path: Folder for the trials' files; default beside the results.
        resume: Continue an unfinished experiment as described above.
        clock, store: For simulations; default real time, and the store of the backend, or files.

    Raises:
        SpecError: For arguments that cannot work.
    """

    def __init__(  # noqa: PLR0913  the names and defaults that users of Syne Tune know
        self,
        trial_backend: TrialBackend,
        scheduler: Scheduler,
        stop_criterion: Criterion,
        n_workers: int,
        sleep_time: float = 5.0,
        results_update_interval: float = 10.0,
        print_update_interval: float = 30.0,
        max_failures: int = 1,
        tuner_name: str | None = None,
        asynchronous_scheduling: bool = True,
        wait_trial_completion_when_stopping: bool = False,
        callbacks: Sequence[TunerCallback] | None = None,
        metadata: Mapping[str, Any] | None = None,
        suffix_tuner_name: bool = True,
        save_tuner: bool = True,
        start_jobs_without_delay: bool = True,
        trial_backend_path: str | Path | None = None,
        *,
        resume: bool = True,
        clock: Clock | None = None,
        store: ExperimentStore | None = None,
    ) -> None:
        _check_numbers(n_workers, sleep_time, results_update_interval, print_update_interval, max_failures)
        self.trial_backend = trial_backend
        self.scheduler = scheduler
        self.stop_criterion = stop_criterion
        self.n_workers = n_workers
        self.sleep_time = sleep_time
        self.results_update_interval = results_update_interval
        self.print_update_interval = print_update_interval
        self.callbacks = list(callbacks or ())
        self.user_metadata = dict(metadata or {})
        self.save_tuner = save_tuner
        self._clock = clock or WallClock()
        self._store = store
        self._options = CoreOptions(
            n_workers=n_workers,
            max_failures=max_failures,
            asynchronous_scheduling=asynchronous_scheduling,
            wait_trial_completion_when_stopping=wait_trial_completion_when_stopping,
            start_jobs_without_delay=start_jobs_without_delay,
            max_wallclock_time=getattr(stop_criterion, "max_wallclock_time", None),
        )
        self._description = record.describe(
            scheduler, trial_backend.metadata(), _describe_criterion(stop_criterion), n_workers
        )
        self.name = self._choose_name(tuner_name, suffix_tuner_name, resume)
        trials = Path(trial_backend_path).expanduser() / self.name if trial_backend_path else None
        self.paths = ExperimentPaths(experiments_root() / self.name, trials_dir=trials)
        self._core: ExperimentCore | None = None
        self._live_view: LiveView | None = None

    # -- names and places

    @property
    def tuner_path(self) -> Path:
        """Folder of the experiment."""
        return self.paths.dir

    def relocate(self, paths: ExperimentPaths, store: ExperimentStore | None = None) -> None:
        """Moves an experiment that has not begun to other folders (and another store); used inside jobs."""
        self.paths = paths
        self.name = paths.name
        self._store = store or self._store

    def _choose_name(self, tuner_name: str | None, suffix: bool, resume: bool) -> str:
        default = names.legal_name(str(self._description["backend"].get("entrypoint") or "tuner"))
        base = names.check_name(tuner_name, "Tuner(tuner_name=...)") if tuner_name is not None else default
        if not suffix:
            return base
        if resume and self._store is None:
            unfinished = self._find_unfinished(base)
            if unfinished is not None:
                return unfinished
        return names.with_timestamp(base, self._clock.now())

    def _find_unfinished(self, base: str) -> str | None:
        """The newest experiment that this very command has begun and nobody runs."""
        root = experiments_root()
        suffixed = names.legal_name(
            base, len(names.with_timestamp(base, 0.0)) - len(names.timestamp_suffix(0.0)) - 1
        )
        for folder in sorted(root.glob(f"{suffixed}-*"), reverse=True):
            if names.without_timestamp(folder.name) != suffixed:
                continue
            metadata = record.read_metadata(folder)
            if metadata is None or record.differences(metadata, self._description):
                continue
            if _is_unfinished(folder):
                logger.warning("Continuing %s (Tuner(resume=False) begins a new experiment).", folder.name)
                return folder.name
        return None

    # -- running

    def run(self, takeover: bool = False) -> None:
        """Runs the experiment, or continues it, to its end.

        SIGTERM and Ctrl-C interrupt running trials and record everything; a second Ctrl-C ends at once.

        Args:
            takeover: Continue it also if another machine has it that shows no sign of life any more.

        Raises:
            Conflict: If another process runs this experiment. The message says which, and what to do.
            TuningFailed: If more than ``max_failures`` trials failed.
            SpecError: If the experiment was begun with other settings.
            KeyboardInterrupt, SystemExit: After a signal, when all is recorded.
        """
        store = self._find_store(takeover)
        self._prepare()
        core = self._core or self._new_core()
        self._core = core
        loop = TunerLoop(
            core,
            self.trial_backend,
            store,
            self._clock,
            self.paths,
            observers=self._observers(core),
            max_wait_s=self._max_wait_s(),
            delete_checkpoint=self._checkpoint_remover(),
            annotate=self._annotator(),
            trials_elsewhere=not getattr(self.trial_backend, "trials_run_here", True),
        )
        try:
            with _signals(loop) as received:
                loop.run()
        finally:
            if core.state.trials:
                _used_schedulers[id(self.scheduler)] = self.scheduler
        self._raise_signal(received)
        self._report_end(core)

    def _find_store(self, takeover: bool) -> ExperimentStore:
        """Where the experiment is kept; brings here what is only there."""
        store = self._store
        if store is None:
            backend = self.trial_backend
            store = backend.make_store(self.paths) if isinstance(backend, ProvidesStore) else FileStore(self.paths)
        if isinstance(store, SupportsTakeover):
            store.takeover = takeover
        if isinstance(store, SupportsRestore):
            store.restore()
        return store

    def _prepare(self) -> None:
        """Refuses what cannot work, and writes ``metadata.json``."""
        metadata = record.read_metadata(self.paths.dir)
        has_begun = self._store is not None or any(self.paths.journal.glob("*.jsonl"))
        if metadata is None or not has_begun:  # what never began, for a missing script say, binds nobody
            metadata = record.metadata_of(self._description, self.scheduler, self._clock.now(), self.user_metadata)
            record.write_metadata(self.paths, metadata)
            return
        changed = record.differences(metadata, self._description)
        if changed:
            raise SpecError(
                f"Experiment {self.name} in {self.paths.dir} was begun with other settings: {', '.join(changed)}.",
                "Use the same settings to continue it, or another tuner_name, or remove that folder.",
            )
        scheduler: object = self.scheduler
        if isinstance(scheduler, HasDrawnSeed) and not scheduler.random_seed_given and self._core is None:
            scheduler.reseed(int(metadata["random_seed"]))

    def _new_core(self) -> ExperimentCore:
        if _used_schedulers.get(id(self.scheduler)) is self.scheduler:
            raise SpecError(
                f"Tuner(scheduler=...): this {type(self.scheduler).__name__} has been used by another tuner.",
                "Make a new scheduler for each tuner: what it has learnt from one would distort the other.",
            )
        status = TuningStatus(self.scheduler.metric_names())
        ends = _Ends(self.stop_criterion, status)
        return ExperimentCore(self.scheduler, self._options, status, ends.reason, ends.may_start, ends.lacks_room)

    def _observers(self, core: ExperimentCore) -> list[LoopObserver]:
        def saved() -> None:
            for callback in self.callbacks:
                callback.on_tuner_save()

        def snapshot() -> None:
            write_snapshot(self.paths.snapshot, self, core.state.num_events)

        # Saving takes real time, also where tuning takes simulated time.
        keeper = RecordKeeper(
            self.paths, WallClock(), self.results_update_interval, snapshot if self.save_tuner else None, saved
        )
        observers: list[LoopObserver] = [keeper, CostKeeper(self.paths, self.tuning_status)]
        if self.callbacks:
            observers.append(CallbackObserver(self.callbacks, self, core.state))
        if not isinstance(self._clock, VirtualClock):
            view = LiveView(print_update_interval_s=self.print_update_interval)
            metric, mode = self.scheduler.metric_names()[0], self.scheduler.metric_mode()[0]
            backend = self.trial_backend
            observers.append(
                LiveObserver(
                    view,
                    self._start_view,
                    self.tuning_status,
                    metric,
                    mode,
                    lambda: self._closing_note(core),
                    backend.waiting if isinstance(backend, HasWaiting) else tuple,
                )
            )
        return observers

    def _start_view(self, view: LiveView) -> None:
        scheduler, limits = self.scheduler, self.stop_criterion
        view.start(
            self.name,
            scheduler.metric_names(),
            scheduler.metric_mode(),
            self.n_workers,
            getattr(limits, "max_wallclock_time", None),
            getattr(limits, "max_cost", None),
            "" if (cost := self.highest_cost()) is None else f"{self.name} costs {cost}.",
        )

    def highest_cost(self) -> str | None:
        """What tuning can cost at most, for people; None where it costs nothing, or nothing is known."""
        backend, options = self.trial_backend, self._options
        if not isinstance(backend, HasCost):
            return None
        return backend.highest_cost(
            self.n_workers,
            self.stop_criterion,
            self.scheduler.config_space,
            overlap=options.start_jobs_without_delay,
            drain=options.wait_trial_completion_when_stopping,
        )

    def _closing_note(self, core: ExperimentCore) -> str:
        ended = core.state.ended
        return f"Results: {self.paths.dir}. {f'Ended: {ended.reason}' if ended else 'Not finished'}."

    def _max_wait_s(self) -> float:
        if isinstance(self._clock, VirtualClock):
            return self.sleep_time
        return min(self.sleep_time, _SIGNAL_WAIT_S)

    def _checkpoint_remover(self) -> Callable[[int], None] | None:
        backend = self.trial_backend
        if getattr(backend, "delete_checkpoints", False) and isinstance(backend, SupportsCheckpoints):
            return backend.delete_checkpoint
        return None

    def _annotator(self) -> Callable[[], dict[str, Any]] | None:
        composers = [
            callback.extra_results_composer
            for callback in self.callbacks
            if isinstance(callback, StoreResultsCallback) and callback.extra_results_composer is not None
        ]
        if not composers:
            return None
        return lambda: {key: value for composer in composers for key, value in (composer(self) or {}).items()}

    def _raise_signal(self, received: list[int]) -> None:
        if not received or (self._core is not None and self._core.state.ended is not None):
            return
        logger.warning("Interrupted. Run the same command again to continue %s.", self.name)
        if received[0] == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + received[0])

    def _report_end(self, core: ExperimentCore) -> None:
        ended = core.state.ended
        if ended is None:
            return
        if ended.error:
            raise TuningFailed(
                f"{self.name}: {ended.error}.\n{self._failures(core)}",
                f"Output of a trial: cloudtune logs {self.name} --trial N. This experiment is over: mend the "
                "script, or raise max_failures, and begin another (change a fixed tuner_name).",
            )

    def _failures(self, core: ExperimentCore) -> str:
        """What the last failed trial said."""
        store = self._store or FileStore(self.paths)
        failed = [event for event in store.read() if getattr(event, "outcome", "") == "failed"]
        if not failed:
            return ""
        last = failed[-1]
        return f"Trial {getattr(last, 'trial_id', '?')}: {getattr(last, 'reason', '')}"

    # -- looking at it

    @property
    def tuning_status(self) -> TuningStatus:
        """Statistics of the experiment so far; empty before :meth:`run`."""
        status = self._core.status if self._core is not None else TuningStatus(self.scheduler.metric_names())
        if not isinstance(status, TuningStatus):
            raise SpecError("This tuner was restored by another version of cloudtune.")
        return status

    def best_config(self, metric: int | str = 0) -> tuple[int, Config]:
        """Trial and configuration with the best value of a metric (index or name) so far.

        Raises:
            NotFound: Before the first report, or for an unknown metric.
        """
        metrics = self.scheduler.metric_names()
        index = metrics.index(metric) if isinstance(metric, str) and metric in metrics else metric
        if not isinstance(index, int) or not 0 <= index < len(metrics):
            raise NotFound(f"{self.name} has no metric {metric!r}.", f"It has {', '.join(metrics)}.")
        best = self.tuning_status.best(metrics[index], self.scheduler.metric_mode()[index])
        if best is None:
            raise NotFound(f"{self.name} has no report of {metrics[index]} yet.", "Call run() first.")
        return best.trial_id, best.config

    # -- snapshots

    def save(self, folder: str | Path | None = None) -> None:
        """Writes ``tuner.dill`` into ``folder`` (default: the experiment's)."""
        target = Path(folder) / self.paths.snapshot.name if folder else self.paths.snapshot
        write_snapshot(target, self, self._core.state.num_events if self._core else 0)

    @staticmethod
    def load(path: str | Path) -> Tuner:
        """The tuner from ``path`` (``tuner.dill`` or its folder). It can be looked at, and run on: events that
        were recorded after the snapshot are replayed. Unpickles: use it on files you trust."""
        path = Path(path)
        tuner = load_snapshot(path / "tuner.dill" if path.is_dir() else path)
        if not isinstance(tuner, Tuner):
            raise SpecError(f"{path} holds a {type(tuner).__name__}, no Tuner.")
        return tuner

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_clock": None, "_store": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clock = WallClock()


class _Ends:
    """When to end, for the core. Goes into each snapshot, hence no closure: those are slow to pickle."""

    def __init__(self, criterion: Criterion, status: TuningStatus) -> None:
        self._criterion = criterion
        self._status = status

    def reason(self) -> str | None:
        if isinstance(self._criterion, StoppingCriterion):
            return self._criterion.reason(self._status)
        return "the stopping criterion holds" if self._criterion(self._status) else None

    def may_start(self, num_started: int) -> bool:
        return not isinstance(self._criterion, StoppingCriterion) or self._criterion.may_start(num_started)

    def lacks_room(self) -> str | None:
        return self._criterion.lacks_room(self._status) if isinstance(self._criterion, StoppingCriterion) else None


@contextmanager
def _signals(loop: TunerLoop) -> Iterator[list[int]]:
    """SIGTERM and the first Ctrl-C ask the loop to end; yields the list of signals received."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def on_signal(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if number == signal.SIGINT and received.count(signal.SIGINT) > 1:
            raise KeyboardInterrupt
        what = "Ctrl-C (again: end now)" if number == signal.SIGINT else signal.Signals(number).name
        loop.request_shutdown(what)

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _is_unfinished(folder: Path) -> bool:
    """Whether an experiment has begun, has not ended, and is run by nobody. One that has not begun is not even
    locked for a moment: its own tuner may be just about to do so."""
    store = FileStore(ExperimentPaths(folder))
    try:
        last = store.read(max(0, store.durable() - 1))
        if not last or last[-1].kind == "experiment_ended":
            return False
        store.open("tuner that looks for unfinished experiments")
        store.close()
    except Conflict:
        logger.warning("%s has the same settings, and is being tuned; this is another experiment.", folder.name)
        return False
    except StoreError as error:
        logger.warning("Not continuing %s, which cannot be read: %s", folder.name, error)
        return False
    return True


def _describe_criterion(criterion: Criterion) -> dict[str, Any]:
    if isinstance(criterion, StoppingCriterion):
        return criterion.to_json_dict()
    if not callable(criterion):
        raise SpecError(
            f"Tuner(stop_criterion={criterion!r}) is neither a StoppingCriterion nor a function.",
            "Use StoppingCriterion(max_wallclock_time=...).",
        )
    return {"function": getattr(criterion, "__qualname__", type(criterion).__qualname__)}


def _check_numbers(n_workers: int, sleep: float, results: float, prints: float, max_failures: int) -> None:
    if isinstance(n_workers, bool) or not isinstance(n_workers, int) or n_workers < 1:
        raise SpecError(f"Tuner(n_workers={n_workers!r}) must be an integer of at least 1.")
    if isinstance(max_failures, bool) or not isinstance(max_failures, int) or max_failures < 0:
        raise SpecError(f"Tuner(max_failures={max_failures!r}) must be an integer of at least 0.")
    intervals = {"sleep_time": sleep, "results_update_interval": results, "print_update_interval": prints}
    for name, value in intervals.items():
        if not value > 0:
            raise SpecError(f"Tuner({name}={value!r}) must be a positive number of seconds.")

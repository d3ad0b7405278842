"""Trials as processes on this machine."""

from __future__ import annotations

import logging
import math
import os
import select
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cloudtune import constants
from cloudtune.backend.local import arguments, files, gpus, output, start_record
from cloudtune.backend.local.arguments import EntryPoint
from cloudtune.backend.local.attempt import Attempt
from cloudtune.backend.local.process import ENV_TOKEN, Marker, TrialProcess, nested_token, new_token, reap_children
from cloudtune.backend.local.start_record import StartRecord
from cloudtune.clock import WallClock
from cloudtune.errors import SpecError, StoreError
from cloudtune.experiment.ports import AttemptEnded, AttemptKey, BackendContext, Fact
from cloudtune.paths import ExperimentPaths, TrialPaths
from cloudtune.report import parse_report
from cloudtune.trial import Outcome, Trial

logger = logging.getLogger(__name__)

#: How often output is looked at while waiting. Ends of processes are noticed at once.
_TICK_S = 0.02


@dataclass
class _Session:
    """What lives between open and close, and is never pickled."""

    context: BackendContext
    command: list[str]
    pool: gpus.GpuPool | None
    # Processes live in real time, whatever clock the tuner has.
    clock: WallClock = field(default_factory=WallClock)
    attempts: dict[AttemptKey, Attempt] = field(default_factory=dict)
    #: Acknowledged, by trial.
    levels: dict[int, int] = field(default_factory=dict)


class LocalBackend:
    """Runs each trial as a process on this machine, in a process group of its own, its output in files.

    The configuration is passed as ``--name value``, with ``--st_checkpoint_dir``. Trials survive the tuner; a new
    backend finds them again. What a trial starts ends with it.

    Trials run in the tuner's working directory.

    Args:
        entry_point: A Python script, an executable, or a command such as ``("torchrun", "train.py")``.
        delete_checkpoints: Checkpoints of trials that will not be resumed are to be deleted.
        pass_args_as_json: The configuration is passed as a file instead: ``--st_config_json_filename``.
        rotate_gpus: Each trial sees its own GPUs only (``CUDA_VISIBLE_DEVICES``), the least occupied ones.
        num_gpus_per_trial: GPUs for each trial; with a fraction (0.5) trials share them, with 0 they see none.
        gpus_to_use: Positions among the visible GPUs, from 0; default all.
        grace_period_s: Seconds from SIGTERM to SIGKILL when a trial is stopped.

    Raises:
        SpecError: An argument makes no sense.
    """

    #: Trials share the tuner's machine, also that of a tuner which RemoteLauncher sends away.
    trials_run_here = True

    def __init__(
        self,
        entry_point: EntryPoint,
        delete_checkpoints: bool = False,
        pass_args_as_json: bool = False,
        rotate_gpus: bool = True,
        num_gpus_per_trial: float = 1,
        gpus_to_use: Sequence[int] | None = None,
        grace_period_s: float = 10.0,
    ) -> None:
        gpus.check_gpu_options(num_gpus_per_trial, gpus_to_use)
        if not 0 <= grace_period_s < math.inf:
            raise SpecError(f"grace_period_s={grace_period_s!r} is no duration.", "Give seconds, 0 or more.")
        self._words = arguments.check_entry_point(entry_point)
        self.delete_checkpoints = delete_checkpoints
        self.pass_args_as_json = pass_args_as_json
        self.rotate_gpus = rotate_gpus
        self.num_gpus_per_trial = num_gpus_per_trial
        self.gpus_to_use = None if gpus_to_use is None else list(gpus_to_use)
        self.grace_period_s = grace_period_s
        self._session: _Session | None = None
        #: Of the experiment that it runs, or has run.
        self._experiment: ExperimentPaths | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None, "_experiment": None}

    def entrypoint_path(self) -> Path:
        """The training script."""
        return arguments.script_of(self._words)

    def set_entrypoint(self, script: str | os.PathLike[str]) -> None:
        """Replaces the training script, as after a move to another machine; other words of a command stay. For
        backends that are not open."""
        old = str(self.entrypoint_path())
        self._words = tuple(os.fspath(script) if str(Path(word)) == old else word for word in self._words)

    def code_folders(self) -> list[Path]:
        """The folder of the training script. Raises SpecError if that is missing."""
        script = self.entrypoint_path().expanduser().absolute()
        if not script.is_file():
            raise SpecError(
                f"There is no training script {script}.",
                "Give LocalBackend(entry_point=...) the path of a file: its folder travels with the tuner.",
            )
        return [script.parent]

    def move_code(self, folder: Path, packages: Path) -> None:
        """The script's folder is ``folder`` now; see :meth:`set_entrypoint`."""
        self.set_entrypoint(folder / self.entrypoint_path().name)

    def metadata(self) -> dict[str, Any]:
        script = self.entrypoint_path()
        return {"backend": type(self).__name__, "entrypoint": script.stem, "entry_point": " ".join(self._words)}

    def open(self, context: BackendContext) -> None:
        """See :meth:`TrialBackend.open`.

        Raises:
            SpecError: The script is missing, the folder cannot be written to, or there are too few GPUs.
        """
        self.close()
        command = arguments.resolve(self._words)
        _check_writable(context.paths.trials_dir or context.paths.dir)
        pool = gpus.make_pool(self.num_gpus_per_trial, self.gpus_to_use, os.environ) if self.rotate_gpus else None
        self._session = _Session(context, command, pool)
        self._experiment = context.paths

    def start(self, trial: Trial) -> None:
        """See :meth:`TrialBackend.start`."""
        session = self._opened()
        key = AttemptKey(trial.trial_id, trial.attempt)
        if key in session.attempts:
            return
        paths = self._paths(trial.trial_id)
        has_run = _has_run(paths, trial.attempt)
        session.attempts[key] = self._adopted(key, paths) if has_run else self._started(trial, key, paths)

    def adopt(self, trial: Trial) -> None:
        """See :meth:`TrialBackend.adopt`."""
        session = self._opened()
        key = AttemptKey(trial.trial_id, trial.attempt)
        paths = self._paths(trial.trial_id)
        if key not in session.attempts and _has_run(paths, trial.attempt):
            session.attempts[key] = self._adopted(key, paths)

    def poll(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        """See :meth:`TrialBackend.poll`."""
        session = self._opened()
        reap_children()
        self._update()
        facts: list[Fact] = []
        for key, num_seen in seen.items():
            if key in session.attempts:
                facts += session.attempts[key].facts(num_seen)
            else:
                reason = "Nothing is known of it on this machine."
                facts.append(AttemptEnded(key.trial_id, key.attempt, Outcome.interrupted, reason))
        for key in [key for key, attempt in session.attempts.items() if attempt.is_done and key not in seen]:
            del session.attempts[key]
        return facts

    def stop(self, trial_id: int, attempt: int) -> None:
        """See :meth:`TrialBackend.stop`. SIGTERM now, SIGKILL after the grace period."""
        session = self._opened()
        running = session.attempts.get(AttemptKey(trial_id, attempt))
        if running is not None:
            running.stop(session.clock.now(), self.grace_period_s)

    def wait(self, timeout_s: float) -> None:
        """Returns as soon as a trial has reported or ended, at the latest after ``timeout_s`` seconds."""
        session = self._opened()
        deadline = session.clock.now() + timeout_s
        while True:
            self._update()
            attempts = session.attempts.values()
            if any(attempt.has_news for attempt in attempts):
                return
            remaining_s = deadline - session.clock.now()
            if remaining_s <= 0:
                return
            if not any(attempt.is_behind for attempt in attempts):
                _sleep(min(remaining_s, _TICK_S) if attempts else remaining_s, attempts)

    def close(self) -> None:
        """See :meth:`TrialBackend.close`."""
        session, self._session = self._session, None
        for attempt in session.attempts.values() if session else ():
            attempt.release()

    def acknowledge(self, trial_id: int, level: int) -> None:
        """See :meth:`SupportsAcknowledge.acknowledge`."""
        levels = self._opened().levels
        if level > levels.get(trial_id, -1):
            files.replace(self._paths(trial_id).seen_level, str(level))
            levels[trial_id] = level

    def copy_checkpoint(self, source_trial_id: int, target_trial_id: int) -> None:
        """What the source has stored (if anything) becomes the target's, unless the target has begun to run."""
        source, target = self._paths(source_trial_id), self._paths(target_trial_id)
        if source.checkpoints.is_dir() and not target.claim(0).exists():
            target.checkpoints.parent.mkdir(parents=True, exist_ok=True)
            files.copy_tree(source.checkpoints, target.checkpoints)

    def delete_checkpoint(self, trial_id: int) -> None:
        """See :meth:`SupportsCheckpoints.delete_checkpoint`."""
        try:
            files.remove_tree(self._paths(trial_id).checkpoints)
        except OSError as error:  # disk space is all that is lost
            logger.warning("Cannot delete the checkpoints of trial %d: %s", trial_id, error)

    def checkpoint_trial_path(self, trial_id: int) -> Path:
        """The trial's ``st_checkpoint_dir``; also when tuning is over, as for :meth:`stdout`."""
        return self._paths(trial_id).checkpoints

    def stdout(self, trial_id: int) -> list[str]:
        """Lines that the trial has printed, over all attempts."""
        return output.all_lines(self._paths(trial_id).stdout)

    def stderr(self, trial_id: int) -> list[str]:
        """Lines that the trial has printed as errors, over all attempts."""
        return output.all_lines(self._paths(trial_id).stderr)

    def _opened(self) -> _Session:
        if self._session is None:
            raise SpecError("LocalBackend is not open.", "Call open(context) first; a Tuner does.")
        return self._session

    def _paths(self, trial_id: int) -> TrialPaths:
        if self._experiment is None:
            raise SpecError("LocalBackend has run nothing yet.", "Call open(context) first; a Tuner does.")
        paths = self._experiment.trial(trial_id)
        return TrialPaths(paths.dir.absolute(), paths.checkpoints.absolute())

    def _update(self) -> None:
        session = self._opened()
        now = session.clock.now()
        for key, attempt in session.attempts.items():
            attempt.update(now)
            if attempt.has_ended and session.pool is not None:
                session.pool.release(key)

    def _started(self, trial: Trial, key: AttemptKey, paths: TrialPaths) -> Attempt:
        record = self._begin(key, paths)
        try:
            if trial.checkpoint_trial_id is not None and trial.attempt == 0:
                self.copy_checkpoint(trial.checkpoint_trial_id, trial.trial_id)
            paths.checkpoints.mkdir(parents=True, exist_ok=True)
            files.replace(paths.config, arguments.config_text(trial.config))
            words = arguments.arguments(trial.config, paths, self.pass_args_as_json)
            command = [*self._opened().command, *words]
            environment = self._environment(key, paths, record)
            process = TrialProcess.spawn(command, environment, paths, key.attempt, record.token)
        except StoreError:
            raise
        except (OSError, ValueError, TypeError) as error:  # what is wrong is the configuration, or its size
            attempt = Attempt(key, paths, record, None, parse_report, is_new=False)
            attempt.fail(f"It cannot be started: {error}. Its configuration is {trial.config!r:.500}.")
            return attempt
        return Attempt(key, paths, record, process, parse_report, is_new=True)

    def _begin(self, key: AttemptKey, paths: TrialPaths) -> StartRecord:
        """The attempt's start record: a new one, or that of a tuner that died before the process was there."""
        pool = self._opened().pool
        path = paths.start_record(key.attempt)
        record = start_record.read(path)
        if record is None:
            devices = pool.acquire(key) if pool is not None else ()
            offsets = output.size_of(paths.stdout), output.size_of(paths.stderr)
            return start_record.create(path, StartRecord(new_token(), *offsets, devices))
        return replace(record, gpus=pool.acquire(key, record.gpus)) if pool is not None else record

    def _adopted(self, key: AttemptKey, paths: TrialPaths) -> Attempt:
        pool = self._opened().pool
        record = start_record.read(paths.start_record(key.attempt))
        process = None
        if record is None:  # the disk has lost it: no process can be found, and what was printed is nobody's
            record = StartRecord(new_token(), output.size_of(paths.stdout), output.size_of(paths.stderr))
        else:
            process = TrialProcess.find(Marker(paths.claim(key.attempt), record.token))
        if process is not None and pool is not None:
            pool.acquire(key, record.gpus)
        return Attempt(key, paths, record, process, parse_report, is_new=False)

    def _environment(self, key: AttemptKey, paths: TrialPaths, record: StartRecord) -> dict[str, str]:
        session = self._opened()
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", "1")
        environment[ENV_TOKEN] = nested_token(record.token, environment)
        environment["PYTHONUNBUFFERED"] = "1"
        environment[constants.ENV_TRIAL_ID] = str(key.trial_id)
        environment[constants.ENV_ATTEMPT] = str(key.attempt)
        environment.pop(constants.ENV_SEEN_LEVEL_FILE, None)
        if (
            session.context.resource_attr is not None
        ):  # else nobody knows levels: resume from the newest checkpoint
            environment[constants.ENV_SEEN_LEVEL_FILE] = str(paths.seen_level)
        environment.pop(constants.ENV_RUNG_LEVELS, None)
        if session.context.rung_levels is not None:
            environment[constants.ENV_RUNG_LEVELS] = ",".join(map(str, session.context.rung_levels))
        if session.pool is not None:
            environment[gpus.CUDA_VISIBLE_DEVICES] = ",".join(record.gpus)
        return environment


def _has_run(paths: TrialPaths, attempt: int) -> bool:
    return paths.claim(attempt).exists() or paths.exit_code(attempt).exists()


def _check_writable(folder: Path) -> None:
    probe = folder / ".writable"
    try:
        files.replace(probe, "")
        probe.unlink()
    except OSError as error:
        raise SpecError(
            f"Cannot write to {str(folder)!r}: {error.__cause__ or error}.",
            f"Choose another folder by ${constants.ENV_FOLDER}, or make room and check its permissions.",
        ) from error


def _sleep(timeout_s: float, attempts: Any) -> None:
    """Until ``timeout_s`` seconds have passed or a process has ended."""
    poller = select.poll()
    for attempt in attempts:
        if attempt.descriptor is not None:
            poller.register(attempt.descriptor, select.POLLIN)
    poller.poll(math.ceil(timeout_s * 1000))

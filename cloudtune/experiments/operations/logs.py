"""What a tuner or a trial has printed, wherever that is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cloudtune.aws.log_stream import JobLog
from cloudtune.aws.objects import S3Object
from cloudtune.clock import Clock
from cloudtune.errors import NotFound
from cloudtune.experiments.operations.account import Account
from cloudtune.experiments.operations.subject import Subject

_LOOK_S = 0.5


class LogSource(Protocol):
    """One log."""

    @property
    def title(self) -> str:
        """Whose it is."""
        ...

    def tail(self, lines: int) -> list[str]:
        """The last lines that there are now."""
        ...

    def news(self) -> list[str]:
        """All lines that were printed since the last call; all at the first one."""
        ...

    def is_over(self) -> bool:
        """Whether nothing more will be printed; asked before the last :meth:`news`."""
        ...


@dataclass
class JobSource:
    """The log of a training job in CloudWatch."""

    title: str
    job: str
    account: Account
    _cursor: str | None = field(default=None, init=False)

    def tail(self, lines: int) -> list[str]:
        return self.account.jobs.log_tail(self.job, lines)

    def news(self) -> list[str]:
        log, found, is_end = JobLog(self.account.session), [], False
        while not is_end:
            lines, self._cursor, is_end = log.read(self.job, self._cursor)
            found += [text for _, text in lines]
        return found

    def is_over(self) -> bool:
        return self.account.jobs.describe(self.job).state.is_final


@dataclass
class FileSource:
    """A file on this machine that may grow."""

    title: str
    path: Path
    runs: Callable[[], bool]
    _offset: int = field(default=0, init=False)

    def tail(self, lines: int) -> list[str]:
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        return text.splitlines()[-lines:] if lines > 0 else []

    def news(self) -> list[str]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        is_over = not self.runs()
        end = len(content) if is_over else content.rfind(b"\n") + 1  # what is half a line now comes next time
        self._offset += end
        return content[:end].decode(errors="replace").splitlines()

    def is_over(self) -> bool:
        return not self.runs()


@dataclass
class ObjectSource:
    """The output of a trial that its tuner has uploaded: as of its last upload."""

    title: str
    item: S3Object
    account: Account
    _told: bool = field(default=False, init=False)

    def tail(self, lines: int) -> list[str]:
        return self._lines()[-lines:] if lines > 0 else []

    def news(self) -> list[str]:
        told, self._told = self._told, True
        return [] if told else self._lines()

    def is_over(self) -> bool:
        return True

    def _lines(self) -> list[str]:
        return self.account.objects.get(self.item.uri).decode(errors="replace").splitlines()


def tuner_log(subject: Subject) -> list[LogSource]:
    """Of all jobs that ran the tuner, in order.

    Raises:
        NotFound: None did.
    """
    jobs = list(reversed(subject.jobs.tuner))
    account = subject.access.account
    if not jobs or account is None:
        raise NotFound(
            f"{subject.name} was tuned by no job: what its tuner has printed went to a terminal.",
            f"For the output of a trial: cloudtune logs {subject.name} --trial N.",
        )
    return [JobSource(f"job {job.name}", job.name, account) for job in jobs]


def trial_log(subject: Subject, trial_id: int) -> list[LogSource]:
    """Of all attempts of the trial, in order: its jobs' logs, or its ``std.out`` and ``std.err``, here or in S3.

    Raises:
        NotFound: There is no such trial, or its output was not kept.
    """
    account = subject.access.account if subject.has_jobs else None
    jobs = [job for job in subject.jobs.trials if job.trial_id == trial_id]
    if jobs and account is not None:
        return [
            JobSource(f"trial {trial_id}, attempt {job.attempt}: job {job.status.name}", job.status.name, account)
            for job in jobs
        ]
    paths = subject.paths.trial(trial_id)
    here = [path for path in (paths.stdout, paths.stderr) if path.exists() and path.stat().st_size > 0]
    if here:
        return [FileSource(f"trial {trial_id}: {path}", path, lambda: _runs(subject, trial_id)) for path in here]
    if account is not None and subject.located is not None:
        items = sorted(account.objects.list(subject.located.paths.logs / str(trial_id)), key=_order)
        found = [item for item in items if Path(item.uri.key).name.startswith("std.")]
        if found:
            return [ObjectSource(f"trial {trial_id}: {item.uri}", item, account) for item in found]
    raise _no_output(subject, trial_id)


def last_lines(sources: Sequence[LogSource], lines: int) -> list[tuple[str, list[str]]]:
    """The last ``lines`` of all together, by title; sources of which none is among them are left out."""
    found: list[tuple[str, list[str]]] = []
    for source in reversed(sources):
        tail = source.tail(lines) if lines > 0 else []
        if tail:
            found.insert(0, (source.title, tail))
        lines -= len(tail)
    return found


def follow(source: LogSource, lines: int, say: Callable[[str], None], clock: Clock) -> None:
    """Prints the last ``lines``, and then what comes, until the end."""
    over = source.is_over()
    for line in source.news()[-lines:] if lines > 0 else source.news()[:0]:
        say(line)
    while not over:
        clock.sleep(_LOOK_S)
        over = source.is_over()
        for line in source.news():
            say(line)


def _runs(subject: Subject, trial_id: int) -> bool:
    """Whether the journal, as it is now, has the trial running."""
    from cloudtune.experiments.loading import read_experiment
    from cloudtune.experiments.operations.local_tuner import tuner_here

    if not subject.is_from_here or tuner_here(subject.paths) is None:
        return False
    status = read_experiment(subject.paths.dir).status
    rows = status.running_rows() if status is not None else []
    return any(row.trial_id == trial_id for row in rows)


def _order(item: S3Object) -> tuple[str, int]:
    """``std.err``, ``std.err.2``, ..., ``std.out``, ``std.out.2``."""
    stem, _, number = Path(item.uri.key).name.removeprefix("std.").partition(".")
    return stem, int(number) if number.isdecimal() else 1


def _no_output(subject: Subject, trial_id: int) -> NotFound:
    status = subject.result.status if subject.result is not None else None
    known = [row.trial_id for row in status.trial_rows()] if status is not None else []
    if trial_id not in known:
        some = f"0 to {max(known)}" if known else "none yet"
        return NotFound(f"{subject.name} has no trial {trial_id}.", f"Its trials: {some}.")
    if subject.is_from_here:
        return NotFound(f"Trial {trial_id} of {subject.name} has printed nothing.", f"See {subject.paths.dir}.")
    return NotFound(
        f"The output of trial {trial_id} of {subject.name} is not kept in S3.",
        f"RemoteLauncher(store_logs_localbackend=True) keeps it. The tuner's log: cloudtune logs {subject.name}.",
    )

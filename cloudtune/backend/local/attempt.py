"""One attempt on this machine: what it has reported, and how it ends."""

from __future__ import annotations

import signal
from collections import deque
from typing import Any

from cloudtune.backend.local import output, process
from cloudtune.backend.local.process import Marker, TrialProcess
from cloudtune.backend.local.start_record import StartRecord
from cloudtune.constants import ST_CHECKPOINT_DIR
from cloudtune.experiment.ports import AttemptEnded, AttemptKey, Fact, ReportSeen
from cloudtune.paths import TrialPaths
from cloudtune.trial import Outcome

#: How long the end of an attempt is held back for processes that do not die of SIGKILL.
_SETTLE_S = 2.0
#: Until SIGKILL is sent again.
_KILL_AGAIN_S = 1.0
#: Sent by whoever shuts a machine down or closes a session, hardly ever by a script to itself.
_FROM_OUTSIDE = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Attempt:
    """Follows an attempt from its start, or from when it was found, to its end.

    Args:
        key: Which attempt.
        paths: Of its trial.
        record: Its start record.
        process: What runs it; None if nothing does any more.
        parse: Returns the report in a line.
        is_new: This backend has started it.
    """

    def __init__(
        self,
        key: AttemptKey,
        paths: TrialPaths,
        record: StartRecord,
        process: TrialProcess | None,
        parse: output.ParseReport,
        is_new: bool,
    ) -> None:
        self.key = key
        self.gpus = record.gpus
        self._paths = paths
        self._record = record
        self._marker = Marker(paths.claim(key.attempt), record.token)
        self._process = process
        self._is_new = is_new
        self._reader = output.ReportReader(paths.stdout, record.stdout_offset, parse)
        self._reports: deque[ReportSeen] = deque()
        self._num_reports = 0
        self._num_delivered = 0
        self._num_seen = 0
        self._stop_asked = False
        self._term_sent = False
        self._kill_at: float | None = None
        self._settle_until: float | None = None
        self._final_size: int | None = None
        self._end: AttemptEnded | None = None
        self._end_delivered = False

    @property
    def has_ended(self) -> bool:
        return self._end is not None

    @property
    def is_done(self) -> bool:
        """Whether its end has been delivered."""
        return self._end_delivered

    @property
    def has_news(self) -> bool:
        """Whether :meth:`facts` would return what it has not returned before."""
        return self._num_delivered < self._num_reports or (self.has_ended and not self._end_delivered)

    @property
    def is_behind(self) -> bool:
        """Whether there is more output to be read at once."""
        return not self.has_ended and self._reader.is_behind

    @property
    def descriptor(self) -> int | None:
        """Readable when its process ends; None if it cannot be watched or has ended."""
        return self._process.descriptor if self._process is not None and self._settle_until is None else None

    def facts(self, num_seen: int) -> list[Fact]:
        """Reports from number ``num_seen`` on, and the end."""
        self._num_seen = num_seen
        while self._reports and self._reports[0].seq < num_seen:
            self._reports.popleft()
        facts: list[Fact] = list(self._reports)
        self._num_delivered = self._num_reports
        if self._end is not None:
            facts.append(self._end)
            self._end_delivered = True
        return facts

    def stop(self, now: float, grace_s: float) -> None:
        """Sends SIGTERM, and SIGKILL after ``grace_s`` seconds (by :meth:`update`)."""
        if self.has_ended or self._stop_asked:
            return
        self._stop_asked = True
        self._kill_at = now + grace_s
        self._send_term()

    def update(self, now: float) -> None:
        """Reads on, and takes note of the end; one bounded step."""
        if self.has_ended:
            return
        if self._final_size is None:
            if self._is_running(now):
                self._take(self._reader.read())
                return
            if not self._has_settled(now):
                return
            self._final_size = output.size_of(self._paths.stdout)
        self._take(self._reader.read(self._final_size))
        if not self._reader.is_behind:
            self._take(self._reader.finish())
            self._end = self._judge()
            self.release()

    def fail(self, reason: str) -> None:
        """Ends it before it has begun."""
        self._end = self._ended(Outcome.failed, reason, None)

    def release(self) -> None:
        """Lets go of handles. The process goes on, unless it was asked to stop: nobody would insist any more."""
        if self._process is not None:
            if self._stop_asked and not self.has_ended:
                self._process.signal_all(signal.SIGKILL)
            self._process.release()

    def _send_term(self) -> None:
        if self._process is not None and self._final_size is None:
            self._term_sent = self._process.signal_all(signal.SIGTERM)

    def _take(self, reports: list[dict[str, Any]]) -> None:
        for metrics in reports:
            if self._num_reports >= self._num_seen:
                self._reports.append(ReportSeen(self.key.trial_id, self.key.attempt, self._num_reports, metrics))
            self._num_reports += 1

    def _is_running(self, now: float) -> bool:
        if self._process is None:
            return False
        if self._process.has_ended():
            self._follow_claim()
            return self._process is not None and not self._process.has_ended()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = now + _KILL_AGAIN_S
            self._process.signal_all(signal.SIGKILL)
        elif self._stop_asked and not self._term_sent:
            self._send_term()
        return True

    def _follow_claim(self) -> None:
        """If another tuner's process was faster to claim the attempt, that is the one to follow."""
        if self._process is None or not self._is_new:
            return
        claim = self._marker.claim
        if process.claimed_by(claim) == self._process.pid or not claim.exists():
            return
        self._process.exit_code()
        self._process.release()
        self._process = TrialProcess.find(self._marker)
        self._is_new = False

    def _has_settled(self, now: float) -> bool:
        """Whether nothing of the trial is left that could still print."""
        if self._settle_until is None:
            self._settle_until = now + _SETTLE_S
        if self._process is not None:
            found = self._process.kill_leftovers()
        else:
            found = process.kill_leftovers(self._record.token)
        return not found or now >= self._settle_until

    def _judge(self) -> AttemptEnded:
        code = process.recorded_exit_code(self._paths.exit_code(self.key.attempt))
        of_shell = self._process.exit_code() if self._process is not None else None
        if self._stop_asked:
            return self._ended(Outcome.stopped, "", 128 - of_shell if code is None and of_shell else code)
        if code is None:
            return self._judge_shell(of_shell or 0)
        if code == 0:
            return self._ended(Outcome.completed, "", code)
        if code - 128 in _FROM_OUTSIDE:
            return self._ended(Outcome.interrupted, f"Ended from outside: {describe(code)}.", code)
        return self._ended(Outcome.failed, self._failure(code), code)

    def _judge_shell(self, code: int) -> AttemptEnded:
        """How it has ended, if the shell could not record it."""
        if code == process.NOT_CLAIMED:
            return self._ended(Outcome.failed, f"Cannot write to {str(self._paths.dir)!r}.", None)
        if code > 0:  # the disk is full, perhaps
            return self._ended(Outcome.failed, self._failure(code), code)
        how = f"ended from outside by {signal.Signals(-code).name}" if code else "gone, how is not known"
        return self._ended(Outcome.interrupted, f"Its process is {how}.", None)

    def _failure(self, code: int) -> str:
        last = output.last_lines(self._paths.stderr, self._record.stderr_offset)
        last = last or output.last_lines(self._paths.stdout, self._record.stdout_offset)
        if f"unrecognized arguments: --{ST_CHECKPOINT_DIR}" in last:
            last += (
                f"\nEach trial is given --{ST_CHECKPOINT_DIR}: call add_checkpointing_to_argparse(parser), "
                "or parse_known_args()."
            )
        return f"{describe(code)}\n{last}" if last else f"{describe(code)}, nothing printed"

    def _ended(self, outcome: Outcome, reason: str, code: int | None) -> AttemptEnded:
        return AttemptEnded(self.key.trial_id, self.key.attempt, outcome, reason, code)


def describe(code: int) -> str:
    """A shell's exit code in words."""
    try:
        name = signal.Signals(code - 128).name if code > 128 else ""
    except ValueError:
        name = ""
    if not name:
        return f"exit code {code}"
    cause = ", perhaps for lack of memory" if name == "SIGKILL" else ""
    return f"exit code {code}: ended by {name}{cause}"

"""Many jobs into the service: concurrent, paced, patient, and safe to repeat."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from cloudtune._compat import StrEnum
from cloudtune.aws.job_status import JobStatus
from cloudtune.aws.pacing import TokenBucket
from cloudtune.aws.retry import TRANSIENT, Retry, Wait
from cloudtune.clock import Clock
from cloudtune.errors import (
    AccessDenied,
    AlreadyExists,
    AwsError,
    QuotaExceeded,
    SpecError,
    Throttled,
    Unreachable,
)
from cloudtune.job_spec import TrainingJobSpec

# The service does not publish how many CreateTrainingJob calls it takes; five submitters at a time are known to
# be throttled (https://github.com/aws/sagemaker-python-sdk/issues/645).
DEFAULT_RATE_PER_S = 4.0
BURST = 8
# Instances count for minutes after their job has ended. A launch waits for them as long as its user does.
_QUOTA_WAIT = Wait(base_s=15.0, cap_s=120.0, give_up_after_s=float("inf"))
# The one fact about a quota that decides whether waiting helps is in the text alone.
_ZERO_QUOTA = re.compile(r"\bis 0 Instances\b")
_POLL_S = 0.5


class SubmissionState(StrEnum):
    created = "created"
    existing = "existing"  #: a job of that name was there already, by an earlier launch for instance
    failed = "failed"


@dataclass(frozen=True)
class Submission:
    """What became of one job of a launch. ``status`` is that of an existing job; ``error`` says why it failed."""

    spec: TrainingJobSpec
    arn: str
    state: SubmissionState
    error: AwsError | None = None
    status: JobStatus | None = None


@dataclass
class Launch:
    """One call of ``submit_all``.

    Args:
        create: Creates one job, returns its ARN.
        describe: What is known of a job that exists.
        on_progress: Told ``(done, total)``; ``on_message`` is told why it waits. Never called by two threads
            at a time.
    """

    create: Callable[[TrainingJobSpec], str]
    describe: Callable[[str], JobStatus]
    clock: Clock
    rate_per_s: float = DEFAULT_RATE_PER_S
    on_progress: Callable[[int, int], None] | None = None
    on_message: Callable[[str], None] | None = None
    interrupt: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._bucket = TokenBucket(self.clock, self.rate_per_s, BURST)
        self._lock = threading.Lock()
        self._hopeless: AwsError | None = None
        self._retry = Retry(
            self.clock, {**TRANSIENT, QuotaExceeded: _QUOTA_WAIT}, self.interrupt, on_wait=self._tell_of_wait
        )

    def run(self, specs: Sequence[TrainingJobSpec], workers: int) -> list[Submission]:
        """All of ``specs``, in their order. Ctrl-C ends the waiting and is raised again."""
        _refuse_duplicates(specs)
        if not specs:
            return []
        executor = ThreadPoolExecutor(max_workers=max(1, min(workers, len(specs))), thread_name_prefix="submit")
        try:
            futures = [executor.submit(self._submit, spec) for spec in specs]
            self._follow(futures)
            return [future.result() for future in futures]
        finally:
            # After Ctrl-C: a call that is under way is finished, the others are not begun.
            if any(not future.done() for future in futures):
                self.interrupt.set()
            executor.shutdown(wait=True, cancel_futures=True)

    def _follow(self, futures: Sequence[Future[Submission]]) -> None:
        pending, done = set(futures), 0
        while pending:
            finished, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for _ in finished:
                done += 1
                if self.on_progress is not None:
                    with self._lock:
                        self.on_progress(done, len(futures))

    def _submit(self, spec: TrainingJobSpec) -> Submission:
        try:
            arn = self._retry.call(lambda: self._create_once(spec))
        except AlreadyExists:
            return self._adopt(spec)
        except AwsError as error:
            if isinstance(error, (AccessDenied, Unreachable)):
                self._hopeless = error  # the next job would fare no better
            return Submission(spec, "", SubmissionState.failed, error)
        return Submission(spec, arn, SubmissionState.created)

    def _create_once(self, spec: TrainingJobSpec) -> str:
        if self._hopeless is not None:
            raise AwsError("Not tried after the failure of another job.", self._hopeless.hint, self._hopeless.code)
        self._retry.sleep(self._bucket.reserve())
        try:
            return self.create(spec)
        except QuotaExceeded as error:
            if _ZERO_QUOTA.search(error.message):
                hint = (
                    f"This account has no quota for {spec.instance_type}{' (spot)' if spec.spot else ''}: ask for "
                    "one in the AWS console under Service Quotas, or use another instance type."
                )
                raise AwsError(error.message, hint, error.code) from error
            raise

    def _adopt(self, spec: TrainingJobSpec) -> Submission:
        try:
            status = self._retry.call(lambda: self.describe(spec.name))
        except AwsError as error:
            return Submission(spec, "", SubmissionState.failed, error)
        return Submission(spec, status.arn, SubmissionState.existing, status=status)

    def _tell_of_wait(self, error: AwsError, pause_s: float) -> None:
        if isinstance(error, (Throttled, QuotaExceeded)):
            self._bucket.hold(pause_s)  # the others need not find out by themselves
        if self.on_message is not None:
            with self._lock:
                self.on_message(f"{error.message} Trying again in {pause_s:.0f} s.")


def _refuse_duplicates(specs: Sequence[TrainingJobSpec]) -> None:
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(
            f"Two jobs of one launch have the same name: {', '.join(twice)}.", "Give each its own name."
        )

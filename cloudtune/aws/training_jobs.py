"""SageMaker training jobs: create, look at, stop, read logs, with few calls."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from cloudtune.aws.errors import aws_call
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.aws.pacing import TokenBucket
from cloudtune.aws.retry import Retry
from cloudtune.aws.session import AwsSession
from cloudtune.aws.submission import DEFAULT_RATE_PER_S, Launch, Submission
from cloudtune.aws.training_request import create_training_job_request, validate_request
from cloudtune.clock import Clock
from cloudtune.errors import InvalidRequest, ResourceNotFound
from cloudtune.job_spec import TrainingJobSpec

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_PAGE = 100
# ListTrainingJobs: 2 per second and account, not adjustable; what Describe allows is not published.
_LIST_RATE_PER_S, _LIST_BURST = 2.0, 2
_DESCRIBE_RATE_PER_S, _DESCRIBE_BURST = 10.0, 20
# A filter that is shorter would list half of the account.
_MIN_FILTER = 4
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
_MAX_LOG_EVENTS = 10_000
_EPOCH = re.compile(r"-(\d+)$")


class TrainingJobs:
    """The training jobs of the session's account and region. Thread-safe."""

    def __init__(self, session: AwsSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._retry = Retry(clock)
        self._list_bucket = TokenBucket(clock, _LIST_RATE_PER_S, _LIST_BURST)
        self._describe_bucket = TokenBucket(clock, _DESCRIBE_RATE_PER_S, _DESCRIBE_BURST)
        self._ended: dict[str, JobStatus] = {}
        self._lock = threading.Lock()

    def create(self, spec: TrainingJobSpec) -> str:
        """Creates the job and returns its ARN.

        Raises:
            SpecError: If the service would refuse it; nothing is sent.
            AlreadyExists: If there is a job of that name.
            QuotaExceeded, CapacityUnavailable, Throttled, ...: As the service says.
        """
        request = create_training_job_request(spec)
        validate_request(request)
        with aws_call(f"create training job {spec.name!r} (sagemaker:CreateTrainingJob)"):
            return str(self._client.create_training_job(**request)["TrainingJobArn"])

    def submit_all(
        self,
        specs: Sequence[TrainingJobSpec],
        *,
        workers: int = 4,
        rate_per_s: float = DEFAULT_RATE_PER_S,
        on_progress: Callable[[int, int], None] | None = None,
        on_message: Callable[[str], None] | None = None,
        interrupt: threading.Event | None = None,
    ) -> list[Submission]:
        """Creates many jobs, in any order, and returns what became of each, in the order of ``specs``.

        Throttling and lost connections are retried for minutes, an exhausted quota for as long as it takes. Jobs
        that exist already are left alone, so that a launch which was interrupted is continued by repeating it.

        Args:
            workers: Calls at a time.
            rate_per_s: Calls per second in the long run.
            on_progress: Told ``(done, total)``.
            on_message: Told, in one line, why it waits.
            interrupt: When set, what is not submitted yet comes back as failed. Ctrl-C raises KeyboardInterrupt.

        Raises:
            SpecError: If any of them would be refused, or two have one name; nothing is sent.
        """
        for spec in specs:
            validate_request(create_training_job_request(spec))
        launch = Launch(
            create=self.create,
            describe=self._describe_once,
            clock=self._clock,
            rate_per_s=rate_per_s,
            on_progress=on_progress,
            on_message=on_message,
            interrupt=interrupt or threading.Event(),
        )
        return launch.run(specs, workers)

    def describe(self, name: str) -> JobStatus:
        """Raises ResourceNotFound if there is no such job."""
        return self._retry.call(lambda: self._describe_once(name))

    def statuses(self, which: str | Collection[str]) -> dict[str, JobStatus]:
        """Where jobs stand, by name; in order of creation, the newest first.

        One listing for all of them, plus one call for each that has ended since the last time (for the reason
        and the billed seconds). A job that is missing may only not be listed yet.

        Args:
            which: A text that the jobs' names contain (at least four characters), or the names. Names without
                a common beginning or end are asked for one by one.
        """
        names = None if isinstance(which, str) else set(which)
        if names is not None and not names:
            return {}
        text = which if isinstance(which, str) else _common_part(sorted(which))
        if names is not None and len(text) < _MIN_FILTER:
            return self._one_by_one(sorted(names))
        found: dict[str, JobStatus] = {}
        for summary in self.summaries(text):
            if names is None or summary.name in names:
                found[summary.name] = self._detailed(summary)
            if names is not None and len(found) == len(names):
                break
        return found

    def summaries(self, name_contains: str) -> Iterator[JobStatus]:
        """Jobs as a listing tells of them, the newest first; a call for each hundred, and none besides."""
        return self._listed(
            {
                "NameContains": name_contains,
                "MaxResults": _PAGE,
                "SortBy": "CreationTime",
                "SortOrder": "Descending",
            }
        )

    def in_progress(self) -> list[JobStatus]:
        """All jobs of the account that run, start, or are being stopped, as summaries."""
        # With a page size, the service looks for the status only in the page that it has taken: no page size.
        states = (JobState.running, JobState.stopping)
        return [status for state in states for status in self._listed({"StatusEquals": str(state)})]

    def warm_pools(self) -> list[JobStatus]:
        """Ended jobs of the account whose instances are kept for another job, as summaries."""
        return list(self._listed({"WarmPoolStatusEquals": "Available"}))

    def release_warm_pool(self, name: str) -> None:
        """Ends the warm pool that an ended job has left. One that is gone, or in use again, is no error.

        Raises:
            ResourceNotFound: If there is no such job.
        """
        try:
            self._retry.call(lambda: self._release_once(name))
        except InvalidRequest:
            # As for stop: there is no code for "it has no pool any more".
            if self.describe(name).warm_pool_status == "Available":
                raise

    def stop(self, name: str) -> None:
        """Asks the job to end; returns at once. A job that has ended already is no error.

        Raises:
            ResourceNotFound: If there is no such job.
        """
        try:
            self._retry.call(lambda: self._stop_once(name))
        except InvalidRequest:
            # The service has no code for "it has ended": it answers as to a malformed request.
            if not self.describe(name).state.is_final:
                raise

    def log_tail(self, name: str, lines: int) -> list[str]:
        """The last lines that the job has printed, oldest first; empty if there is no log (yet)."""
        tail: list[str] = []
        if lines < 1:
            return tail
        for stream in self._log_streams(name):
            for page in self._log_pages(stream, lines):
                tail = page + tail
                if len(tail) >= lines:
                    return tail[len(tail) - lines :]
        return tail

    # ---- inside

    @property
    def _client(self) -> Any:
        return self._session.client("sagemaker")

    def _describe_once(self, name: str) -> JobStatus:
        self._retry.sleep(self._describe_bucket.reserve())
        with aws_call(f"describe training job {name!r} (sagemaker:DescribeTrainingJob)"):
            return JobStatus.of(self._client.describe_training_job(TrainingJobName=name))

    def _stop_once(self, name: str) -> None:
        with aws_call(f"stop training job {name!r} (sagemaker:StopTrainingJob)"):
            self._client.stop_training_job(TrainingJobName=name)

    def _release_once(self, name: str) -> None:
        with aws_call(f"end the warm pool of {name!r} (sagemaker:UpdateTrainingJob)"):
            self._client.update_training_job(TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 0})

    def _list_once(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._retry.sleep(self._list_bucket.reserve())
        with aws_call("list training jobs (sagemaker:ListTrainingJobs)"):
            return dict(self._client.list_training_jobs(**arguments))

    def _listed(self, filters: Mapping[str, Any]) -> Iterator[JobStatus]:
        arguments = dict(filters)
        while True:
            answer = self._retry.call(lambda: self._list_once(arguments))
            yield from map(JobStatus.of, answer["TrainingJobSummaries"])
            if not answer.get("NextToken"):
                return
            arguments["NextToken"] = answer["NextToken"]

    def _detailed(self, summary: JobStatus) -> JobStatus:
        if not summary.state.is_final:
            return summary
        with self._lock:
            known = self._ended.get(summary.arn)
        if known is not None and _same_moment(known.created, summary.created):
            return known
        try:
            status = self.describe(summary.name)
        except ResourceNotFound:
            return summary  # its record has just been deleted
        if status.state.is_final:
            with self._lock:
                self._ended[status.arn] = status
        return status

    def _one_by_one(self, names: Sequence[str]) -> dict[str, JobStatus]:
        with self._lock:
            ended = {status.name: status for status in self._ended.values()}
        found: dict[str, JobStatus] = {}
        for name in names:
            try:
                found[name] = ended.get(name) or self.describe(name)
            except ResourceNotFound:
                continue
            if found[name].state.is_final:
                with self._lock:
                    self._ended[found[name].arn] = found[name]
        return found

    def _log_streams(self, name: str) -> list[str]:
        """Newest first: a job that was interrupted has a stream for each time it ran."""
        arguments = {"logGroupName": LOG_GROUP, "logStreamNamePrefix": f"{name}/"}
        streams: list[str] = []
        paginator = self._session.client("logs").get_paginator("describe_log_streams")
        try:
            with aws_call(f"find the log of {name!r} (logs:DescribeLogStreams)"):
                for page in paginator.paginate(**arguments):
                    streams += [str(stream["logStreamName"]) for stream in page["logStreams"]]
        except ResourceNotFound:
            return []
        return sorted(streams, key=lambda stream: (stream_epoch(stream), stream), reverse=True)

    def _log_pages(self, stream: str, lines: int) -> Iterator[list[str]]:
        """Backwards. The end is where the token repeats; a page in the middle may well be empty."""
        client = self._session.client("logs")
        arguments: dict[str, Any] = {
            "logGroupName": LOG_GROUP,
            "logStreamName": stream,
            "startFromHead": False,
            "limit": min(lines, _MAX_LOG_EVENTS),
        }
        while True:
            with aws_call(f"read the log {stream!r} (logs:GetLogEvents)"):
                answer = client.get_log_events(**arguments)
            yield [str(event["message"]).rstrip("\n") for event in answer["events"]]
            token = answer["nextBackwardToken"]
            if token == arguments.get("nextToken"):
                return
            arguments["nextToken"] = token


def _same_moment(one: float | None, other: float | None) -> bool:
    """Whether both speak of the job that was created then; List and Describe may round differently."""
    return one is None or other is None or abs(one - other) < 2.0


def stream_epoch(stream: str) -> int:
    """When a stream of a job's log began, as its name says."""
    match = _EPOCH.search(stream)
    return int(match[1]) if match else 0


def _common_part(names: Sequence[str]) -> str:
    """The longer of what the names begin with and what they end with."""
    head = _common_beginning(names)
    tail = _common_beginning([name[::-1] for name in names])[::-1]
    return max(head, tail, key=len)


def _common_beginning(names: Sequence[str]) -> str:
    low, high = min(names), max(names)
    length = next((i for i, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]), len(low))
    return low[:length]

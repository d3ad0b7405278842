"""The backend's ports on AWS: single calls through clients that give up soon. Nothing here waits or repeats."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from cloudtune.aws.errors import aws_call
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.aws.log_stream import JobLog
from cloudtune.aws.objects import S3Object, S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.aws.training_request import create_training_job_request, validate_request
from cloudtune.errors import AwsError, InvalidRequest, ResourceNotFound
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.paths import S3ExperimentPaths, S3Uri
from cloudtune.report_stream import object_name, parse_object_name
from cloudtune.sagemaker_backend.checkpoint_copy import copy_newest
from cloudtune.sagemaker_backend.ports import LogPage, ReportObject, Usage
from cloudtune.sagemaker_backend.quota_names import parse_quota_name

_PAGE = 100
# ListTrainingJobs allows 2 calls per second, and that many at once.
_PAGES_AT_ONCE = 2
# Beyond this many folders, one listing of all is cheaper than one of each.
_FEW_FOLDERS = 3


class AwsTrialJobs:
    """Implements :class:`~cloudtune.sagemaker_backend.ports.TrialJobs`. For one thread, except for logs."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session.impatient()
        self._log = JobLog(self._session)
        #: Listings that have further pages, by what the names contain.
        self._unfinished: dict[str, dict[str, Any]] = {}

    def create(self, spec: TrainingJobSpec) -> None:
        request = create_training_job_request(spec)
        validate_request(request)
        with aws_call(f"create training job {spec.name!r} (sagemaker:CreateTrainingJob)"):
            self._client.create_training_job(**request)

    def describe(self, name: str) -> JobStatus:
        with aws_call(f"describe training job {name!r} (sagemaker:DescribeTrainingJob)"):
            return JobStatus.of(self._client.describe_training_job(TrainingJobName=name))

    def changed(self, name_contains: str, since: float | None) -> list[JobStatus]:
        """At most two pages of a hundred a call, which is what may be asked at once: the next call then goes on
        with the same listing, whatever its ``since``. Who asks for changes since some minutes before the newest
        change that it has heard of misses nothing, if the listing is finished within these minutes."""
        arguments = self._unfinished.pop(name_contains, None) or _list_arguments(name_contains, since)
        found: list[JobStatus] = []
        for number in range(_PAGES_AT_ONCE):
            try:
                with aws_call("list training jobs (sagemaker:ListTrainingJobs)"):
                    answer = self._client.list_training_jobs(**arguments)
            except InvalidRequest:
                raise  # the token is good no more: the next listing begins anew
            except AwsError:
                if "NextToken" in arguments:
                    self._unfinished[name_contains] = arguments
                if number == 0:
                    raise
                return found
            found += map(JobStatus.of, answer["TrainingJobSummaries"])
            if not answer.get("NextToken"):
                return found
            arguments = {**arguments, "NextToken": answer["NextToken"]}
        self._unfinished[name_contains] = arguments
        return found

    def stop(self, name: str) -> None:
        try:
            with aws_call(f"stop training job {name!r} (sagemaker:StopTrainingJob)"):
                self._client.stop_training_job(TrainingJobName=name)
        except InvalidRequest:
            # The service has no code for "it has ended": it answers as to a malformed request.
            if self.describe(name).state is JobState.running:
                raise

    def release_warm_pool(self, name: str) -> None:
        try:
            with aws_call(f"end the warm pool of training job {name!r} (sagemaker:UpdateTrainingJob)"):
                self._client.update_training_job(
                    TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 0}
                )
        except (InvalidRequest, ResourceNotFound):
            return  # there is none, any more: it has ended, or another job has it

    def quotas(self, instance_types: Sequence[str]) -> dict[tuple[str, Usage], int]:
        wanted = {(instance_type, usage) for instance_type in instance_types for usage in Usage}
        found: dict[tuple[str, Usage], int] = {}
        arguments: dict[str, Any] = {"ServiceCode": "sagemaker", "MaxResults": _PAGE}
        while len(found) < len(wanted):
            try:
                with aws_call("read quotas (servicequotas:ListServiceQuotas)"):
                    answer = self._session.client("service-quotas").list_service_quotas(**arguments)
            except AwsError:
                return found  # the rest is learnt when it matters
            for quota in answer["Quotas"]:
                key = parse_quota_name(quota["QuotaName"])
                if key in wanted:
                    found[key] = int(quota["Value"])
            if not answer.get("NextToken"):
                return found
            arguments["NextToken"] = answer["NextToken"]
        return found

    def log_page(self, name: str, cursor: str | None) -> LogPage:
        lines, cursor, at_end = self._log.read(name, cursor)
        return LogPage(tuple(lines), cursor, at_end)

    @property
    def _client(self) -> Any:
        return self._session.client("sagemaker")


class AwsTrialFiles:
    """Implements :class:`~cloudtune.sagemaker_backend.ports.TrialFiles`.

    Args:
        where: The experiment's place in S3.
    """

    def __init__(self, session: AwsSession, where: S3ExperimentPaths) -> None:
        self._objects = S3Objects(session.impatient(), waits={})
        self._where = where

    def report_objects(self) -> list[ReportObject]:
        found = (self._report_object(item) for item in self._objects.list(self._where.reports))
        return [item for item in found if item is not None]

    def read_report(self, item: ReportObject, start: int) -> bytes:
        name = object_name(item.run, item.segment)
        return self._objects.get_range(self._where.reports / item.label / name, start)

    def delete_reports(self, labels: Sequence[str]) -> None:
        self._delete_folders(self._where.reports, labels)

    def copy_checkpoint(self, source_trial_id: int, target_trial_id: int) -> int | None:
        checkpoints = self._where.checkpoints
        return copy_newest(self._objects, checkpoints / str(source_trial_id), checkpoints / str(target_trial_id))

    def delete_checkpoints(self, trial_ids: Sequence[int]) -> None:
        self._delete_folders(self._where.checkpoints, [str(trial_id) for trial_id in trial_ids])

    def _delete_folders(self, parent: S3Uri, names: Sequence[str]) -> None:
        """One listing for each, or one of all, and a call for each thousand objects."""
        if len(names) <= _FEW_FOLDERS:
            found = [item.uri for name in names for item in self._objects.list(parent / name)]
        else:
            doomed = set(names)
            found = [item.uri for item in self._objects.list(parent) if _first_part(item.uri, parent) in doomed]
        self._objects.delete(found)

    def _report_object(self, item: S3Object) -> ReportObject | None:
        label, _, name = item.uri.key.removeprefix(self._where.reports.prefix).partition("/")
        place = parse_object_name(name)
        return ReportObject(label, *place, item.size, item.etag) if place else None


def _first_part(uri: S3Uri, parent: S3Uri) -> str:
    return uri.key.removeprefix(parent.prefix).partition("/")[0]


def _list_arguments(name_contains: str, since: float | None) -> dict[str, Any]:
    arguments: dict[str, Any] = {"NameContains": name_contains, "MaxResults": _PAGE}
    if since is not None:
        # The service tells what has changed after a moment; ours includes it, and it may round.
        arguments["LastModifiedTimeAfter"] = datetime.fromtimestamp(since - 1.0, tz=timezone.utc)
    return arguments

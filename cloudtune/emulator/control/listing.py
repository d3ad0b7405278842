"""ListTrainingJobs."""

from __future__ import annotations

from collections.abc import Sequence

from cloudtune.emulator.control.paging import take_page
from cloudtune.emulator.faults.stale_reads import Readable
from cloudtune.emulator.service_error import JsonObject

_PAGE = 10
_KEYS = {"CreationTime": "CreationTime", "Name": "TrainingJobName", "Status": "TrainingJobStatus"}


def list_jobs(jobs: Sequence[Readable], request: JsonObject) -> JsonObject:
    """The answer to ListTrainingJobs."""
    status = request.get("StatusEquals")
    # With a page size, the service takes the page first, and from that the jobs of the status.
    late = status is not None and "MaxResults" in request
    order = request.get("SortOrder", "Descending" if late else "Ascending")
    key = _KEYS[request.get("SortBy", "CreationTime")]
    matching = [
        summary
        for job in jobs
        if _matches(summary := job.summary(), request) and (late or status in (None, summary["TrainingJobStatus"]))
    ]
    page, token = take_page(
        matching, request, request.get("MaxResults", _PAGE), lambda summary: summary[key], order == "Descending"
    )
    if late:
        page = [summary for summary in page if summary["TrainingJobStatus"] == status]
    return {"TrainingJobSummaries": page, **token}


def _matches(summary: JsonObject, request: JsonObject) -> bool:
    if request.get("NameContains", "").lower() not in summary["TrainingJobName"].lower():
        return False
    if "TrainingPlanArnEquals" in request:
        return False  # no job of this emulator has a training plan
    warm = request.get("WarmPoolStatusEquals")
    if warm is not None and summary.get("WarmPoolStatus", {}).get("Status") != warm:
        return False
    for field in ("CreationTime", "LastModifiedTime"):
        if summary[field] <= request.get(f"{field}After", float("-inf")):
            return False
        if summary[field] >= request.get(f"{field}Before", float("inf")):
            return False
    return True

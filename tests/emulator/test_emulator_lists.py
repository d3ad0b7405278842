"""ListTrainingJobs: filters, order, pages; without running jobs."""

from __future__ import annotations

from typing import Any

import pytest
from emulator_desk import REQUEST, Desk, calls_of, changed, fill
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.emulator.fleet.job_states import Phase


def names(answer: dict[str, Any]) -> list[str]:
    return [item["TrainingJobName"] for item in answer["TrainingJobSummaries"]]


def pages(desk: Desk, operation: str = "ListTrainingJobs", **request: Any) -> list[dict[str, Any]]:
    found = [desk.ask(operation, request)]
    while "NextToken" in found[-1]:
        found.append(desk.ask(operation, {**request, "NextToken": found[-1]["NextToken"]}))
    return found


@pytest.fixture(scope="module")
def desk() -> Desk:
    desk = Desk()
    fill(desk, 25)
    return desk


def numbered(*numbers: int) -> list[str]:
    return [f"job-{number:03d}" for number in numbers]


def test_a_page_has_ten_jobs_unless_asked_otherwise(desk: Desk) -> None:
    assert [len(names(page)) for page in pages(desk)] == [10, 10, 5]
    assert [len(names(page)) for page in pages(desk, MaxResults=100)] == [25]
    assert "at 'maxResults' failed" in desk.refusal("ListTrainingJobs", {"MaxResults": 101}).message


@pytest.mark.parametrize("size", [1, 7, 25])
@pytest.mark.parametrize("sort", ["Name", "CreationTime", "Status"])
@pytest.mark.parametrize("order", ["Ascending", "Descending"])
def test_pages_follow_one_another(desk: Desk, size: int, sort: str, order: str) -> None:
    found = [name for page in pages(desk, MaxResults=size, SortBy=sort, SortOrder=order) for name in names(page)]
    statuses = {name: ("Failed" if number % 3 == 0 else "InProgress") for number, name in enumerate(sorted(found))}
    key = (lambda name: (statuses[name], name)) if sort == "Status" else (lambda name: name)
    assert found == sorted(statuses, key=key, reverse=order == "Descending")


def test_oldest_first_is_the_default(desk: Desk) -> None:
    assert names(desk.ask("ListTrainingJobs", {})) == numbered(*range(10))


FILTERS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "list.name": ({"NameContains": "B-01"}, list(range(10, 20))),
    "list.status": ({"StatusEquals": "Failed"}, list(range(0, 25, 3))),
    "list.created": ({"CreationTimeAfter": 1_000_021, "CreationTimeBefore": 1_000_024}, [21, 22]),
    "list.modified": ({"LastModifiedTimeAfter": 1_000_021, "LastModifiedTimeBefore": 1_000_024}, [21, 22]),
    "list.training-plan": (
        {"TrainingPlanArnEquals": "arn:aws:sagemaker:us-east-1:123456789012:training-plan/mine"},
        [],
    ),
}


@pytest.mark.parametrize("row", FILTERS)
def test_filters(desk: Desk, row: str) -> None:
    request, numbers = FILTERS[row]
    found = [name for page in pages(desk, **request) for name in names(page)]
    assert found == numbered(*numbers)


def test_a_status_is_looked_for_within_the_page() -> None:
    """list.status-late: with MaxResults, the page is taken first, newest first."""
    desk = Desk()
    fill(desk, 7)  # 0, 3 and 6 have failed
    found = pages(desk, MaxResults=3, StatusEquals="Failed")
    assert [names(page) for page in found] == [numbered(6), numbered(3), numbered(0)]
    found = pages(desk, MaxResults=2, StatusEquals="Failed", SortOrder="Ascending")
    assert [names(page) for page in found] == [numbered(0), numbered(3), [], numbered(6)]


def test_warm_pools_are_told_and_filtered() -> None:
    """list.warm-pool"""
    desk = Desk()
    jobs = fill(desk, 4)
    jobs[0].set_warm_pool("Available")
    jobs[3].set_warm_pool("Terminated", retained_s=5)
    answer = desk.ask("ListTrainingJobs", {"WarmPoolStatusEquals": "Terminated"})
    assert names(answer) == numbered(3)
    assert answer["TrainingJobSummaries"][0]["WarmPoolStatus"] == {
        "Status": "Terminated",
        "ResourceRetainedBillableTimeInSeconds": 5,
    }


def test_a_summary_tells_what_the_service_tells(desk: Desk) -> None:
    summary = desk.ask("ListTrainingJobs", {"NameContains": "000"})["TrainingJobSummaries"][0]
    described = desk.ask("DescribeTrainingJob", {"TrainingJobName": "job-000"})
    assert summary["SecondaryStatus"] == "Failed"
    assert summary == {name: described[name] for name in summary}


def test_a_token_is_good_for_its_query_alone(desk: Desk) -> None:
    token = desk.ask("ListTrainingJobs", {"SortBy": "Name"})["NextToken"]
    desk.ask("ListTrainingJobs", {"SortBy": "Name", "NextToken": token, "MaxResults": 3})
    assert desk.refusal("ListTrainingJobs", {"NextToken": token}).rule == "paging.same-query"
    for nonsense in ("nonsense", "", "bnVsbA==", "WzFd", token[:-4], "é"):
        error = desk.refusal("ListTrainingJobs", {"SortBy": "Name", "NextToken": nonsense})
        assert (error.code, error.rule) == ("ValidationException", "paging.token")


def test_regions_do_not_see_one_another(desk: Desk) -> None:
    assert names(desk.ask("ListTrainingJobs", {}, region="eu-west-1")) == []


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["create", "delete", "end", "page"]), max_size=20), st.integers(1, 4), st.booleans()
)
def test_jobs_that_come_and_go_between_pages_hide_no_other(events: list[str], size: int, newest: bool) -> None:
    """What is there from the first page to the last is shown, once."""
    desk = Desk()
    fill(desk, 9)
    request: dict[str, Any] = {"MaxResults": size, "SortOrder": "Descending" if newest else "Ascending"}
    shown: list[str] = []
    gone: set[str] = set()
    answer = desk.ask("ListTrainingJobs", request)
    shown += names(answer)
    for number, event in enumerate([*events, *["page"] * 12]):
        if event == "create":
            desk.ask("CreateTrainingJob", changed(REQUEST, ("TrainingJobName", f"new-{number:03d}")))
        elif event == "end":
            desk.table.get("us-east-1", "job-004").fail("AlgorithmError: x")
        elif event == "delete" and "job-003" not in gone:
            desk.ask("DeleteTrainingJob", {"TrainingJobName": "job-003"})
            gone.add("job-003")
        elif event == "page" and "NextToken" in answer:
            answer = desk.ask("ListTrainingJobs", {**request, "NextToken": answer["NextToken"]})
            shown += names(answer)
    assert len(shown) == len(set(shown))
    assert set(numbered(*range(9))) - gone <= set(shown)


def test_a_thousand_jobs_are_listed_without_copying_them(desk: Desk) -> None:
    desk = Desk()
    fill(desk, 1000)
    tags = {"ResourceArn": desk.table.get("us-east-1", "job-500").arn}
    for operation, request, calls in (
        ("ListTrainingJobs", {"MaxResults": 100}, 30_000),
        ("ListTags", tags, 2000),
        ("DescribeTrainingJob", {"TrainingJobName": "job-500"}, 2000),
        ("CreateTrainingJob", changed(REQUEST, ("TrainingJobName", "another")), 2000),
    ):
        assert calls_of(lambda o=operation, r=request: desk.ask(o, r)) < calls, operation  # type: ignore[misc]


def test_phases_are_those_of_the_job() -> None:
    desk = Desk()
    job = fill(desk, 2)[1]
    job.enter(Phase.downloading)
    summary = desk.ask("ListTrainingJobs", {})["TrainingJobSummaries"][1]
    assert (summary["TrainingJobStatus"], summary["SecondaryStatus"]) == ("InProgress", "Downloading")

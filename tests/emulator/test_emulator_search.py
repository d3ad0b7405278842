"""Search: every operator on every type of property, nesting, order, pages; without running jobs."""

from __future__ import annotations

from typing import Any

import pytest
from emulator_desk import REQUEST, Desk, Fixed, calls_of, changed, fill
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.emulator.fleet.job_states import Phase

TWO_CHANNELS = [
    {**REQUEST["InputDataConfig"][0], "ChannelName": "train"},
    {
        "ChannelName": "test",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://here/code/train.py"}},
    },
]
#: What tells the jobs a, b, c apart.
JOBS: dict[str, list[tuple[str, Any]]] = {
    "a": [
        ("HyperParameters", {"lr": "0.5", "layers": "3", "name": "resnet"}),
        ("Tags", [{"Key": "team", "Value": "red"}]),
        ("EnableNetworkIsolation", True),
        ("Environment", {"MODE": "fast"}),
    ],
    "b": [
        ("HyperParameters", {"lr": "0.05", "layers": "3.7", "name": "vit, large"}),
        ("Tags", [{"Key": "team", "Value": "blue"}, {"Key": "tier.x", "Value": "1"}]),
        ("InputDataConfig", TWO_CHANNELS),
    ],
    "c": [("ResourceConfig.InstanceCount", 4)],
}


@pytest.fixture(scope="module")
def desk() -> Desk:
    desk = Desk()
    desk.table.context.clock = clock = Fixed()  # type: ignore[assignment]
    for number, (name, changes) in enumerate(JOBS.items()):
        clock.time = 1_767_225_600.25 + 3600 * number  # 2026-01-01T00:00:00.25, and an hour later each
        desk.ask("CreateTrainingJob", changed(REQUEST, ("TrainingJobName", name), *changes))
    job = desk.table.get("us-east-1", "a")
    job.enter(Phase.downloading)
    job.set_result(
        "s3://here/output/a/output/model.tar.gz", [{"MetricName": "loss", "Value": 0.25, "Timestamp": 1}]
    )
    job.fail("AlgorithmError: it broke")
    return desk


def where(name: str, operator: str | None = None, value: str | None = None) -> dict[str, Any]:
    found = {"Name": name, "Operator": operator, "Value": value}
    return {key: item for key, item in found.items() if item is not None}


def found(desk: Desk, expression: dict[str, Any] | None, **more: Any) -> str:
    """The names that a search gives, joined, oldest first."""
    request = {"Resource": "TrainingJob", "SortBy": "CreationTime", "SortOrder": "Ascending", **more}
    if expression is not None:
        request["SearchExpression"] = expression
    answer = desk.ask("Search", request)
    assert answer["TotalHits"]["Value"] >= len(answer["Results"])
    return "".join(item["TrainingJob"]["TrainingJobName"] for item in answer["Results"])


FILTERS = [
    # text
    (where("TrainingJobName", None, "b"), "b"),
    (where("TrainingJobName", "NotEquals", "b"), "ac"),
    (where("TrainingJobName", "In", "a, c,d"), "ac"),
    (where("OutputDataConfig.S3OutputPath", "Contains", "/out"), "abc"),
    (where("FailureReason", "Contains", "broke"), "a"),
    (where("FailureReason", "Exists"), "a"),
    (where("FailureReason", "NotExists"), "bc"),
    (where("FailureReason", "NotEquals", "x"), "abc"),
    (where("TrainingJobStatus", "Equals", "Failed"), "a"),
    (where("Environment.MODE", "Equals", "fast"), "a"),
    # tags, whose keys may have dots
    (where("Tags.team", "Equals", "red"), "a"),
    (where("Tags.team", "In", "red,blue"), "ab"),
    (where("Tags.tier.x", "Equals", "1"), "b"),
    (where("Tags.team", "Exists"), "ab"),
    (where("Tags.team", "Contains", "e"), "ab"),
    # numbers
    (where("ResourceConfig.InstanceCount", "GreaterThan", "1"), "c"),
    (where("ResourceConfig.InstanceCount", "LessThanOrEqualTo", "4"), "abc"),
    (where("ResourceConfig.InstanceCount", "Equals", "4.0"), "c"),
    (where("ResourceConfig.InstanceCount", "NotEquals", "4"), "ab"),
    (where("Metrics.loss", "LessThan", "0.3"), "a"),
    (where("Metrics.loss", "GreaterThanOrEqualTo", "0.25"), "a"),
    (where("Metrics.loss", "GreaterThan", "0.25"), ""),
    (where("Metrics.accuracy", "NotExists"), "abc"),
    # hyperparameters: decimal beside a decimal, integer beside an integer, text beside text
    (where("HyperParameters.lr", "LessThan", "0.1"), "b"),
    (where("HyperParameters.lr", "GreaterThanOrEqualTo", "0.05"), "ab"),
    (where("HyperParameters.lr", "Equals", "0.50"), "a"),
    (where("HyperParameters.layers", "Equals", "3"), "ab"),
    (where("HyperParameters.layers", "Equals", "3.7"), "b"),
    (where("HyperParameters.layers", "GreaterThan", "3"), ""),
    (where("HyperParameters.name", "Equals", "resnet"), "a"),
    (where("HyperParameters.name", "Contains", "net"), "a"),
    (where("HyperParameters.name", "LessThan", "1"), ""),
    # Booleans
    (where("EnableNetworkIsolation", "Equals", "True"), "a"),
    (where("EnableNetworkIsolation", "NotEquals", "true"), "bc"),
    # times
    (where("CreationTime", "GreaterThan", "2026-01-01T00:30:00"), "bc"),
    (where("CreationTime", "Equals", "2026-01-01T01:00:00Z"), "b"),
    (where("CreationTime", "LessThanOrEqualTo", "2026-01-01T02:00:00+01:00"), "a"),
    (where("TrainingEndTime", "Exists"), "a"),
    # structures and lists
    (where("CheckpointConfig", "NotExists"), "abc"),
    (where("HyperParameters", "Exists"), "ab"),
    (where("InputDataConfig.ChannelName", "Equals", "test"), "b"),
]


@pytest.mark.parametrize(("condition", "names"), FILTERS)
def test_one_filter(desk: Desk, condition: dict[str, Any], names: str) -> None:
    assert found(desk, {"Filters": [condition]}) == names


def contains(text: str) -> dict[str, Any]:
    return where("TrainingJobName", "Contains", text)


def equals(name: str) -> dict[str, Any]:
    return where("TrainingJobName", "Equals", name)


REFUSED: dict[str, list[dict[str, Any]]] = {
    "search.property": [
        {"Filters": [where("NoSuchThing", "Equals", "x")]},
        {"Filters": [where("ResourceConfig.NoSuchThing", "Exists")]},
        {"Filters": [where("TrainingJobName.x", "Exists")]},
        {"NestedFilters": [{"NestedPropertyName": "Channels", "Filters": [where("Channels.x", None, "y")]}]},
    ],
    "search.operator": [
        {"Filters": [where("TrainingJobName", "GreaterThan", "a")]},
        {"Filters": [where("Tags.team", "LessThan", "1")]},
        {"Filters": [where("ResourceConfig.InstanceCount", "Contains", "1")]},
        {"Filters": [where("ResourceConfig.InstanceCount", "In", "1,2")]},
        {"Filters": [where("EnableNetworkIsolation", "GreaterThan", "true")]},
        {"Filters": [where("CreationTime", "Contains", "2026")]},
        {"Filters": [where("ResourceConfig", "Equals", "x")]},
        {"Filters": [where("HyperParameters.name", "GreaterThan", "resnet")]},
    ],
    "search.value": [
        {"Filters": [where("TrainingJobName", "Equals")]},
        {"Filters": [where("ResourceConfig.InstanceCount", "Equals", "many")]},
        {"Filters": [where("ResourceConfig.InstanceCount", "LessThan", "inf")]},
        {"Filters": [where("CreationTime", "LessThan", "yesterday")]},
    ],
    "search.empty": [{}, {"Operator": "Or"}, {"SubExpressions": [{}]}],
    "search.contains-once": [
        {"Filters": [contains("a"), contains("b")]},
        {"Filters": [contains("a")], "SubExpressions": [{"Filters": [contains("b")]}]},
    ],
    "search.size": [{"SubExpressions": [{"Filters": [equals("a")] * 16}] * 3}],
    "search.nested": [
        {"NestedFilters": [{"NestedPropertyName": "InputDataConfig", "Filters": [equals("a")]}]},
        {"NestedFilters": [{"NestedPropertyName": "TrainingJobName", "Filters": [equals("a")]}]},
    ],
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_search_refuses(desk: Desk, row: str) -> None:
    for expression in REFUSED[row]:
        error = desk.refusal("Search", {"Resource": "TrainingJob", "SearchExpression": expression})
        assert (error.code, error.rule) == ("ValidationException", row), expression


def test_fifty_conditions_are_allowed(desk: Desk) -> None:
    inner = {"Operator": "Or", "Filters": [equals("a")] * 15}
    assert found(desk, {"Filters": [equals("a")] * 2, "SubExpressions": [inner] * 3}) == "a"
    assert found(desk, {"Filters": [contains("a"), equals("a")]}) == "a"


def test_and_or_and_nesting(desk: Desk) -> None:
    failed = where("TrainingJobStatus", None, "Failed")
    assert found(desk, {"Filters": [failed, equals("b")]}) == ""
    assert found(desk, {"Filters": [failed, equals("b")], "Operator": "Or"}) == "ab"
    inner = {"Filters": [where("Tags.team", "Exists"), where("FailureReason", "NotExists")]}
    assert found(desk, {"SubExpressions": [inner], "Filters": [equals("c")], "Operator": "Or"}) == "bc"
    assert found(desk, None) == "abc"


def test_a_nested_filter_is_about_one_element(desk: Desk) -> None:
    """search.nested-element"""
    uri = "InputDataConfig.DataSource.S3DataSource.S3Uri"

    def nested(channel: str, text: str) -> dict[str, Any]:
        filters = [where("InputDataConfig.ChannelName", "Equals", channel), where(uri, "Equals", text)]
        return {"NestedFilters": [{"NestedPropertyName": "InputDataConfig", "Filters": filters}]}

    assert found(desk, nested("test", "s3://here/code/train.py")) == "b"
    assert found(desk, nested("train", "s3://here/code/train.py")) == ""  # each holds, of different channels
    assert (
        found(
            desk,
            {
                "Filters": [
                    where("InputDataConfig.ChannelName", None, "train"),
                    where(uri, None, "s3://here/code/train.py"),
                ]
            },
        )
        == "b"
    )


def test_visibility(desk: Desk) -> None:
    """search.visibility-rule: what has the key must have the value; what lacks the key is shown."""
    condition = {"Key": "Tags.team", "Value": "red"}
    assert found(desk, None, VisibilityConditions=[condition]) == "ac"
    both = [condition, {"Key": "Tags.tier.x", "Value": "2"}]
    assert found(desk, None, VisibilityConditions=both) == "ac"
    error = desk.refusal("Search", {"Resource": "TrainingJob", "VisibilityConditions": [{"Key": "team"}]})
    assert error.rule == "search.visibility"
    assert found(desk, None, CrossAccountFilterOption="CrossAccount") == ""
    assert found(desk, None, CrossAccountFilterOption="SameAccount") == "abc"


def test_order(desk: Desk) -> None:
    """search.order: newest change first; jobs without the property last or, descending, first."""
    answer = desk.ask("Search", {"Resource": "TrainingJob"})
    assert [item["TrainingJob"]["TrainingJobName"] for item in answer["Results"]] == ["c", "a", "b"]
    assert found(desk, None, SortBy="ResourceConfig.InstanceCount", SortOrder="Descending")[0] == "c"
    assert found(desk, None, SortBy="Metrics.loss")[0] == "a"
    assert found(desk, None, SortBy="Tags.team") == "bac"
    request = {"Resource": "TrainingJob", "SortBy": "ResourceConfig"}
    assert desk.refusal("Search", request).rule == "search.sort"
    assert desk.refusal("Search", {**request, "SortBy": "NoSuchThing"}).rule == "search.property"


def test_pages(desk: Desk) -> None:
    """search.page"""
    request: dict[str, Any] = {"Resource": "TrainingJob", "MaxResults": 2, "SortBy": "TrainingJobName"}
    first = desk.ask("Search", request)
    assert first["TotalHits"] == {"Value": 3, "Relation": "EqualTo"}
    rest = desk.ask("Search", {**request, "NextToken": first["NextToken"]})
    names = [item["TrainingJob"]["TrainingJobName"] for page in (first, rest) for item in page["Results"]]
    assert names == ["c", "b", "a"] and "NextToken" not in rest
    other = {**request, "SortOrder": "Ascending", "NextToken": first["NextToken"]}
    assert desk.refusal("Search", other).rule == "paging.same-query"
    assert "maxResults" in desk.refusal("Search", {**request, "MaxResults": 101}).message


def test_a_result_is_the_whole_job(desk: Desk) -> None:
    result = desk.ask("Search", {"Resource": "TrainingJob", "SearchExpression": {"Filters": [equals("a")]}})
    job = result["Results"][0]["TrainingJob"]
    described = desk.ask("DescribeTrainingJob", {"TrainingJobName": "a"})
    assert job["Tags"] == [{"Key": "team", "Value": "red"}]
    assert {name: value for name, value in described.items() if name in job} == {
        name: value for name, value in job.items() if name != "Tags"
    }


LEAVES = [
    contains("a"),
    equals("b"),
    where("Tags.team", "Exists"),
    where("HyperParameters.lr", "LessThan", "1"),
]
TREES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.tuples(st.sampled_from(["And", "Or"]), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_any_tree_means_what_it_says(desk: Desk, tree: Any) -> None:
    truth = {"a": "a", "b": "b", "team": "ab", "lr": "ab"}

    def holds(node: Any, name: str) -> bool:
        if isinstance(node, tuple):
            return (any if node[0] == "Or" else all)(holds(inner, name) for inner in node[1])
        key = node.get("Value") if node["Name"] == "TrainingJobName" else node["Name"].rpartition(".")[2]
        return name in truth[key]

    def expression(node: Any) -> dict[str, Any]:
        if isinstance(node, tuple):
            return {"Operator": node[0], "SubExpressions": [expression(inner) for inner in node[1]]}
        return {"Filters": [node]}

    def leaves(node: Any) -> list[Any]:
        return [leaf for inner in node[1] for leaf in leaves(inner)] if isinstance(node, tuple) else [node]

    if sum(leaf.get("Operator") == "Contains" for leaf in leaves(tree)) > 1:
        refused = {"Resource": "TrainingJob", "SearchExpression": expression(tree)}
        assert desk.refusal("Search", refused).rule == "search.contains-once"
        return
    assert found(desk, expression(tree)) == "".join(name for name in "abc" if holds(tree, name))


def test_a_thousand_jobs_are_searched_without_copying_them() -> None:
    desk = Desk()
    fill(desk, 1000)
    failed = {"Filters": [where("TrainingJobStatus", None, "Failed")]}
    assert calls_of(lambda: found(desk, failed, MaxResults=100)) < 100_000

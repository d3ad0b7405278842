"""AddTags, ListTags, DeleteTags and tags at creation; without running jobs."""

from __future__ import annotations

from typing import Any

import pytest
from emulator_desk import REQUEST, Desk, changed
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.ask("CreateTrainingJob", changed(REQUEST, ("Tags", tags(a="1", b="2"))))
    return desk


ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/job"


def tags(**found: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in found.items()]


def test_tags_are_added_replaced_and_deleted(desk: Desk) -> None:
    """operation.AddTags, operation.ListTags, operation.DeleteTags"""
    after = tags(a="3", b="2", c="")
    assert desk.ask("AddTags", {"ResourceArn": ARN, "Tags": tags(a="3", c="")}) == {"Tags": after}
    assert desk.ask("ListTags", {"ResourceArn": ARN}) == {"Tags": after}
    assert desk.ask("DeleteTags", {"ResourceArn": ARN, "TagKeys": ["a", "never"]}) == {}
    assert desk.ask("ListTags", {"ResourceArn": ARN, "MaxResults": 50}) == {"Tags": tags(b="2", c="")}
    assert "Tags" not in desk.ask("DescribeTrainingJob", {"TrainingJobName": "job"})


def test_fifty_tags_and_no_more(desk: Desk) -> None:
    desk.ask("AddTags", {"ResourceArn": ARN, "Tags": tags(**{f"k{number}": "" for number in range(48)})})
    desk.ask("AddTags", {"ResourceArn": ARN, "Tags": tags(a="replaced")})
    error = desk.refusal("AddTags", {"ResourceArn": ARN, "Tags": tags(another="")})
    assert (error.code, error.rule) == ("ResourceLimitExceeded", "tags.limit")
    assert len(desk.ask("ListTags", {"ResourceArn": ARN})["Tags"]) == 50


def test_rules(desk: Desk) -> None:
    assert desk.refusal("AddTags", {"ResourceArn": ARN, "Tags": tags(**{"aws:x": ""})}).rule == "tags.reserved"
    twice = [*tags(x="1"), *tags(x="2")]
    assert desk.refusal("AddTags", {"ResourceArn": ARN, "Tags": twice}).rule == "tags.unique"
    for operation, more in (("AddTags", {"Tags": []}), ("ListTags", {}), ("DeleteTags", {"TagKeys": ["a"]})):
        error = desk.refusal(operation, {"ResourceArn": ARN + "-other", **more})
        assert (error.code, error.rule) == ("ValidationException", "tags.resource")
    assert desk.ask("ListTags", {"ResourceArn": ARN}) == {"Tags": tags(a="1", b="2")}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=3),
            st.lists(st.sampled_from("abcd"), min_size=1, max_size=3),
        ),
        max_size=8,
    )
)
def test_tags_are_a_dictionary(steps: list[Any]) -> None:
    desk = Desk()
    desk.ask("CreateTrainingJob", REQUEST)
    expected: dict[str, str] = {}
    for step in steps:
        if isinstance(step, dict):
            desk.ask("AddTags", {"ResourceArn": ARN, "Tags": tags(**step)})
            expected |= step
        else:
            desk.ask("DeleteTags", {"ResourceArn": ARN, "TagKeys": step})
            expected = {key: value for key, value in expected.items() if key not in step}
    found = desk.ask("ListTags", {"ResourceArn": ARN})["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in found} == expected

"""The table in ``docs/emulator.md``: each rule has a row, each row a test, and moto does what it says."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from emulator_desk import REQUEST, Desk, changed
from moto import mock_aws
from moto.sagemaker.responses import SageMakerResponse
from test_emulator_rules import CREATE, EMULATOR_ONLY

import cloudtune.emulator
from cloudtune.emulator.fleet.job_states import FOLLOWERS, Phase

TESTS = Path(__file__).parent
PAGE = TESTS.parents[1] / "docs" / "emulator.md"
CODE = Path(cloudtune.emulator.__file__).parent
#: Where each refusal is a rule for requests; elsewhere some are the emulator's own affairs.
RULE_FILES = (
    "account_rules",
    "control_plane",
    "jobs",
    "listing",
    "paging",
    "quotas",
    "resource_rules",
    "rules",
    "search",
    "search_properties",
    "supported",
    "tag_rules",
    "update_rules",
    "warm_pools",
)


class Row(NamedTuple):
    id: str
    what: str
    source: str
    emulator: str
    moto: str
    localstack: str
    test: str


def read_rows() -> list[Row]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `")]
    return [Row(row[0].strip("`"), *row[1:-1], row[-1].strip("`")) for row in cells]


ROWS = read_rows()
IDS = {row.id for row in ROWS}


def refusals() -> Iterator[tuple[str, str | None, str]]:
    """File, rule and text of each error that the emulator may answer with."""
    for path in sorted(CODE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("invalid", "ServiceError"):
                continue
            rules = [keyword.value for keyword in node.keywords if keyword.arg == "rule"]
            rule = rules[0].value if rules and isinstance(rules[0], ast.Constant) else None
            passed_on = rules and isinstance(rules[0], ast.Name)
            if not passed_on:
                yield path.stem, None if rule is None else str(rule), ast.unparse(node)


def rules_given() -> set[str]:
    """Also those handed to a function that makes the error."""
    texts = "".join(path.read_text(encoding="utf-8") for path in CODE.rglob("*.py"))
    return {rule for _, rule, _ in refusals() if rule} | set(
        re.findall(r'_rejected\(status, "([a-z.-]+)"\)', texts)
    )


def test_the_table_is_complete_and_each_row_is_there_once() -> None:
    assert len(ROWS) > 140
    assert [row for row, count in Counter(row.id for row in ROWS).items() if count > 1] == []
    for row in ROWS:
        assert all(row), row


def test_each_rule_in_the_code_has_a_row() -> None:
    assert rules_given() - IDS == set()


def test_each_refusal_names_its_rule() -> None:
    nameless = [(file, text) for file, rule, text in refusals() if rule is None and file in RULE_FILES]
    assert nameless == []


def test_each_row_of_a_rule_is_in_the_code() -> None:
    families = ("create.", "update.", "stop.", "delete.", "tags.", "emulator.")
    assert {name for name in IDS if name.startswith(families)} - rules_given() == set()


def test_each_operation_has_a_row() -> None:
    operations = {name.removeprefix("operation.") for name in IDS if re.fullmatch(r"operation\.[A-Z]\w+", name)}
    assert operations == set(Desk().control.operations)


@pytest.mark.parametrize("phase", Phase)
def test_each_transition_is_told_as_it_is(phase: Phase) -> None:
    (row,) = (row for row in ROWS if row.id == f"transition.{phase}")
    told = set() if row.what == "the end" else set(row.what.removeprefix("then ").split(", "))
    assert told == {str(follower) for follower in FOLLOWERS.get(phase, ())}
    assert row.emulator == f"TrainingJobStatus {phase.status}"


def test_each_row_has_a_test() -> None:
    found: dict[str, set[str]] = {}
    for row in ROWS:
        name, _, test = row.test.partition("::")
        path = TESTS / f"test_emulator_{name}.py"
        assert path.is_file(), row
        if name not in found:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found[name] = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        assert test in found[name], f"{row.id}: there is no {row.test}"
    for row in ROWS:
        if row.test == "rules::test_create_breaks_a_rule":
            assert row.id in CREATE, row
        if row.test == "rules::test_what_the_emulator_cannot_do":
            assert row.id in EMULATOR_ONLY, row
    assert set(CREATE) | set(EMULATOR_ONLY) <= IDS


def test_each_source_is_a_page_of_the_service_or_says_what_else() -> None:
    links = dict(re.findall(r"^\[([^]]+)\]: (\S+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    for row in ROWS:
        first = row.source.split(",")[0].split(" (")[0]
        name = re.fullmatch(r"\[([^]]+)\]", first)
        if name is None:
            assert first in ("guess", "botocore model", "the emulator's own"), row
        else:
            assert links[name[1]].startswith("https://docs.aws.amazon.com/"), row
    used = {name for row in ROWS for name in re.findall(r"\[([^]]+)\]", row.source)}
    assert used == set(links)


def test_moto_takes_what_the_table_says_it_takes() -> None:
    said = {row.id: row.moto for row in ROWS}
    with mock_aws():
        options = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
        config = Config(parameter_validation=False, retries={"max_attempts": 0})
        sagemaker = boto3.client("sagemaker", config=config, **options)
        for number, (row, case) in enumerate(CREATE.items()):
            request = changed(REQUEST, *case[0], ("TrainingJobName", f"job-{number}"))
            try:
                sagemaker.create_training_job(**request)
                did = "accepts"
            except ClientError as error:
                did = error.response["Error"]["Code"]
            except (AttributeError, TypeError, NotImplementedError):  # a server makes a page of it
                did = "HTTP 500"
            assert did == said[row], row


def test_moto_lacks_the_operations_that_the_table_says_it_lacks() -> None:
    """Its server makes a page of that."""
    for row in ROWS:
        if found := re.fullmatch(r"operation\.([A-Z]\w+)|(stop|update|delete)\..*", row.id):
            operation = found[1] or f"{found[2].capitalize()}TrainingJob"
            assert (row.moto == "HTTP 500") is not hasattr(SageMakerResponse, xform_name(operation)), row

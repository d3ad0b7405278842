"""The job of one attempt: what it is told, where its things are, and that the service would take it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune import names
from cloudtune.aws.training_request import create_training_job_request, validate_request
from cloudtune.clock import WallClock
from cloudtune.errors import SpecError
from cloudtune.instance_info import price_per_hour
from cloudtune.instance_prices import LookedUp, keep
from cloudtune.job_spec import TrainingJobSpec, decode_hyperparameters
from cloudtune.paths import S3ExperimentPaths, S3Uri
from cloudtune.remote import trial_layout
from cloudtune.sagemaker_backend.template import TrialTemplate
from cloudtune.sagemaker_backend.trial_job_spec import TrialPlace, instances_of, trial_job
from cloudtune.trial import Trial

ROLE = "arn:aws:iam::123456789012:role/sagemaker"
SPEC = TrainingJobSpec(
    name="",
    image="",
    role_arn=ROLE,
    output_s3_uri="",
    environment={"TOKENIZERS_PARALLELISM": "false"},
    instance_type="ml.g5.xlarge",
    channels={"train": "s3://bucket/train"},
    tags={"team": "vision"},
    metric_definitions={"loss": "x(.)"},
)
TEMPLATE = TrialTemplate(SPEC, ("train.py",), Path("/code"), hyperparameters={"epochs": 9, "lr": 1.0})
WHERE = S3ExperimentPaths.of("bucket", "my-tuner")
PLACE = TrialPlace("my-tuner", WHERE, S3Uri("bucket", "cloudtune/_code/abc"), "us-east-1", (1, 3, 9), "epoch")
TRIAL = Trial(12, {"lr": 0.25, "layers": [64, 32]}, attempt=2)


def checked(spec: TrainingJobSpec) -> dict[str, Any]:
    request = create_training_job_request(spec)
    validate_request(request)
    return request


def test_all_that_a_job_is_told() -> None:
    job = trial_job(TEMPLATE, PLACE, TRIAL, number=1, seen_level=3)
    assert job == replace(
        SPEC,
        name="12-2r1-my-tuner",
        image="763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.8.0-gpu-py312",
        output_s3_uri="s3://bucket/cloudtune/my-tuner/output/12-2r1",
        entrypoint=trial_layout.ENTRYPOINT,
        hyperparameters={"epochs": 9, "lr": 0.25, "layers": [64, 32]},
        environment={
            "TOKENIZERS_PARALLELISM": "false",
            "AWS_DEFAULT_REGION": "us-east-1",
            "CLOUDTUNE_COMMAND": '["train.py"]',
            "CLOUDTUNE_REPORTS_URI": "s3://bucket/cloudtune/my-tuner/reports/12-2r1",
            "CLOUDTUNE_SEEN_LEVEL": "3",
            "CLOUDTUNE_TRIAL_ID": "12",
            "CLOUDTUNE_ATTEMPT": "2",
            "CLOUDTUNE_TRIAL_BEGUN": "0.0",
            "CLOUDTUNE_RESOURCE_ATTR": "epoch",
            "CLOUDTUNE_RUNG_LEVELS": "1,3,9",
            "CLOUDTUNE_PRICE_PER_HOUR": repr(price_per_hour("ml.g5.xlarge")),
        },
        checkpoint_s3_uri="s3://bucket/cloudtune/my-tuner/checkpoints/12",
        channels={"train": "s3://bucket/train", "cloudtune": "s3://bucket/cloudtune/_code/abc"},
        tags={
            "team": "vision",
            "cloudtune-experiment": "my-tuner",
            "cloudtune-trial": "12",
            "cloudtune-attempt": "2",
        },
    )
    assert names.parse_trial_job_name("my-tuner", job.name) == (12, 2, 1)
    checked(job)


def test_attempts_share_checkpoints_and_nothing_else() -> None:
    first, second = (trial_job(TEMPLATE, PLACE, replace(TRIAL, attempt=n), 0, 0) for n in (0, 1))
    other = trial_job(TEMPLATE, PLACE, replace(TRIAL, trial_id=1), 0, 0)
    assert first.checkpoint_s3_uri == second.checkpoint_s3_uri != other.checkpoint_s3_uri
    assert first.name != second.name
    assert first.environment["CLOUDTUNE_REPORTS_URI"] != second.environment["CLOUDTUNE_REPORTS_URI"]


def test_output_and_image_of_the_template_stay() -> None:
    template = replace(TEMPLATE, spec=replace(SPEC, output_s3_uri="s3://mine/out", image="repo/mine:1"))
    job = trial_job(template, PLACE, TRIAL, 0, 0)
    assert (job.output_s3_uri, job.image) == ("s3://mine/out", "repo/mine:1")


def test_without_resource_levels() -> None:
    place = replace(PLACE, rung_levels=None, resource_attr=None, config_as_json=True)
    environment = trial_job(TEMPLATE, place, TRIAL, 0, 0).environment
    assert environment["CLOUDTUNE_CONFIG_AS_JSON"] == "1"
    assert "CLOUDTUNE_RUNG_LEVELS" not in environment
    assert "CLOUDTUNE_RESOURCE_ATTR" not in environment


def test_rung_levels_that_do_not_fit_are_left_out() -> None:
    """Then every level gets a checkpoint."""
    for count, is_told in ((100, True), (400, False)):
        job = trial_job(TEMPLATE, replace(PLACE, rung_levels=tuple(range(1, count))), TRIAL, 0, 0)
        assert ("CLOUDTUNE_RUNG_LEVELS" in job.environment) is is_told
        checked(job)


def test_instances_may_be_tuned() -> None:
    """The price is that of the whole job, the image one for the instance; the script is told what it runs on."""
    trial = Trial(0, {"st_instance_type": "ml.c5.xlarge", "st_instance_count": np.int64(3)})
    job = trial_job(TEMPLATE, PLACE, trial, 0, 0)
    assert (job.instance_type, job.instance_count) == ("ml.c5.xlarge", 3)
    assert "-cpu-" in job.image
    price = price_per_hour("ml.c5.xlarge")
    assert price is not None
    assert float(job.environment["CLOUDTUNE_PRICE_PER_HOUR"]) == pytest.approx(3 * price)
    other = trial_job(TEMPLATE, PLACE, trial, 0, 0, instance_type="ml.m5.large")
    assert other.instance_type == other.hyperparameters["st_instance_type"] == "ml.m5.large"
    assert other.hyperparameters["st_instance_count"] == 3
    checked(job)
    checked(other)


def test_the_price_is_that_of_the_jobs_region() -> None:
    keep("eu-west-1", LookedUp("2026-11-02", WallClock().now(), {"ml.g5.xlarge": 9.75}))
    job = trial_job(TEMPLATE, replace(PLACE, region="eu-west-1"), TRIAL, 0, 0)
    assert job.environment["CLOUDTUNE_PRICE_PER_HOUR"] == "9.75"


def test_scripts_that_do_not_tune_instances_are_told_nothing_of_them() -> None:
    job = trial_job(TEMPLATE, PLACE, TRIAL, 0, 0, instance_type="ml.g4dn.xlarge")
    assert job.instance_type == "ml.g4dn.xlarge"
    assert not any(name.startswith("st_") for name in job.hyperparameters)


def test_an_instance_type_without_a_price() -> None:
    job = trial_job(TEMPLATE, PLACE, TRIAL, 0, 0, instance_type="ml.unheard.of")
    assert "CLOUDTUNE_PRICE_PER_HOUR" not in job.environment


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"st_instance_type": 3}, ["st_instance_type", "3"]),
        ({"st_instance_type": "m5.large"}, ["m5.large", "ml."]),
        ({"st_instance_count": 0}, ["st_instance_count", "0"]),
        ({"st_instance_count": 1.0}, ["st_instance_count", "1.0"]),
        ({"st_instance_count": True}, ["st_instance_count", "True"]),
        ({"text": "x" * 2500}, ["'text'", "2502", "2500", "file"]),
        ({f"x{n}": n for n in range(99)}, ["101 hyperparameters", "100"]),
        ({"x": {1, 2}}, ["hyperparameter 'x'"]),
    ],
)
def test_configurations_that_fit_no_job(config: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        trial_job(TEMPLATE, PLACE, Trial(7, config), 0, 0)
    for word in words:
        assert word in str(caught.value)


def test_places_that_fit_no_job() -> None:
    place = replace(PLACE, where=S3ExperimentPaths(S3Uri("bucket", "x" * 500)))
    with pytest.raises(SpecError, match="CLOUDTUNE_REPORTS_URI would have 5"):
        trial_job(TEMPLATE, place, TRIAL, 0, 0)


def test_instances_of_a_template_that_fixes_them() -> None:
    template = replace(TEMPLATE, hyperparameters={"st_instance_count": 2})
    assert instances_of(template, {}) == ("ml.g5.xlarge", 2)
    assert instances_of(template, {"st_instance_count": 4}) == ("ml.g5.xlarge", 4)


KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,40}", fullmatch=True)
VALUES = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.text(max_size=200),
    st.lists(st.one_of(st.integers(), st.text(max_size=10)), max_size=5),
)


@settings(max_examples=40)
@given(
    config=st.dictionaries(KEYS, VALUES, max_size=30),
    fixed=st.dictionaries(KEYS, VALUES, max_size=10),
    tuner=st.from_regex(r"[a-zA-Z0-9](-{0,2}[a-zA-Z0-9]){0,20}", fullmatch=True),
    trial_id=st.integers(0, 999_999),
    attempt=st.integers(0, 999),
    number=st.integers(0, 99),
    rung_levels=st.none() | st.lists(st.integers(1, 10**6), max_size=200).map(tuple),
    count=st.integers(1, 100),
)
def test_whatever_is_made_the_service_takes(
    config: dict[str, Any],
    fixed: dict[str, Any],
    tuner: str,
    trial_id: int,
    attempt: int,
    number: int,
    rung_levels: tuple[int, ...] | None,
    count: int,
) -> None:
    template = replace(TEMPLATE, hyperparameters=fixed, spec=replace(SPEC, image="image"))
    place = replace(PLACE, tuner_name=tuner, where=S3ExperimentPaths.of("bucket", tuner), rung_levels=rung_levels)
    trial = Trial(trial_id, {**config, "st_instance_count": count}, attempt)
    request = checked(trial_job(template, place, trial, number, trial_id))
    decoded = decode_hyperparameters(request["HyperParameters"])
    assert decoded == json.loads(json.dumps({**fixed, **trial.config}))
    assert names.parse_trial_job_name(tuner, request["TrainingJobName"]) == (trial_id, attempt, number)

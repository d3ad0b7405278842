"""A study of trials in jobs of their own, run with exactly the permissions of ``docs/iam.md``."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import moto.settings
import pytest
from iam_policies import ACCOUNT, BUCKET, TRIAL_ROLE, TUNER_ROLE, Need, actions_of, allows, documented, needs_of
from launcher_helpers import REPOSITORY, benchmark_of, write_script

from cloudtune.emulator import SageMakerEmulator
from cloudtune.experiments import ExperimentResult, load_experiments
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.launch_remote_sagemaker import launch_remote

LAUNCHER, TUNER, TRIAL = (
    "Who launches, or tunes from a laptop",
    "The role of jobs that tune",
    "The role of the jobs of trials",
)
POLICIES = documented()
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
#: How messages of cloudtune name what a call needs.
_LABEL = re.compile(r"\((?:[a-z0-9]+:[A-Z]\w+(?:, )?)+\)")
#: Needed with CreateTrainingJob, which alone is named.
_WITH_CREATE = {"sagemaker:AddTags", "iam:PassRole"}
_EPOCHS, _REPORTS = 3, 8


def named_in_code() -> set[str]:
    found = set()
    for path in (REPOSITORY / "cloudtune").rglob("*.py"):
        if "emulator" not in path.parts:
            for label in _LABEL.findall(path.read_text(encoding="utf-8")):
                found |= set(label.strip("()").split(", "))
    return found


def test_the_documented_permissions_are_those_that_the_code_names() -> None:
    named = named_in_code() | _WITH_CREATE
    assert "sagemaker:CreateTrainingJob" in named and "s3:PutObject" in named
    assert actions_of(POLICIES[LAUNCHER]) == named
    for section in (TUNER, TRIAL):
        assert actions_of(POLICIES[section], besides="Platform") <= named, section


def test_trials_can_do_little() -> None:
    policy = POLICIES[TRIAL]
    experiment = f"arn:aws:s3:::{BUCKET}/cloudtune/tag/experiment"
    assert allows(policy, Need("s3:PutObject", f"{experiment}/reports/0-0/0-0"))
    assert allows(policy, Need("s3:GetObject", f"{experiment}/checkpoints/0/model.pt"))
    assert not allows(policy, Need("s3:PutObject", f"{experiment}/state/journal/0.jsonl"))
    assert not allows(policy, Need("s3:GetObject", "arn:aws:s3:::another-bucket/cloudtune/x"))
    assert not any(action.startswith(("sagemaker:", "iam:")) for action in actions_of(policy))
    other = Need("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin")
    assert not allows(POLICIES[TUNER], other) and not allows(POLICIES[LAUNCHER], other)


@dataclass(frozen=True)
class Study:
    """What came of it, and all calls."""

    experiments: list[ExperimentResult]
    jobs: list[dict[str, Any]]
    calls: list[dict[str, Any]]

    def calls_of(self, role: str | None) -> list[dict[str, Any]]:
        return [call for call in self.calls if call.get("role") == role]


def as_moto_has_it(policy: dict[str, Any]) -> str:
    """Moto asks for s3:HeadBucket, which is no permission of AWS; for s3:DeleteObject on the bucket where one call
    deletes several objects; and, for logs, on everything."""
    allowed = actions_of(policy)
    bucket = ["s3:HeadBucket", *sorted({"s3:DeleteObject"} & allowed)]
    extra = [(bucket, f"arn:aws:s3:::{BUCKET}"), (sorted(a for a in allowed if a.startswith("logs:")), "*")]
    statements = [{"Effect": "Allow", "Action": actions, "Resource": resource} for actions, resource in extra]
    return json.dumps({**policy, "Statement": [*policy["Statement"], *statements]})


def admit(policies: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Makes the roles, and a user who launches; returns that user's keys."""
    iam = boto3.client("iam")
    for role, section in ((TUNER_ROLE, TUNER), (TRIAL_ROLE, TRIAL)):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(_TRUST))
        iam.put_role_policy(
            RoleName=role, PolicyName="documented", PolicyDocument=as_moto_has_it(policies[section])
        )
    iam.create_user(UserName="me")
    iam.put_user_policy(UserName="me", PolicyName="documented", PolicyDocument=as_moto_has_it(policies[LAUNCHER]))
    keys = iam.create_access_key(UserName="me")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"]}


def write_entry_point(folder: Path) -> Path:
    entry = folder / "hpo_main.py"
    entry.write_text(
        textwrap.dedent(
            f"""
            import pathlib, sys
            from cloudtune.config_space import uniform
            from cloudtune.experiments import RealBenchmarkDefinition
            from cloudtune.experiments.default_baselines import methods
            from cloudtune.experiments.launchers.hpo_main_sagemaker import main

            def definitions(sagemaker_backend=False):
                return {{"mine": RealBenchmarkDefinition(
                    script=pathlib.Path(__file__).parent / "train.py",
                    config_space={{"x": uniform(0, 1), "epochs": {_EPOCHS}}},
                    max_wallclock_time=200,
                    max_num_evaluations={_REPORTS},
                    n_workers=2,
                    instance_type="ml.m5.large",
                    metric="loss",
                    mode="min",
                    max_resource_attr="epochs",
                    resource_attr="epoch",
                )}}

            sys.exit(main(methods, definitions))
            """
        )
    )
    return entry


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """One method, one seed: a tuner's job and three trials' jobs. Moto enforces what concerns S3, STS and IAM."""
    folder = tmp_path_factory.mktemp("study")
    script = write_script(folder / "code")
    definitions = benchmark_of(
        script,
        config_space={"x": 0.5, "epochs": _EPOCHS},
        max_wallclock_time=200,
        max_num_evaluations=_REPORTS,
    )
    with pytest.MonkeyPatch.context() as patch, SageMakerEmulator(max_parallel_jobs=3) as aws:
        patch.setenv("CLOUDTUNE_FOLDER", str(folder / "cloudtune"))
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        aws.roles.strict = True
        for name, value in admit(POLICIES).items():
            patch.setenv(name, value)
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        patch.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
        aws.audit.forget()
        arguments = ["--experiment_tag", "mine", "--method", "RS", "--delete_checkpoints", "yes", "--yes"]
        roles = ["--role", TUNER_ROLE, "--trial_role", TRIAL_ROLE]
        entry = write_entry_point(script.parent)
        code = launch_remote(entry, methods, lambda sagemaker_backend: definitions, argv=[*arguments, *roles])
        assert code == 0
        experiments = load_experiments("mine", local_path=folder / "empty")
        yield Study(experiments, [dict(job) for job in aws.jobs()], aws.audit.entries("call"))


def test_a_study_of_trials_in_jobs_from_launch_to_results(study: Study) -> None:
    (found,) = study.experiments
    assert found.ended and found.num_reports >= _REPORTS
    levels = found.results[["trial_id", "epoch"]]
    assert not levels.duplicated().any()
    for _, reported in levels.groupby("trial_id"):
        assert list(reported["epoch"]) == list(range(1, len(reported) + 1))
    name = "mine-mine-RS-0"
    tuner, *trials = study.jobs
    assert tuner["TrainingJobName"] == name and "CheckpointConfig" not in tuner
    assert len(trials) >= 3 and all(job["TrainingJobName"].endswith(f"-{name}") for job in trials)
    assert {job["RoleArn"].rpartition("/")[2] for job in trials} == {TRIAL_ROLE}
    assert {job["TrainingJobStatus"] for job in study.jobs} <= {"Completed", "Stopped"}


@pytest.mark.parametrize(("section", "role"), [(LAUNCHER, None), (TUNER, TUNER_ROLE), (TRIAL, TRIAL_ROLE)])
def test_every_call_is_allowed(study: Study, section: str, role: str | None) -> None:
    calls = study.calls_of(role)
    assert len(calls) > 5
    passed = TUNER_ROLE if role is None else TRIAL_ROLE
    needs = {need for call in calls for need in needs_of(call, passed)}
    assert [need for need in needs if not allows(POLICIES[section], need)] == []
    errors = {str(call["error"]) for call in calls}
    assert not [error for error in errors if "Denied" in error or error in ("403", "InvalidClientTokenId")]


#: What the study above may have no occasion for.
_RARE = {
    TUNER: {
        "s3:AbortMultipartUpload": "a large upload that fails",
        "sagemaker:StopTrainingJob": "none, if all trials have ended when the last report is read",
        "sagemaker:UpdateTrainingJob": "instances kept warm, for which the emulator has no quota",
        "logs:DescribeLogStreams": "a trial whose reports did not come",
        "logs:GetLogEvents": "a trial whose reports did not come",
    },
    TRIAL: {
        "s3:AbortMultipartUpload": "a large checkpoint, by the platform",
        "s3:DeleteObject": "a checkpoint that the script has deleted, by the platform",
        "s3:GetObject": "code and checkpoints, by the platform",
    },
}


@pytest.mark.parametrize(("section", "role"), [(TUNER, TUNER_ROLE), (TRIAL, TRIAL_ROLE)])
def test_no_permission_is_for_nothing(study: Study, section: str, role: str) -> None:
    used = {need.action for call in study.calls_of(role) for need in needs_of(call)}
    allowed = actions_of(POLICIES[section], besides="Platform")
    assert allowed - used <= set(_RARE[section])
    assert used <= allowed

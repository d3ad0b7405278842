"""The fixtures that cloudtune ships, in somebody else's test suite."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from emulator_rig import Rig

from cloudtune.emulator import SageMakerEmulator
from cloudtune.errors import SpecError

ROOT = Path(__file__).parents[2]
PREAMBLE = "import boto3, os, pytest\n"
Done = subprocess.CompletedProcess[str]
Suite = Callable[..., Done]


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """Runs pytest on a file, in a folder and a process of its own, with the entry point of pyproject.toml."""
    installed = tmp_path / "installed" / "plugin_of_cloudtune-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-of-cloudtune\nVersion: 0\n")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'\[project\.entry-points\.pytest11\]\n"(.*)" = "(.*)"', project)
    assert found is not None
    (installed / "entry_points.txt").write_text(f"[pytest11]\n{found[1]} = {found[2]}\n")

    def run(
        code: str, ini: str = "", conftest: str = "", preamble: str = PREAMBLE
    ) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "suite"
        folder.mkdir(exist_ok=True)
        (folder / "pytest.ini").write_text(f"[pytest]\naddopts = --strict-markers --strict-config\n{ini}")
        (folder / "conftest.py").write_text(conftest)
        (folder / "test_it.py").write_text(preamble + code)
        path = os.pathsep.join([str(tmp_path / "installed"), str(ROOT)])
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=400,
        )

    return run


def test_each_test_has_an_emulator_of_its_own(suite: Suite) -> None:
    done = suite(
        """
urls = []

@pytest.mark.parametrize("turn", [1, 2])
def test_fresh(sagemaker_emulator, turn):
    urls.append(sagemaker_emulator.endpoint_url)
    assert os.environ["AWS_ENDPOINT_URL"] == sagemaker_emulator.endpoint_url
    boto3.client("s3").create_bucket(Bucket="mine")
    assert len(boto3.client("s3").list_buckets()["Buckets"]) == 1
    assert sagemaker_emulator.audit.entries("call", since=0)[0]["operation"] == "CreateBucket"

def test_they_were_two():
    assert len(set(urls)) == 2
    assert "AWS_ENDPOINT_URL" not in os.environ
"""
    )
    assert "3 passed" in done.stdout, done.stdout


def test_a_shared_one_is_empty_for_each_test(suite: Suite) -> None:
    done = suite(
        """
urls = []

def use(aws):
    urls.append(aws.endpoint_url)
    s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
    assert s3.list_buckets()["Buckets"] == []
    assert aws.jobs() == [] and aws.quotas.limit("ml.m5.large", "on_demand") > 0
    assert len(aws.audit.entries("transition")) == 0
    s3.create_bucket(Bucket="mine")
    s3.put_object(Bucket="mine", Key="code/train.py", Body=b"import signal; signal.pause()")
    aws.quotas.set_limit("ml.c5.large", "on_demand", 0)
    aws.roles.strict = False
    sagemaker.create_training_job(
        TrainingJobName="never-ends", RoleArn=aws.role_arn,
        AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File",
                                "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/train.py"]},
        InputDataConfig=[{"ChannelName": "code", "DataSource": {"S3DataSource": {
            "S3DataType": "S3Prefix", "S3Uri": "s3://mine/code/"}}}],
        OutputDataConfig={"S3OutputPath": "s3://mine/output"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 100_000})
    while sagemaker.describe_training_job(TrainingJobName="never-ends")["SecondaryStatus"] != "Training":
        pass

def test_one(shared_sagemaker_emulator):
    use(shared_sagemaker_emulator)

def test_two(shared_sagemaker_emulator):
    use(shared_sagemaker_emulator)

def test_between(sagemaker_emulator):
    assert sagemaker_emulator.jobs() == []

@pytest.mark.sagemaker_emulator(scenario="bad_day", seed=8)
def test_three(shared_sagemaker_emulator):
    assert shared_sagemaker_emulator.audit.newest("emulator", 1)[0]["scenario"] == "realistic"
    assert shared_sagemaker_emulator._faults.scenario.name == "bad_day"

def test_four(shared_sagemaker_emulator):
    assert shared_sagemaker_emulator._faults.scenario.name == "realistic"
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    assert urls[0] == urls[1]
""",
        ini="sagemaker_emulator_scenario = realistic\nsagemaker_emulator_time_scale = 600\n",
    )
    assert "5 passed" in done.stdout, done.stdout


def test_options_by_marker_and_configuration(suite: Suite) -> None:
    done = suite(
        """
def started(aws):
    return aws.audit.entries("emulator")[0]

def test_configured(sagemaker_emulator):
    wanted = {"time_scale": 60.0, "isolation": "none", "scenario": "calm"}
    assert wanted.items() <= started(sagemaker_emulator).items()

@pytest.mark.sagemaker_emulator(time_scale=5, stop_grace_s=1)
class TestMarked:
    @pytest.mark.sagemaker_emulator(scenario="bad_day", seed=4)
    def test_marked(self, sagemaker_emulator):
        wanted = {"time_scale": 5, "stop_grace_s": 1, "scenario": "bad_day", "seed": 4, "isolation": "none"}
        assert wanted.items() <= started(sagemaker_emulator).items()
""",
        ini="sagemaker_emulator_time_scale = 60\nsagemaker_emulator_isolation = none\n",
    )
    assert "2 passed" in done.stdout, done.stdout


def test_what_cannot_be_is_said(suite: Suite) -> None:
    done = suite(
        """
@pytest.mark.sagemaker_emulator(time_scale=5)
def test_fixed(shared_sagemaker_emulator): ...

@pytest.mark.sagemaker_emulator("bad_day")
def test_unnamed(sagemaker_emulator): ...

@pytest.mark.sagemaker_emulator(scenario="bad_dya")
def test_wrong(sagemaker_emulator): ...

def test_both(sagemaker_emulator, shared_sagemaker_emulator): ...

def test_goes_on(shared_sagemaker_emulator): ...
"""
    )
    assert "1 passed, 4 errors" in done.stdout, done.stdout
    for text in (
        "time_scale cannot differ between tests that share an emulator",
        "takes named arguments",
        "bad_dya",
        "A test can have one emulator",
    ):
        assert text in done.stdout


def test_a_wrong_configuration_is_said(suite: Suite) -> None:
    done = suite("def test_it(sagemaker_emulator): ...", ini="sagemaker_emulator_time_scale = fast\n")
    assert "sagemaker_emulator_time_scale = fast" in done.stdout
    assert "1 error" in done.stdout


def test_who_does_not_use_it_does_not_load_it(suite: Suite) -> None:
    done = suite(
        """
import sys

def test_nothing_is_loaded(request):
    assert request.config.pluginmanager.has_plugin("cloudtune.emulator.pytest_plugin")
    assert not {"boto3", "botocore", "moto", "numpy", "cloudtune.emulator.server"} & set(sys.modules)
""",
        preamble="",
        conftest='pytest_plugins = ["cloudtune.emulator.pytest_plugin"]  # named once more: harmless\n',
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_missing_extra_is_named(suite: Suite) -> None:
    done = suite(
        "def test_it(sagemaker_emulator): ...",
        conftest='import sys\nsys.modules["moto"] = None\n',
    )
    assert "pip install 'cloudtune[emulator]'" in done.stdout, done.stdout


def test_the_example_in_the_documentation_runs(suite: Suite) -> None:
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "shared_sage" in code)
    done = suite(example, preamble="")
    assert "2 passed" in done.stdout, done.stdout


def test_a_reset_empties_what_is_kept_on_disk_as_well(tmp_path: Path) -> None:
    with SageMakerEmulator(state_dir=tmp_path) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        rig.run("forgotten", "")
        aws.reset()
        assert rig.s3.list_buckets()["Buckets"] == [] == aws.jobs()
        assert [entry["event"] for entry in aws.audit.entries("emulator")] == ["reset"]
    with pytest.raises(SpecError, match="does not run"):
        aws.reset()
    with SageMakerEmulator(state_dir=tmp_path) as again:
        assert again.jobs() == []

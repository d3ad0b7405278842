"""The images that the real SDKs name: through ``image_uri``, and beside the package's own table."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
from typing import Any

import pytest

from cloudtune.aws import images
from cloudtune.aws.images import image_uri
from cloudtune.errors import SpecError

pytestmark = pytest.mark.sdk
GPU, CPU = "ml.g5.xlarge", "ml.m5.large"


@pytest.fixture(scope="module")
def sdk() -> Any:
    """The installed SDK's module of images, found without the package's help."""
    try:
        major = importlib.metadata.version("sagemaker").partition(".")[0]
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("no SageMaker SDK is installed here")
    return importlib.import_module({"2": "sagemaker.image_uris", "3": "sagemaker.core.image_uris"}[major])


@pytest.fixture
def asked(sdk: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the SDK is asked for; its answers are its own."""
    calls: list[dict[str, Any]] = []
    real = sdk.retrieve

    def spy(**arguments: Any) -> str:
        calls.append(arguments)
        return str(real(**arguments))

    monkeypatch.setattr(sdk, "retrieve", spy)
    return calls


def agree(sdk: Any, version: str, instance_type: str, region: str) -> None:
    theirs = sdk.retrieve(
        framework="pytorch",
        region=region,
        version=version,
        py_version=images._PYTORCH[version],
        instance_type=instance_type,
        image_scope="training",
    )
    assert images._from_table("pytorch", region, instance_type, version, None, "") == theirs
    assert image_uri(region=region, instance_type=instance_type, version=version) == theirs


@pytest.mark.parametrize("version", sorted(images._PYTORCH))
def test_sdk_and_table_agree_on_versions(sdk: Any, version: str) -> None:
    agree(sdk, version, GPU, "us-east-1")
    agree(sdk, version, CPU, "us-east-1")


@pytest.mark.parametrize("region", images._REGIONS.split())
def test_sdk_and_table_agree_on_regions(sdk: Any, region: str) -> None:
    agree(sdk, "2.6.0", GPU, region)


@pytest.mark.parametrize(
    "instance_type", ["ml.p4d.24xlarge", "ml.g4dn.12xlarge", "ml.p5.48xlarge", "ml.c5.4xlarge"]
)
def test_sdk_and_table_agree_on_instances(sdk: Any, instance_type: str) -> None:
    agree(sdk, "2.6.0", instance_type, "us-east-1")


def test_the_sdk_is_asked_not_the_table(asked: list[dict[str, Any]]) -> None:
    uri = image_uri(region="eu-south-2", instance_type=GPU)
    assert ".dkr.ecr.eu-south-2.amazonaws.com/pytorch-training:2.8.0-gpu-py312" in uri
    assert [call["region"] for call in asked] == ["eu-south-2"]
    assert image_uri(region="cn-north-1", instance_type=CPU).endswith(".com.cn/pytorch-training:2.8.0-cpu-py312")


def test_a_short_version_is_the_one_that_the_table_names(sdk: Any) -> None:
    assert image_uri(region="us-west-2", instance_type=GPU, version="2.6").endswith(":2.6.0-gpu-py312")


@pytest.mark.parametrize("version", ["1.13.1", "2.0.1"])
def test_older_than_the_table(asked: list[dict[str, Any]], version: str) -> None:
    uri = image_uri(region="us-west-2", instance_type=GPU, version=version)
    assert f"pytorch-training:{version}-gpu-py3" in uri
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("framework", "version", "part"),
    [
        ("tensorflow", "2.16", "tensorflow-training:2.16-cpu-py310"),
        ("tensorflow", None, "tensorflow-training:2."),
        ("xgboost", "1.7-1", "sagemaker-xgboost:1.7-1"),
        ("sklearn", "1.2-1", "sagemaker-scikit-learn:1.2-1-cpu-py3"),
    ],
)
def test_other_frameworks(sdk: Any, framework: str, version: str | None, part: str) -> None:
    assert part in image_uri(framework, region="us-west-2", instance_type=CPU, version=version)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"framework": "nonsense"}, "'nonsense' is known .the sagemaker SDK knows no such framework"),
        ({"framework": "tensorflow", "version": "99.1"}, "the sagemaker SDK says: .*99.1"),
        ({"version": "9.9"}, "2.6.0 .py312."),
        ({"version": "2.6", "py_version": "py39"}, "for py39"),
        ({"region": "moon-east-1"}, "moon-east-1"),
        # Both SDKs answer with PyTorch 1.11.
        ({"instance_type": "ml.trn1.2xlarge"}, "Neuron"),
        ({"instance_type": "ml.trn1.2xlarge", "version": "2.6", "py_version": "py38"}, "for py38"),
    ],
)
def test_what_the_sdk_refuses_says_to_pass_a_uri(sdk: Any, arguments: dict[str, str], message: str) -> None:
    base = {"framework": "pytorch", "region": "us-west-2", "instance_type": CPU}
    with pytest.raises(SpecError, match=message) as caught:
        image_uri(**{**base, **arguments})
    assert "the image's URI" in caught.value.hint


def test_the_sdk_is_woken_on_use_alone(sdk: Any) -> None:
    code = "import sys, cloudtune, cloudtune.aws.images; print('sagemaker' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"

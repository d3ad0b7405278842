from __future__ import annotations

import sys
import types

import pytest

from cloudtune.aws.images import image_uri
from cloudtune.errors import SpecError


@pytest.fixture(autouse=True)
def _no_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sagemaker", "sagemaker.core", "sagemaker.core.image_uris", "sagemaker.image_uris"):
        monkeypatch.setitem(sys.modules, name, None)


def test_table() -> None:
    base = "763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training"
    for instance_type, version, tag in (
        ("ml.g4dn.xlarge", "2.6", "2.6.0-gpu-py312"),
        ("ml.p4d.24xlarge", "2.5.1", "2.5.1-gpu-py311"),
        ("ml.c5.4xlarge", "2.2.0", "2.2.0-cpu-py310"),
        ("ml.m5.large", None, "2.8.0-cpu-py312"),
    ):
        uri = image_uri("pytorch", region="eu-west-1", instance_type=instance_type, version=version)
        assert uri == f"{base}:{tag}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"framework": "tensorflow"}, "tensorflow"),
        ({"version": "9.9"}, "2.6.0 .py312."),
        ({"version": "2.6", "py_version": "py39"}, "for py39"),
        ({"region": "moon-east-1"}, "moon-east-1"),
        ({"instance_type": "ml.trn1.2xlarge"}, "Neuron"),
    ],
)
def test_unknown_images_say_to_pass_a_uri(arguments: dict[str, str], message: str) -> None:
    base = {"framework": "pytorch", "region": "us-west-2", "instance_type": "ml.m5.large"}
    with pytest.raises(SpecError, match=message) as caught:
        image_uri(**{**base, **arguments})
    assert "the image's URI" in caught.value.hint


@pytest.mark.parametrize("name", ["sagemaker.image_uris", "sagemaker.core.image_uris"])
def test_an_installed_sdk_is_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def retrieve(**arguments: object) -> str:
        asked.append(arguments)
        if arguments["version"] == "2.8.0":
            raise ValueError("Unsupported pytorch version: 2.8.0.")
        return f"from-the-sdk:{arguments['version']}"

    module = types.ModuleType(name)
    module.retrieve = retrieve  # type: ignore[attr-defined]
    for parent in ("sagemaker", "sagemaker.core"):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, name, module)
    uri = image_uri(region="us-west-2", instance_type="ml.g5.xlarge", version="2.3")
    assert uri == "from-the-sdk:2.3.0"
    assert asked[0]["py_version"] == "py311"
    assert asked[0]["image_scope"] == "training"
    # An SDK that is older than the table.
    assert image_uri(region="us-west-2", instance_type="ml.g5.xlarge").endswith("2.8.0-gpu-py312")


def test_an_sdk_that_knows_no_better_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    def retrieve(**_: object) -> str:
        raise ValueError("no such thing")

    module = types.ModuleType("sagemaker.image_uris")
    module.retrieve = retrieve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sagemaker", types.ModuleType("sagemaker"))
    monkeypatch.setitem(sys.modules, "sagemaker.image_uris", module)
    with pytest.raises(SpecError, match="the sagemaker SDK says: no such thing"):
        image_uri("tensorflow", region="us-west-2", instance_type="ml.g5.xlarge")

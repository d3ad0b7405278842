"""URIs of container images: from the SageMaker SDK where it is installed, else from a small dated table."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

from cloudtune.errors import SpecError

#: When the table below was taken from the SDK's own (version 2.257.7).
TABLE_DATE = "2026-11-21"

# Python version of each release of the PyTorch training images.
_PYTORCH: dict[str, str] = {
    "2.1.0": "py310",
    "2.2.0": "py310",
    "2.3.0": "py311",
    "2.4.0": "py311",
    "2.5.1": "py311",
    "2.6.0": "py312",
    "2.7.1": "py312",
    "2.8.0": "py312",
}
_ACCOUNT = "763104351884"
_REGIONS = (
    "ap-northeast-1 ap-northeast-2 ap-south-1 ap-southeast-1 ap-southeast-2 ca-central-1 eu-central-1 eu-north-1 "
    "eu-west-1 eu-west-2 eu-west-3 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2"
)
_HINT = "Pass the image's URI."
_GPU = re.compile(r"ml\.(p|g)\d")
_OWN_SILICON = re.compile(r"ml\.(trn|inf)\d")
# Version 3 first: of version 2 it leaves a namespace behind that cannot be imported.
_SDK_MODULES = ("sagemaker.core.image_uris", "sagemaker.image_uris")


def image_uri(
    framework: str = "pytorch",
    *,
    region: str,
    instance_type: str,
    version: str | None = None,
    py_version: str | None = None,
) -> str:
    """URI of the training image of ``framework`` for that kind of instance.

    Args:
        version: Of the framework, ``2.6.0`` or ``2.6``; default: the newest in the package's table.
        py_version: ``py312``, ...; default: the one that goes with ``version``.

    Raises:
        SpecError: If neither an installed SageMaker SDK nor the package's table knows of one.
    """
    if version is None and framework == "pytorch":
        version = list(_PYTORCH)[-1]
    refusal = "the sagemaker SDK is not installed"
    sdk = _sdk()
    if sdk is not None:
        try:
            return _from_sdk(sdk.retrieve, framework, region, instance_type, version, py_version)
        except FileNotFoundError:  # the SDK has a file for each framework
            refusal = "the sagemaker SDK knows no such framework"
        except (ValueError, KeyError, NotImplementedError) as error:
            refusal = f"the sagemaker SDK says: {error}"
    return _from_table(framework, region, instance_type, version, py_version, refusal)


def has_pytorch(version: str | None, py_version: str | None) -> bool:
    """Whether the package's own table has that release: no SDK is needed to name its images."""
    python = _PYTORCH.get(_full_version(version))
    return python is not None and py_version in (None, python)


def _sdk() -> ModuleType | None:
    for name in _SDK_MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _from_sdk(
    retrieve: Callable[..., Any],
    framework: str,
    region: str,
    instance_type: str,
    version: str | None,
    py_version: str | None,
) -> str:
    if framework == "pytorch":
        version = _full_version(version)
        py_version = py_version or _PYTORCH.get(version)
    uri = str(
        retrieve(
            framework=framework,
            region=region,
            version=version,
            py_version=py_version,
            instance_type=instance_type,
            image_scope="training",
        )
    )
    # For AWS Neuron the SDKs know one version, and answer with it whatever was asked for.
    if version is not None and f":{version}" not in uri:
        raise ValueError(f"{uri} (asked for {version}).")
    return uri


def _from_table(
    framework: str, region: str, instance_type: str, version: str | None, py_version: str | None, refusal: str
) -> str:
    if framework != "pytorch":
        raise SpecError(
            f"No image for {framework!r} is known ({refusal}); the package's own table has pytorch alone.", _HINT
        )
    full = _full_version(version)
    if full not in _PYTORCH or py_version not in (None, _PYTORCH[full]):
        known = ", ".join(f"{number} ({python})" for number, python in _PYTORCH.items())
        raise SpecError(
            f"No PyTorch {version} image {f'for {py_version} ' if py_version else ''}is known ({refusal}). "
            f"The table of {TABLE_DATE} has {known}.",
            f"Choose one of these, or: {_HINT}",
        )
    if region not in _REGIONS.split():
        raise SpecError(
            f"The account of the images in {region!r} is not known ({refusal}). Known: {_REGIONS}.",
            f"{_HINT} It can be found in the documentation of AWS Deep Learning Containers.",
        )
    if _OWN_SILICON.match(instance_type):
        raise SpecError(f"{instance_type} needs an image for AWS Neuron; none is known ({refusal}).", _HINT)
    processor = "gpu" if _GPU.match(instance_type) else "cpu"
    return f"{_ACCOUNT}.dkr.ecr.{region}.amazonaws.com/pytorch-training:{full}-{processor}-{_PYTORCH[full]}"


def _full_version(version: str | None) -> str:
    """``2.6`` means ``2.6.0``."""
    short = [full for full in _PYTORCH if full.rpartition(".")[0] == version]
    return short[0] if short else str(version)

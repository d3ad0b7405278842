"""What users of the SageMaker SDK (version 2) pass to estimators, in our words."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloudtune.errors import SpecError
from cloudtune.paths import S3Uri

#: Name of an estimator's argument to the field of JobResources.
_FIELDS = {
    "use_spot_instances": "spot",
    "volume_size": "volume_size_gb",
    "max_run": "max_run_s",
    "max_wait": "max_wait_s",
    "keep_alive_period_in_seconds": "keep_alive_s",
    "tags": "tags",
    "environment": "environment",
    "subnets": "subnets",
    "security_group_ids": "security_group_ids",
    "volume_kms_key": "volume_kms_key",
    "checkpoint_s3_uri": "checkpoint_s3_uri",
}
#: These choose the image.
IMAGE_ARGUMENTS = ("image_uri", "framework_version", "py_version")


def resource_arguments(given: Mapping[str, Any], owner: str = "RemoteLauncher") -> dict[str, Any]:
    """The arguments of JobResources, and fields of TrainingJobSpec, that ``given`` (without
    :data:`IMAGE_ARGUMENTS`) stand for.

    Args:
        owner: Class that has them, for messages.

    Raises:
        SpecError: An argument is unknown, or its value is not of its kind; names the valid ones.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in IMAGE_ARGUMENTS or (name == "instance_count" and value == 1):
            continue
        if name not in _FIELDS:
            raise _unknown(name, value)
        if value is not None:
            found[_FIELDS[name]] = _checked(f"{owner}({name}={value!r})", name, value)
    return found


def _unknown(name: str, value: Any) -> SpecError:
    if name == "instance_count":
        return SpecError(
            f"RemoteLauncher(instance_count={value!r}): tuning runs on one instance.",
            "Leave it out; n_workers of the tuner says how many trials run there at a time.",
        )
    valid = sorted([*_FIELDS, *IMAGE_ARGUMENTS])
    near = difflib.get_close_matches(name, valid, n=1)
    meant = f"Did you mean {near[0]}? " if near else ""
    return SpecError(f"RemoteLauncher has no argument {name!r}.", f"{meant}Valid are {', '.join(valid)}.")


def _checked(shown: str, name: str, value: Any) -> Any:
    check = _CHECKS.get(name)
    return value if check is None else check(shown, value)


def _number(shown: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise SpecError(f"{shown} must be a positive whole number.")
    return value


def _truth(shown: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"{shown} must be True or False.")
    return value


def _tags(shown: str, value: Any) -> dict[str, str]:
    """As a dictionary, or as the SDK has them: ``[{"Key": ..., "Value": ...}]``."""
    if isinstance(value, Mapping):
        return {str(key): str(text) for key, text in value.items()}
    pairs = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if (value and not pairs) or not all(
        isinstance(pair, Mapping) and set(pair) == {"Key", "Value"} for pair in pairs
    ):
        raise SpecError(
            f"{shown} are no tags.",
            'Write {"team": "vision"} or [{"Key": "team", "Value": "vision"}].',
        )
    return {str(pair["Key"]): str(pair["Value"]) for pair in pairs}


def _environment(shown: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise SpecError(f"{shown} must map names to strings.")
    return dict(value)


def _names(shown: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise SpecError(f"{shown} must be a list of strings.")
    return tuple(value)


def _uri(shown: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SpecError(f"{shown} is no S3 URI.", "Write it as s3://bucket/prefix.")
    return str(S3Uri.parse(value))


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "max_run": _number,
    "max_wait": _number,
    "keep_alive_period_in_seconds": _number,
    "volume_size": _number,
    "use_spot_instances": _truth,
    "tags": _tags,
    "environment": _environment,
    "subnets": _names,
    "security_group_ids": _names,
    "checkpoint_s3_uri": _uri,
}

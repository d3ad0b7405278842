"""The policies of ``docs/iam.md``, and whether they allow what somebody has done."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher_helpers import REPOSITORY

from cloudtune.emulator.control.iam import decide

ACCOUNT, REGION, BUCKET = "123456789012", "us-east-1", "sagemaker-us-east-1-123456789012"
TUNER_ROLE, TRIAL_ROLE = "the-tuner", "the-trials"
_JOBS = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/"
_LOGS = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/TrainingJobs:log-stream:"
#: Where an operation's permission is called otherwise
#: (https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html).
_PERMISSIONS = {
    "HeadBucket": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "HeadObject": "GetObject",
    "DeleteObjects": "DeleteObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
}
#: What an operation needs besides.
_BESIDES = {"CreateTrainingJob": ("sagemaker:AddTags", "iam:PassRole")}


@dataclass(frozen=True)
class Need:
    """A permission, and for what."""

    action: str
    resource: str


def documented(text: str | None = None) -> dict[str, dict[str, Any]]:
    """By heading, with names filled in."""
    text = text or (REPOSITORY / "docs" / "iam.md").read_text(encoding="utf-8")
    names = {
        "REGION": REGION,
        "TUNER_ROLE": TUNER_ROLE,
        "TRIAL_ROLE": TRIAL_ROLE,
        "ACCOUNT": ACCOUNT,
        "BUCKET": BUCKET,
    }
    found = {}
    for section in text.split("\n## ")[1:]:
        block = re.search(r"```json\n(.*?)```", section, re.DOTALL)
        if block is not None:
            policy = block[1]
            for name, value in names.items():
                policy = policy.replace(name, value)
            found[section.partition("\n")[0]] = json.loads(policy)
    return found


def actions_of(policy: Mapping[str, Any], besides: str = "\0") -> set[str]:
    """All that it allows, but for statements whose ``Sid`` begins with ``besides``."""
    statements = [s for s in policy["Statement"] if not s["Sid"].startswith(besides)]
    return {
        action for s in statements for action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    }


def needs_of(call: Mapping[str, Any], passed_role: str = TRIAL_ROLE) -> list[Need]:
    """What a call of the emulator's audit takes."""
    service, operation = call["service"], call["operation"]
    action = f"{service}:{_PERMISSIONS.get(operation, operation)}"
    needs = [Need(action, _resource_of(call))]
    for other in _BESIDES.get(operation, ()):
        resource = f"arn:aws:iam::{ACCOUNT}:role/{passed_role}" if other == "iam:PassRole" else _resource_of(call)
        needs.append(Need(other, resource))
    return needs


def _resource_of(call: Mapping[str, Any]) -> str:
    service, operation = call["service"], call["operation"]
    if service == "s3":
        bucket = f"arn:aws:s3:::{call['bucket']}"
        # The keys of DeleteObjects are in its body, which is not recorded: they are checked where it is enforced.
        key = "cloudtune/_/checkpoints/_" if operation == "DeleteObjects" else call.get("key")
        return f"{bucket}/{key}" if key else bucket
    if service == "sagemaker" and "job" in call:
        return f"{_JOBS}{call['job']}"
    return f"{_LOGS}x" if service == "logs" else "*"


def allows(policy: Mapping[str, Any], need: Need) -> bool:
    """Whether a SageMaker job may be given a role counts as said where that is the condition."""
    statements = [
        {key: value for key, value in statement.items() if key != "Condition"}
        if statement.get("Condition") == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
        else statement
        for statement in policy["Statement"]
    ]
    return decide(statements, need.action, need.resource) == "allowed"

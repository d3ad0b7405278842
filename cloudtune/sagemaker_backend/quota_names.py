"""How the service calls its quotas of training instances, and what it says when one is used up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloudtune.sagemaker_backend.ports import Usage

_WORDS = {
    Usage.on_demand: "training job usage",
    Usage.spot: "spot training job usage",
    Usage.warm_pool: "training warm pool usage",
}
_USAGE_OF = {words: usage for usage, words in _WORDS.items()}
_NAME = re.compile(r"(ml\.[\w.-]+) for ([a-z ]+)")
_REFUSAL = re.compile(
    rf"'{_NAME.pattern}' is (\d+) Instances?, with current utilization of (\d+) Instances?", re.IGNORECASE
)


@dataclass(frozen=True)
class Refusal:
    """What ``ResourceLimitExceeded`` says: ``used`` of ``limit`` instances are in use, by whomever."""

    instance_type: str
    usage: Usage
    limit: int
    used: int


def quota_name(instance_type: str, usage: Usage) -> str:
    """As in the console of Service Quotas: ``ml.m5.large for spot training job usage``."""
    return f"{instance_type} for {_WORDS[usage]}"


def parse_quota_name(name: str) -> tuple[str, Usage] | None:
    """The inverse of :func:`quota_name`; None for a quota of something else."""
    match = _NAME.fullmatch(name)
    usage = _USAGE_OF.get(match[2]) if match else None
    return (match[1], usage) if match and usage else None


def parse_refusal(message: str) -> Refusal | None:
    """None if it says something else, another quota for example."""
    match = _REFUSAL.search(message)
    usage = _USAGE_OF.get(match[2].lower()) if match else None
    return Refusal(match[1], usage, int(match[3]), int(match[4])) if match and usage else None

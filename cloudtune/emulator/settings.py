"""How the emulator behaves; the same for all jobs."""

from __future__ import annotations

import os
from dataclasses import dataclass

ACCOUNT_ID = "123456789012"
DEFAULT_REGION = "us-east-1"
DEFAULT_ROLE = "AmazonSageMaker-ExecutionRole-cloudtune"


def default_parallel_jobs() -> int:
    """Jobs that run at once: half of the cores, at least one. A job has processes of its own, often several, and
    one that is measured in time must not lose it to others."""
    return max(1, (os.cpu_count() or 1) // 2)


@dataclass(frozen=True)
class Settings:
    """
    Args:
        max_parallel_jobs: Jobs that run at once at first; the others wait in ``Starting``.
        stop_grace_s: Between SIGTERM and SIGKILL, in service seconds.
        checkpoint_interval_s: Real seconds between two rounds of checkpoint uploads.
    """

    max_parallel_jobs: int
    stop_grace_s: float = 120.0
    checkpoint_interval_s: float = 0.5

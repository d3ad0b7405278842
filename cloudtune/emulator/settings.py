"""How the emulator behaves; the same for all jobs."""

from __future__ import annotations

from dataclasses import dataclass

ACCOUNT_ID = "123456789012"
DEFAULT_REGION = "us-east-1"
DEFAULT_ROLE = "AmazonSageMaker-ExecutionRole-cloudtune"


@dataclass(frozen=True)
class Settings:
    """
    Args:
        max_parallel_jobs: Jobs that run at once; the others wait in ``Starting``.
        stop_grace_s: Between SIGTERM and SIGKILL, in service seconds.
        checkpoint_interval_s: Real seconds between two rounds of checkpoint uploads.
    """

    max_parallel_jobs: int
    stop_grace_s: float = 120.0
    checkpoint_interval_s: float = 0.5

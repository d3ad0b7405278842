"""The account in which experiments may have jobs and files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.clock import Clock, WallClock
from cloudtune.errors import AccessDenied
from cloudtune.experiments.s3_experiments import S3Experiments


@dataclass(frozen=True)
class Account:
    """All that is asked of AWS, or of the emulator.

    Args:
        session: Whose it is.
        clock: For pacing and waiting.
    """

    session: AwsSession
    clock: Clock

    @cached_property
    def jobs(self) -> TrainingJobs:
        return TrainingJobs(self.session, self.clock)

    @cached_property
    def objects(self) -> S3Objects:
        return S3Objects(self.session)

    @cached_property
    def experiments(self) -> S3Experiments:
        return S3Experiments(self.session)

    @property
    def bucket(self) -> str:
        return self.session.default_bucket_name()

    @property
    def look_again_s(self) -> float:
        """Between two listings while something is waited for: the emulator is near."""
        return 0.5 if self.session.endpoint_url else 10.0


class Access:
    """Connects when the account is needed first: experiments that are here alone do without.

    Args:
        session: Default: what the environment says; the emulator if it runs.
        clock: Default: real time.
    """

    def __init__(self, session: AwsSession | None = None, clock: Clock | None = None) -> None:
        self.given_session = session
        self.clock = clock or WallClock()

    @cached_property
    def account(self) -> Account | None:
        """None if there are no credentials."""
        from cloudtune.remote.cloud import session_for_reading

        session = self.given_session or session_for_reading()
        return Account(session, self.clock) if session.has_credentials() else None

    def required(self, purpose: str) -> Account:
        """Raises AccessDenied if there are no credentials."""
        if self.account is None:
            raise AccessDenied(
                f"There are no AWS credentials, and no emulator runs: cannot {purpose}.",
                "Configure credentials ('aws configure'), or start it: 'cloudtune emulator --background'.",
            )
        return self.account

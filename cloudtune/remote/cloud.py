"""Which cloud is meant: AWS where there are credentials, else the emulator."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudtune.aws.session import AwsSession
from cloudtune.errors import MissingExtra

if TYPE_CHECKING:
    from cloudtune.emulator.daemon import EmulatorHandle


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cloud:
    """A place to run jobs. ``emulator`` is None for AWS, or whatever ``AWS_ENDPOINT_URL`` points to."""

    session: AwsSession
    emulator: EmulatorHandle | None = None


def connect(force_emulator: bool, jobs_at_once: int | None = None) -> Cloud:
    """The account that the environment's credentials belong to; the emulator, started if need be, where there are
    none or it is asked for.

    Args:
        force_emulator: Use the emulator even if there are credentials.
        jobs_at_once: So many jobs must be able to run at once: on the emulator, a tuner in a job would wait for
            ever for the jobs of its trials if there were room for itself alone. None: as many as it lets.

    Raises:
        MissingExtra: The emulator is needed and not installed.
    """
    session = AwsSession()
    if not force_emulator and session.has_credentials():
        return Cloud(session)
    from cloudtune.emulator.daemon import ensure_running

    try:
        return _emulated(ensure_running(max_parallel_jobs=jobs_at_once))
    except MissingExtra as error:
        if force_emulator:
            raise
        raise MissingExtra(
            f"There are no AWS credentials, and the emulator cannot run jobs instead: {error.message}",
            f"For AWS: 'aws configure'. To rehearse: {error.hint}",
        ) from error


def session_for_reading() -> AwsSession:
    """As :func:`connect`, but the emulator is used only if it runs, or keeps what it was told when it ran."""
    session = AwsSession()
    if not session.has_credentials():
        from cloudtune.emulator import daemon

        handle = daemon.running_daemon()
        if handle is None and daemon.state_path().exists():
            _log.info("Starting the emulator, which keeps earlier rehearsals in %s.", daemon.state_path())
            handle = daemon.ensure_running()
        if handle is not None:
            return _emulated(handle).session
    return session


def _emulated(handle: EmulatorHandle) -> Cloud:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    return Cloud(AwsSession(environ={**environment, **handle.environment()}), handle)

"""S3 that can be held up, and one emulator for each module."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from moto.server import ThreadedMotoServer
from remote_rig import Gate
from trial_rig import TrialJob

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.paths import S3Uri

if TYPE_CHECKING:
    from cloudtune.emulator import SageMakerEmulator


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def session(s3_url: str) -> AwsSession:
    environ = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    return AwsSession(endpoint_url=s3_url, environ=environ)


@pytest.fixture
def gate(session: AwsSession) -> Iterator[Gate]:
    """Between the store and S3."""
    gate = Gate(session)
    yield gate
    gate.open()


@pytest.fixture
def objects(session: AwsSession, gate: Gate) -> S3Objects:
    return S3Objects(session)


@pytest.fixture
def state(session: AwsSession, request: pytest.FixtureRequest) -> S3Uri:
    """The experiment's state in S3: a folder of its own for each test."""
    return S3Uri(session.default_bucket(), f"cloudtune/{request.node.name}/state")


@pytest.fixture
def trial_job(tmp_path: Path, s3_url: str, state: S3Uri) -> Iterator[TrialJob]:
    job = TrialJob(tmp_path / "ml", s3_url, state / "reports/3-0")
    yield job
    job.close()


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    from cloudtune.emulator import SageMakerEmulator  # the other tests do without

    with SageMakerEmulator(max_parallel_jobs=2) as aws:
        yield aws


@pytest.fixture
def aws(emulator: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> SageMakerEmulator:
    """The emulator, which the environment points to."""
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    return emulator

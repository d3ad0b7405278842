"""A moto server in this process, and clients of it that fail fast."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.clock import VirtualClock
from cloudtune.paths import S3Uri

ACCOUNT = "123456789012"
ENVIRON = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-west-2",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
    "AWS_CONFIG_FILE": "/nonexistent/config",
}


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environ() -> dict[str, str]:
    return dict(ENVIRON)


@pytest.fixture
def session(moto_url: str, environ: dict[str, str]) -> AwsSession:
    request = urllib.request.Request(f"{moto_url}/moto-api/reset", method="POST")
    urllib.request.urlopen(request, timeout=60).close()
    return AwsSession(endpoint_url=moto_url, environ=environ)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def objects(session: AwsSession, clock: VirtualClock) -> S3Objects:
    return S3Objects(session, clock)


@pytest.fixture
def root(session: AwsSession) -> S3Uri:
    """A folder in a bucket of ours."""
    return S3Uri(session.default_bucket(), "cloudtune/exp")

"""Prices looked up by cloudtune's own client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cloudtune.aws.prices import refresh
from cloudtune.aws.session import AwsSession
from cloudtune.emulator import SageMakerEmulator
from cloudtune.instance_info import price_per_hour, prices_date

ENVIRON = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


def calls(emulator: SageMakerEmulator) -> int:
    return sum(entry["operation"] == "GetProducts" for entry in emulator.audit.entries("call"))


def test_prices_are_looked_up_once_a_month(emulator: SageMakerEmulator, own_folder: Path) -> None:
    # The price list answers in us-east-1 whatever the session's region.
    session = AwsSession("eu-west-1", emulator.endpoint_url, ENVIRON)
    found = refresh(session, "us-east-1", ["ml.m5.large", "ml.g5.xlarge"])
    assert found is not None and found.date == "2025-07-01"
    assert found.usd_per_hour == {name: price_per_hour(name) for name in ("ml.m5.large", "ml.g5.xlarge")}
    assert prices_date("us-east-1") == "2025-07-01"
    assert (own_folder / ".prices-us-east-1.json").exists()
    before = calls(emulator)
    assert refresh(session, "us-east-1", ["ml.m5.large"]) == found
    assert calls(emulator) == before
    more = refresh(session, "us-east-1", ["ml.c5.xlarge"])  # with those that are known
    assert more is not None and set(more.usd_per_hour) == {"ml.m5.large", "ml.g5.xlarge", "ml.c5.xlarge"}
    assert calls(emulator) == before + 3


def test_a_region_without_prices_has_the_tables(emulator: SageMakerEmulator) -> None:
    session = AwsSession("eu-west-1", emulator.endpoint_url, ENVIRON)
    assert refresh(session, "eu-west-1", ["ml.m5.large"]) is None
    assert price_per_hour("ml.m5.large", "eu-west-1") == 0.115


class Refusing(BaseHTTPRequestHandler):
    """A service that allows nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"__type": "AccessDeniedException", "Message": "not authorized to perform: pricing:GetProducts"}'
        self.send_response(400)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def refusing_url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_where_prices_may_not_be_read_the_table_remains(refusing_url: str, own_folder: Path) -> None:
    session = AwsSession("us-east-1", refusing_url, ENVIRON)
    assert refresh(session, "us-east-1", ["ml.m5.large"]) is None
    assert price_per_hour("ml.m5.large", "us-east-1") == 0.115
    assert not list(own_folder.glob(".prices*"))

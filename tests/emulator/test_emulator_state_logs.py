"""What it costs to read logs that are kept: nothing that grows with the number of jobs."""

from __future__ import annotations

from pathlib import Path

from moto.core.base_backend import BackendDict
from moto.logs.models import logs_backends

from cloudtune.emulator.control.iam import Roles
from cloudtune.emulator.settings import ACCOUNT_ID
from cloudtune.emulator.state.kept_state import KeptState

REGION = "ap-south-1"


def test_who_reads_logs_does_not_wait_until_all_have_been_looked_through(tmp_path: Path) -> None:
    BackendDict.reset()
    kept = KeptState(tmp_path, Roles())
    try:
        logs_backends[ACCOUNT_ID][REGION].create_log_group("/new", {})
        for operation in ("GetLogEvents", "FilterLogEvents", "DescribeLogStreams", "ListTagsForResource"):
            with kept.answering("POST", "logs", REGION, operation):
                pass
        assert (tmp_path / "logs.jsonl").read_bytes() == b""
        with kept.answering("POST", "logs", REGION, "CreateLogGroup"):
            pass
        assert b"/new" in (tmp_path / "logs.jsonl").read_bytes()
    finally:
        kept.close()
        BackendDict.reset()

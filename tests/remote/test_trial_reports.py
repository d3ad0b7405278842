"""The uploads of one run against S3 that is slow, refuses, or loses what it had."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from remote_rig import Gate, eventually
from trial_rig import metrics, records

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.clock import VirtualClock
from cloudtune.paths import S3Uri
from cloudtune.remote import trial_reports
from cloudtune.remote.level_follower import LevelFollower
from cloudtune.remote.trial_reports import TrialReports
from cloudtune.report_stream import SEGMENT_BYTES, decode_lines, encode_line, object_name, reports_in

END: dict[str, Any] = {"exit_code": 0, "tail": "", "stopped": False}


class Uploads:
    """Runs of one job, and the levels that S3 was said to have."""

    def __init__(self, session: AwsSession, uri: S3Uri) -> None:
        self.clock = VirtualClock()
        self.objects = S3Objects(session, self.clock)
        self.uri = uri
        self.levels: list[int] = []

    def start(self, wait: bool = True) -> TrialReports:
        reports = TrialReports(self.objects, self.uri, "level", "algo-1", self.levels.append, self.clock)
        reports.start()
        if wait:
            assert reports.begun.wait(120)
        return reports

    def end(self, reports: TrialReports) -> None:
        reports.finish(END)
        assert reports.join(120)
        assert reports.is_complete

    @property
    def delivered(self) -> list[int]:
        return [report["level"] for report in metrics(records(self.objects, self.uri))]

    def place(self, run: int = 0, segment: int = 0) -> S3Uri:
        return self.uri / object_name(run, segment)


class Refusal:
    """S3's answer to writes: an error of this code, if there is one."""

    code = ""

    def __call__(self, request: Any, **_: Any) -> None:
        if self.code and request.method == "PUT":
            raise ClientError({"Error": {"Code": self.code, "Message": "not now"}}, "PutObject")


@pytest.fixture
def uploads(session: AwsSession, gate: Gate, state: S3Uri) -> Uploads:
    return Uploads(session, state / "reports/0-0")


@pytest.fixture
def refusal(session: AwsSession) -> Refusal:
    refusal = Refusal()
    session.client("s3").meta.events.register("before-send.s3", refusal)
    return refusal


def test_each_run_goes_on_counting(uploads: Uploads) -> None:
    for levels in ((1, 2, 3), (2, 3, 4), (4, 5)):
        reports = uploads.start()
        for level in levels:
            reports.add({"level": level})
        uploads.end(reports)
    found = records(uploads.objects, uploads.uri)
    assert uploads.delivered == [1, 2, 3, 4, 5]
    assert [record["run"] for record in found if record["kind"] == "hello"] == [0, 1, 2]
    assert [record["count"] for record in found if record["kind"] == "end"] == [3, 4, 5]
    assert uploads.levels == sorted(uploads.levels)
    assert uploads.levels[-1] == 5


def test_slow_s3_holds_nobody_up(uploads: Uploads, gate: Gate) -> None:
    reports = uploads.start()
    gate.hold()
    for level in range(1, 2001):
        reports.add({"level": level})
    eventually(lambda: gate.attempts == 1)
    assert not reports.join(0)
    assert uploads.levels == [0], "no level is told that S3 has not confirmed"
    gate.open()
    uploads.end(reports)
    assert uploads.delivered == list(range(1, 2001))
    assert uploads.levels[-1] == 2000


def test_large_streams_are_many_small_objects(uploads: Uploads) -> None:
    reports = uploads.start()
    for level in range(1, 101):
        reports.add({"level": level, "text": "x" * 5000})
    uploads.end(reports)
    sizes = [item.size for item in uploads.objects.list(uploads.uri)]
    assert len(sizes) == -(-100 * 5000 // SEGMENT_BYTES) + 1
    assert max(sizes) <= SEGMENT_BYTES
    assert uploads.delivered == list(range(1, 101))


def test_what_fails_is_tried_again(uploads: Uploads, refusal: Refusal, capfd: pytest.CaptureFixture[str]) -> None:
    reports = uploads.start()
    refusal.code = "InternalError"
    reports.add({"level": 1})
    eventually(lambda: "S3 does not take the reports" in capfd.readouterr().err)
    refusal.code = ""
    reports.add({"level": 2})
    uploads.end(reports)
    assert uploads.delivered == [1, 2]
    assert capfd.readouterr().err == "S3 takes the reports again.\n"


def test_a_refusal_ends_the_wait_and_is_not_for_ever(
    uploads: Uploads, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_reports, "_REFUSED_S", 0.01)
    refusal.code = "AccessDenied"
    reports = uploads.start()
    assert list(uploads.objects.list(uploads.uri)) == []
    reports.add({"level": 1})
    refusal.code = ""
    eventually(lambda: uploads.delivered == [1])
    uploads.end(reports)


def test_a_refusal_at_the_end_is_not_waited_for(uploads: Uploads, refusal: Refusal) -> None:
    reports = uploads.start()
    refusal.code = "AccessDenied"
    reports.add({"level": 1})
    reports.finish(END)
    assert reports.join(120)
    assert not reports.is_complete


@pytest.mark.parametrize("harm", ["torn", "lost"])
@pytest.mark.parametrize("at_end", [True, False])
def test_what_s3_loses_is_written_again(uploads: Uploads, harm: str, at_end: bool) -> None:
    reports = uploads.start()
    for level in range(1, 41):
        reports.add({"level": level, "text": "x" * 5000})
    eventually(lambda: uploads.levels[-1] == 40)
    victim = uploads.place(segment=1)
    whole = uploads.objects.head(victim)
    if harm == "torn":
        uploads.objects.put(victim, uploads.objects.get(victim)[:7000])
    else:
        uploads.objects.delete([victim])
    if at_end:
        uploads.end(reports)
    else:
        uploads.clock.sleep(2 * trial_reports.CHECK_S)
        reports.add({"level": 41})
        eventually(lambda: (found := uploads.objects.head(victim)) and whole and found.etag == whole.etag)
        uploads.end(reports)
    assert uploads.delivered == list(range(1, 41 if at_end else 42))


def test_a_run_that_another_machine_has_taken(uploads: Uploads, gate: Gate, s3_url: str) -> None:
    """Both look, both find no earlier run; one of them is first."""
    gate.hold()
    late = uploads.start(wait=False)
    eventually(lambda: gate.attempts == 1)
    environ = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    other = S3Objects(AwsSession(endpoint_url=s3_url, environ=environ))
    other.put(uploads.place(), encode_line({"kind": "hello", "run": 0, "time": 0.0, "host": "other"}))
    gate.open()
    late.add({"level": 1})
    uploads.end(late)
    found = records(uploads.objects, uploads.uri)
    assert [(record["run"], record["host"]) for record in found if record["kind"] == "hello"] == [
        (0, "other"),
        (1, "algo-1"),
    ]


def test_a_gap_in_an_earlier_run_is_filled(uploads: Uploads) -> None:
    """Half of an object of a machine that is gone: what followed does not count."""
    reports = uploads.start()
    for level in range(1, 41):
        reports.add({"level": level, "text": "x" * 5000})
    uploads.end(reports)
    uploads.objects.put(uploads.place(segment=1), uploads.objects.get(uploads.place(segment=1))[:20_000])
    uploads.levels.clear()
    reports = uploads.start()
    safe = uploads.levels[-1]
    assert 13 <= safe <= 17
    for level in range(safe + 1, 41):
        reports.add({"level": level, "text": "x" * 5000})
    uploads.end(reports)
    streams = [decode_lines(uploads.objects.get(item.uri))[0] for item in uploads.objects.list(uploads.uri)]
    assert [report["level"] for report in reports_in(streams)] == list(range(1, 41))
    assert [record["count"] for records in streams for record in records if record["kind"] == "end"] == [40, 40]


def test_other_hosts_follow(uploads: Uploads) -> None:
    seen: list[int] = []
    follower = LevelFollower(uploads.objects, uploads.uri, "level", seen.append)
    follower.look()
    assert seen == []
    reports = uploads.start()
    reports.add({"level": 3})
    uploads.end(reports)
    follower.look()
    follower.look()
    assert seen == [3], "an object that has not changed is not read again"

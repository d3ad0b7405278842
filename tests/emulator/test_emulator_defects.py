"""One thing that goes wrong stays one thing; what comes too late, or from a web site, changes nothing."""

from __future__ import annotations

import http.client
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from emulator_rig import LOG_GROUP, Rig, eventually
from fleet_rig import FleetRig
from moto.logs.models import logs_backends

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.control.iam import decide
from cloudtune.emulator.faults import Faults, Scenario
from cloudtune.emulator.faults.request_faults import RequestFaults
from cloudtune.emulator.fleet.delays import CALM, Delays, FamilyDelays
from cloudtune.emulator.fleet.instances import Cluster
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.machine.keeper import kill_group
from cloudtune.emulator.machine.log_shipper import LogShipper, MetricExtractor
from cloudtune.emulator.machine.processes import Container, Keeper
from cloudtune.emulator.machine.shared_threads import SharedThreads
from cloudtune.emulator.object_store import LogStore
from cloudtune.emulator.settings import ACCOUNT_ID

EMPTY_PAGES = {"kind": "empty_log_page"}


class BrokenDelays(Delays):
    """Fails for one job, where its instances go."""

    def release_s(self, cluster: Cluster, job_name: str) -> float:
        if job_name.startswith("broken"):
            raise RuntimeError("a defect")
        return super().release_s(cluster, job_name)

    def stop_s(self, cluster: Cluster, job_name: str) -> float:
        if job_name == "no-end":
            raise RuntimeError("a defect")
        return super().stop_s(cluster, job_name)


def test_a_defect_is_the_end_of_one_job(caplog: pytest.LogCaptureFixture) -> None:
    emulator = SageMakerEmulator(max_parallel_jobs=1, stop_grace_s=1)
    emulator.delays = BrokenDelays()
    slow_end = (FamilyDelays(("ml.",), stop=(0.2, 0.2)),)
    with emulator as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        rig.run("broken-end", "")  # in the job's own thread
        for name, table in (("broken-dispatcher", slow_end), ("no-end", CALM)):
            aws.delays.use(table)
            rig.submit(name, "signal.pause()")
            rig.reached(name, "Training")
            rig.sagemaker.stop_training_job(TrainingJobName=name)
            rig.ended(name)
        aws.delays.use(CALM)
        assert rig.run("fine", "")["TrainingJobStatus"] == "Completed"
        eventually(lambda: aws.health()["busy"] == 0, "all places are free")
        assert rig.describe("no-end")["FailureReason"].startswith("InternalServerError")
    assert "a defect" in caplog.text


def test_a_removed_job_is_not_kept_again() -> None:
    rig = FleetRig()
    job = rig.create("job", run=True)
    rig.complete(job)
    kept: list[TrainingJob] = []
    rig.table.context.on_change = kept.append
    job.set_tags([{"Key": "in", "Value": "time"}])
    rig.table.remove(job)
    job.set_tags([{"Key": "too", "Value": "late"}])
    assert kept == [job]
    again = rig.create("job")
    assert again in kept


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_the_number_of_an_ended_process_is_somebody_elses() -> None:
    keeper = Keeper("number-of-others", None)
    try:
        command = ["/bin/sh", "-c", "printf . >&0; exit 0"]
        container = Container.start(command, {}, "job", lambda leader: leader, keeper)
        container.reap()
        container.close()
        signalled: list[int] = []
        container._first = lambda leader: signalled.append(leader) or os.getpid()
        before = signal.signal(signal.SIGTERM, lambda *_: signalled.append(0))
        try:
            container.terminate()
            container.kill()
        finally:
            signal.signal(signal.SIGTERM, before)
        assert signalled == []
    finally:
        keeper.close()


def test_who_prints_for_ever_is_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudtune.emulator.machine.log_shipper._FINISH_TIMEOUT_S", 1.0)
    reader, writer = os.pipe()
    endless = subprocess.Popen(
        [sys.executable, "-c", "import time\nwhile True: print('x', flush=True); time.sleep(0.01)"],
        stdout=writer,
        start_new_session=True,
    )
    os.close(writer)
    threads = SharedThreads()
    logs = LogStore(ACCOUNT_ID, "eu-north-1")
    shipper = LogShipper(reader, logs, logs.new_stream("endless", "algo-1"), MetricExtractor([]), threads)
    shipper.start(None)
    finished = threading.Thread(target=shipper.finish)
    finished.start()
    finished.join(timeout=60)
    try:
        assert not finished.is_alive()
        os.close(reader)
        # The next job's output may have the same descriptor.
        other, out = os.pipe()
        assert other == reader
        stream = logs.new_stream("other", "algo-1")
        next_one = LogShipper(other, logs, stream, MetricExtractor([]), threads)
        next_one.start(None)
        os.write(out, b"heard\n")
        os.close(out)
        next_one.finish()
        events = logs_backends[ACCOUNT_ID]["eu-north-1"].groups[LOG_GROUP].streams[stream].events
        assert [event.message for event in events] == ["heard"]
        os.close(other)
    finally:
        kill_group(endless.pid)
        endless.wait()
        threads.close()


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("s3:Get*", "s3:GetObject", True),
        ("s3:Get?bject", "s3:GetObject", True),
        ("arn:aws:s3:::[ab]/*", "arn:aws:s3:::[ab]/x\ny", True),
        ("arn:aws:s3:::[ab]/*", "arn:aws:s3:::a/x", False),
        ("*", "", True),
        ("a.c", "abc", False),
        ("*a" * 40 + "*b", "a" * 400, False),  # for ever, if it tried all ways
    ],
)
def test_patterns_of_policies(pattern: str, text: str, matches: bool) -> None:
    statement = {"Effect": "Allow", "Action": "*", "Resource": pattern}
    assert decide([statement], "s3:GetObject", text) == ("allowed" if matches else "implicitDeny")


def test_a_slow_pattern_is_given_up_and_others_go_on() -> None:
    lines = 2000
    metrics = MetricExtractor(
        [{"Name": "slow", "Regex": r"(.*)(.*)(.*)(\d+)x"}, {"Name": "fast", "Regex": r"loss=(\d+)"}]
    )
    began = time.thread_time()
    for number in range(lines):
        metrics.scan("=" * 150 + f"loss={number}")
    assert time.thread_time() - began < 60  # of many minutes
    assert [(item["MetricName"], item["Value"]) for item in metrics.final()] == [("fast", lines - 1)]


def test_a_web_site_is_no_name_of_the_emulator() -> None:
    with SageMakerEmulator() as aws:
        address = urlsplit(aws.endpoint_url)

        def status(host: str, path: str) -> int:
            connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
            try:
                connection.request("GET", path, headers={"Host": host})
                return connection.getresponse().status
            finally:
                connection.close()

        names = [
            "127.0.0.1",
            "localhost:1",
            "[::1]:80",
            "bucket.localhost",
            "emulator",
            "s3.amazonaws.com",
            "a.test",
        ]
        for path in ("/", "/_emulator/jobs"):
            assert 403 not in {status(name, path) for name in names}
            for name in (
                "evil.example",
                "127.0.0.1.evil.example:80",
                "amazonaws.com.evil.example",
                "localhost.com",
            ):
                assert status(name, path) == 403


def test_a_request_for_logs_in_chunks_reaches_who_answers() -> None:
    body = b'{"logStreamName": "j/algo-1-17"}'
    seen: list[bytes] = []

    def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return []

    layer = RequestFaults(answer, Faults(scenario=Scenario.from_json({"schema": 1, "faults": [EMPTY_PAGES]})))
    signed = "AWS4-HMAC-SHA256 Credential=me/20260101/us-east-1/logs/aws4_request, SignedHeaders=host"
    asked = {"HTTP_X_AMZ_TARGET": "Logs_20140328.GetLogEvents", "HTTP_AUTHORIZATION": signed}
    list(layer({"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True, **asked}, lambda *_: None))
    assert seen == [body]

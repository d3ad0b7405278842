"""What the audit log tells, and what it must never tell."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator_rig import BUCKET, Rig, error_of, eventually
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario_rig import of

from cloudtune.emulator import EmulatorHandle, SageMakerEmulator
from cloudtune.emulator.audit import KINDS, AuditLog
from cloudtune.emulator.daemon import _call
from cloudtune.errors import InvalidRequest, SpecError

RESET = {"kind": "request_error", "operations": ["s3:DeleteObject"], "error": "connection_reset"}
THROTTLE = {"kind": "request_error", "operations": ["sts:*"], "error": "throttled"}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def emulator(state: Path) -> Iterator[SageMakerEmulator]:
    with SageMakerEmulator(state_dir=state, max_parallel_jobs=2, time_scale=10, seed=3) as aws:
        yield aws


def entries(emulator: SageMakerEmulator, kind: str, **facts: Any) -> list[dict[str, Any]]:
    found = emulator.audit.entries(kind)
    return [entry for entry in found if facts.items() <= entry.items()]


def last_call(emulator: SageMakerEmulator, operation: str) -> dict[str, Any]:
    return entries(emulator, "call", operation=operation)[-1]


def test_a_job_leaves_its_story(emulator: SageMakerEmulator, rig: Rig) -> None:
    code = """
    first = not os.path.exists(ROOT + '/checkpoints/seen')
    open(ROOT + '/checkpoints/seen', 'w').write('1')
    while first: signal.pause()
    """
    name = rig.submit("story", code, spot=True)
    rig.reached(name, "Training")
    eventually(lambda: rig.get(f"checkpoints/{name}/seen"), "the checkpoint is in S3")
    emulator.interrupt(name)
    described = rig.ended(name)
    story = [entry["phase"] for entry in emulator.audit.entries("transition", job=name)]
    assert story == [item["Status"] for item in described["SecondaryStatusTransitions"]]
    assert story.count("Interrupted") == 1 and story[-1] == "Completed"
    bills = emulator.audit.entries("billed", job=name)
    assert [(bill["what"], bill["attempt"], bill["spot"]) for bill in bills] == [
        ("training", 0, True),
        ("training", 1, True),
    ]
    assert bills[0]["instances"] == [{"instance_type": "ml.m5.large", "instance_count": 1}]
    assert round(sum(bill["seconds"] for bill in bills)) == described["TrainingTimeInSeconds"]
    assert all(bill["billable_seconds"] == pytest.approx(0.3 * bill["seconds"]) for bill in bills)
    assert [entry["fault"] for entry in emulator.audit.entries("fault", job=name)] == ["interruption"]
    created = emulator.audit.entries("call", job=name)[0]
    assert (created["service"], created["operation"], created["status"]) == ("sagemaker", "CreateTrainingJob", 200)
    everything = emulator.audit.entries()
    assert [entry["number"] for entry in everything] == sorted(entry["number"] for entry in everything)


def test_calls_of_every_protocol_tell_their_error(emulator: SageMakerEmulator, rig: Rig) -> None:
    error_of(rig.sagemaker.describe_training_job, TrainingJobName="nobody")
    call = last_call(emulator, "DescribeTrainingJob")
    assert (call["service"], call["status"], call["error"], call["job"]) == (
        "sagemaker",
        400,
        "ValidationException",
        "nobody",
    )
    error_of(rig.s3.get_object, Bucket=BUCKET, Key="a b/ü")
    call = last_call(emulator, "GetObject")
    assert (call["status"], call["error"], call["bucket"], call["key"]) == (404, "NoSuchKey", BUCKET, "a b/ü")
    error_of(rig.s3.head_object, Bucket=BUCKET, Key="none")
    assert last_call(emulator, "HeadObject")["error"] == "404"
    error_of(rig.client("iam").get_user, UserName="none")
    assert last_call(emulator, "GetUser")["error"] == "NoSuchEntity"
    error_of(rig.logs.get_log_events, logGroupName="none", logStreamName="none")
    assert last_call(emulator, "GetLogEvents")["error"] == "ResourceNotFoundException"
    rig.client("sts").get_caller_identity()
    call = last_call(emulator, "GetCallerIdentity")
    assert (call["service"], call["status"], call["error"]) == ("sts", 200, None)
    assert 0 < call["seconds"] < 60


def test_an_error_in_cbor_has_its_code(emulator: SageMakerEmulator) -> None:
    headers = {
        "Smithy-Protocol": "rpc-v2-cbor",
        "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/r/no/aws4_request",
    }
    request = urllib.request.Request(f"{emulator.endpoint_url}/service/X/operation/Y", b"", headers)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)
    assert entries(emulator, "call", service="no")[-1]["error"] == "UnknownOperationException"


def test_what_a_scenario_does_to_calls_is_recorded(emulator: SageMakerEmulator, rig: Rig) -> None:
    emulator.apply_scenario(of(RESET, THROTTLE))
    try:
        with pytest.raises(Exception, match=r"(?i)connection"):
            rig.s3.delete_object(Bucket=BUCKET, Key="x")
        assert error_of(rig.client("sts").get_caller_identity)[0] == "Throttling"
    finally:
        emulator.apply_scenario("calm")
    assert last_call(emulator, "GetCallerIdentity")["error"] == "Throttling"
    cut = eventually(
        lambda: entries(emulator, "call", operation="DeleteObject"), "the cut connection is recorded"
    )[-1]
    assert (cut["status"], cut["error"]) == (None, "ConnectionReset")
    assert {entry["fault"] for entry in entries(emulator, "fault")} >= {"connection_reset", "throttled"}


def test_no_secret_is_in_it(emulator: SageMakerEmulator, rig: Rig, state: Path) -> None:
    secret = "s3cr3t-of-a-user"
    rig.run("discreet", f"print({secret!r})", Environment={"TOKEN": secret}, HyperParameters={"password": secret})
    url = rig.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "code/discreet/train.py"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60) as answer:
        answer.read()
    _call(emulator.endpoint_url, "interrupt_rules", {"after_s": 1e6, "name_prefix": "nothing-here"})
    text = (state / "audit.jsonl").read_text(encoding="utf-8")
    assert last_call(emulator, "GetObject")["key"] == "code/discreet/train.py"
    assert "POST interrupt_rules" in text
    for hidden in (secret, "Signature", "X-Amz-", "Credential", "testing", "nothing-here"):
        assert hidden not in text


def test_a_name_that_is_none_takes_no_room(emulator: SageMakerEmulator, rig: Rig) -> None:
    operation = "O" * 5000
    body = json.dumps({"TrainingJobName": "n" * 100_000}).encode()
    headers = {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    request = urllib.request.Request(emulator.endpoint_url, body, headers)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)
    assert len(json.dumps(emulator.audit.newest("call", 1))) < 1000
    rig.s3.put_object(Bucket=BUCKET, Key="k" * 3000, Body=b"")
    assert len(json.dumps(emulator.audit.newest("call", 1))) < 1500


def test_the_file_has_what_memory_has(emulator: SageMakerEmulator, rig: Rig, state: Path) -> None:
    rig.s3.list_buckets()
    lines = [json.loads(line) for line in (state / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == emulator.audit.entries()
    assert lines[0]["kind"] == "emulator"
    assert {"event": "start", "time_scale": 10, "scenario": "calm", "seed": 3}.items() <= lines[0].items()
    assert (state / "audit.jsonl").stat().st_mode & 0o077 == 0


def test_the_page_and_the_handle_ask_for_parts(emulator: SageMakerEmulator, rig: Rig) -> None:
    handle = EmulatorHandle(emulator.endpoint_url, 0)
    rig.run("asked-for", "")
    assert handle.audit() == emulator.audit.entries()
    since = emulator.audit.counts()["entries"]
    assert handle.audit(since=since) == [] == handle.audit(since=10**9)
    rig.s3.list_buckets()
    (only,) = handle.audit("call", since)
    assert (only["operation"], only["number"]) == ("ListBuckets", since)
    assert {entry["kind"] for entry in handle.audit(job="asked-for")} == {"call", "transition", "billed"}
    assert handle.audit("transition", job="asked-for")[-1]["phase"] == "Completed"
    with pytest.raises(InvalidRequest, match="billed"):
        handle.audit("bills")
    for query in ("since=-1", "since=x", "since=%C2%B2", "when=now"):
        with pytest.raises(InvalidRequest):
            _call(emulator.endpoint_url, f"audit?{query}")
    page = _call(emulator.endpoint_url, "audit?kind=fault&since=0&job=nobody")
    assert page["entries"] == [] and page["more"] is False


def test_a_handle_reads_more_than_one_page(emulator: SageMakerEmulator) -> None:
    for number in range(12_000):
        emulator.audit.record("fault", fault="many", job="paged", hit=number)
    found = EmulatorHandle(emulator.endpoint_url, 0).audit("fault", job="paged")
    assert [entry["hit"] for entry in found] == list(range(12_000))


def test_two_files_and_one_that_cannot_be(tmp_path: Path) -> None:
    log = AuditLog()
    log.record("fault", fault="early")
    one, two = tmp_path / "new" / "one.jsonl", tmp_path / "two.jsonl"
    log.write_to(one)
    log.write_to(two)
    with pytest.raises(SpecError, match=r"cannot be written \(Is a directory\)"):
        log.write_to(tmp_path)
    log.record("fault", fault="late", odd={1, 2}, path=tmp_path)
    assert one.read_bytes() == two.read_bytes()
    assert json.loads(one.read_text())["path"] == str(tmp_path)
    log.close()
    log.record("fault", fault="later")
    assert len(one.read_text().splitlines()) == 1
    assert [entry["fault"] for entry in log.entries()] == ["early", "late", "later"]


def test_a_file_that_has_grown_large_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"old\n")
    os.truncate(path, (64 << 20) + 1)
    log = AuditLog()
    log.write_to(path)
    log.record("fault", fault="new")
    assert len(path.read_text().splitlines()) == 1
    assert (tmp_path / "audit.jsonl.old").stat().st_size == (64 << 20) + 1
    log.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_the_file_alone(caplog: pytest.LogCaptureFixture) -> None:
    log = AuditLog()
    log.write_to(Path("/dev/full"))
    log.record("fault", fault="one")
    log.record("fault", fault="two")
    assert len(log.entries()) == 2
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["the audit log ends"]


def test_memory_is_bounded_and_calls_push_out_no_transition() -> None:
    log = AuditLog()
    log.record("transition", job="a", phase="Starting")
    for number in range(30_000):
        log.record("call", operation=str(number), error="x" if number % 3 == 0 else None)
    assert len(log.entries()) == 20_001
    assert log.entries()[0]["kind"] == "transition"
    assert log.entries("call")[-1]["operation"] == "29999"
    assert log.counts() == {"entries": 30_001, "calls": 30_000, "errors": 10_000, "faults": 0}
    log.forget()
    assert log.entries() == []
    log.record("fault", fault="next")
    assert log.entries()[0]["number"] == 30_001


def test_threads_share_one_numbering(tmp_path: Path) -> None:
    log = AuditLog()
    log.write_to(tmp_path / "log")
    threads = [
        threading.Thread(target=lambda: [log.record(kind, fault="x") for kind in KINDS * 50]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [json.loads(line)["number"] for line in (tmp_path / "log").read_text().splitlines()]
    assert numbers == [entry["number"] for entry in log.entries()] == list(range(8 * 50 * len(KINDS)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("ab")), max_size=40), st.integers(0, 45), st.data()
)
def test_a_question_means_what_it_says(made: list[tuple[str, str]], since: int, data: st.DataObject) -> None:
    log = AuditLog()
    for kind, job in made:
        log.record(kind, job=job)
    kind = data.draw(st.sampled_from([None, *KINDS]))
    job = data.draw(st.sampled_from([None, "a", "b"]))
    expected = [
        number for number, (k, j) in enumerate(made) if number >= since and kind in (None, k) and job in (None, j)
    ]
    assert [entry["number"] for entry in log.entries(kind, since, job)] == expected

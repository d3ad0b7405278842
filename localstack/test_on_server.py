"""What cloudtune does with S3, STS and CloudWatch Logs, on the server that ``AWS_ENDPOINT_URL`` names.

``localstack/run_tests.sh`` runs this; the test suite does so with a moto server.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudtune.aws.code_archive import build_archive, upload_code
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.errors import AlreadyExists, NotFound
from cloudtune.experiment.events import (
    Event,
    ExperimentEnded,
    SessionStarted,
    TrialEnded,
    TrialReported,
    TrialStarted,
)
from cloudtune.experiments import load_experiment, load_experiments
from cloudtune.paths import ExperimentPaths, S3ExperimentPaths, S3Uri, write_atomic
from cloudtune.remote.mirrored_store import MirroredStore
from cloudtune.testing import store_contract
from cloudtune.testing.store_contract import STORE_CHECKS, StoreCheck, check_random_history

METADATA = '{"metric_names": ["loss"], "metric_mode": ["min"], "entrypoint": "train", "tag": "study"}'


@pytest.fixture(scope="session")
def session() -> AwsSession:
    if not os.environ.get("AWS_ENDPOINT_URL"):
        pytest.exit("Set AWS_ENDPOINT_URL (see localstack/env.sh): these tests are not for AWS itself.", 2)
    return AwsSession()


@pytest.fixture(scope="session")
def objects(session: AwsSession) -> S3Objects:
    return S3Objects(session)


@pytest.fixture
def prefix(session: AwsSession, objects: S3Objects) -> Iterator[S3Uri]:
    """A folder in S3 for this test alone, which is removed."""
    root = S3Uri(session.default_bucket(), f"tests-of-cloudtune/{uuid.uuid4()}")
    yield root
    objects.delete([item.uri for item in objects.list(root)])


def history(count: int) -> list[Event]:
    reports = [
        TrialReported(1.0, 1.0, 0, 0, n, {"loss": 1 / (n + 1), "epoch": n + 1}, "CONTINUE") for n in range(count)
    ]
    ended = [TrialEnded(2.0, 2.0, 0, 0, "completed"), ExperimentEnded(2.0, 2.0, "done")]
    return [
        SessionStarted(0.0, 0.0, 0, "here:1"),
        TrialStarted(0.0, 0.0, 0, 0, {"lr": 0.1}, None),
        *reports,
        *ended,
    ]


def test_who_we_are(session: AwsSession) -> None:
    assert len(session.account_id()) == 12
    assert session.default_bucket() in {b["Name"] for b in session.client("s3").list_buckets()["Buckets"]}


def test_objects(objects: S3Objects, prefix: S3Uri, tmp_path: Path) -> None:
    large = os.urandom(9 << 20)
    (tmp_path / "large").write_bytes(large)
    objects.upload(tmp_path / "large", prefix / "large")
    objects.download(prefix / "large", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == large
    assert objects.get_range(prefix / "large", len(large) - 5) == large[-5:]
    names = [f"many/{number:04d} ü+&" for number in range(60)]
    for name in names:
        objects.put(prefix / name, name.encode())
    assert [item.uri.key.removeprefix(f"{prefix.key}/") for item in objects.list(prefix / "many")] == names
    assert objects.get(prefix / names[7]) == names[7].encode()
    assert objects.head(prefix / "none") is None
    assert objects.delete([prefix / name for name in names]) == len(names)


def test_one_of_two_writers_wins(objects: S3Objects, prefix: S3Uri) -> None:
    objects.put(prefix / "claim", b"mine", if_absent=True)
    objects.put(prefix / "claim", b"mine", if_absent=True)
    with pytest.raises(AlreadyExists):
        objects.put(prefix / "claim", b"theirs", if_absent=True)
    assert objects.get(prefix / "claim") == b"mine"


@pytest.fixture
def make_disk(
    objects: S3Objects, prefix: S3Uri, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Callable[[], MirroredStore]]:
    def make() -> Callable[[], MirroredStore]:
        paths = ExperimentPaths(tmp_path_factory.mktemp("disk") / "experiment")
        state = prefix / str(uuid.uuid4())
        return lambda: MirroredStore(paths, objects, state)

    return make


# That one wants to have everything durable at once, which takes S3 a moment.
CHECKS = [check for check in STORE_CHECKS if check is not store_contract.check_keeps_everything_in_order]


@pytest.mark.parametrize("check", CHECKS)
def test_the_contract_of_stores(check: StoreCheck, make_disk: Callable[[], Callable[[], MirroredStore]]) -> None:
    check(make_disk)


def test_a_random_history(make_disk: Callable[[], Callable[[], MirroredStore]]) -> None:
    check_random_history(make_disk, seed=1, steps=30)


def test_a_lost_machine_loses_nothing(objects: S3Objects, prefix: S3Uri, tmp_path: Path) -> None:
    events = history(300)
    store = MirroredStore(ExperimentPaths(tmp_path / "one"), objects, prefix)
    store.open("one")
    for start in range(0, len(events), 50):
        store.append(events[start : start + 50])
    store.close()
    other = MirroredStore(ExperimentPaths(tmp_path / "two"), objects, prefix)
    other.restore()
    assert other.read() == events


def test_experiments_are_loaded(
    session: AwsSession, objects: S3Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = f"study-{uuid.uuid4().hex[:8]}"
    bucket = session.default_bucket()
    roots = []
    for seed in range(3):
        target = S3ExperimentPaths.of(bucket, f"{tag}-digits-rs-{seed}", tag)
        roots.append(target.root)
        paths = ExperimentPaths(tmp_path / "job" / target.name)
        store = MirroredStore(paths, objects, target.state)
        store.open("job")
        write_atomic(paths.metadata, METADATA)
        store.append(history(5 + seed))
        store.close()
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path / "here"))
    try:
        assert [found.num_reports for found in load_experiments(tag)] == [5, 6, 7]
        best = load_experiment(f"{tag}-digits-rs-2", experiment_name=tag).best_config()
        assert best["loss"] == pytest.approx(1 / 7)
        with pytest.raises(NotFound):
            load_experiment(f"{tag}-digits-rs-9")
    finally:
        objects.delete([item.uri for root in roots for item in objects.list(root)])


def test_code_travels_once(session: AwsSession, objects: S3Objects, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(f"print('{uuid.uuid4()}')")
    archive = build_archive([(tmp_path / "train.py", "train.py")])
    uri = upload_code(objects, session.default_bucket(), archive)
    assert upload_code(objects, session.default_bucket(), archive) == uri
    objects.delete([item.uri for item in objects.list(uri)])


def test_logs(session: AwsSession) -> None:
    logs = session.client("logs")
    group = f"/tests-of-cloudtune/{uuid.uuid4()}"
    logs.create_log_group(logGroupName=group)
    try:
        logs.create_log_stream(logGroupName=group, logStreamName="job/algo-1")
        events = [{"timestamp": int(time.time() * 1000), "message": f"line {n}"} for n in range(20)]
        logs.put_log_events(logGroupName=group, logStreamName="job/algo-1", logEvents=events)
        found = logs.get_log_events(logGroupName=group, logStreamName="job/algo-1", startFromHead=True)
        assert [event["message"] for event in found["events"]] == [f"line {n}" for n in range(20)]
    finally:
        logs.delete_log_group(logGroupName=group)

"""Experiments on disk and in S3 (a moto server), complete, running and damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from journals import events_of, write_experiment
from moto.server import ThreadedMotoServer

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.errors import AwsError, NotFound, ResourceNotFound, SpecError, StoreError, Unreachable
from cloudtune.experiment.events import ExperimentEnded, SessionStarted, TrialReported
from cloudtune.experiments.loading import (
    STUDY_FILENAME,
    get_metadata,
    list_experiments,
    load_experiment,
    load_experiments,
    load_experiments_df,
)
from cloudtune.paths import S3ExperimentPaths
from cloudtune.results.frame import ResultsBuilder
from cloudtune.stores.file import FileStore

VALUES = {0: [(1.0, 0.5), (2.0, 0.4)], 1: [(3.0, 0.25)], 2: [(4.0, 0.75)]}


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path / "root"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_results_come_from_the_journal(root: Path) -> None:
    paths = write_experiment(root, "exp", events_of(VALUES))
    assert len(list(paths.journal.glob("*.jsonl"))) > 1
    found = load_experiment("exp")
    assert found.results["loss"].tolist() == [0.5, 0.4, 0.25, 0.75]
    assert found.ended and found.num_trials == 3 and found.path == paths.dir and found.tuner is None
    assert found.best_config() == {  # exact, and integers are integers
        "loss": 0.25, "accuracy": 0.75, "epoch": 1, "trial_id": 1, "attempt": 0,
        "config_lr": 0.1, "config_units": 1,
    }  # fmt: skip
    assert isinstance(found.best_config()["config_units"], int)


def test_a_running_experiment_is_read_up_to_its_last_whole_line(root: Path) -> None:
    paths = write_experiment(root, "exp", events_of(VALUES, ended=False))
    last = sorted(paths.journal.glob("*.jsonl"))[-1]
    with last.open("ab") as file:
        file.write(b'{"kind":"trial_repo')
    found = load_experiment("exp")
    assert not found.ended and found.num_reports == 4


def test_a_damaged_journal_gives_way_to_the_results_file(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = write_experiment(root, "exp", events_of(VALUES))
    paths.segment(1).unlink()
    with pytest.raises(StoreError, match="missing"):
        load_experiment("exp")
    ResultsBuilder(events_of(VALUES)).write(paths.results)
    assert load_experiment("exp").results["loss"].tolist() == [0.5, 0.4, 0.25, 0.75]
    assert "00000001.jsonl" in caplog.text


def test_an_experiment_without_reports(root: Path) -> None:
    paths = write_experiment(root, "exp", [])
    for found in (load_experiment("exp"), load_experiment("exp", local_path=root)):
        assert not found.ended and found.num_trials == 0 and len(found.results) == 0
    paths.metadata.write_text("{torn")
    assert load_experiment("exp").metadata == {}


def test_where_experiments_are_looked_for(root: Path) -> None:
    write_experiment(root / "tag", "tag-b-rs-0", events_of(VALUES))
    assert load_experiment("tag-b-rs-0").path == root / "tag" / "tag-b-rs-0"
    assert load_experiment("tag-b-rs-0", experiment_name="tag").num_reports == 4
    with pytest.raises(NotFound):
        load_experiment("tag-b-rs-0", experiment_name="other")
    write_experiment(root / "other", "tag-b-rs-0", events_of(VALUES))
    with pytest.raises(SpecError, match="other, tag"):
        load_experiment("tag-b-rs-0")


def test_not_found_says_where_it_looked_and_what_is_similar(root: Path) -> None:
    write_experiment(root, "digits-asha-2026", events_of(VALUES))
    with pytest.raises(NotFound) as error:
        load_experiment("digits-asha-2025")
    assert str(root / "digits-asha-2025") in str(error.value)
    assert "no AWS credentials" in str(error.value)
    assert "Similar names: digits-asha-2026" in str(error.value)
    write_experiment(root, "digits-2026-01-01-10-00-00-123", events_of(VALUES))
    with pytest.raises(NotFound, match="Similar names: digits-asha-2026, digits-2026-01-01-10-00-00-123"):
        load_experiment("digits")  # the name that was given to the tuner, without its timestamp
    with pytest.raises(NotFound, match="download_if_not_found=False"):
        load_experiment("x", download_if_not_found=False)
    for name in ("../digits", "a/b", "", ".."):
        with pytest.raises(SpecError):
            load_experiment(name)
    with pytest.raises(NotFound, match="no AWS credentials"):
        load_experiments("nothing")


def test_lists_and_filters(root: Path) -> None:
    write_experiment(root, "old", events_of(VALUES), st_tuner_creation_timestamp=1.0, tag="t", algorithm="RS")
    write_experiment(root / "t", "new", events_of(VALUES), st_tuner_creation_timestamp=2.0, algorithm="ASHA")
    write_experiment(root / "t", "empty", [], metric_names=["a", "b"], metric_mode=["min", "max"])
    (root / "no-experiment").mkdir()
    assert [e.name for e in list_experiments()] == ["empty", "new", "old"]
    assert [e.name for e in list_experiments(path_filter=lambda path: "/t/" in path)] == ["empty", "new"]
    assert [e.name for e in load_experiments("t")] == ["empty", "new", "old"]
    assert [e.name for e in load_experiments("t", experiment_filter=lambda e: e.num_reports > 0)] == ["new", "old"]
    assert get_metadata(lambda path: path.endswith("/old/metadata.json"))["old"]["algorithm"] == "RS"
    frame = load_experiments_df()
    assert len(frame) == 8 and set(frame["algorithm"]) == {"RS", "ASHA"} and set(frame["metric_mode"]) == {"min"}
    assert load_experiments_df(experiment_filter=lambda e: False).empty
    write_experiment(root / "t", "damaged", events_of(VALUES)).segment(0).write_bytes(b"rubbish\n")
    assert [e.name for e in load_experiments("t")] == ["empty", "new", "old"]  # the others are not lost


# ---- S3


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def objects(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> S3Objects:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-west-2",
        "AWS_ENDPOINT_URL": moto_url,
    }.items():
        monkeypatch.setenv(name, value)
    session = AwsSession()
    found = S3Objects(session)
    found.delete([item.uri for item in found.list(S3ExperimentPaths.of(session.default_bucket(), "x").root)])
    return found


@pytest.fixture
def bucket(objects: S3Objects) -> str:
    return AwsSession().default_bucket()


def upload(objects: S3Objects, folder: Path, target: S3ExperimentPaths) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != ".lock":
            objects.put(target.state / path.relative_to(folder).as_posix(), path.read_bytes())


def test_an_experiment_is_fetched_refreshed_and_then_left_alone(
    root: Path, tmp_path: Path, objects: S3Objects, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = S3ExperimentPaths.of(bucket, "tag1-digits-rs-0", "tag1")
    paths = write_experiment(tmp_path / "job", "tag1-digits-rs-0", events_of(VALUES, ended=False))
    paths.snapshot.write_bytes(b"no pickle")
    upload(objects, paths.dir, remote)
    objects.put(remote.checkpoints / "0/model.bin", b"large")

    found = load_experiment("tag1-digits-rs-0")
    assert found.path == root / "tag1" / "tag1-digits-rs-0" and not found.ended and found.num_reports == 4
    fetched = {path.name for path in found.path.iterdir() if not path.name.startswith(".")}
    assert fetched == {"metadata.json", "journal"}  # neither the snapshot nor checkpoints

    store = FileStore(paths)
    store.open("test")
    store.append([TrialReported(9.0, 9.0, 2, 0, 1, {"loss": 0.125}, "CONTINUE")])
    store.append([ExperimentEnded(9.0, 9.0, "done")])
    store.close()
    upload(objects, paths.dir, remote)
    again = load_experiment("tag1-digits-rs-0")
    assert again.ended and again.best_config()["loss"] == 0.125

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens: S3 is not asked any more
    assert load_experiment("tag1-digits-rs-0").ended


def test_a_broken_connection_shows_the_last_copy(
    tmp_path: Path,
    objects: S3Objects,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    paths = write_experiment(tmp_path / "job", "running", events_of(VALUES, ended=False))
    upload(objects, paths.dir, S3ExperimentPaths.of(bucket, "running"))
    assert load_experiment("running").num_reports == 4
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert load_experiment("running").num_reports == 4
    assert "as of its last download" in caplog.text
    with pytest.raises(Unreachable):
        load_experiment("elsewhere")


def test_a_download_that_was_interrupted_is_completed(
    root: Path, tmp_path: Path, objects: S3Objects, bucket: str
) -> None:
    paths = write_experiment(tmp_path / "job", "whole", events_of(VALUES))
    upload(objects, paths.dir, S3ExperimentPaths.of(bucket, "whole"))
    load_experiment("whole")
    (root / "whole" / "journal" / "00000000.jsonl").unlink()
    assert load_experiment("whole").num_reports == 4


def test_all_experiments_of_a_tag(root: Path, tmp_path: Path, objects: S3Objects, bucket: str) -> None:
    for seed in range(7):
        name = f"tag2-digits-rs-{seed}"
        paths = write_experiment(tmp_path / "job", name, events_of(VALUES), algorithm="RS", seed=seed)
        upload(objects, paths.dir, S3ExperimentPaths.of(bucket, name, "tag2"))
    objects.put(S3ExperimentPaths.of(bucket, "tag2-digits-rs-9", "tag2").checkpoints / "0/x", b"not begun")
    found = load_experiments("tag2")
    assert [e.metadata["seed"] for e in found] == list(range(7))
    assert all(e.num_reports == 4 for e in found)
    assert load_experiments("tag2", download_if_not_found=False)[0].name == "tag2-digits-rs-0"
    with pytest.raises(NotFound, match="Similar names: tag2"):
        load_experiments("tag22")
    with pytest.raises(NotFound, match="Similar names: tag2-digits-rs-"):
        load_experiment("tag2-digits-rs-77")
    assert not (root / "tag22").exists()


def test_experiments_whose_name_does_not_tell_the_tag(tmp_path: Path, objects: S3Objects, bucket: str) -> None:
    paths = write_experiment(tmp_path / "job", "mine", events_of(VALUES))
    upload(objects, paths.dir, S3ExperimentPaths.of(bucket, "mine", "tag3"))
    assert load_experiment("mine").num_reports == 4
    upload(objects, paths.dir, S3ExperimentPaths.of(bucket, "other", "tag3"))
    upload(objects, paths.dir, S3ExperimentPaths.of(bucket, "other", "tag4"))
    with pytest.raises(SpecError, match="tag3, tag4"):
        load_experiment("other")
    assert load_experiment("other", experiment_name="tag4").path.parent.name == "tag4"


def test_reading_makes_no_bucket(objects: S3Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    del objects
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    with pytest.raises(NotFound):
        load_experiment("nothing")
    with pytest.raises(NotFound):
        load_experiments("nothing")
    with pytest.raises(ResourceNotFound, match="no-such-bucket"):
        load_experiments("nothing", s3_bucket="no-such-bucket")
    buckets = AwsSession().client("s3").list_buckets()["Buckets"]
    assert not [bucket for bucket in buckets if "eu-west-3" in bucket["Name"]]


@pytest.mark.parametrize("tag", ["", "..", "a/b"])
def test_a_path_is_no_tag(tag: str) -> None:
    with pytest.raises(SpecError, match="is no experiment tag"):
        load_experiments(tag)


def test_one_unreadable_experiment_does_not_keep_the_others(
    tmp_path: Path, objects: S3Objects, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("tag6-a", "tag6-b"):
        paths = write_experiment(tmp_path / "job", name, events_of(VALUES))
        upload(objects, paths.dir, S3ExperimentPaths.of(bucket, name, "tag6"))
    archived = S3ExperimentPaths.of(bucket, "tag6-a", "tag6").state / "journal/00000000.jsonl"
    client = AwsSession().client("s3")
    client.put_object(Bucket=bucket, Key=archived.key, Body=b"x", StorageClass="GLACIER")
    found = load_experiments("tag6")
    assert [(e.name, e.num_reports) for e in found if e.num_reports] == [("tag6-b", 4)]
    assert "tag6-a is missing, or shown as of its last download" in caplog.text
    client.put_object(
        Bucket=bucket, Key=archived.key.replace("tag6-a", "tag6-b"), Body=b"x", StorageClass="GLACIER"
    )
    with pytest.raises(AwsError):
        load_experiments("tag6", local_path=tmp_path / "elsewhere")


def test_a_study_whose_jobs_have_not_begun(root: Path) -> None:
    (root / "fresh").mkdir(parents=True)
    (root / "fresh" / STUDY_FILENAME).write_text("{}")
    with pytest.raises(NotFound, match="was launched from here") as raised:
        load_experiments("fresh")
    assert "try again in a minute" in raised.value.hint


def test_how_an_experiment_ended_and_how_often_it_was_interrupted(root: Path) -> None:
    events = events_of(VALUES, ended=False)
    write_experiment(
        root, "well", [*events, SessionStarted(5.0, 5.0, 1, "h:2"), ExperimentEnded(6.0, 6.0, "done")]
    )
    write_experiment(root, "badly", [*events, ExperimentEnded(6.0, 6.0, "failures", "3 trials failed")])
    well, badly = load_experiment("well"), load_experiment("badly")
    assert (well.ended, well.error, well.num_interruptions) == (True, "", 1)
    assert (badly.ended, badly.error, badly.num_interruptions) == (True, "3 trials failed", 0)
    assert "failed" in str(badly)


def test_an_objective_that_is_not_known(root: Path) -> None:
    write_experiment(root, "exp", events_of(VALUES)).metadata.unlink()
    with pytest.raises(SpecError, match="objective of exp is not known") as raised:
        load_experiment("exp").best_config()
    assert raised.value.hint == "Name a metric; reported are: loss, accuracy, epoch."
    assert load_experiment("exp").best_config("loss")["trial_id"] == 1

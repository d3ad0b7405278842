"""The port for files against the emulator's S3."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.checkpointing import directory
from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.errors import ResourceNotFound, ServiceFailed
from cloudtune.paths import S3ExperimentPaths, S3Uri
from cloudtune.report_stream import object_name
from cloudtune.sagemaker_backend.aws_cloud import AwsTrialFiles
from cloudtune.sagemaker_backend.checkpoint_copy import copy_newest
from cloudtune.sagemaker_backend.ports import ReportObject


@pytest.fixture
def session(shared_sagemaker_emulator: SageMakerEmulator) -> AwsSession:
    return AwsSession()


@pytest.fixture
def where(session: AwsSession) -> S3ExperimentPaths:
    return S3ExperimentPaths.of(session.default_bucket(), "tuner")


@pytest.fixture
def objects(session: AwsSession) -> S3Objects:
    return S3Objects(session)


@pytest.fixture
def files(session: AwsSession, where: S3ExperimentPaths) -> AwsTrialFiles:
    return AwsTrialFiles(session, where)


def calls(aws: SageMakerEmulator) -> Counter[str]:
    return Counter(entry["operation"] for entry in aws.audit.entries("call"))


def names(objects: S3Objects, folder: S3Uri) -> list[str]:
    return [item.uri.key.removeprefix(folder.prefix) for item in objects.list(folder)]


# ---- reports


def test_reports(files: AwsTrialFiles, objects: S3Objects, where: S3ExperimentPaths) -> None:
    assert files.report_objects() == []
    etag = objects.put(where.reports / "3-1r2" / object_name(1, 7), b"0123456789")
    for name in ("3-1r2/other.txt", "stray", f"a/b/{object_name(0, 0)}"):
        objects.put(where.reports / name, b"")
    (item,) = files.report_objects()
    assert item == ReportObject("3-1r2", 1, 7, 10, etag)
    assert files.read_report(item, 0) == b"0123456789"
    objects.put(where.reports / "3-1r2" / object_name(1, 7), b"0123456789ab")
    assert files.read_report(item, 8) == b"89ab"
    assert files.read_report(item, 12) == b""
    files.delete_reports(["3-1r2"])
    with pytest.raises(ResourceNotFound):
        files.read_report(item, 0)
    assert names(objects, where.reports) == [f"a/b/{object_name(0, 0)}", "stray"]


def test_reports_of_many_jobs_take_few_calls(
    shared_sagemaker_emulator: SageMakerEmulator,
    files: AwsTrialFiles,
    objects: S3Objects,
    where: S3ExperimentPaths,
) -> None:
    for number in range(12):
        objects.put(where.reports / f"{number}-0" / object_name(0, 0), b"x")
    before = calls(shared_sagemaker_emulator)
    assert len(files.report_objects()) == 12
    files.delete_reports([f"{number}-0" for number in range(11)])
    assert calls(shared_sagemaker_emulator) - before == Counter({"ListObjectsV2": 2, "DeleteObjects": 1})
    assert [item.label for item in files.report_objects()] == ["11-0"]


def test_what_a_call_meets_is_told(shared_sagemaker_emulator: SageMakerEmulator, files: AwsTrialFiles) -> None:
    fault = {"kind": "request_error", "operations": ["s3:*"], "error": "unavailable"}
    shared_sagemaker_emulator.apply_scenario(Scenario.from_json({"schema": 1, "faults": [fault]}))
    for call in (
        files.report_objects,
        lambda: files.read_report(ReportObject("0-0", 0, 0, 1, ""), 0),
        lambda: files.copy_checkpoint(1, 2),
    ):
        before = len(shared_sagemaker_emulator.audit.entries("fault"))
        with pytest.raises(ServiceFailed):
            call()
        assert len(shared_sagemaker_emulator.audit.entries("fault")) - before == 2


# ---- checkpoints


class Checkpoints:
    """Written as scripts write them, and uploaded."""

    def __init__(self, objects: S3Objects, where: S3ExperimentPaths, folder: Path) -> None:
        self._objects = objects
        self._where = where
        self._folder = folder

    def write(self, trial_id: int, level: int, **contents: bytes) -> None:
        def save(target: str) -> None:
            for name, content in contents.items():
                path = Path(target) / name.replace("_", "/")
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)

        local = self._folder / str(trial_id)
        directory.write(local, level, save)
        for path in sorted((local / f"{level:08d}").rglob("*")):
            if path.is_file():
                self._objects.upload(path, self.of(trial_id) / path.relative_to(local).as_posix())

    def of(self, trial_id: int) -> S3Uri:
        return self._where.checkpoints / str(trial_id)

    def fetch(self, trial_id: int) -> list[directory.Checkpoint]:
        """What a job would find."""
        target = self._folder / f"fetched-{trial_id}"
        self._objects.download_missing(self.of(trial_id), target)
        return [found for found in directory.find(target) if directory.is_good(found)]


@pytest.fixture
def checkpoints(objects: S3Objects, where: S3ExperimentPaths, tmp_path: Path) -> Checkpoints:
    return Checkpoints(objects, where, tmp_path)


def test_the_newest_checkpoint_becomes_the_targets_only_one(
    files: AwsTrialFiles, objects: S3Objects, checkpoints: Checkpoints
) -> None:
    for level in (1, 3, 9):
        checkpoints.write(0, level, model=b"level %d" % level, sub_optimizer=b"x" * level)
    checkpoints.write(1, 27, model=b"what is there already")
    checkpoints.write(10, 1, model=b"of a trial whose number begins alike")
    assert files.copy_checkpoint(0, 1) == 9
    (found,) = checkpoints.fetch(1)
    assert found.level == 9
    assert (found.path / "model").read_bytes() == b"level 9"
    assert names(objects, checkpoints.of(1)) == [
        "00000009/manifest.json",
        "00000009/model",
        "00000009/sub/optimizer",
    ]
    assert len(names(objects, checkpoints.of(0))) == 9
    assert len(names(objects, checkpoints.of(10))) == 2


def test_what_is_not_complete_is_passed_over(
    files: AwsTrialFiles, objects: S3Objects, checkpoints: Checkpoints
) -> None:
    for level in (1, 2, 3, 4, 5):
        checkpoints.write(0, level, model=b"level %d" % level, other=b"x")
    source = checkpoints.of(0)
    objects.delete([source / "00000005/manifest.json"])
    objects.put(source / "00000004/model", b"cut")
    objects.delete([source / "00000003/other"])
    objects.put(source / "00000002/manifest.json", b'{"schema": 1, "reso')
    objects.put(source / ".00000006.77.tmp/model", b"not published")
    files.copy_checkpoint(0, 1)
    assert [found.level for found in checkpoints.fetch(1)] == [1]
    objects.put(source / "00000001/model", b"cut")
    files.copy_checkpoint(0, 1)
    assert names(objects, checkpoints.of(1)) == []


def test_levels_are_compared_as_numbers(files: AwsTrialFiles, checkpoints: Checkpoints) -> None:
    for level in (99_999_999, 100_000_000):
        checkpoints.write(0, level, model=b"")
    files.copy_checkpoint(0, 1)
    assert [found.level for found in checkpoints.fetch(1)] == [100_000_000]


def test_nothing_is_copied_from_nothing(
    files: AwsTrialFiles, objects: S3Objects, checkpoints: Checkpoints
) -> None:
    assert files.copy_checkpoint(0, 1) is None
    assert names(objects, checkpoints.of(1)) == []


def test_checkpoints_of_another_kind_are_copied_as_they_are(
    files: AwsTrialFiles, objects: S3Objects, checkpoints: Checkpoints
) -> None:
    for name in ("model.pt", "epoch-3/weights", "manifest.json"):
        objects.put(checkpoints.of(0) / name, name.encode())
    objects.put(checkpoints.of(1) / "old", b"")
    assert files.copy_checkpoint(0, 1) is None
    assert names(objects, checkpoints.of(1)) == ["epoch-3/weights", "manifest.json", "model.pt"]
    assert objects.get(checkpoints.of(1) / "epoch-3/weights") == b"epoch-3/weights"


class Meanwhile(S3Objects):
    """S3, where something else happens just before each copy."""

    def __init__(self, session: AwsSession, happen: Callable[[], None]) -> None:
        super().__init__(session, waits={})
        self._happen = happen

    def copy(self, source: Any, target: S3Uri) -> None:
        self._happen()
        super().copy(source, target)


def test_a_source_that_prunes_meanwhile_is_looked_at_again(
    session: AwsSession, objects: S3Objects, checkpoints: Checkpoints
) -> None:
    checkpoints.write(0, 1, model=b"one", other=b"x")
    steps: list[int] = []

    def prune() -> None:
        steps.append(0)
        if len(steps) == 2:  # the first file is copied; now the trial goes on to the next level
            checkpoints.write(0, 2, model=b"two", other=b"y")
            objects.delete([item.uri for item in objects.list(checkpoints.of(0) / "00000001")])

    copy_newest(Meanwhile(session, prune), checkpoints.of(0), checkpoints.of(1))
    (found,) = checkpoints.fetch(1)
    assert (found.level, (found.path / "model").read_bytes()) == (2, b"two")
    assert len(names(objects, checkpoints.of(1))) == 3


def test_a_copy_that_breaks_off_is_no_checkpoint(
    session: AwsSession, objects: S3Objects, checkpoints: Checkpoints, files: AwsTrialFiles
) -> None:
    checkpoints.write(0, 1, model=b"one", other=b"x")
    left = [2]

    def die() -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1

    with pytest.raises(KeyboardInterrupt):
        copy_newest(Meanwhile(session, die), checkpoints.of(0), checkpoints.of(1))
    assert checkpoints.fetch(1) == []
    assert "00000001/manifest.json" not in names(objects, checkpoints.of(1))
    files.copy_checkpoint(0, 1)
    assert [found.level for found in checkpoints.fetch(1)] == [1]


def test_a_source_that_never_holds_still_is_told(
    session: AwsSession, objects: S3Objects, checkpoints: Checkpoints
) -> None:
    tries: list[int] = []

    def churn() -> None:
        objects.delete([checkpoints.of(0) / f"file-{len(tries)}"])
        tries.append(0)
        objects.put(checkpoints.of(0) / f"file-{len(tries)}", b"")

    objects.put(checkpoints.of(0) / "file-0", b"")
    with pytest.raises(ResourceNotFound):
        copy_newest(Meanwhile(session, churn), checkpoints.of(0), checkpoints.of(1))
    assert len(tries) == 4


def test_checkpoints_of_many_trials_are_deleted_with_few_calls(
    shared_sagemaker_emulator: SageMakerEmulator,
    files: AwsTrialFiles,
    objects: S3Objects,
    where: S3ExperimentPaths,
) -> None:
    for trial_id in range(12):
        objects.put(where.checkpoints / str(trial_id) / "a/b", b"")
    before = calls(shared_sagemaker_emulator)
    files.delete_checkpoints(range(2, 11))
    assert calls(shared_sagemaker_emulator) - before == Counter({"ListObjectsV2": 1, "DeleteObjects": 1})
    assert names(objects, where.checkpoints) == ["0/a/b", "1/a/b", "11/a/b"]
    files.delete_checkpoints([1])
    files.delete_checkpoints([1, 99])
    files.delete_checkpoints([])
    assert names(objects, where.checkpoints) == ["0/a/b", "11/a/b"]


def test_sizes_are_read_from_manifests_alone() -> None:
    good = {"schema": 1, "resource": 3, "files": {"a": {"size": 1, "sha256": "x"}}, "created_by": "cloudtune"}
    assert directory.sizes_in_manifest(json.dumps(good), 3) == {"a": 1}
    bad: list[Any] = [good | {"schema": 2}, good | {"files": [1]}, good | {"files": {"a": {}}}, [], 3, None]
    for document in bad:
        assert directory.sizes_in_manifest(json.dumps(document), 3) is None
    assert directory.sizes_in_manifest(json.dumps(good), 4) is None
    assert directory.sizes_in_manifest(b"\xff{", 3) is None

"""What jobs leave: merged over hosts, packed or as single files, never more than is theirs."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.core.base_backend import BackendDict
from moto.s3.models import s3_backends

from cloudtune.emulator.machine.artifacts import upload_results
from cloudtune.emulator.machine.ml_folder import JobFolder
from cloudtune.emulator.object_store import ObjectStore
from cloudtune.emulator.settings import ACCOUNT_ID

PREFIX = "s3://bucket/out/job/output"


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    BackendDict.reset()
    s3_backends[ACCOUNT_ID]["aws"].create_bucket("bucket", "us-east-1")
    yield ObjectStore(ACCOUNT_ID)
    BackendDict.reset()


def clear(store: ObjectStore) -> None:
    for item in store.list("bucket", ""):
        store.delete("bucket", item.key)


def hosts(folder: Path, count: int) -> list[JobFolder]:
    found = [JobFolder(folder / f"algo-{number}") for number in range(1, count + 1)]
    for host in found:
        host.create()
    return found


def unpacked(store: ObjectStore, key: str, into: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(store.get("bucket", key))) as archive:
        archive.extractall(into, filter="fully_trusted")
    return into


def test_links_and_other_things_are_not_followed(store: ObjectStore, tmp_path: Path) -> None:
    clear(store)
    (host,) = hosts(tmp_path, 1)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("of the host")
    model = host.ml / "model"
    (model / "weights").write_text("1")
    (model / "empty").mkdir()
    (model / "link").symlink_to(tmp_path / "secret" / "file")
    (model / "folder").symlink_to(tmp_path / "secret")
    os.mkfifo(model / "pipe")
    assert upload_results([host], PREFIX, True, store) == f"{PREFIX}/model.tar.gz"
    found = unpacked(store, "out/job/output/model.tar.gz", tmp_path / "unpacked")
    assert sorted(path.name for path in found.iterdir()) == ["empty", "folder", "link", "pipe", "weights"]
    assert (found / "link").is_symlink() and (found / "folder").is_symlink()
    assert not (host.root / "model.tar.gz").exists()
    assert upload_results([host], PREFIX, False, store) == f"{PREFIX}/model/"
    keys = [item.key.removeprefix("out/job/output/") for item in store.list("bucket", "")]
    assert keys == ["model.tar.gz", "model/weights"]


def test_nothing_is_uploaded_of_nothing(store: ObjectStore, tmp_path: Path) -> None:
    clear(store)
    several = hosts(tmp_path, 2)
    (several[1].ml / "output" / "data" / "log").write_text("1")
    (several[0].ml / "model").rmdir()  # as a job may
    assert upload_results(several, PREFIX, True, store) is None
    assert [item.key for item in store.list("bucket", "")] == ["out/job/output/output.tar.gz"]


NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/f"])


@settings(max_examples=25, deadline=None)
@given(files=st.lists(st.dictionaries(NAMES, st.binary(max_size=5)), min_size=1, max_size=3), packed=st.booleans())
def test_the_first_host_wins(
    store: ObjectStore, tmp_path_factory: pytest.TempPathFactory, files: list[dict[str, bytes]], packed: bool
) -> None:
    clear(store)
    folder = tmp_path_factory.mktemp("job")
    several = hosts(folder, len(files))
    expected: dict[str, bytes] = {}
    for host, own in zip(several, files, strict=True):
        for name, content in own.items():
            path = host.ml / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            expected.setdefault(name, content)
    uri = upload_results(several, PREFIX, packed, store)
    if not expected:
        assert uri is None
        return
    if packed:
        root = unpacked(store, "out/job/output/model.tar.gz", folder / "unpacked")
        found = {
            path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
        }
    else:
        listed = [item.key for item in store.list("bucket", "out/job/output/model/")]
        found = {key.removeprefix("out/job/output/model/"): store.get("bucket", key) for key in listed}
    assert found == expected

from __future__ import annotations

import io
import os
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.aws import code_archive
from cloudtune.aws.code_archive import CodeArchive, build_archive, upload_code
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.errors import SpecError
from cloudtune.paths import S3Uri


def names(archive: CodeArchive) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive.data), mode="r:gz") as tar:
        members = tar.getmembers()
    assert [(m.name, m.size) for m in members] == list(archive.listing)
    assert all((m.mtime, m.uid, m.gid, m.uname, m.gname) == (0, 0, 0, "", "") for m in members)
    assert all(m.isfile() for m in members)
    return [m.name for m in members]


def write(folder: Path, *files: str) -> None:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_what_is_packed(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        "lib/a.py",
        "lib/__pycache__/a.cpython-311.pyc",
        "lib/b.pyc",
        ".git/config",
        "sub/.git/config",
        "myenv/pyvenv.cfg",
        "myenv/lib/python/site.py",
        "node_modules/x.js",
        ".mypy_cache/x",
        "pkg.egg-info/PKG-INFO",
        ".DS_Store",
        "data/venv/readme",  # called venv, but none
        "ünïcode/" + "n" * 150 + ".py",
    )
    archive = build_archive([(tmp_path, "src"), (tmp_path / "train.py", "train.py"), (b"boot", "boot/boot.py")])
    assert names(archive) == sorted(
        [
            "boot/boot.py",
            "src/data/venv/readme",
            "src/lib/a.py",
            "src/train.py",
            "src/ünïcode/" + "n" * 150 + ".py",
            "train.py",
        ]
    )
    assert names(build_archive([(tmp_path / "lib", "")])) == ["a.py"]


def test_the_archive_depends_on_content_alone(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, "b.py", "a/x.py")
    write(other, "a/x.py", "b.py")
    os.utime(other / "b.py", (1, 1))
    (other / "b.py").chmod(0o600)
    first, second = build_archive([(one, "")]), build_archive([(other, "")])
    assert (first.digest, first.data) == (second.digest, second.data)
    (other / "b.py").chmod(0o755)
    executable = build_archive([(other, "")])
    (other / "b.py").chmod(0o644)
    (other / "b.py").write_text("changed")
    changed = build_archive([(other, "")])
    renamed = build_archive([(one, "src")])
    assert len({first.digest, executable.digest, changed.digest, renamed.digest}) == 4


@given(st.dictionaries(st.text("abc/.", min_size=1, max_size=6), st.binary(max_size=20), max_size=6), st.randoms())
@settings(max_examples=60)
def test_any_order_gives_the_same_archive(files: dict[str, bytes], rng: object) -> None:
    entries = [(content, name) for name, content in files.items()]
    legal = all(
        os.path.normpath(n) == n and not n.startswith("/") and ".." not in n.split("/") and n != "." for n in files
    )
    if not legal or any(other.startswith(f"{n}/") for n in files for other in files):
        with pytest.raises(SpecError):
            build_archive(entries)
        return
    archive = build_archive(entries)
    rng.shuffle(entries)  # type: ignore[attr-defined]
    assert build_archive(entries) == archive
    assert set(names(archive)) == set(files)
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        for name, content in files.items():
            member = tar.extractfile(name)
            assert member is not None
            assert member.read() == content


def test_links_never_lead_outside(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    write(secret, "key")
    code = tmp_path / "code"
    write(code, "lib/a.py")
    (code / "outside").symlink_to(secret)
    (code / "key").symlink_to(secret / "key")
    (code / "inside").symlink_to(code / "lib")
    (code / "lib" / "loop").symlink_to(code)
    (code / "dead").symlink_to(code / "nothing")
    os.mkfifo(code / "pipe")
    archive = build_archive([(code, "")])
    assert names(archive) == ["inside/a.py", "lib/a.py"]
    skipped = " ".join(archive.skipped)
    assert all(name in skipped for name in ("outside", "key", "lib/loop", "dead", "pipe"))


def test_bad_names_and_sources(tmp_path: Path) -> None:
    for name in ("../x", "/x", "a/../../x", "", ".", "a//b", "./x"):
        with pytest.raises(SpecError, match="no name for a file"):
            build_archive([(b"x", name)])
    with pytest.raises(SpecError, match="no such file"):
        build_archive([(tmp_path / "missing", "x")])
    with pytest.raises(SpecError, match="Two different files would be called 'x'"):
        build_archive([(b"1", "x"), (b"2", "x")])
    assert build_archive([(b"1", "x"), (b"1", "x")]).listing == (("x", 1),)
    for first, second in (("a", "a/b"), ("a/b", "a")):
        with pytest.raises(SpecError, match="below"):
            build_archive([(b"1", first), (b"2", second)])


def test_oversized_files_are_named_before_they_are_read(tmp_path: Path) -> None:
    for number in range(5):
        with (tmp_path / f"model-{number}.pt").open("wb") as file:
            file.truncate(45 << 20)  # sparse
    with pytest.raises(SpecError, match=r"225 MB, more than 200 MB.*model-0.pt \(45.0 MB\)"):
        build_archive([(tmp_path, "")])
    with (tmp_path / "big.pt").open("wb") as file:
        file.truncate(51 << 20)
    with pytest.raises(SpecError, match=r"50 MB a file\): src/big.pt \(51.0 MB\)") as caught:
        build_archive([(tmp_path, "src")])
    assert "channel" in caught.value.hint


def test_a_folder_that_is_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_archive, "MAX_FILES", 10)
    write(tmp_path, *(f"{n}.txt" for n in range(11)))
    with pytest.raises(SpecError, match="more than 10 files"):
        build_archive([(tmp_path, "")])


def test_one_upload_for_all_jobs_of_a_launch(objects: S3Objects, session: AwsSession, root: S3Uri) -> None:
    calls: Counter[str] = Counter()
    session.client("s3").meta.events.register(
        "before-send.s3.*", lambda event_name, **_: calls.update([event_name.rsplit(".", 1)[-1]])
    )
    archive = build_archive([(b"print()", "train.py")])
    folders = {upload_code(objects, root.bucket, archive) for _ in range(3)}
    assert folders == {S3Uri(root.bucket, f"cloudtune/_code/{archive.digest}")}
    assert calls == {"HeadObject": 3, "PutObject": 1}
    (found,) = objects.list(folders.pop())
    assert found.uri.key.endswith("/code.tar.gz")
    assert objects.get(found.uri) == archive.data


def test_keys_and_passwords_stay_at_home_and_are_named(tmp_path: Path) -> None:
    write(tmp_path, "train.py", ".env", ".env.production", ".aws/credentials", "sub/.ssh/config", "sub/id_rsa")
    write(tmp_path, "sub/Server.PEM", "sub/environment.py", "keys.py", "monkey", "credentials.json")
    (tmp_path / "harmless.txt").symlink_to(tmp_path / "sub/id_rsa")
    archive = build_archive([(tmp_path, "src")])
    assert names(archive) == ["src/keys.py", "src/monkey", "src/sub/environment.py", "src/train.py"]
    assert [name.split(" ")[0] for name in archive.skipped] == [
        "src/.aws", "src/.env", "src/.env.production", "src/credentials.json", "src/harmless.txt",
        "src/sub/.ssh", "src/sub/Server.PEM", "src/sub/id_rsa",
    ]  # fmt: skip
    assert names(build_archive([(tmp_path / "sub/Server.PEM", "ca.pem")])) == ["ca.pem"]  # asked for by name


def test_links_that_lead_round_in_circles(tmp_path: Path) -> None:
    write(tmp_path, "a/x.py", "b/y.py")
    for link, target in (("self", "self"), ("one", "two"), ("two", "one"), ("a/b", "../b"), ("b/a", "../a")):
        (tmp_path / link).symlink_to(target)
    archive = build_archive([(tmp_path, "")])
    assert names(archive) == ["a/b/y.py", "a/x.py", "b/a/x.py", "b/y.py"]
    assert [name.split(" ")[0] for name in archive.skipped] == ["a/b/a", "b/a/b", "one", "self", "two"]


def test_a_name_that_is_no_text_is_left_out_and_can_be_told(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    (tmp_path / os.fsdecode(b"\xff.py")).write_text("x")
    archive = build_archive([(tmp_path, "")])
    assert names(archive) == ["a.py"]
    assert archive.skipped == (r"'\udcff.py'",)


def test_folders_that_are_all_linked_with_each_other(tmp_path: Path) -> None:
    names = [f"f{number:02}" for number in range(12)]
    for name in names:
        (tmp_path / name).mkdir()
        for other in names:
            if other != name:
                (tmp_path / name / other).symlink_to(Path("..", other))
    with pytest.raises(SpecError, match="more than 5000 folders, links among them"):
        build_archive([(tmp_path, "")])

"""What a job does to its own folders reaches nothing else, and is never the end of the emulator."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator_rig import BUCKET, Rig, channel, eventually

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.machine.job_files import entries, is_own, open_file
from cloudtune.emulator.machine.keeper import remove_tree

ISOLATIONS = ["auto", "none"]


@pytest.fixture(scope="module", params=ISOLATIONS)
def emulator(request: pytest.FixtureRequest) -> Iterator[SageMakerEmulator]:
    with SageMakerEmulator(max_parallel_jobs=2, stop_grace_s=20, isolation=request.param) as aws:
        yield aws


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    folder = tmp_path / "of the host"
    folder.mkdir(mode=0o755)
    for name in ("secret", "failure"):
        (folder / name).write_text("not the job's")
    return folder


def nothing_runs(emulator: SageMakerEmulator) -> bool:
    """Also waits for threads that clean up."""
    names = [thread.name for thread in threading.enumerate()]
    return emulator.health()["busy"] == 0 and not [name for name in names if name.startswith(("job-", "channel-"))]


def test_folders_that_become_links(rig: Rig, secret: Path) -> None:
    code = f"""
    import shutil
    shutil.rmtree(ROOT + '/WHAT')
    os.symlink({str(secret)!r}, ROOT + '/WHAT')
    """
    for name, what in (("link-model", "model"), ("link-data", "output/data"), ("link-output", "output")):
        found = rig.run(name, code.replace("WHAT", what))
        assert found["TrainingJobStatus"] == "Failed"
        assert found["FailureReason"].startswith("ClientError: Artifact upload failed: /opt/ml/")
        assert rig.keys(f"output/{name}/") == []
    assert rig.run("link-checkpoints", code.replace("WHAT", "checkpoints"))["TrainingJobStatus"] == "Completed"
    assert rig.keys("checkpoints/link-checkpoints/") == []


def test_a_failure_that_is_no_file(rig: Rig, secret: Path) -> None:
    whole, file = f"os.symlink({str(secret)!r}, ROOT + '/output')", str(secret / "failure")
    makers = {
        "failure-link": f"os.symlink({file!r}, path)",
        "failure-folder-link": f"os.rename(ROOT + '/output', ROOT + '/o'); {whole}",
        "failure-fifo": "os.mkfifo(path)",
        "failure-folder": "os.mkdir(path)",
    }
    for name, maker in makers.items():
        found = rig.run(name, f"path = ROOT + '/output/failure'; {maker}; sys.exit(3)")
        assert found["FailureReason"] == "AlgorithmError: , exit code: 3", name


def test_folders_deeper_than_paths(emulator: SageMakerEmulator, rig: Rig) -> None:
    code = """
    os.chdir(ROOT + '/WHERE')
    for _ in range(2500):
        os.mkdir('d')
        os.chdir('d')
    """
    assert rig.run("deep-code", code.replace("WHERE", "code"))["TrainingJobStatus"] == "Completed"
    assert rig.run("deep-checkpoints", code.replace("WHERE", "checkpoints"))["TrainingJobStatus"] == "Completed"
    assert "cannot be read" in rig.run("deep-model", code.replace("WHERE", "model"))["FailureReason"]
    eventually(lambda: nothing_runs(emulator), "the jobs have gone")
    assert rig.run("deep-next", "")["TrainingJobStatus"] == "Completed"


def test_pipes_that_a_job_removes(emulator: SageMakerEmulator, rig: Rig, secret: Path) -> None:
    rig.put("piped/x", "data")
    piped: dict[str, Any] = {**channel("train", f"s3://{BUCKET}/piped/"), "InputMode": "Pipe"}
    code = f"""
    folder = ROOT + '/input/data/'
    os.remove(folder + 'train_0')
    os.symlink({str(secret / "secret")!r}, folder + 'train_0')
    """
    request = rig.request("pipes-removed", code)
    request["InputDataConfig"].append(piped)
    rig.sagemaker.create_training_job(**request)
    assert rig.ended("pipes-removed")["TrainingJobStatus"] == "Completed"
    eventually(lambda: nothing_runs(emulator), "its threads have gone")
    assert (secret / "secret").read_text() == "not the job's"


def test_trees_are_removed_whatever_they_are(secret: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(secret)
    before, inner = os.open(".", os.O_RDONLY), tree
    try:
        os.chdir(inner)
        for depth in range(2500):
            Path("d").mkdir()
            os.chdir("d")
            if depth % 400 == 7:
                Path("x").symlink_to(secret)
                Path("..").chmod(0o300)
    finally:
        os.fchdir(before)
        os.close(before)
    secret.chmod(0o755)
    remove_tree(tree)
    assert not tree.exists()
    assert (secret / "secret").exists()
    assert secret.stat().st_mode & 0o777 == 0o755


def test_links_on_the_way(tmp_path: Path, secret: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "l").symlink_to(secret)
    assert is_own(tmp_path / "a" / "b", tmp_path)
    assert is_own(tmp_path / "a" / "missing", tmp_path)
    assert not is_own(tmp_path / "a" / "l", tmp_path)
    assert not is_own(tmp_path / "a" / "l" / "secret", tmp_path)
    assert is_own(tmp_path / "a" / "l" / "secret", tmp_path / "a" / "l")  # its own root may be anywhere
    hidden: list[str] = []
    assert sorted(name for name, _ in entries(tmp_path / "a", hidden)) == ["b", "l"]
    assert hidden == []
    with pytest.raises(OSError, match="regular"):
        open_file(tmp_path / "a" / "b")
    with pytest.raises(OSError, match=r"."):
        open_file(tmp_path / "a" / "l")


def test_the_platforms_variables_are_the_platforms(rig: Rig) -> None:
    lies = {
        "TRAINING_JOB_NAME": "fake",
        "TRAINING_JOB_ARN": "fake",
        "SAGEMAKER_BASE_DIR": "/nowhere",
        "OWN": "/opt/ml/x",
    }
    code = """
    named = [os.environ['TRAINING_JOB_NAME'], os.environ['TRAINING_JOB_ARN'][-5:]]
    print(*named, os.environ.get('SAGEMAKER_BASE_DIR') in (ROOT, '/nowhere'))
    """
    assert rig.run("truth", code, Environment=lies)["TrainingJobStatus"] == "Completed"
    assert rig.all_logs("truth") == ["truth truth True"]


def test_python_finds_room_for_its_sockets(rig: Rig) -> None:
    code = """
    import multiprocessing
    if __name__ == '__main__':
        with multiprocessing.Manager() as manager:
            print(manager.list([1, 2]))
    """
    name = "n" * 63
    assert rig.run(name, code)["TrainingJobStatus"] == "Completed"
    assert rig.all_logs(name) == ["[1, 2]"]

"""Jobs get the processors that their instance type has, as far as this machine has them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from emulator_rig import Rig, eventually
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.machine.instance_shares import Machine, Share, Shares, confined
from cloudtune.emulator.machine.memory_groups import MemoryGroups, entering
from cloudtune.instance_info import instance_infos

TYPES = sorted(info.name for info in instance_infos())


def machine(cpus: int, gpus: int) -> Machine:
    return Machine(tuple(range(cpus)), tuple(map(str, range(gpus))))


def test_four_gpus_of_eight_and_then_the_other_four() -> None:
    shares = Shares(machine(96, 8))
    first, second = shares.take("a", "ml.g4dn.12xlarge"), shares.take("b", "ml.g4dn.12xlarge")
    assert first.gpus == ("0", "1", "2", "3") and second.gpus == ("4", "5", "6", "7")
    assert first.environment == {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    assert len(first.cpus) == len(second.cpus) == 48 and not set(first.cpus) & set(second.cpus)
    shares.give_back("a")
    shares.give_back("a")
    assert shares.take("c", "ml.g4dn.xlarge").gpus == ("0",)
    assert shares.take("d", "ml.m5.large").environment == {"CUDA_VISIBLE_DEVICES": ""}
    assert sorted(shares.report()) == ["b", "c", "d"]
    assert shares.report()["c"]["wanted"]["gpus"] == 1


def test_a_small_machine_is_shared_and_says_so() -> None:
    shares = Shares(machine(2, 1))
    for user in ("a", "b"):
        share = shares.take(user, "ml.g4dn.12xlarge")
        assert share.gpus == ("0",) and share.cpus == (0, 1)
        assert share.note == "emulator: ml.g4dn.12xlarge has 4 GPUs; here it uses 1"
    assert Shares(machine(2, 0)).take("a", "ml.p3.2xlarge").environment == {"CUDA_VISIBLE_DEVICES": ""}
    assert shares.take("c", "ml.m5.large").note is None
    unknown = shares.take("d", "ml.future.large")
    assert unknown.gpus == ("0",) and unknown.note is None


@settings(max_examples=60, deadline=None)
@given(
    cpus=st.integers(1, 130),
    gpus=st.integers(0, 9),
    steps=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(TYPES)), max_size=30),
)
def test_units_are_distinct_and_loads_are_level(cpus: int, gpus: int, steps: list[tuple[int, str]]) -> None:
    shares = Shares(machine(cpus, gpus))
    held: dict[str, tuple[str, ...]] = {}
    for user, instance_type in steps:
        name = str(user)
        if name in held:
            shares.give_back(name)
            del held[name]
            continue
        before = Counter(gpu for taken in held.values() for gpu in taken)
        share = shares.take(name, instance_type)
        info = instance_infos()(instance_type)
        assert len(set(share.gpus)) == len(share.gpus) == min(gpus, info.gpus)
        assert len(set(share.cpus)) == len(share.cpus) == min(cpus, info.vcpus)
        if share.gpus and len(share.gpus) < gpus:
            others = set(map(str, range(gpus))) - set(share.gpus)
            assert max(before[gpu] for gpu in share.gpus) <= min(before[gpu] for gpu in others)
        held[name] = share.gpus


def test_the_machine_is_what_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-x")
    assert Machine.here().gpus == ("3", "GPU-x")
    for none in ("", "-1", "-1,0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert Machine.here().gpus == ()
    if hasattr(os, "sched_getaffinity"):
        assert set(Machine.here().cpus) == os.sched_getaffinity(0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_what_is_started_is_confined_and_this_thread_is_not() -> None:
    before = os.sched_getaffinity(0)
    one = min(before)
    with confined([one]):
        assert os.sched_getaffinity(0) == {one}
        command = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
        child = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert child.split() == [str(one)]
    assert os.sched_getaffinity(0) == before


def test_a_job_sees_its_share_and_is_told_what_is_missing(emulator: SageMakerEmulator, rig: Rig) -> None:
    code = """
    import urllib.request
    health = json.load(urllib.request.urlopen(os.environ['AWS_ENDPOINT_URL'] + '/_emulator/health', timeout=60))
    ((user, share),) = health['shares'].items()
    assert user.startswith('gpus-0-') and user.endswith('/algo-1') and share['wanted']['gpus'] == 4, health
    print(len(os.sched_getaffinity(0)), os.environ['CUDA_VISIBLE_DEVICES'].count(','))
    """
    request = rig.request("gpus", code)
    request["ResourceConfig"]["InstanceType"] = "ml.g4dn.12xlarge"
    rig.sagemaker.create_training_job(**request)
    assert rig.ended("gpus")["TrainingJobStatus"] == "Completed", rig.all_logs("gpus")
    here = Machine.here()
    gpus = min(4, len(here.gpus))
    lines = [f"emulator: ml.g4dn.12xlarge has 4 GPUs; here it uses {gpus}"] * (gpus < 4)
    eventually(lambda: emulator.health()["shares"] == {}, "its share is free")
    assert rig.all_logs("gpus") == [*lines, f"{min(48, len(here.cpus))} {max(0, gpus - 1)}"]


def hierarchy(tmp_path: Path, controllers: str) -> MemoryGroups:
    """What ``here`` makes of a folder that looks like a hierarchy of control groups."""
    root = tmp_path / "cgroup"
    for name, enabled in (("", "cpu memory"), ("user.slice", controllers), ("user.slice/app", "")):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "cgroup.subtree_control").write_text(enabled)
    (tmp_path / "mounts").write_text(f"proc /proc proc rw 0 0\ncgroup2 {root} cgroup2 rw 0 0\n")
    (tmp_path / "self").write_text("1:name=systemd:/x\n0::/user.slice/app\n")
    return MemoryGroups.here(tmp_path / "self", tmp_path / "mounts")


@pytest.mark.parametrize(("controllers", "where"), [("memory pids", "user.slice"), ("pids", "")])
def test_memory_is_limited_below_the_nearest_group_that_can(tmp_path: Path, controllers: str, where: str) -> None:
    groups = hierarchy(tmp_path, controllers)
    share = Shares(machine(2, 0), groups).take("job/algo-1", "ml.m5.large")
    assert share.group == tmp_path / "cgroup" / where / "cloudtune-emulator-job-algo-1"
    assert int((share.group / "memory.max").read_text()) == 8 << 30
    command = share.command([sys.executable, "-c", "import os; print(os.getpid(), os.environ['X'])", "a b"])
    done = subprocess.run(command, env={"X": "y"}, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [(share.group / "cgroup.procs").read_text().strip(), "y"]
    assert share.report()["memory_is_limited"] is True


def test_a_job_runs_where_its_group_has_gone(tmp_path: Path) -> None:
    share = Share(None, (), (), tmp_path / "gone")
    done = subprocess.run(share.command(["echo", "a b"]), capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("a b\n", "")


def test_without_control_groups_memory_is_not_limited(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for groups in (
        MemoryGroups.here(tmp_path / "none", tmp_path / "none"),
        MemoryGroups.here(tmp_path / "empty", tmp_path / "empty"),
    ):
        share = Shares(machine(2, 0), groups).take("a", "ml.m5.large")
        assert share.group is None and share.command(["x"]) == ["x"]


def test_a_limit_is_enforced_where_this_system_lets_us() -> None:
    groups = MemoryGroups.here()
    group = groups.create(f"test-{os.getpid()}", 64 << 20)
    if group is None:
        pytest.skip("no control groups of version 2 can be made here")
    try:
        eats = "x = bytearray(512 << 20); print(len(x))"
        done = subprocess.run(entering(group, [sys.executable, "-c", eats]), capture_output=True, timeout=60)
        assert done.returncode == -signal.SIGKILL
    finally:
        groups.remove(group)
    assert not group.exists()

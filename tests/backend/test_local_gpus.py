"""Who gets which GPU."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtune.backend.local.gpus import GpuPool, make_pool, visible_gpus
from cloudtune.errors import SpecError


def devices(number: int) -> list[str]:
    return [str(index) for index in range(number)]


@pytest.mark.parametrize(
    ("num_gpus", "per_trial", "num_trials", "expected"),
    [
        (4, 1, 4, ["0", "1", "2", "3"]),
        (2, 1, 6, ["0", "1", "0", "1", "0", "1"]),  # Syne Tune gives 0,1,0,0,0,0
        (4, 2, 2, ["0,1", "2,3"]),
        (4, 2, 3, ["0,1", "2,3", "0,1"]),
        (3, 2, 3, ["0,1", "0,2", "1,2"]),
        (1, 1, 2, ["0", "0"]),
        (2, 0, 2, ["", ""]),
    ],
)
def test_assignment_while_all_run(num_gpus: int, per_trial: int, num_trials: int, expected: list[str]) -> None:
    pool = GpuPool(devices(num_gpus), per_trial)
    assert [",".join(pool.acquire(i)) for i in range(num_trials)] == expected


def test_a_freed_gpu_is_used_again() -> None:
    pool = GpuPool(devices(4), 1)
    for trial in range(4):
        pool.acquire(trial)
    pool.release(2)
    assert pool.acquire(4) == ("2",)
    pool.release(0)
    pool.release(3)
    assert pool.acquire(5) == ("0",)
    pool.release(5)
    assert pool.acquire(6) == ("3",), "0 has been handed out more often"


def test_acquire_twice_and_release_twice_count_once() -> None:
    pool = GpuPool(devices(2), 1)
    assert pool.acquire("a") == pool.acquire("a") == ("0",)
    pool.release("a")
    pool.release("a")
    assert pool.acquire("b") == ("1",)


def test_known_assignments_are_restored_if_they_are_possible() -> None:
    pool = GpuPool(devices(3), 1)
    assert pool.acquire("adopted", known=("0",)) == ("0",)
    assert pool.acquire("new") == ("1",)
    assert pool.acquire("moved", known=("7",)) == ("2",)


@given(st.integers(1, 6), st.integers(1, 6), st.lists(st.integers(0, 9), max_size=40))
def test_load_is_balanced(num_gpus: int, per_trial: int, moves: list[int]) -> None:
    """Whatever starts and ends: a new trial never goes where more trials run than elsewhere."""
    pool = GpuPool(devices(num_gpus), min(per_trial, num_gpus))
    running: dict[int, tuple[str, ...]] = {}
    for move in moves:
        if move in running:
            pool.release(move)
            del running[move]
            continue
        load = {device: sum(device in held for held in running.values()) for device in devices(num_gpus)}
        running[move] = pool.acquire(move)
        assert len(set(running[move])) == min(per_trial, num_gpus)
        others = [load[device] for device in load if device not in running[move]]
        assert all(load[device] <= min(others, default=99) for device in running[move])


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("3", ["3"]),
        ("2, 0", ["2", "0"]),
        ("GPU-8932f937-d72c,MIG-GPU-1/2/3", ["GPU-8932f937-d72c", "MIG-GPU-1/2/3"]),
        ("1,-1,2", ["1"]),
        ("1,1", ["1"]),
    ],
)
def test_the_mask_of_the_parent_is_honoured(mask: str, expected: list[str]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": mask}) == expected


def test_gpus_are_counted_without_a_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = "GPU 0: A100 (UUID: GPU-1)\\n  MIG 1g.5gb Device 0: (UUID: MIG-1)\\nGPU 1: A100 (UUID: GPU-2)\\n"
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n[ "$1" = --list-gpus ] && printf "{listing}"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    before = sorted(Path.cwd().iterdir())
    assert visible_gpus({}) == ["0", "1"]
    assert sorted(Path.cwd().iterdir()) == before, "nothing is written to the working directory"
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert visible_gpus({}) == []


def test_options() -> None:
    mask = {"CUDA_VISIBLE_DEVICES": "4,5,6"}
    pool = make_pool(1, [2, 0], mask)
    assert pool is not None
    assert pool.devices == ("6", "4")
    shared = make_pool(0.5, None, mask)
    assert shared is not None
    assert [shared.acquire(i) for i in range(6)] == [("4",), ("5",), ("6",)] * 2
    assert make_pool(4, None, {"CUDA_VISIBLE_DEVICES": ""}) is None, "without GPUs, nothing is changed"
    with pytest.raises(SpecError, match="num_gpus_per_trial=4"):
        make_pool(4, None, mask)
    with pytest.raises(SpecError, match="GPU 3"):
        make_pool(1, [0, 3], mask)

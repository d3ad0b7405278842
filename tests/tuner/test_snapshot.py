"""What tuner.dill is pickled with, and that it can be loaded elsewhere."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from simulated import asha, simulated_tuner

from cloudtune.errors import NotFound, SnapshotError
from cloudtune.snapshot import load_snapshot, read_header, write_snapshot
from cloudtune.stopping_criterion import StoppingCriterion
from cloudtune.tuner import Tuner


@pytest.fixture
def tuner(own_folder: Path) -> Tuner:
    tuner = simulated_tuner(StoppingCriterion(max_num_trials_started=6), asha())
    tuner.run()
    return tuner


def test_the_scheduler_stays_one_object(tuner: Tuner, tmp_path: Path) -> None:
    write_snapshot(tmp_path / "t", tuner, 7)
    loaded = load_snapshot(tmp_path / "t")
    assert loaded._core.scheduler is loaded.scheduler
    assert loaded._core._should_stop() == tuner._core._should_stop()
    assert loaded.tuning_status.num_trials_started == 6
    assert loaded.best_config() == tuner.best_config()


def test_importable_parts_need_no_dill(tuner: Tuner, tmp_path: Path) -> None:
    parts = {"scheduler": tuner.scheduler, "status": tuner.tuning_status, "criterion": tuner.stop_criterion}
    parts["again"] = tuner.scheduler
    write_snapshot(tmp_path / "t", parts, 7)
    header = read_header(tmp_path / "t")
    assert (header.dill, header.num_events) == ("", 7)
    loaded = load_snapshot(tmp_path / "t")
    assert loaded["again"] is loaded["scheduler"]
    assert loaded["status"].best("loss", "min") == tuner.tuning_status.best("loss", "min")


def test_nested_functions_go_through_dill(tmp_path: Path) -> None:
    threshold = [3]

    def above(value: int) -> bool:
        return value > threshold[0]

    write_snapshot(tmp_path / "t", {"function": above, "cell": threshold}, 0)
    assert read_header(tmp_path / "t").dill != ""
    loaded = load_snapshot(tmp_path / "t")
    loaded["cell"][0] = 10
    assert not loaded["function"](5)  # what the function refers to is what the rest refers to


def test_what_a_script_defines_is_loaded_by_another_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        from pathlib import Path
        from cloudtune.snapshot import write_snapshot

        OFFSET = 40

        class Callback:
            def __init__(self, value):
                self.value = value
            def total(self):
                return self.value + OFFSET

        def criterion(status):
            return status > OFFSET

        for name, thing in {"object": Callback(2), "function": criterion, "class": Callback}.items():
            write_snapshot(Path(sys.argv[1]) / name, {"thing": thing, "path": Path("x")}, 0)
        """)
    )
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, timeout=60)
    assert load("object", tmp_path).total() == 42
    assert load("function", tmp_path)(41)
    assert load("class", tmp_path)(1).total() == 41


def load(name: str, folder: Path) -> Any:
    assert read_header(folder / name).dill != ""
    return load_snapshot(folder / name)["thing"]


def test_what_nobody_can_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="cannot be pickled"):
        write_snapshot(tmp_path / "t", {"generator": (i for i in range(3))}, 0)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("thing", [{"a": 1}, lambda: 1], ids=["plain", "dill"])
def test_damage_is_noticed(tmp_path: Path, thing: Any) -> None:
    path = tmp_path / "t"
    write_snapshot(path, thing, 0)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SnapshotError, match="is damaged"):
        load_snapshot(path)
    with pytest.raises(NotFound):
        load_snapshot(tmp_path / "missing")

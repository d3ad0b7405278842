"""Writing checkpoints, choosing the one to resume from, pruning."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune import constants
from cloudtune.checkpointing import (
    add_checkpointing_to_argparse,
    checkpoint_model_at_rung_level,
    resume_from_checkpointed_model,
    seen_level,
    training_script,
)
from cloudtune.clock import VirtualClock
from cloudtune.errors import CheckpointError, SpecError


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


class Script:
    """A training script whose model is the number of its epochs."""

    def __init__(self, directory: Path):
        self.config = {constants.ST_CHECKPOINT_DIR: str(directory)}
        self.directory = directory
        self.model: int | None = None

    def load(self, local_path: str) -> int:
        self.model = json.loads((Path(local_path) / "model.json").read_text())
        return self.model

    def save(self, local_path: str, resource: int) -> None:
        (Path(local_path) / "model.json").write_text(json.dumps(resource))

    def checkpoint(self, resource: int) -> None:
        checkpoint_model_at_rung_level(self.config, self.save, resource)

    def resume(self) -> int:
        return resume_from_checkpointed_model(self.config, self.load)

    def levels(self) -> list[int]:
        return sorted(int(name) for name in names(self.directory))


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in (constants.ENV_RUNG_LEVELS, constants.ENV_SEEN_LEVEL_FILE, constants.ENV_CHECKPOINT_INTERVAL_S):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(training_script, "_last_write", {})
    monkeypatch.setattr(training_script, "_clock", VirtualClock())
    monkeypatch.setattr(training_script, "_started", training_script._clock.now())


@pytest.fixture
def script(tmp_path) -> Script:
    return Script(tmp_path / "checkpoints")


@pytest.fixture
def see(monkeypatch, tmp_path):
    """Calls ``see(level)``: the tuner has recorded reports up to ``level``."""
    file = tmp_path / "seen"
    monkeypatch.setenv(constants.ENV_SEEN_LEVEL_FILE, str(file))
    return lambda level: file.write_text(f"{level}\n")


def test_the_argument():
    parser = argparse.ArgumentParser()
    add_checkpointing_to_argparse(parser)
    assert vars(parser.parse_args([])) == {"st_checkpoint_dir": None}
    assert vars(parser.parse_args(["--st_checkpoint_dir", "a b"])) == {"st_checkpoint_dir": "a b"}


@pytest.mark.parametrize("config", [{}, {"st_checkpoint_dir": None}, {"st_checkpoint_dir": ""}])
def test_off_without_directory(config, script):
    checkpoint_model_at_rung_level(config, script.save, 1)
    assert resume_from_checkpointed_model(config, script.load) == 0
    assert script.model is None


def test_nothing_there_is_level_0(script):
    assert script.resume() == 0
    script.directory.mkdir()
    assert script.resume() == 0


def test_the_newest_is_resumed(script):
    for level in (1, 2, np.int64(10)):
        script.checkpoint(level)
    assert script.resume() == 10
    assert script.model == 10
    assert names(script.directory / "00000010") == ["manifest.json", "model.json"]


def test_the_manifest_names_all_files(script):
    def save(local_path, resource):
        folder = Path(local_path) / "deep" / "er"
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"abc")

    checkpoint_model_at_rung_level(script.config, save, 7)
    manifest = json.loads((script.directory / "00000007" / "manifest.json").read_text())
    assert manifest["resource"] == 7
    assert manifest["files"] == {
        "deep/er/weights": {
            "size": 3,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        }
    }


def test_two_are_kept(script):
    for level in range(1, 8):
        script.checkpoint(level)
        assert script.levels() == [level - 1, level][-min(level, 2) :]


def test_a_level_may_be_written_again(script):
    script.checkpoint(3)
    (script.directory / "00000003" / "mark").touch()
    script.checkpoint(3)
    assert script.levels() == [3]
    assert not (script.directory / "00000003" / "mark").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.json").unlink(),
        lambda folder: (folder / "model.json").write_text("9"),
        lambda folder: (folder / "model.json").write_text(""),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text('{"schema": 1'),
        lambda folder: (folder / "manifest.json").write_text("[]"),
        lambda folder: (folder / "manifest.json").write_text('{"schema": 1, "resource": 2}'),
        lambda folder: (folder / "manifest.json").write_bytes(b"\xff"),
        lambda folder: (folder / "manifest.json").write_text(
            (folder / "manifest.json").read_text().replace("2", "3")
        ),
    ],
)
def test_a_damaged_one_is_skipped_and_removed(script, damage, caplog):
    script.checkpoint(1)
    script.checkpoint(2)
    damage(script.directory / "00000002")
    assert script.resume() == 1
    assert script.model == 1
    assert script.levels() == [1]
    assert "00000002 is not used" in caplog.text


def test_all_damaged_is_level_0(script):
    script.checkpoint(1)
    (script.directory / "00000001" / "model.json").write_text("2")
    assert script.resume() == 0
    assert script.model is None
    assert script.levels() == []


def test_what_is_not_ours_is_left_alone(script):
    script.checkpoint(1)
    script.checkpoint(2)
    for name in ("best", "7", ".hidden", "00000009.bak"):
        (script.directory / name).mkdir()
    (script.directory / "00000011").write_text("a file")
    script.checkpoint(3)
    assert script.resume() == 3
    assert {"best", "7", ".hidden", "00000009.bak", "00000011"} < set(names(script.directory))


def test_left_overs_are_removed_or_used(script):
    script.checkpoint(1)
    script.checkpoint(2)
    (script.directory / "00000002").rename(script.directory / ".00000002.123.tmp")  # died while replacing it
    (script.directory / ".00000003.123.tmp").mkdir()  # died while writing it
    assert script.resume() == 2
    assert script.levels() == [1, 2]


# --- what the tuner has seen ---


def test_resume_is_at_or_below_the_level_seen(script, see):
    see(0)
    for level in range(1, 4):
        script.checkpoint(level)
    see(2)
    script.checkpoint(4)
    assert script.resume() == 1  # of 1, 3, 4: 2 was pruned when nothing was seen
    assert script.levels() == [1]


@pytest.mark.parametrize("text", [None, "", "what", "0"])
def test_nothing_seen_starts_from_scratch(script, monkeypatch, tmp_path, text, caplog):
    script.checkpoint(1)
    file = tmp_path / "seen"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv(constants.ENV_SEEN_LEVEL_FILE, str(file))
    assert seen_level() == 0
    assert script.resume() == 0
    assert script.levels() == []
    assert ("taken for 0" in caplog.text) == (text in ("", "what"))


@settings(max_examples=25, deadline=None)
@given(
    lags=st.lists(st.integers(0, 6), min_size=1, max_size=12),
    damaged=st.booleans(),
)
def test_pruning_keeps_what_is_needed(tmp_path_factory, lags, damaged):
    """However far the tuner lags, directories stay few, and the newest safe one is resumed from."""
    folder = tmp_path_factory.mktemp("prune")
    script, seen_file = Script(folder / "checkpoints"), folder / "seen"
    os.environ[constants.ENV_SEEN_LEVEL_FILE] = str(seen_file)
    try:
        seen = 0
        for level, lag in enumerate(lags, start=1):
            script.checkpoint(level)
            seen = max(seen, level - lag)
            seen_file.write_text(str(seen))
            levels = script.levels()
            assert levels[-1] == level
            assert len(levels) <= 3
            if level > 1:
                assert len(levels) >= 2
        safe = [level for level in script.levels() if level <= seen]
        if damaged and safe and len(script.levels()) > 1:
            (script.directory / f"{safe.pop():08d}" / "model.json").write_text("x")
        assert script.resume() == max(safe, default=0)
    finally:
        del os.environ[constants.ENV_SEEN_LEVEL_FILE]
        shutil.rmtree(folder)


@pytest.mark.parametrize("lag", [0, 1, 2, 3, 5, 8])
def test_a_constant_lag_does_not_starve_the_safe_checkpoint(script, see, lag):
    for level in range(1, 60):
        see(max(0, level - 1 - lag))
        script.checkpoint(level)
    seen = 58 - lag
    safe = max(level for level in script.levels() if level <= seen)
    assert seen - safe <= lag + 1


# --- when ---


def written(script, levels) -> list[int]:
    done = []
    for level in levels:
        before = set(names(script.directory))
        script.checkpoint(level)
        if f"{level:08d}" in set(names(script.directory)) - before:
            done.append(level)
    return done


def test_each_level_if_the_scheduler_names_none(script):
    assert written(script, range(1, 5)) == [1, 2, 3, 4]


@pytest.mark.parametrize(("levels", "expected"), [("1,3,9", [1, 3, 9]), (" 2 , 4 ", [2, 4]), ("", [])])
def test_only_rung_levels(script, monkeypatch, levels, expected):
    monkeypatch.setenv(constants.ENV_RUNG_LEVELS, levels)
    assert written(script, range(1, 12)) == expected


def test_other_levels_at_intervals(script, monkeypatch):
    monkeypatch.setenv(constants.ENV_RUNG_LEVELS, "5")
    done = []
    for level in range(1, 13):  # 25 s each: 60 s have passed at level 3; 5 is a rung level; 8 and 11 again by time
        training_script._clock.sleep(25)
        done += written(script, [level])
    assert done == [3, 5, 8, 11]
    monkeypatch.setenv(constants.ENV_CHECKPOINT_INTERVAL_S, "0")
    assert written(script, [13, 14]) == [13, 14]


# --- refused ---


@pytest.mark.parametrize("resource", [0, -1, 1.0, True, "1", None])
def test_levels_that_are_none(script, resource):
    with pytest.raises(SpecError, match="resource must be an integer"):
        script.checkpoint(resource)


@pytest.mark.parametrize(
    ("name", "value"), [(constants.ENV_RUNG_LEVELS, "1;3"), (constants.ENV_CHECKPOINT_INTERVAL_S, "soon")]
)
def test_wrong_environment(script, monkeypatch, name, value):
    monkeypatch.setenv(constants.ENV_RUNG_LEVELS, "1")
    monkeypatch.setenv(name, value)
    with pytest.raises(SpecError, match=name):
        script.checkpoint(2)


def test_the_directory_is_a_file(tmp_path):
    file = tmp_path / "file"
    file.touch()
    script = Script(file)
    for call in (script.resume, lambda: script.checkpoint(1)):
        with pytest.raises(SpecError, match="is a file"):
            call()


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda path, resource: None, "wrote nothing"),
        (lambda path, resource: (Path(path) / "empty").mkdir(), "wrote nothing"),
        (lambda path, resource: (Path(path) / "manifest.json").touch(), "reserved"),
        (lambda path, resource: (Path(path) / "no" / "folder").touch(), "No such file"),
    ],
)
def test_a_save_that_fails_leaves_the_last_one(script, save, message):
    script.checkpoint(1)
    with pytest.raises(CheckpointError, match=message):
        checkpoint_model_at_rung_level(script.config, save, 2)
    assert names(script.directory) == ["00000001"]
    assert script.resume() == 1


def test_an_exception_of_the_script_passes_through(script):
    def save(local_path, resource):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        checkpoint_model_at_rung_level(script.config, save, 2)
    assert names(script.directory) == []


@pytest.mark.parametrize("returned", [0, 1, None, "2"])
def test_a_load_that_did_not_load_is_an_error_and_removes_nothing(script, returned):
    script.checkpoint(1)
    script.checkpoint(2)
    with pytest.raises(CheckpointError, match="load_model_fn returned"):
        resume_from_checkpointed_model(script.config, lambda path: returned)
    assert script.levels() == [1, 2]

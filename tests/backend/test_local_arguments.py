"""What a script is called with."""

from __future__ import annotations

import argparse
import json
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_rig import Rig, run_until_ended, trial
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.backend.local import arguments
from cloudtune.errors import SpecError
from cloudtune.experiment.ports import AttemptKey
from cloudtune.paths import TrialPaths
from cloudtune.trial import Outcome

ECHO = """
import json, sys
print("[tune-metric]: " + json.dumps({"argv": sys.argv[1:]}))
"""
PATHS = TrialPaths(Path("/t/0"), Path("/t/0/checkpoints"))

# "--" is dropped by argparse itself (bpo-14364), and a null character cannot be in an argument.
texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20).filter(
    lambda text: text != "--"
)
values = st.one_of(texts, st.booleans(), st.integers(), st.floats(allow_nan=False), st.lists(texts, max_size=3))


def parsed(argv: list[str], config: dict[str, Any]) -> dict[str, Any]:
    """As an ordinary training script parses them."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    kinds = {bool: lambda word: {"True": True, "False": False}[word], list: json.loads}
    for name, value in config.items():
        parser.add_argument(f"--{name}", type=kinds.get(type(value), type(value)), required=True)
    parser.add_argument("--st_checkpoint_dir", required=True)
    return vars(parser.parse_args(argv))


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), values, max_size=4))
@settings(max_examples=150, deadline=None)
def test_argparse_gets_back_what_was_sent(config: dict[str, Any]) -> None:
    found = parsed(arguments.arguments(config, PATHS, as_json=False), config)
    assert found == {**config, "st_checkpoint_dir": "/t/0/checkpoints"}


@given(st.dictionaries(st.sampled_from(["lr", "name", "flag", "units"]), values))
@settings(max_examples=8, deadline=None)
def test_processes_get_what_was_sent(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> None:
    rig = Rig(tmp_path_factory.mktemp("echo"))
    backend = rig.open(rig.script(ECHO))
    backend.start(trial(0, 0, **config))
    reports, _ = run_until_ended(backend)
    rig.close()
    assert parsed(reports[0].metrics["argv"], config).items() >= config.items()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1e-05, ["--x", "1e-05"]),
        (-1e-05, ["--x=-1e-05"]),
        (-3, ["--x=-3"]),
        ("", ["--x", ""]),
        ("a b", ["--x", "a b"]),
        ('it\'s "so" $HOME `ls` ; *', ["--x", 'it\'s "so" $HOME `ls` ; *']),
        (True, ["--x", "True"]),
        (np.bool_(False), ["--x", "False"]),
        (np.int64(7), ["--x", "7"]),
        (np.float32(0.5), ["--x", "0.5"]),
        ([1, "a"], ["--x", '[1, "a"]']),
        ((1, 2), ["--x", "[1, 2]"]),
        ({"a": np.array([1.0])}, ["--x", '{"a": [1.0]}']),
        (None, []),
    ],
)
def test_words(value: Any, words: list[str]) -> None:
    found = arguments.arguments({"x": value}, PATHS, as_json=False)
    assert found == [*words, "--st_checkpoint_dir", "/t/0/checkpoints"]


def test_config_as_json(rig: Rig) -> None:
    script = """
    import json, sys
    name = sys.argv[sys.argv.index("--st_config_json_filename") + 1]
    print("[tune-metric]: " + json.dumps({"argv": sys.argv[1:], "config": json.load(open(name))}))
    """
    config = {"lr": 0.1, "deep": {"layers": [1, 2]}, "none": None, "text": 'ü "x"', "flag": False}
    backend = rig.open(rig.script(script), pass_args_as_json=True)
    backend.start(trial(0, 0, **{**config, "units": np.int64(3)}))
    metrics = run_until_ended(backend)[0][0].metrics
    assert metrics["config"] == {**config, "units": 3}
    paths = rig.trial_paths()
    assert metrics["argv"] == [
        "--st_config_json_filename",
        str(paths.config),
        "--st_checkpoint_dir",
        str(paths.checkpoints),
    ]


@pytest.mark.parametrize("value", ["a\0b", "x" * 2**22, object(), {1, 2}])
def test_what_no_command_line_can_hold_fails_that_trial_alone(rig: Rig, value: Any) -> None:
    backend = rig.open(rig.script("print('[tune-metric]: {\"a\": 1}')"))
    backend.start(trial(0, 0, x=value))
    backend.start(trial(1, 0, x=1))
    reports, ends = run_until_ended(backend, AttemptKey(0, 0), AttemptKey(1, 0))
    assert ends[AttemptKey(0, 0)].outcome is Outcome.failed
    assert "cannot be started" in ends[AttemptKey(0, 0)].reason
    assert ends[AttemptKey(1, 0)].outcome is Outcome.completed
    assert len(reports) == 1


def test_executable_and_command_as_entry_point(rig: Rig) -> None:
    shell = Path(rig.script('#!/bin/sh\necho "[tune-metric]: {\\"first\\": \\"$1\\"}"\n', "train.sh"))
    with pytest.raises(SpecError, match="chmod"):
        rig.open(str(shell))
    shell.chmod(shell.stat().st_mode | stat.S_IXUSR)
    for trial_id, entry_point in enumerate([shell, ("sh", str(shell)), ["env", "A=b c", str(shell)]]):
        backend = rig.open(entry_point)
        backend.start(trial(trial_id, 0, lr="$(echo no)"))
        assert run_until_ended(backend, AttemptKey(trial_id, 0))[0][0].metrics == {"first": "--lr"}
    python = rig.open((sys.executable, "-O", rig.script(ECHO)))
    python.start(trial(9))
    assert len(run_until_ended(python, AttemptKey(9, 0))[0]) == 1


@pytest.mark.parametrize(
    ("entry_point", "words"),
    [
        ("trian.py", ["does not exist", "train.py"]),
        ("no/such/train.py", ["nor does its folder"]),
        (".", ["is a folder"]),
        (("no-such-program", "train.py"), ["no-such-program", "PATH"]),
        (("python", "trian.py"), ["does not exist", "train.py"]),
        ("no-such-program", ["no-such-program", "PATH"]),
    ],
)
def test_missing_scripts_are_refused_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, entry_point: Any, words: list[str]
) -> None:
    rig.script("pass")
    monkeypatch.chdir(rig.root)
    with pytest.raises(SpecError) as caught:
        rig.open(entry_point)
    for word in words:
        assert word in str(caught.value)


def test_scripts_in_folders_with_odd_names(rig: Rig) -> None:
    folder = rig.root / "my 'dir' $x"
    folder.mkdir()
    (folder / "a b.py").write_text(ECHO)
    backend = rig.open(folder / "a b.py")
    backend.start(trial())
    assert run_until_ended(backend)[1][AttemptKey(0, 0)].outcome is Outcome.completed
    assert backend.metadata()["entrypoint"] == "a b"

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cloudtune
from cloudtune import StoppingCriterion, Tuner, cli
from cloudtune.backend import LocalBackend
from cloudtune.config_space import uniform
from cloudtune.optimizer.baselines import RandomSearch
from cloudtune.paths import ExperimentPaths, experiments_root
from cloudtune.stores.file import FileStore

SCRIPT = Path(cli.__file__).parents[1] / "experiments/training_scripts/train_height/train_height.py"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods on one benchmark, one seed each."""
    root = tmp_path_factory.mktemp("experiments")
    for method, seed in (("RS", 0), ("Other", 1)):
        run(root, f"study-{method}", {"tag": "study", "algorithm": method, "benchmark": "height", "seed": seed})
    return root


def run(root: Path, name: str, metadata: dict[str, object]) -> None:
    space = {"steps": 3, "sleep_time": 0.01, "width": uniform(0, 20), "height": uniform(-100, 100)}
    tuner = Tuner(
        LocalBackend(SCRIPT),
        RandomSearch(space, metric="mean_loss", random_seed=int(str(metadata["seed"]))),
        StoppingCriterion(max_num_trials_started=3),
        n_workers=2,
        tuner_name=name,
        suffix_tuner_name=False,
        metadata=metadata,
    )
    tuner.relocate(ExperimentPaths(root / name))
    tuner.run()


@pytest.fixture
def here(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tuned))
    return tuned


def words(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_list(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    heading, *rows = capsys.readouterr().out.strip().splitlines()
    assert words(heading) == ["experiment", "method", "status", "trials", "best", "age"]
    assert {words(row)[0]: words(row)[1:4] for row in rows} == {
        "study-RS": ["RS", "ended", "3"],
        "study-Other": ["Other", "ended", "3"],
    }
    assert all(re.search(r"mean_loss -?[\d.]+ +\d+ s$", row) for row in rows)
    assert cli.main(["list", "--tag", "study"]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 3


def test_an_experiment_that_was_killed_is_interrupted(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, copy = ExperimentPaths(tuned / "study-RS"), ExperimentPaths(tmp_path / "half")
    copy.journal.mkdir(parents=True)
    copy.metadata.write_bytes(source.metadata.read_bytes())
    lines = source.segment(0).read_bytes().splitlines(keepends=True)
    copy.segment(0).write_bytes(b"".join(lines[:-1]))
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path))
    for holder in ("", "elsewhere:1", own_process()):
        copy.lock.write_text(holder)  # of a tuner that has died; a number may be used again
        assert cli.main(["list"]) == 0
        assert words(capsys.readouterr().out.splitlines()[1])[2] == "interrupted"
    store = FileStore(copy)
    for holder in (own_process(), "elsewhere:1"):
        store.open(holder)
        assert cli.main(["list"]) == 0
        assert words(capsys.readouterr().out.splitlines()[1])[2] == "running"
        store.close()


def own_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def test_nothing_to_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert str(experiments_root()) in capsys.readouterr().out


def test_show(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "study-RS"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^benchmark: +height$", said, re.MULTILINE)
    assert re.search(r"^objective: +mean_loss \(min\)$", said, re.MULTILINE)
    best = re.search(r"Best mean_loss: (\S+) \(trial (\d)\)", said)
    assert best is not None
    config = json.JSONDecoder().raw_decode(said, said.index("{"))[0]
    assert set(config) == {"steps", "sleep_time", "width", "height"}
    rows = [words(line) for line in said[said.index("\ntrial ") :].strip().splitlines()]
    assert rows[0][:5] == ["trial", "status", "attempts", "reports", "best mean_loss"]
    assert rows[1][0] == best[2]
    values = [float(row[4]) for row in rows[1:]]
    assert values == sorted(values)
    assert len(values) == 3
    assert cli.main(["show", "study-RS", "--trials", "1"]) == 0
    assert "1 best of 3 trials" in capsys.readouterr().out


def test_compare_and_plot(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "comparison.png"
    assert cli.main(["compare", "study", "-o", str(picture)]) == 0
    said = capsys.readouterr().out
    assert "RS" in said
    assert "Other" in said
    assert f"Picture: {picture}" in said
    for arguments in (["plot", "study-RS"], ["plot", "study-RS", "--trials"]):
        output = tmp_path / f"{len(arguments)}.png"
        assert cli.main([*arguments, "-o", str(output)]) == 0
        assert output.read_bytes().startswith(b"\x89PNG")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "study-RX"], 3, "There is no experiment 'study-RX'.*Similar names: study-RS"),
        (["show", "../x"], 2, "no name of an experiment.*CLOUDTUNE_FOLDER"),
        (["show", ""], 2, "it is empty"),
        (["show", "study-RS", "--trials", "-1"], 2, "--trials: -1 is less than 0"),
        (["show", "study-RS", "--metric", "loss"], 2, "no metric 'loss'.*mean_loss"),
        (["compare", "no-such-study"], 3, "no-such-study"),
        (["compare", "study", "--metric", "loss"], 2, "loss"),
        (["list", "--tg", "x"], 2, "Did you mean --tag"),
        (["shw"], 2, "invalid choice: 'shw'"),
        (["show"], 2, "name"),
        (["emulator", "strt"], 2, "unknown action 'strt'.*status, stop"),
    ],
)
def test_errors_help_and_have_exit_codes(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert cli.main(arguments) == code
    said = capsys.readouterr()
    assert re.search(f"(?s)^error: .*{message}", said.err), said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--help"], ["compare", "-h"], ["emulator", "--help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):  # argparse's way
        assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: cloudtune {'' if arguments[0].startswith('-') else arguments[0]}".rstrip())


def test_without_a_command_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "examples:" in capsys.readouterr().out


def test_no_emulator_in_the_background(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["emulator", "status"]) == 3
    assert cli.main(["emulator", "stop"]) == 0
    assert capsys.readouterr().out.count("No emulator runs in the background.") == 2


def test_the_command_is_light() -> None:
    """Nothing heavy is imported for help: that, and not a stopwatch, keeps it fast."""
    code = (
        "import sys, cloudtune.cli as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'boto3', 'botocore', 'rich', 'dill', 'matplotlib', 'moto', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"


@pytest.fixture
def served() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cloudtune.cli", "emulator", "--max_parallel_jobs", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.terminate()
    process.communicate(timeout=60)


def test_the_emulator_prints_what_clients_need(served: subprocess.Popen[str]) -> None:
    assert served.stdout is not None
    exports: dict[str, str] = {}
    for line in served.stdout:
        if line.startswith("# jobs"):
            break
        name, _, value = line.removeprefix("export ").strip().partition("=")
        exports[name] = value
    assert exports["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"} <= set(exports)


def test_a_study_is_no_experiment(
    tmp_path: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    shutil.copytree(tuned, tmp_path / "root" / "study")
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path / "root"))
    assert cli.main(["show", "study"]) == 3
    said = capsys.readouterr().err
    assert "'study' is a study, not an experiment" in said and "cloudtune compare study" in said


def test_a_failed_experiment(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    copy = ExperimentPaths(tmp_path / "bad")
    shutil.copytree(here / "study-RS", copy.dir)
    text = copy.segment(0).read_text()
    copy.segment(0).write_text(re.sub(r'("kind":"experiment_ended".*)\}', r'\1,"error":"no memory"}', text))
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path))
    assert cli.main(["show", "bad"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^status: +failed$", said, re.MULTILINE)
    assert re.search(r"^error: +no memory$", said, re.MULTILINE)


@pytest.mark.parametrize("width", [30, 60, 80, 120, 200])
@pytest.mark.parametrize("command", [["list"], ["show", "study-RS"], ["compare", "study"]])
def test_terminals_of_any_width(
    here: Path, command: list[str], width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": str(width), "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    assert cli.main(command) == 0
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "\x1b" not in said
    if command[0] == "show":
        said = said[said.index("\ntrial ") :]
        assert ("width=" in said) == (width < 120)  # in one column where one for each would not fit
    assert all(len(line) <= width for line in said.splitlines() if "folder:" not in line)
    if command[0] != "compare" and width >= 80:
        assert "ended" in said or "Completed" in said  # no word is broken


def test_several_benchmarks(tmp_path: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    shutil.copytree(tuned, tmp_path / "root")
    other = tmp_path / "root" / "study-Other" / "metadata.json"
    other.write_text(other.read_text().replace('"height"', '"weight"'))
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path / "root"))
    assert cli.main(["compare", "study"]) == 0
    said = capsys.readouterr().out
    assert "height: mean_loss" in said and "weight: mean_loss" in said
    assert cli.main(["compare", "study", "-o", str(tmp_path / "x.png")]) == 2
    assert "--benchmark" in capsys.readouterr().err
    assert cli.main(["compare", "study", "--benchmark", "weight", "-o", str(tmp_path / "x.png")]) == 0
    assert "height" not in capsys.readouterr().out and (tmp_path / "x.png").exists()
    assert cli.main(["compare", "study", "--benchmark", "wight"]) == 2
    assert "Did you mean weight?" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == f"cloudtune {cloudtune.__version__}"

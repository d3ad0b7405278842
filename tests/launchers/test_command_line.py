"""How commands log, and how they end."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtune.errors import SpecError
from cloudtune.experiments.launchers.command_line import configure_logging, run_command


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("cloudtune")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def say() -> None:
    logger = logging.getLogger("cloudtune.anything")
    logger.debug("details")
    logger.info("Experiment 1 of 2.")
    logger.warning("Trial 3 has failed.")
    logging.getLogger("someone.else").info("noise")


def test_lines_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(verbose=False)
    say()
    assert capsys.readouterr().err == "Experiment 1 of 2.\nwarning: Trial 3 has failed.\n"


def test_verbose_lines_say_when_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(verbose=True)
    say()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and lines[0].endswith(" DEBUG cloudtune.anything: details")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_live_view_gets_the_lines_of_a_terminal_only(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    own, view = Terminal() if terminal else io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", own)
    configure_logging(verbose=False)
    monkeypatch.setattr(sys, "stderr", view)  # as rich does while it shows something
    say()
    written, empty = (view, own) if terminal else (own, view)
    assert "Trial 3" in written.getvalue() and not empty.getvalue()


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    def refused() -> int:
        raise SpecError("No.", "Say yes.")

    assert [run_command(lambda: 0), run_command(lambda: 3), run_command(interrupted), run_command(refused)] == [
        0, 3, 130, 2,
    ]  # fmt: skip
    assert capsys.readouterr().err == "Interrupted.\nerror: No.\n  -> Say yes.\n"


@pytest.mark.parametrize(
    "call", ["hpo_main_local import main as run", "launch_remote_local import launch_remote as run"]
)
def test_a_script_of_syne_tune_fails_when_its_study_does(call: str, tmp_path: Path) -> None:
    """It does not look at what the call returns; a job of it would be Completed."""
    entry = "__file__, " if "remote" in call else ""
    script = tmp_path / "hpo_main.py"
    script.write_text(
        f"from cloudtune.experiments.launchers.{call}\n"
        "from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions\n"
        "from cloudtune.experiments.default_baselines import methods\n"
        f"run({entry}methods, real_benchmark_definitions)\n"
    )
    done = subprocess.run([sys.executable, script, "--method", "XX"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith("error: --method XX")

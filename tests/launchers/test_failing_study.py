"""A study whose training script is broken: what the launcher says, and what the same command does then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from launcher_helpers import GOOD, benchmark_of, write_script

from cloudtune.emulator.daemon import running_daemon, stop_daemon
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.launch_remote_local import launch_remote

_MAIN = """\
import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent))
from launcher_helpers import benchmark_of
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.hpo_main_local import main
sys.exit(main(methods, lambda: benchmark_of(Path(__file__).parent / "train.py")))
"""


@pytest.fixture
def entry_point(tmp_path: Path) -> Iterator[Path]:
    """Of a user's own study, beside its training script."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "hpo_main.py").write_text(_MAIN)
    (folder / "launcher_helpers.py").write_bytes(Path(__file__).with_name("launcher_helpers.py").read_bytes())
    yield folder / "hpo_main.py"
    stop_daemon()


def test_broken_then_mended(entry_point: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def launch(*more: str) -> int:
        definitions = benchmark_of(entry_point.with_name("train.py"))
        return launch_remote(
            entry_point, methods, lambda: definitions, argv=["--method", "RS", "--num_seeds", "2", *more]
        )

    # Seed 0 fails, seed 1 works: the launcher compares what there is, and ends with the error of the other.
    broken = (
        "import os\nif os.environ['CLOUDTUNE_TUNER_NAME'].endswith('RS-0'): raise RuntimeError('disk on fire')\n"
    )
    write_script(entry_point.parent, broken + GOOD)
    assert launch() == 8
    said = capsys.readouterr()
    assert "RS seed 0 FAILED" in said.err and "1 of 2 jobs did not complete" in said.err
    assert "disk on fire" in said.err and "run the same command again" in said.err
    assert "mine: loss" in said.out and "1 of 2" in said.out and "comparison.png" in said.out

    write_script(entry_point.parent)
    assert launch() == 0
    said = capsys.readouterr()
    assert "Already complete: 1 of 2" in said.err and "1 job there already (1 Failed)" in said.err
    assert "not done yet: continuing it" in said.err and "1 job submitted." in said.err
    emulator = running_daemon()
    assert emulator is not None
    states = sorted(
        (job["TrainingJobName"][len("study-0000-0000-00-") :], job["TrainingJobStatus"]) for job in emulator.jobs()
    )
    assert states == [("mine-RS-0", "Failed"), ("mine-RS-0-r2", "Completed"), ("mine-RS-1", "Completed")]

    assert launch("--no_wait") == 0  # all done: a new study
    assert "2 jobs submitted." in capsys.readouterr().err

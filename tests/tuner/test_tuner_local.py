"""The tuner with real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated import random_search

from cloudtune import StoppingCriterion, Tuner
from cloudtune.backend import LocalBackend
from cloudtune.errors import SpecError

SCRIPT = """
import argparse
from cloudtune import Reporter
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
parser.add_argument("--epochs", type=int)
args, _ = parser.parse_known_args()
report = Reporter()
for epoch in range(1, args.epochs + 1):
    report(epoch=epoch, loss=args.x / epoch)
"""


def tuner_of(script: Path) -> Tuner:
    return Tuner(
        LocalBackend(str(script)),
        random_search(),
        StoppingCriterion(max_num_trials_started=3),
        n_workers=2,
        tuner_name="local",
        suffix_tuner_name=False,
    )


def test_real_trials(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    tuner = tuner_of(script)
    tuner.run()
    assert tuner.tuning_status.num_trials_completed == 3
    assert tuner.tuning_status.num_reports == 27
    assert (tuner.paths.trial(0).dir / "std.out").read_text().count("[tune-metric]") == 9


def test_what_never_began_binds_nobody(tmp_path: Path) -> None:
    """The script's path is mistyped, then corrected."""
    with pytest.raises(SpecError, match="trian"):
        tuner_of(tmp_path / "trian.py").run()
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    tuner = tuner_of(script)
    tuner.run()
    assert tuner.tuning_status.num_trials_completed == 3

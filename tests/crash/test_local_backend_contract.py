"""LocalBackend passes the shipped contract, with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtune.backend import LocalBackend
from cloudtune.clock import WallClock
from cloudtune.experiment.ports import BackendContext, TrialBackend
from cloudtune.paths import ExperimentPaths
from cloudtune.testing.backend_contract import BACKEND_CHECKS, BackendCheck, names
from cloudtune.trial import Config

SCRIPT = """
import argparse, os, time
from pathlib import Path
from cloudtune.report import Reporter
parser = argparse.ArgumentParser()
for name in ("epochs", "fails"):
    parser.add_argument("--" + name, type=int)
parser.add_argument("--st_checkpoint_dir", type=Path)
args = parser.parse_args()
report = Reporter()
stored = args.st_checkpoint_dir / "epoch"
first = int(stored.read_text()) if stored.exists() else 0
for epoch in range(first + 1, args.epochs + 1):
    stored.with_suffix(".tmp").write_text(str(epoch))
    stored.with_suffix(".tmp").replace(stored)
    report(epoch=epoch)
    time.sleep(0.02 if args.epochs < 100 else 0.2)  # the work
if args.fails and os.environ["CLOUDTUNE_ATTEMPT"] == "0":
    raise SystemExit("it was to fail")
"""


class LocalRig:
    patience_s = 60.0

    def __init__(self, root: Path) -> None:
        self.clock = WallClock()
        self.script = root / "train.py"
        self.script.write_text(SCRIPT)
        self.context = BackendContext(ExperimentPaths(root / "experiment"), self.clock, None, "epoch")
        self.opened: list[TrialBackend] = []

    def backend(self) -> TrialBackend:
        backend = LocalBackend(str(self.script), rotate_gpus=False, grace_period_s=2.0)
        backend.open(self.context)
        self.opened.append(backend)
        return backend

    def config(self, trial_id: int, epochs: int) -> Config:
        return {"epochs": epochs, "fails": 0}

    def failing_config(self, trial_id: int, epochs: int) -> Config:
        return {"epochs": epochs, "fails": 1}

    def endless_config(self, trial_id: int) -> Config:
        return {"epochs": 1000, "fails": 0}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[LocalRig]:
    rig = LocalRig(tmp_path)
    yield rig
    for backend in rig.opened:
        backend.close()


@pytest.mark.parametrize("check", BACKEND_CHECKS, ids=names(BACKEND_CHECKS))
def test_contract(check: BackendCheck, rig: LocalRig) -> None:
    check(rig)

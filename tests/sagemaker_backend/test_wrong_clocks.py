"""A tuner whose machine has the wrong time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hand_cloud import HandCloud
from hand_desk import Desk

from cloudtune.errors import Unreachable
from cloudtune.experiment.ports import AttemptKey
from cloudtune.trial import Outcome, Trial


@pytest.mark.parametrize("ahead_s", [-86400.0, 86400.0])
def test_it_knows_its_own_job(tmp_path: Path, ahead_s: float) -> None:
    """Of which it does not know that it has created it: the answer was lost, and then it died."""
    cloud = HandCloud()
    recorded = Trial(0, {"lr": 0.1}, 0, cloud.clock.now() + ahead_s)
    cloud.lost_answers["create"] = [Unreachable("no answer")]
    for _ in range(2):
        desk = Desk(cloud, tmp_path, {AttemptKey(0, 0): 0})
        desk.open().start(recorded)
        desk.passes(60)
    cloud.reports("0-0", 1)
    cloud.ends("0-0", 1)
    cloud.becomes("0-0", "Completed")
    desk.passes(30)
    assert list(cloud.held) == ["0-0-tuner"]
    assert desk.epochs() == [1] and desk.ends()[0].outcome is Outcome.completed

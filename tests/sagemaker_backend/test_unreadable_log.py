"""A tuner whose role may not read logs, and jobs that have nothing in S3."""

from __future__ import annotations

from pathlib import Path

import pytest
from hand_cloud import HandCloud
from hand_desk import Desk

from cloudtune.errors import AccessDenied
from cloudtune.trial import Outcome


@pytest.fixture
def cloud() -> HandCloud:
    return HandCloud()


@pytest.fixture
def desk(cloud: HandCloud, tmp_path: Path) -> Desk:
    desk = Desk(cloud, tmp_path)
    desk.open()
    return desk


def stop_before_the_script_begins(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    desk.passes(1)
    cloud.becomes("0-0", "InProgress", "Training")
    desk.passes(5)
    desk.backend.stop(0, 0)
    desk.passes(1)
    cloud.becomes("0-0", "Stopped")


def test_a_log_that_must_not_be_read_is_not_waited_for(desk: Desk, cloud: HandCloud) -> None:
    denied = AccessDenied("Not authorized to perform logs:DescribeLogStreams.", code="AccessDeniedException")
    cloud.errors["log_page"] = [denied] * 100
    stop_before_the_script_begins(desk, cloud)
    desk.passes(120)
    assert [end.outcome for end in desk.ends()] == [Outcome.stopped]


def test_credentials_that_have_expired_come_back(desk: Desk, cloud: HandCloud) -> None:
    """What the log has is not given up meanwhile."""
    cloud.errors["log_page"] = [AccessDenied("Expired.", code="ExpiredTokenException")] * 100
    stop_before_the_script_begins(desk, cloud)
    cloud.job("0-0").log.append((0, '[tune-metric]: {"epoch": 1, "loss": 1.0}'))
    desk.passes(600)
    assert not desk.ends()
    cloud.errors.clear()
    desk.passes(120)
    assert desk.epochs() == [1] and desk.ends()[0].outcome is Outcome.stopped

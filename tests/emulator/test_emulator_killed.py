"""The emulator killed and restarted by its scenario."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from emulator_rig import Rig, eventually
from scenario_rig import of, page

from cloudtune.emulator import SageMakerEmulator
from cloudtune.errors import SpecError

KILLED = {"kind": "emulator_killed", "at_s": 3, "times": 1}


def health(url: str) -> dict[str, Any] | None:
    try:
        return dict(page(url, "GET", "health"))
    except (urllib.error.URLError, ConnectionError):
        return None


def next_start(process: subprocess.Popen[str]) -> str:
    """Where the emulator serves, as it says at each start."""
    assert process.stdout is not None
    line = next(line for line in process.stdout if "AWS_ENDPOINT_URL=" in line)
    return line.partition("=")[2].strip()


def test_it_comes_back_at_the_same_place_as_often_as_wanted(tmp_path: Path) -> None:
    scenario = tmp_path / "killed.json"
    scenario.write_text(json.dumps(of(KILLED).to_json()))
    command = [sys.executable, "-u", "-m", "cloudtune.emulator", "--max_parallel_jobs", "1"]
    process = subprocess.Popen(
        [*command, "--scenario", str(scenario)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        url = next_start(process)
        assert next_start(process) == url  # killed once, as often as the scenario wants
        found = eventually(lambda: health(url), "back")
        assert found["pid"] == process.pid
        assert page(url, "GET", "scenario")["faults"] == [KILLED]
        rig = Rig(url, SageMakerEmulator.role_arn)
        rig.put("kept", "until killed")
        rig.submit("lost", "signal.pause()")
        rig.reached("lost", "Training")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):  # death may be faster than the answer
            page(url, "PUT", "scenario", of({**KILLED, "at_s": 0, "times": 2}).to_json())
        assert next_start(process) == url
        eventually(lambda: health(url), "back again")
        rig = Rig(url, SageMakerEmulator.role_arn)
        assert rig.get("kept") is None  # no --state
        assert rig.run("after", "")["TrainingJobStatus"] == "Completed"
        page(url, "POST", "shutdown", {})
        assert process.wait(timeout=60) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait(timeout=60)
        process.stdout.close()  # type: ignore[union-attr]


def test_a_process_that_is_not_its_own_is_left_alone() -> None:
    with pytest.raises(SpecError, match="shares its process"):
        SageMakerEmulator(scenario=of(KILLED)).start()
    with SageMakerEmulator(max_parallel_jobs=1) as aws:
        with pytest.raises(SpecError, match="shares its process"):
            aws.apply_scenario(of(KILLED))
        with pytest.raises(urllib.error.HTTPError):
            page(aws.endpoint_url, "PUT", "scenario", of(KILLED).to_json())
        assert page(aws.endpoint_url, "GET", "scenario")["name"] == "calm"

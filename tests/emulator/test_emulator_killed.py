"""The emulator killed and restarted by its scenario."""

from __future__ import annotations

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

KILLED = {"kind": "emulator_killed", "at_s": 1, "times": 2}


def health(url: str) -> dict[str, Any] | None:
    try:
        return dict(page(url, "GET", "health"))
    except (urllib.error.URLError, ConnectionError):
        return None


def test_it_comes_back_at_the_same_place_as_often_as_wanted(tmp_path: Path) -> None:
    scenario = tmp_path / "killed.json"
    scenario.write_text(json.dumps(of(KILLED).to_json()))
    command = [sys.executable, "-u", "-m", "cloudtune.emulator", "--max_parallel_jobs", "1", "--time_scale", "0.5"]
    process = subprocess.Popen(
        [*command, "--scenario", str(scenario)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        url = next(line for line in process.stdout if "AWS_ENDPOINT_URL=" in line).partition("=")[2].strip()
        Rig(url, SageMakerEmulator.role_arn).put("kept", "until killed")
        starts = 1
        while starts < 3:  # every start says where it serves
            starts += f"AWS_ENDPOINT_URL={url}" in next(process.stdout)
        found = eventually(lambda: health(url), "back")
        assert found["pid"] == process.pid
        rig = Rig(url, SageMakerEmulator.role_arn)
        assert rig.get("kept") is None  # no --state
        assert rig.run("after", "")["TrainingJobStatus"] == "Completed"
        assert page(url, "GET", "scenario")["faults"] == [KILLED | {"at_s": 1.0}]
        page(url, "POST", "shutdown", {})
        assert process.wait(timeout=60) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait(timeout=60)


def test_a_process_that_is_not_its_own_is_left_alone() -> None:
    with pytest.raises(SpecError, match="shares its process"):
        SageMakerEmulator(scenario=of(KILLED)).start()
    with SageMakerEmulator(max_parallel_jobs=1) as aws:
        with pytest.raises(SpecError, match="shares its process"):
            aws.apply_scenario(of(KILLED))
        with pytest.raises(urllib.error.HTTPError):
            page(aws.endpoint_url, "PUT", "scenario", of(KILLED).to_json())
        assert page(aws.endpoint_url, "GET", "scenario")["name"] == "calm"

"""kill -9 of the emulator at random moments: no process, mount or file is left."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from emulator_rig import BUCKET, eventually
from victim import ROLE, Victim

ISOLATIONS = ["root", "user", "none"]
# Writes checkpoints, leaves its session behind, and has children that ignore what is asked of them.
PROGRAM = (
    "trap '' TERM; setsid sleep 1000 & setsid sh -c 'trap \"\" TERM; sleep 1000' & "
    "while :; do date > /opt/ml/checkpoints/now; date > /opt/ml/model/$$; date; sleep 0.01; done"
)


def request(number: int) -> dict[str, Any]:
    """A job: every third has two hosts, every other is on a spot instance or without a network."""
    job: dict[str, Any] = {
        "TrainingJobName": f"job-{number}",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": "image",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/sh", "-c", PROGRAM] if number % 5 else ["true"],
        },
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
        "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/checkpoints/{number}"},
        "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1 + number % 3 % 2,
            "VolumeSizeInGB": 1,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }
    if number % 4 == 1:
        job["EnableManagedSpotTraining"] = True
        job["StoppingCondition"]["MaxWaitTimeInSeconds"] = 900
    return job


def busy(victim: Victim, refused: list[bytes]) -> None:
    """Asks for more and more until there is nobody to ask."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        for number in itertools.count():
            answer = victim.ask("CreateTrainingJob", request(number))
            if answer.status != 200 and b"ResourceLimitExceeded" not in answer.body:
                refused.append(answer.body)
            victim.send(f"/{BUCKET}/object-{number}", b"x" * 10_000, method="PUT")
            if number > 4:
                victim.ask("StopTrainingJob", {"TrainingJobName": f"job-{number - 4}"})


def kill_once(folder: Path, isolation: str, state: Path | None, draws: random.Random) -> None:
    folder.mkdir()
    options = ["--isolation", isolation, "--max_parallel_jobs", "4", "--stop_grace_s", "1"]
    options += [] if state is None else ["--state", str(state)]
    with Victim(folder, *options) as victim:
        victim.rig()  # makes the bucket
        refused: list[bytes] = []
        client = threading.Thread(target=busy, args=(victim, refused))
        client.start()
        threading.Event().wait(draws.uniform(0.0, 2.5))  # any moment
        victim.kill()
        client.join(timeout=60)
        assert not client.is_alive()
        assert [body for body in refused if b"ResourceInUse" not in body] == []
        victim.check_gone()


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_is_left(tmp_path: Path, isolation: str) -> None:
    kill_once(tmp_path / "killed", isolation, None, random.Random(isolation))


def test_a_restart_with_the_same_state_clears_up(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for number in range(2):
        kill_once(tmp_path / f"killed-{number}", "auto", state, random.Random(number))
    with Victim(tmp_path / "last", "--state", str(state), "--max_parallel_jobs", "4") as victim:
        assert victim.page("POST", "shutdown").status == 200
        assert victim.process.wait(timeout=60) == 0
        victim.check_gone()
    assert [str(path) for path in (state / "jobs").rglob("*") if path.is_file()] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_left_after_thirty_kills(tmp_path: Path) -> None:
    """Five for each isolation, with and without a state."""
    for number, (isolation, keeps, _) in enumerate(itertools.product(ISOLATIONS, (False, True), range(5))):
        state = tmp_path / f"state-{isolation}" if keeps else None
        kill_once(tmp_path / str(number), isolation, state, random.Random(number))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_several_emulators_do_not_clear_up_for_one_another(tmp_path: Path) -> None:
    """Of two, one is killed; the other's jobs go on."""
    with Victim(tmp_path / "other", "--max_parallel_jobs", "4") as other:
        other.rig()
        assert other.ask("CreateTrainingJob", request(1)).status == 200
        for number in range(3):
            kill_once(tmp_path / str(number), "auto", None, random.Random(number))
        eventually(lambda: b'"SecondaryStatus": "Training"' in other.page("GET", "jobs").body, "the job goes on")
        other.check()
        other.shut_down()

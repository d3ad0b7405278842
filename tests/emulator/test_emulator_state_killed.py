"""``kill -9`` of an emulator that keeps its state: what was answered is there, and what ran goes on."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from emulator_rig import BUCKET, Rig, error_of, eventually

from cloudtune.emulator import EmulatorHandle, SageMakerEmulator
from cloudtune.emulator.machine.keeper import marked_processes

ROLE = SageMakerEmulator.role_arn
LARGE = bytes(range(256)) * 100
SMALL = ["--max_parallel_jobs", "1", "--stop_grace_s", "5"]


class Mortal:
    """An emulator in a process of its own that is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Rig:
        command = [sys.executable, "-m", "cloudtune.emulator", "--state", str(self.state), *SMALL]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        found = eventually(lambda: self._serving() or self._dead(), "it serves")
        return Rig(found, ROLE)

    def _serving(self) -> str | None:
        match = re.search(r"AWS_ENDPOINT_URL=(\S+)[^#]*# role", self._log.read_text(errors="replace"))
        return None if match is None else match[1]

    def _dead(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(self._log.read_text(errors="replace"))

    @property
    def mark(self) -> str:
        return str(json.loads((self.state / "state.json").read_text())["mark"])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait(self) -> None:
        if self._process is not None:
            self._process.wait()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    found = Mortal(tmp_path)
    yield found
    found.kill()
    eventually(lambda: not marked_processes(found.mark), "its jobs are ended")


class User(threading.Thread):
    """Stores, deletes, tags and logs at random until the emulator dies, and remembers what was answered.

    What may be found afterwards is, for each thing, the last answer's and that of the call in flight.
    """

    def __init__(self, rig: Rig, number: int, seed: int, expected: dict[str, list[Any]]) -> None:
        super().__init__(name=f"user-{number}")
        self._rig = rig
        self._random = random.Random(f"{seed}/{number}")
        self._number = number
        self.expected = expected
        self.answered = 0

    def run(self) -> None:
        try:
            while True:
                self._act()
                self.answered += 1
        except (BotoCoreError, ClientError):
            return  # it is dead

    def _act(self) -> None:
        rig, generator = self._rig, self._random
        key = f"user-{self._number}/key-{generator.randrange(6)}"
        what = generator.choice(["small", "small", "large", "delete", "tag"])
        if what == "tag":
            key = f"job-{self._number}"
            tags = {str(n): str(generator.random()) for n in range(3)}
            listed = [{"Key": name, "Value": value} for name, value in tags.items()]
            arn = f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{key}"
            self._called(key, tags, lambda: rig.sagemaker.add_tags(ResourceArn=arn, Tags=listed))
        elif what == "delete":
            self._called(key, None, lambda: rig.s3.delete_object(Bucket=BUCKET, Key=key))
        else:
            body = str(generator.random()).encode() + (LARGE if what == "large" else b"")
            self._called(key, body, lambda: rig.put(key, body))

    def _called(self, key: str, value: Any, call: Any) -> None:
        self.expected[key] = [self.expected.get(key, [None])[-1], value]
        call()
        self.expected[key] = [value]


def test_what_was_answered_is_there(mortal: Mortal) -> None:
    expected: dict[str, list[Any]] = {f"job-{number}": [{}] for number in range(3)}
    rig = mortal.start()
    rig.submit("runs", "signal.pause()", RetryStrategy={"MaximumRetryAttempts": 30})
    for number in range(3):
        rig.submit(f"job-{number}", "")
    generator = random.Random(1)
    for round_number in range(3):
        users = [User(rig, number, round_number, expected) for number in range(3)]
        for user in users:
            user.start()
        least = generator.randrange(20, 120)
        eventually(lambda users=users, least=least: sum(user.answered for user in users) >= least, "some calls")
        mortal.kill()
        for user in users:
            user.join()
        rig = mortal.start()
        for key, allowed in expected.items():
            found: Any = rig.get(key)
            if key.startswith("job-"):
                arn = rig.describe(key)["TrainingJobArn"]
                found = {tag["Key"]: tag["Value"] for tag in rig.sagemaker.list_tags(ResourceArn=arn)["Tags"]}
            assert found in allowed, (round_number, key)
            expected[key] = [found]
    assert [job["TrainingJobStatus"] for job in rig.sagemaker.list_training_jobs()["TrainingJobSummaries"]] == [
        "InProgress"
    ] * 4


COUNTS = """
marks = ROOT + '/checkpoints/marks'
runs = len(open(marks).read()) if os.path.exists(marks) else 0
open(marks, 'a').write('x')
print('run', runs, flush=True)
while runs < 2: signal.pause()
"""


def test_jobs_go_on_through_two_deaths(mortal: Mortal) -> None:
    rig = mortal.start()
    assert rig.run("done", "print('all of it')")["TrainingJobStatus"] == "Completed"
    rig.submit("spot", COUNTS, spot=True)
    rig.printed("checkpoints/spot/marks")
    rig.submit("waits", "print('at last')")
    done = rig.describe("done")

    for runs in (1, 2):
        shown = [f"run {number}" for number in range(runs)]
        eventually(lambda rig=rig, shown=shown: sorted(rig.all_logs("spot")) == shown, "its log is shipped")
        endpoint_url, mark = rig.endpoint_url, mortal.mark
        assert marked_processes(mark)
        mortal.kill()
        eventually(lambda mark=mark: not marked_processes(mark), "no process of a job is left")
        rig = mortal.start()
        assert rig.endpoint_url == endpoint_url
        assert {**rig.describe("done"), "ResponseMetadata": 0} == {**done, "ResponseMetadata": 0}
        assert rig.all_logs("done") == ["all of it"]
        marks = b"x" * (runs + 1)
        eventually(lambda rig=rig, marks=marks: rig.get("checkpoints/spot/marks") == marks, "from its checkpoint")
    assert rig.ended("spot")["TrainingJobStatus"] == "Completed"
    found = rig.describe("spot")
    assert [item["Status"] for item in found["SecondaryStatusTransitions"]].count("Interrupted") == 2
    assert rig.ended("waits")["TrainingJobStatus"] == "Completed"
    assert sorted(rig.all_logs("spot")) == ["run 0", "run 1", "run 2"]
    left = [path for path in (mortal.state / "jobs").rglob("*") if path.is_file()]
    assert left == []
    assert str(mortal.state) not in Path("/proc/mounts").read_text()


def test_on_demand_jobs_have_met_an_internal_error(mortal: Mortal) -> None:
    rig = mortal.start()
    rig.submit("retried", "signal.pause()", RetryStrategy={"MaximumRetryAttempts": 1})
    rig.reached("retried", "Training")
    mortal.kill()
    rig = mortal.start()
    rig.reached("retried", "Training", times=2)
    assert "Restarting" in rig.phases("retried")
    mortal.kill()
    rig = mortal.start()
    found = rig.ended("retried")
    assert (found["TrainingJobStatus"], found["FailureReason"].partition(":")[0]) == (
        "Failed",
        "InternalServerError",
    )


def test_one_that_is_shut_down_by_a_user_does_not_run_its_jobs_later(mortal: Mortal) -> None:
    rig = mortal.start()
    rig.submit("runs", "signal.pause()", spot=True)
    rig.reached("runs", "Training")
    rig.submit("waits", "")
    reaper = threading.Thread(target=mortal.wait)
    reaper.start()
    EmulatorHandle(rig.endpoint_url, mortal.pid).stop()
    reaper.join()
    rig = mortal.start()
    assert [rig.describe(name)["TrainingJobStatus"] for name in ("runs", "waits")] == ["Stopped", "Stopped"]


def test_a_second_one_is_refused_by_the_command(mortal: Mortal, tmp_path: Path) -> None:
    mortal.start()
    command = [sys.executable, "-m", "cloudtune.emulator", "--state", str(mortal.state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 4
    assert f"(process {mortal.pid})" in done.stderr and "give another folder" in done.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    command[-1] = str(tmp_path / "mine")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "not empty" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_an_upload_that_is_cut_off_leaves_the_old_object(mortal: Mortal) -> None:
    rig = mortal.start()
    rig.put("key", "old")
    body = LARGE * 400  # 10 MB: dies while it comes
    killer = threading.Timer(0.05, mortal.kill)
    killer.start()
    try:
        rig.put("key", body)
        found = [body]
    except (BotoCoreError, ClientError):
        found = [b"old", body]
    killer.join()
    assert mortal.start().get("key") in found
    assert error_of(rig.s3.head_object, Bucket=BUCKET, Key="no-such")[0] == "404"

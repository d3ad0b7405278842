"""Trials outlive the tuner; whoever comes next finds them, and none runs twice."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from backend_rig import Rig, processes_of, run_until_ended, trial, wait_for

from cloudtune.backend.local import start_record
from cloudtune.backend.local.start_record import StartRecord
from cloudtune.clock import WallClock
from cloudtune.experiment.ports import AttemptEnded, AttemptKey
from cloudtune.trial import Outcome

KEY = AttemptKey(0, 0)
# Reports, then waits for the file `go` beside it, then reports again. Each run leaves a line in `runs`.
WAITS = """
import os, pathlib, sys, time
here = pathlib.Path(__file__).parent
with open(here / "runs", "a") as file:
    file.write(os.environ["CLOUDTUNE_TRIAL_ID"] + "\\n")
print('[tune-metric]: {"epoch": 1}')
while not (here / "go").exists(): time.sleep(0.01)
print('[tune-metric]: {"epoch": 2}')
sys.exit(int(os.environ.get("TEST_EXIT_CODE", "0")))
"""
TUNER = """
import pathlib, sys
from cloudtune.backend import LocalBackend
from cloudtune.backend.local import start_record
from cloudtune.backend.local.start_record import StartRecord
from cloudtune.clock import WallClock
from cloudtune.experiment.ports import AttemptKey, BackendContext
from cloudtune.paths import ExperimentPaths
from cloudtune.trial import Trial
script, folder, number = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
backend = LocalBackend(script)
backend.open(BackendContext(ExperimentPaths(folder), WallClock()))
print("open", flush=True)
sys.stdin.readline()
for trial_id in range(number):
    backend.start(Trial(trial_id, {}))
seen = {AttemptKey(trial_id, 0): 0 for trial_id in range(number)}
print("started", flush=True)
while seen:
    for fact in backend.poll(seen):
        key = AttemptKey(fact.trial_id, fact.attempt)
        if hasattr(fact, "outcome"):
            print("ended", fact.trial_id, fact.outcome, seen.pop(key), flush=True)
        else:
            seen[key] += 1
    backend.wait(1.0)
"""


class Tuner:
    """A process of its own that runs trials 0 to ``number`` - 1."""

    def __init__(self, rig: Rig, script: str, number: int = 1) -> None:
        self.process = subprocess.Popen(
            [sys.executable, rig.script(TUNER, "tuner.py"), script, str(rig.paths.dir), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "open"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> str:
        rest, _ = self.process.communicate(timeout=100)
        return rest


def runs(rig: Rig) -> list[int]:
    path = rig.root / "runs"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_a_new_backend_finds_a_running_trial(rig: Rig) -> None:
    backend = rig.open(rig.script(WAITS))
    backend.start(trial())
    wait_for(lambda: len(backend.poll({KEY: 0})) == 1, backend)
    dropped = weakref.ref(rig.backends.pop())
    backend = rig.open(rig.script(WAITS))
    gc.collect()
    assert dropped() is None
    again = rig.open(rig.script(WAITS))
    again.start(trial())
    again.start(trial())
    (rig.root / "go").touch()
    reports, ends = run_until_ended(again)
    assert [report.metrics["epoch"] for report in reports] == [1, 2]
    assert (ends[KEY].outcome, ends[KEY].exit_code) == (Outcome.completed, 0)
    assert runs(rig) == [0]


@pytest.mark.parametrize("code", [0, 3])
def test_after_kill_9_of_the_tuner(rig: Rig, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """One trial goes on running, only reports that are not recorded arrive, and the exit code is known."""
    monkeypatch.setenv("TEST_EXIT_CODE", str(code))
    script = rig.script(WAITS)
    tuner = Tuner(rig, script)
    tuner.go()
    wait_for(lambda: runs(rig) == [0])
    tuner.kill()
    backend = rig.open(script)
    backend.start(trial())
    wait_for(lambda: len(backend.poll({KEY: 0})) == 1, backend)
    (rig.root / "go").touch()
    seen = 1
    facts = []
    wait_for(
        lambda: facts.extend(backend.poll({KEY: seen})) or isinstance(facts[-1] if facts else None, AttemptEnded),
        backend,
    )
    assert [fact.metrics["epoch"] for fact in facts[-2:-1]] == [2]
    assert (facts[-1].outcome, facts[-1].exit_code) == (Outcome.failed if code else Outcome.completed, code)
    assert runs(rig) == [0]


def test_a_trial_that_ended_while_nobody_looked(rig: Rig) -> None:
    (rig.root / "go").touch()
    script = rig.script(WAITS)
    tuner = Tuner(rig, script, 2)
    tuner.go()
    assert tuner.line() == "started"
    tuner.kill()
    wait_for(lambda: all(rig.trial_paths(i).exit_code(0).exists() for i in range(2)))
    wait_for(lambda: not processes_of(rig.paths.dir / "0"))
    backend = rig.open(script)
    backend.start(trial(0))
    backend.start(trial(1))
    reports, ends = run_until_ended(backend, KEY, AttemptKey(1, 0))
    assert len(reports) == 4
    assert {end.outcome for end in ends.values()} == {Outcome.completed}
    assert sorted(runs(rig)) == [0, 1]


def test_tuners_killed_at_any_moment_leave_no_trial_that_runs_twice(rig: Rig) -> None:
    (rig.root / "go").touch()
    script = rig.script(WAITS)
    draw = random.Random(3)
    tuners = [Tuner(rig, script, 3) for _ in range(5)]
    for tuner in tuners:
        tuner.go()
        WallClock().sleep(draw.uniform(0, 0.03))  # the moment of death is what varies
        tuner.kill()
    backend = rig.open(script)
    keys = [AttemptKey(i, 0) for i in range(3)]
    for key in keys:
        backend.start(trial(key.trial_id))
    reports, ends = run_until_ended(backend, *keys)
    assert sorted(runs(rig)) == [0, 1, 2]
    assert len(reports) == 6
    assert {end.outcome for end in ends.values()} == {Outcome.completed}


def test_of_two_tuners_that_race_both_see_the_one_run(rig: Rig) -> None:
    (rig.root / "go").touch()
    number = 12
    script = rig.script(WAITS)
    tuners = [Tuner(rig, script, number), Tuner(rig, script, number)]
    for tuner in tuners:
        tuner.go()
    expected = ["started", *sorted(f"ended {i} completed 2" for i in range(number))]
    for tuner in tuners:
        first, *rest = tuner.end().split("\n")[:-1]
        assert [first, *sorted(rest)] == expected
    assert sorted(runs(rig)) == list(range(number))


def test_an_adopted_trial_can_be_stopped_with_all_it_started(rig: Rig) -> None:
    script = rig.script("import os, signal\nif os.fork() == 0: os.setsid()\n" + WAITS)
    tuner = Tuner(rig, script)
    tuner.go()
    wait_for(lambda: runs(rig) == [0, 0])
    tuner.kill()
    backend = rig.open(script)
    backend.start(trial())
    backend.stop(0, 0)
    _, ends = run_until_ended(backend)
    assert ends[KEY].outcome is Outcome.stopped
    wait_for(lambda: not processes_of(rig.paths.dir))


def test_a_stop_asked_of_an_attempt_that_has_ended_meanwhile(rig: Rig) -> None:
    """The stop was recorded, the tuner died, the trial ended: asked again, it has been stopped."""
    first = rig.open(rig.script("import os; os.kill(os.getpid(), 15)"))
    first.start(trial())
    run_until_ended(first)
    backend = rig.open(rig.script("pass"))
    backend.start(trial())
    backend.stop(0, 0)
    assert run_until_ended(backend)[1][KEY].outcome is Outcome.stopped


def remains(rig: Rig, claim: str | None, printed: str = "", record: dict[str, object] | str | None = None) -> None:
    """What a machine has left on disk."""
    paths = rig.trial_paths()
    paths.dir.mkdir(parents=True)
    paths.stdout.write_text(printed)
    if claim is not None:
        paths.claim(0).write_text(claim)
    if record is not None:
        text = record if isinstance(record, str) else json.dumps(record)
        paths.start_record(0).write_text(text)


RECORD = {"token": "0123", "stdout_offset": 0, "stderr_offset": 0, "gpus": []}
PRINTED = '[tune-metric]: {"epoch": 1}\n[tune-metric]: {"ep'


@pytest.mark.parametrize("pid", [str(os.getpid()), "1", "999999999"], ids=["own", "init", "none"])
def test_a_pid_that_is_another_process_now_is_an_interruption(rig: Rig, pid: str) -> None:
    remains(rig, f"{pid}\n", PRINTED, RECORD)
    backend = rig.open(rig.script(WAITS))
    backend.start(trial())
    reports, ends = run_until_ended(backend)
    assert [report.metrics for report in reports] == [{"epoch": 1}]
    assert (ends[KEY].outcome, ends[KEY].exit_code) == (Outcome.interrupted, None)
    assert runs(rig) == []


@pytest.mark.parametrize("record", [None, "", "{", "[]", '{"token": 1}'])
@pytest.mark.parametrize("claim", ["", "77", "nonsense\n"])
def test_damaged_remains_are_an_interruption(rig: Rig, claim: str, record: str | None) -> None:
    remains(rig, claim, PRINTED, record)
    backend = rig.open(rig.script(WAITS))
    backend.start(trial())
    assert run_until_ended(backend)[1][KEY].outcome is Outcome.interrupted
    assert runs(rig) == []


@pytest.mark.parametrize("record", [RECORD | {"stdout_offset": 4}, "{"])
def test_a_record_without_a_claim_was_not_run_yet(rig: Rig, record: dict[str, object] | str) -> None:
    (rig.root / "go").touch()
    remains(rig, None, "old\n", record)
    backend = rig.open(rig.script(WAITS))
    backend.start(trial())
    reports, ends = run_until_ended(backend)
    assert len(reports) == 2
    assert ends[KEY].outcome is Outcome.completed


def test_an_attempt_that_ran_on_a_lost_machine_is_interrupted_not_repeated(rig: Rig) -> None:
    """Reports are recorded, nothing is on disk: the count of reports would begin anew and swallow some."""
    backend = rig.open(rig.script(WAITS))
    (rig.root / "go").touch()
    backend.adopt(trial())
    reports, ends = run_until_ended(backend, seen_before=1)
    assert reports == []
    assert ends[KEY].outcome is Outcome.interrupted
    assert processes_of(rig.paths.dir) == []


def test_adoption_restores_the_gpus(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    script = rig.script(WAITS)
    first = rig.open(script)
    first.start(trial(0))
    first.start(trial(1))
    first.stop(0, 0)
    run_until_ended(first)
    first.close()
    backend = rig.open(script)
    backend.start(trial(1))
    backend.start(trial(2))
    backend.start(trial(3))
    (rig.root / "go").touch()
    run_until_ended(backend, *(AttemptKey(i, 0) for i in (1, 2, 3)))
    gpus = [json.loads(rig.trial_paths(i).start_record(0).read_text())["gpus"] for i in (1, 2, 3)]
    assert gpus == [["1"], ["0"], ["0"]], "of two GPUs with one trial each, 1 has been handed out no less often"


def test_the_first_start_record_holds(tmp_path: Path) -> None:
    path = tmp_path / "record"
    first = StartRecord("a", 1, 2, ("0",))
    assert start_record.create(path, first) == first
    assert start_record.create(path, StartRecord("b", 3, 4)) == first
    assert start_record.read(path) == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["record"]


def test_files_of_the_tuner_are_not_held_by_trials(rig: Rig) -> None:
    """A lock that the tuner holds must not live on in its trials."""
    backend = rig.open(rig.script(WAITS))
    with (rig.root / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        backend.start(trial())
        wait_for(lambda: runs(rig) == [0])
    held = []
    for pid in processes_of(rig.paths.dir):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                held.append(str(link.readlink()))
    assert held
    assert str(rig.root / "lock") not in held
    backend.stop(0, 0)
    assert run_until_ended(backend)[1][KEY].outcome is Outcome.stopped
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

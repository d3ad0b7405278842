"""Nothing of a stopped or ended trial remains, whatever it does to remain."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from backend_rig import Rig, processes_of, run_until_ended, trial, wait_for

from cloudtune.backend import LocalBackend
from cloudtune.experiment.ports import AttemptKey
from cloudtune.trial import Outcome

KEY = AttemptKey(0, 0)
HANG = "import os, time; os.write(1, b'[tune-metric]: {\"epoch\": 1}\\n'); time.sleep(100)"
IGNORES_TERM = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)"
)
FORKS = """
import os, signal, subprocess, sys, time
for _ in range(3):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(100)
subprocess.Popen(["sleep", "100"])
"""
DAEMONISES = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(100)
    os._exit(0)
os.wait()
"""
STRIPPED_S = f"100.{os.getpid()}"  # no other process sleeps that long
# Leaves the session, and nothing in its environment tells whose it was; its parent is alive.
STRIPPED = f"""
import os, sys
if os.fork() == 0:
    os.setsid()
    os.execv("/usr/bin/env", ["env", "-i", "/bin/sleep", "{STRIPPED_S}"])
"""


def begun(rig: Rig, backend: LocalBackend) -> None:
    """Once the script has reported, everything before has happened."""
    wait_for(lambda: backend.poll({KEY: 0}), backend)
    assert len(processes_of(rig.paths.dir)) >= 2


@pytest.mark.parametrize(
    "before",
    ["", IGNORES_TERM, FORKS, DAEMONISES, STRIPPED],
    ids=["hangs", "ignores", "forks", "daemonises", "stripped"],
)
def test_stop_ends_everything(rig: Rig, before: str) -> None:
    backend = rig.open(rig.script(f"{before}\n{HANG}"))
    backend.start(trial())
    begun(rig, backend)
    if before == STRIPPED:
        wait_for(sleeping)
    backend.stop(0, 0)
    reports, ends = run_until_ended(backend)
    assert ends[KEY].outcome is Outcome.stopped
    assert len(reports) == 1
    wait_for(lambda: not processes_of(rig.paths.dir))
    wait_for(lambda: not sleeping())


def sleeping() -> set[int]:
    """What the stripped ones become."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdecimal()
                and (entry / "cmdline").read_bytes() == f"/bin/sleep\0{STRIPPED_S}\0".encode()
            ):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def test_a_script_may_end_in_its_own_way_within_the_grace_period(rig: Rig) -> None:
    script = """
    import os, signal, sys, time
    def bye(*_):
        os.write(1, b'[tune-metric]: {"epoch": 2}\\n')
        sys.exit(0)
    signal.signal(signal.SIGTERM, bye)
    os.write(1, b'[tune-metric]: {"epoch": 1}\\n')
    time.sleep(100)
    """
    backend = rig.open(rig.script(script), grace_period_s=1000)
    backend.start(trial())
    begun(rig, backend)
    backend.stop(0, 0)
    backend.stop(0, 0)
    reports, ends = run_until_ended(backend)
    assert [report.metrics["epoch"] for report in reports] == [1, 2]
    assert (ends[KEY].outcome, ends[KEY].exit_code) == (Outcome.stopped, 0)
    backend.stop(0, 0)


def test_stop_does_not_wait(rig: Rig) -> None:
    backend = rig.open(rig.script(f"{IGNORES_TERM}\n{HANG}"), grace_period_s=100)
    backend.start(trial())
    begun(rig, backend)
    backend.stop(0, 0)
    backend.wait(0.1)
    assert backend.poll({KEY: 1}) == [], "it has its grace period still"


def test_stop_right_after_start(rig: Rig) -> None:
    """SIGTERM may come before the shell has started the command; it is not lost."""
    backend = rig.open(rig.script(HANG), grace_period_s=1000)
    for attempt in range(5):
        backend.start(trial(0, attempt))
        backend.stop(0, attempt)
    keys = [AttemptKey(0, attempt) for attempt in range(5)]
    _, ends = run_until_ended(backend, *keys)
    assert {end.outcome for end in ends.values()} == {Outcome.stopped}
    wait_for(lambda: not processes_of(rig.paths.dir))


@pytest.mark.parametrize("before", [FORKS, DAEMONISES], ids=["forks", "daemonises"])
def test_what_a_trial_leaves_behind_is_killed_at_its_end(rig: Rig, before: str) -> None:
    backend = rig.open(rig.script(before + "print('[tune-metric]: {\"epoch\": 1}')"))
    backend.start(trial())
    reports, ends = run_until_ended(backend)
    assert ends[KEY].outcome is Outcome.completed
    assert len(reports) == 1
    wait_for(lambda: not processes_of(rig.paths.dir))


def test_other_trials_and_strangers_are_left_alone(rig: Rig) -> None:
    backend = rig.open(rig.script(HANG))
    other = AttemptKey(1, 0)
    backend.start(trial(0))
    backend.start(trial(1))
    wait_for(lambda: len(backend.poll({KEY: 0, other: 0})) == 2, backend)
    backend.stop(0, 0)
    run_until_ended(backend)
    assert len(backend.poll({other: 0})) == 1
    assert len(processes_of(rig.paths.trial(1).dir)) >= 2
    backend.stop(1, 0)
    run_until_ended(backend, other)


def test_trials_of_a_trial_end_with_it(rig: Rig) -> None:
    """A trial may tune, too: its trials have sessions and tokens of their own."""
    inner = rig.script(HANG, "inner.py")
    outer = f"""
    import os, pathlib, time
    from cloudtune.backend import LocalBackend
    from cloudtune.clock import WallClock
    from cloudtune.experiment.ports import BackendContext
    from cloudtune.paths import ExperimentPaths
    from cloudtune.trial import Trial
    backend = LocalBackend({inner!r})
    folder = pathlib.Path({str(rig.paths.dir)!r}, os.environ["CLOUDTUNE_TRIAL_ID"], "inner")
    backend.open(BackendContext(ExperimentPaths(folder), WallClock()))
    backend.start(Trial(0, {{}}))
    while not backend.stdout(0): time.sleep(0.01)
    print('[tune-metric]: {{"epoch": 1}}', flush=True)
    time.sleep(100) if os.environ["CLOUDTUNE_TRIAL_ID"] == "0" else os._exit(0)
    """
    backend = rig.open(rig.script(outer))
    backend.start(trial(0))
    begun(rig, backend)
    backend.stop(0, 0)
    run_until_ended(backend)
    wait_for(lambda: not processes_of(rig.paths.dir))
    backend.start(trial(1))
    run_until_ended(backend, AttemptKey(1, 0))
    wait_for(lambda: not processes_of(rig.paths.dir))


def test_stop_of_a_suspended_trial(rig: Rig) -> None:
    backend = rig.open(rig.script("import os, signal\n" + HANG + "\n"))
    backend.start(trial())
    begun(rig, backend)
    for pid in processes_of(rig.paths.dir):
        os.kill(pid, signal.SIGSTOP)
    backend.stop(0, 0)
    assert run_until_ended(backend)[1][KEY].outcome is Outcome.stopped


def test_closing_does_not_leave_behind_what_was_asked_to_stop(rig: Rig) -> None:
    backend = rig.open(rig.script(IGNORES_TERM + "\n" + HANG), grace_period_s=1000.0)
    backend.start(trial())
    begun(rig, backend)
    backend.stop(0, 0)
    backend.close()  # a second Ctrl-C
    wait_for(lambda: not processes_of(rig.paths.dir))

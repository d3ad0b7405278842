"""What a trial gets, what is found in its output, and how it ends."""

from __future__ import annotations

import json
import os
import time

import dill
import pytest
from backend_rig import Rig, processes_of, run_until_ended, trial, wait_for, zombies

from cloudtune import constants
from cloudtune.backend import LocalBackend
from cloudtune.backend.local import backend as local_backend
from cloudtune.clock import WallClock
from cloudtune.errors import SpecError
from cloudtune.experiment.ports import (
    AttemptEnded,
    AttemptKey,
    BackendContext,
    HasOutput,
    SupportsAcknowledge,
    SupportsCheckpoints,
    TrialBackend,
)
from cloudtune.paths import ExperimentPaths
from cloudtune.trial import Outcome

ENVIRONMENT = """
import json, os, sys
print("[tune-metric]: " + json.dumps({"env": dict(os.environ), "argv": sys.argv[1:], "stdin": sys.stdin.read()}))
"""
TWO_REPORTS = """
print('noise'); print('[tune-metric]: {"epoch": 1, "x": 0.5}'); print('[tune-metric]: {"epoch": 2, "x": NaN}')
"""


def test_it_is_a_backend_with_all_capabilities(rig: Rig) -> None:
    backend: TrialBackend = rig.open(rig.script(TWO_REPORTS))
    assert isinstance(backend, SupportsCheckpoints)
    assert isinstance(backend, SupportsAcknowledge)
    assert isinstance(backend, HasOutput)


def test_reports_come_in_order_and_then_the_end(rig: Rig) -> None:
    backend = rig.open(rig.script(TWO_REPORTS))
    backend.start(trial(lr=0.1))
    reports, ends = run_until_ended(backend)
    assert [(report.seq, report.metrics["epoch"]) for report in reports] == [(0, 1), (1, 2)]
    assert ends[AttemptKey(0, 0)] == AttemptEnded(0, 0, Outcome.completed, "", 0)
    assert backend.stdout(0)[0] == "noise"
    assert backend.stderr(0) == []
    assert json.loads(rig.trial_paths().config.read_text()) == {"lr": 0.1}


def test_poll_repeats_what_is_not_recorded(rig: Rig) -> None:
    """A tuner that failed to record gets the same facts again; one that has recorded does not."""
    backend = rig.open(rig.script(TWO_REPORTS))
    backend.start(trial())
    key = AttemptKey(0, 0)
    wait_for(lambda: len(backend.poll({key: 0})) == 3, backend)
    assert len(backend.poll({key: 0})) == 3
    assert [type(fact).__name__ for fact in backend.poll({key: 1})] == ["ReportSeen", "AttemptEnded"]
    assert len(backend.poll({key: 2})) == 1
    assert backend.poll({}) == []


def test_an_attempt_nobody_started_is_interrupted(rig: Rig) -> None:
    backend = rig.open(rig.script(TWO_REPORTS))
    [end] = backend.poll({AttemptKey(7, 3): 2})
    assert isinstance(end, AttemptEnded)
    assert (end.trial_id, end.attempt, end.outcome) == (7, 3, Outcome.interrupted)
    backend.stop(7, 3)


def test_environment(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    backend = rig.open(rig.script(ENVIRONMENT), rung_levels=[1, 3, 9])
    backend.start(trial(4, 2))
    reports, _ = run_until_ended(backend, AttemptKey(4, 2))
    env = reports[0].metrics["env"]
    assert (env[constants.ENV_TRIAL_ID], env[constants.ENV_ATTEMPT], env[constants.ENV_RUNG_LEVELS]) == (
        "4",
        "2",
        "1,3,9",
    )
    assert env[constants.ENV_SEEN_LEVEL_FILE] == str(rig.trial_paths(4).seen_level)
    assert (env["OMP_NUM_THREADS"], env["PYTHONUNBUFFERED"], env["CUDA_VISIBLE_DEVICES"]) == ("1", "1", "")
    assert "OMP_NUM_THREADS" not in os.environ
    assert reports[0].metrics["stdin"] == ""
    assert reports[0].metrics["argv"] == ["--st_checkpoint_dir", str(rig.trial_paths(4).checkpoints)]
    assert rig.trial_paths(4).checkpoints.is_dir()


def test_without_a_resource_nobody_limits_which_checkpoint_is_resumed(rig: Rig) -> None:
    backend = rig.open(rig.script(ENVIRONMENT))
    backend.open(BackendContext(rig.paths, WallClock()))
    backend.start(trial())
    reports, _ = run_until_ended(backend)
    assert constants.ENV_SEEN_LEVEL_FILE not in reports[0].metrics["env"]


def test_environment_of_the_tuner_is_kept(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv(constants.ENV_RUNG_LEVELS, "5")
    backend = rig.open(rig.script(ENVIRONMENT))
    backend.start(trial())
    reports, _ = run_until_ended(backend)
    env = reports[0].metrics["env"]
    assert env["OMP_NUM_THREADS"] == "3"
    assert constants.ENV_RUNG_LEVELS not in env, "levels of an outer tuner are none of ours"


def test_trials_get_gpus_of_the_mask(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc")
    script = rig.script(
        "import os; print('[tune-metric]:', '{\"g\": \"%s\"}' % os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    backend = rig.open(script)
    keys = [AttemptKey(i, 0) for i in range(4)]
    for key in keys:
        backend.start(trial(key.trial_id))
    reports, _ = run_until_ended(backend, *keys)
    assert {report.trial_id: report.metrics["g"] for report in reports} == {
        0: "5",
        1: "GPU-abc",
        2: "5",
        3: "GPU-abc",
    }
    whole = rig.open(script, rotate_gpus=False)
    whole.start(trial(9))
    assert run_until_ended(whole, AttemptKey(9, 0))[0][0].metrics["g"] == "5,GPU-abc"


@pytest.mark.parametrize(
    ("body", "outcome", "code", "words"),
    [
        ("import sys; sys.exit(3)", Outcome.failed, 3, ["exit code 3"]),
        ("raise RuntimeError('no such data')", Outcome.failed, 1, ["exit code 1", "RuntimeError: no such data"]),
        ("print('only this'); raise SystemExit(2)", Outcome.failed, 2, ["only this"]),
        ("import os; os.kill(os.getpid(), 9)", Outcome.failed, 137, ["SIGKILL", "memory"]),
        ("import os; os.kill(os.getpid(), 11)", Outcome.failed, 139, ["SIGSEGV"]),
        ("import os; os.kill(os.getpid(), 15)", Outcome.interrupted, 143, ["outside", "SIGTERM"]),
        ("import os; os.kill(os.getppid(), 9)", Outcome.interrupted, None, ["SIGKILL"]),
        ("pass", Outcome.completed, 0, []),
        (
            "import argparse; argparse.ArgumentParser(allow_abbrev=False).parse_args()",
            Outcome.failed,
            2,
            ["unrecognized arguments: --st_checkpoint_dir", "add_checkpointing_to_argparse(parser)"],
        ),
    ],
)
def test_ends(rig: Rig, body: str, outcome: Outcome, code: int | None, words: list[str]) -> None:
    backend = rig.open(rig.script(body))
    backend.start(trial())
    _, ends = run_until_ended(backend)
    end = ends[AttemptKey(0, 0)]
    assert (end.outcome, end.exit_code) == (outcome, code)
    for word in words:
        assert word in end.reason


def test_the_reason_is_the_end_of_this_attempts_errors(rig: Rig) -> None:
    script = """
    import os, sys
    if os.environ["CLOUDTUNE_ATTEMPT"] == "0":
        print("old trouble", file=sys.stderr)
    else:
        print("\\n".join(f"line {i}" for i in range(100)), file=sys.stderr)
    sys.exit(1)
    """
    backend = rig.open(rig.script(script))
    backend.start(trial())
    assert "old trouble" in run_until_ended(backend)[1][AttemptKey(0, 0)].reason
    backend.start(trial(0, 1))
    reason = run_until_ended(backend, AttemptKey(0, 1))[1][AttemptKey(0, 1)].reason
    assert "line 99" in reason
    assert "line 50" not in reason
    assert "old trouble" not in reason
    assert "old trouble" in backend.stderr(0)


def test_resumed_attempt_counts_its_reports_from_zero(rig: Rig) -> None:
    backend = rig.open(rig.script(TWO_REPORTS))
    for attempt in range(3):
        backend.start(trial(0, attempt))
        reports, _ = run_until_ended(backend, AttemptKey(0, attempt))
        assert [(report.attempt, report.seq) for report in reports] == [(attempt, 0), (attempt, 1)]
    assert len(backend.stdout(0)) == 9


def test_binary_and_broken_output(rig: Rig) -> None:
    script = r"""
    import os
    out = [b"\xff\xfe\x00garbage\n", b'[tune-metric]: {"epoch": 1}\n', b"[tune-metric]: [1, 2]\n",
           b"[tune-metric]: {broken\n", b"[tune-metric]: 5\n",
           b'50%|###\r[tune-metric]: {"epoch": 2}\n', b"\x00" * 10,
           b'[tune-metric]: {"epoch": 3}']
    for piece in out:
        os.write(1, piece)
    """
    backend = rig.open(rig.script(script))
    backend.start(trial())
    reports, ends = run_until_ended(backend)
    assert [report.metrics for report in reports] == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]
    assert ends[AttemptKey(0, 0)].outcome is Outcome.completed
    assert backend.stdout(0)


def test_half_a_line_waits_for_the_rest(rig: Rig) -> None:
    go = rig.root / "go"
    script = f"""
    import os, pathlib, time
    os.write(1, b'[tune-metric]: {{"epoch": 1}}\\n[tune-metric]: {{"ep')
    while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.005)
    os.write(1, b'och": 2}}\\n')
    """
    backend = rig.open(rig.script(script))
    backend.start(trial())
    key = AttemptKey(0, 0)
    wait_for(lambda: backend.poll({key: 0}), backend)
    assert len(backend.poll({key: 0})) == 1
    go.touch()
    reports, _ = run_until_ended(backend)
    assert [report.metrics["epoch"] for report in reports] == [1, 2]


def test_reports_after_endless_lines_are_found(rig: Rig) -> None:
    script = """
    import os
    for _ in range(24):
        os.write(1, b"x" * 2**20)
    os.write(1, b'[tune-metric]: {"epoch": 1}\\n')
    for _ in range(8):
        os.write(1, b"y" * 99 * 10000 + b"\\n")
    os.write(1, b'[tune-metric]: {"epoch": 2}')
    """
    backend = rig.open(rig.script(script))
    backend.start(trial())
    reports, _ = run_until_ended(backend)
    assert [report.metrics["epoch"] for report in reports] == [1, 2]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="ends of processes cannot be waited for")
def test_the_end_of_a_trial_ends_the_wait(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is busy again at once, not when output is looked at next."""
    monkeypatch.setattr(local_backend, "_TICK_S", 3600.0)
    backend = rig.open(rig.script("pass"))
    for trial_id in range(3):
        key = AttemptKey(trial_id, 0)
        backend.start(trial(trial_id))
        backend.wait(3600.0)
        [end] = backend.poll({key: 0})
        assert isinstance(end, AttemptEnded)


def test_wait_times_out_without_news(rig: Rig) -> None:
    backend = rig.open(rig.script("import time; time.sleep(60)"))
    begin = time.monotonic()
    backend.wait(0.05)
    backend.start(trial())
    backend.wait(0.1)
    assert time.monotonic() - begin > 0.14
    backend.stop(0, 0)
    assert run_until_ended(backend)[1][AttemptKey(0, 0)].outcome is Outcome.stopped


def test_ctrl_c_in_the_terminal_does_not_reach_trials(rig: Rig) -> None:
    backend = rig.open(rig.script("import os; print('[tune-metric]: {\"group\": %d}' % os.getpgrp())"))
    backend.start(trial())
    assert run_until_ended(backend)[0][0].metrics["group"] != os.getpgrp()


def test_no_zombie_remains(rig: Rig) -> None:
    backend = rig.open(rig.script("pass"))
    for trial_id in range(3):
        backend.start(trial(trial_id))
    run_until_ended(backend, *(AttemptKey(i, 0) for i in range(3)))
    wait_for(lambda: not zombies())
    assert processes_of(rig.paths.dir) == []


def test_checkpoints_are_copied_and_deleted(rig: Rig) -> None:
    backend = rig.open(
        rig.script("import os, sys; print('[tune-metric]: {\"n\": %d}' % len(os.listdir(sys.argv[2])))")
    )
    source = rig.trial_paths(0).checkpoints
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "model").write_text("weights")
    backend.copy_checkpoint(0, 1)
    assert (rig.trial_paths(1).checkpoints / "deep" / "model").read_text() == "weights"
    backend.start(trial(1))
    assert run_until_ended(backend, AttemptKey(1, 0))[0][0].metrics["n"] == 1
    (rig.trial_paths(1).checkpoints / "own").touch()
    backend.copy_checkpoint(0, 1)
    assert (rig.trial_paths(1).checkpoints / "own").exists(), "a trial that has run keeps its own"
    backend.copy_checkpoint(55, 2)  # a script without checkpoints
    backend.delete_checkpoint(0)
    backend.delete_checkpoint(0)
    assert not source.exists()


def test_what_trials_have_left_can_be_looked_at_when_tuning_is_over(rig: Rig) -> None:
    write = """
        import sys
        from pathlib import Path
        Path(sys.argv[sys.argv.index("--st_checkpoint_dir") + 1], "model").write_text("weights")
        print("said")
        sys.exit("and ended")
    """
    backend = rig.open(rig.script(write))
    backend.start(trial())
    run_until_ended(backend)
    backend.close()
    assert (backend.stdout(0), backend.stderr(0)) == (["said"], ["and ended"])
    assert (backend.checkpoint_trial_path(0) / "model").read_text() == "weights"


def test_start_copies_the_checkpoint_it_is_to_begin_with(rig: Rig) -> None:
    backend = rig.open(
        rig.script("import os, sys; print('[tune-metric]: {\"n\": %d}' % len(os.listdir(sys.argv[2])))")
    )
    rig.trial_paths(0).checkpoints.mkdir(parents=True)
    (rig.trial_paths(0).checkpoints / "model").touch()
    child = trial(3)
    backend.start(type(child)(3, {}, 0, checkpoint_trial_id=0))
    assert run_until_ended(backend, AttemptKey(3, 0))[0][0].metrics["n"] == 1


def test_acknowledged_level_is_kept(rig: Rig) -> None:
    backend = rig.open(rig.script("pass"))
    for level in (1, 3, 2):
        backend.acknowledge(0, level)
    assert rig.trial_paths().seen_level.read_text() == "3"


def test_pickles_before_open_while_open_and_after_close(rig: Rig) -> None:
    script = rig.script(TWO_REPORTS)
    fresh = LocalBackend(script, num_gpus_per_trial=0.5, pass_args_as_json=True)
    assert dill.loads(dill.dumps(fresh)).metadata() == fresh.metadata()
    backend = rig.open(script)
    backend.start(trial())
    copy = dill.loads(dill.dumps(backend))
    with pytest.raises(SpecError, match="not open"):
        copy.poll({})
    run_until_ended(backend)
    backend.close()
    again = dill.loads(dill.dumps(backend))
    with pytest.raises(SpecError, match="nothing yet"):
        again.stdout(0)  # another machine's, perhaps
    again.open(BackendContext(rig.paths, WallClock()))
    again.start(trial(1))
    assert len(run_until_ended(again, AttemptKey(1, 0))[0]) == 2
    again.close()


def test_metadata(rig: Rig) -> None:
    backend = LocalBackend(("torchrun", "--nproc_per_node=2", "scripts/train_it.py", "--flag"))
    metadata = json.loads(json.dumps(backend.metadata()))
    assert (metadata["backend"], metadata["entrypoint"]) == ("LocalBackend", "train_it")
    assert backend.entrypoint_path().name == "train_it.py"


def test_unwritable_folder_is_refused(rig: Rig) -> None:
    (rig.root / "file").touch()
    backend = LocalBackend(rig.script("pass"))
    with pytest.raises(SpecError, match="Cannot write"):
        backend.open(BackendContext(ExperimentPaths(rig.root / "file" / "below"), WallClock()))


@pytest.mark.parametrize(
    "options",
    [
        {"num_gpus_per_trial": -1},
        {"num_gpus_per_trial": 1.5},
        {"num_gpus_per_trial": float("inf")},
        {"num_gpus_per_trial": True},
        {"gpus_to_use": [0, 0]},
        {"gpus_to_use": []},
        {"gpus_to_use": [-1]},
        {"gpus_to_use": ["0"]},
        {"grace_period_s": -1},
        {"grace_period_s": float("nan")},
        {"entry_point": ""},
        {"entry_point": ()},
        {"entry_point": ("python", 3)},
    ],
)
def test_senseless_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        LocalBackend(**{"entry_point": "train.py", **options})

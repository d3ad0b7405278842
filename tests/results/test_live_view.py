"""The live view on a recorded terminal, in a log, and on outputs that break."""

from __future__ import annotations

import contextlib
import functools
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from cloudtune.clock import VirtualClock
from cloudtune.experiment.events import (
    CostMeasured,
    StopRequested,
    TrialEnded,
    TrialReported,
    TrialStarted,
    TuningStopped,
)
from cloudtune.live_view import LiveView
from cloudtune.tuner_observers import LiveObserver
from cloudtune.tuning_status import TuningStatus

CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def run(view: LiveView, clock: VirtualClock, trials: int = 30, mode: str = "min", step_s: float = 1.0) -> None:
    """A tuner that starts a trial a second, four at once, and whose values get better and better."""
    status = TuningStatus(["validation_error"])
    view.start("digits-asha", ["validation_error"], [mode], 4, 600)
    for i in range(trials):
        status.observe(TrialStarted(0.0, float(i), i, 0, {"lr": 0.5 + i, "kind": "[red]relu"}))
        metrics = {"validation_error": 1.0 - i / 100, "st_worker_cost": 0.25}
        status.observe(TrialReported(0.0, float(i), i, 0, 0, metrics, "CONTINUE"))
        if i >= 4:
            outcome = "failed" if i == 10 else "completed"
            status.observe(TrialEnded(0.0, float(i), i - 4, 0, outcome))
        best = status.best("validation_error", mode)
        assert best is not None
        view.update(status, (best.trial_id, best.value, best.config), "closing down" if i == trials - 1 else "")
        clock.sleep(step_s)
    view.stop()


def screen_of(width: int, height: int) -> tuple[str, list[str]]:
    """All that was written, and the lines of the last frame."""
    clock, out = VirtualClock(), io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=width, height=height, color_system=None, legacy_windows=False
    )
    run(LiveView(console, clock=clock), clock)
    text = out.getvalue()
    last = text[text.rindex("digits-") :]
    return text, CONTROL.sub("", last).replace("\r", "").splitlines()


def test_a_terminal_shows_running_and_best_trials() -> None:
    text, lines = screen_of(120, 40)
    frame = "\n".join(lines)
    assert "0:29 / 10:00" in lines[0]
    assert "workers 4/4  30 trials: 26 finished (1 failed), 30 reports  $7.50" in lines[1]
    assert "best validation_error 0.71  trial 29  lr=29.5 kind=[red]relu" in lines[2]
    rows = [line for line in lines if re.match(r" +\d+ ", line)]
    assert len(rows) == 15  # never all of them
    assert [int(row.split()[0]) for row in rows] == [26, 27, 28, 29, *range(25, 14, -1)]
    assert [row.split()[1] for row in rows] == ["running"] * 4 + ["completed"] * 11
    assert "and 15 more trials" in frame and "closing down" in frame
    assert text.rstrip().endswith("\x1b[?25hclosing down")  # the cursor is back; the note in full below the view
    assert "\x1b[2J" not in text  # the screen is never cleared, which would flicker


@pytest.mark.parametrize("width", [20, 36, 50, 72, 90, 110, 200])
@pytest.mark.parametrize("height", [8, 24])
def test_the_view_fits_the_terminal(width: int, height: int) -> None:
    _, lines = screen_of(width, height)
    assert max(map(len, lines)) <= width
    assert len([line for line in lines if line.strip()]) <= height
    if width >= 36:
        assert any("running" in line for line in lines)


def test_redrawing_is_paced() -> None:
    clock, out = VirtualClock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=30, color_system=None)
    run(LiveView(console, refresh_s=0.5, clock=clock), clock, step_s=0.01)
    assert out.getvalue().count("digits-asha") <= 4


def log_of(print_update_interval_s: float, step_s: float, mode: str = "min", trials: int = 30) -> list[str]:
    clock, out = VirtualClock(), io.StringIO()
    view = LiveView(Console(file=out, width=40), print_update_interval_s=print_update_interval_s, clock=clock)
    run(view, clock, mode=mode, step_s=step_s, trials=trials)
    assert "\x1b" not in out.getvalue()
    return out.getvalue().splitlines()


def test_a_log_gets_single_lines() -> None:
    lines = log_of(10, 1.0)
    assert lines[0] == "Tuning digits-asha with 4 workers."
    assert "[0:07] new best validation_error = 0.93 (trial 7: lr=7.5 kind=[red]relu)" in lines
    summaries = [line for line in lines if "workers busy" in line]
    assert summaries[0].startswith(
        "[0:10 / 10:00] 4/4 workers busy, 11 trials: 7 finished (1 failed), 11 reports, best"
    )
    assert len(summaries) == 3  # at 10 s, at 20 s, at the end
    assert summaries[-1] == lines[-1]
    assert lines.count("[0:29] closing down") == 1


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    ("event", "said"),
    [
        (StopRequested(0.0, 1.0, 0, 0, "interrupted"), "Interrupted; running trials are being stopped"),
        (TuningStopped(0.0, 1.0, "max_cost=5 is reached"), "max_cost=5 is reached; waiting until running trials"),
    ],
)
def test_what_the_end_waits_for_is_said_at_once(terminal: bool, event: StopRequested, said: str) -> None:
    clock, out = VirtualClock(), io.StringIO()
    view = LiveView(Console(file=out, width=120, height=30, force_terminal=terminal), clock=clock)
    status = TuningStatus(["loss"])
    status.observe(TrialStarted(0.0, 0.0, 0, 0, {"lr": 0.5}))
    start = functools.partial(LiveView.start, tuner_name="t", metric_names=["loss"], modes=["min"], n_workers=1)
    observer = LiveObserver(view, start, status, "loss", "min", lambda: "Results: here.")
    observer.on_session([])
    assert said not in out.getvalue()
    observer.on_events([event])  # no time has passed since the last frame
    assert said in out.getvalue()
    observer.on_turn()
    observer.on_session_end()
    if not terminal:
        assert out.getvalue().count(said) == 1
        assert out.getvalue().count("1/1 workers busy") == 1


def test_a_log_does_not_repeat_itself() -> None:
    lines = log_of(1, 1.0, trials=3)
    assert len(lines) == len(set(lines))


def test_new_bests_come_at_most_once_a_second_and_the_last_is_not_lost() -> None:
    lines = [line for line in log_of(1000, 0.1) if "new best" in line]
    assert len(lines) == 4
    assert "(trial 29:" in lines[-1]
    assert len([line for line in log_of(1000, 1.0, mode="max") if "new best" in line]) == 1


class Broken(io.StringIO):
    """A stream whose reader goes away."""

    def __init__(self, error: Exception, after: int) -> None:
        super().__init__()
        self.left, self.error = after, error

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(), OSError(5, "gone"), UnicodeEncodeError("ascii", "ü", 0, 1, "no"), ValueError("closed")],
)
def test_a_broken_output_never_disturbs_tuning(
    terminal: bool, after: int, error: Exception, tmp_path: Path
) -> None:
    clock = VirtualClock()
    view = LiveView(Console(file=Broken(error, after), force_terminal=terminal, width=80), clock=clock)
    # Upon a broken pipe, rich turns the program's standard output to the null device: not that of pytest.
    with (tmp_path / "stdout").open("w") as out, contextlib.redirect_stdout(out):
        run(view, clock)


def test_calls_out_of_order_are_harmless() -> None:
    view = LiveView(Console(file=io.StringIO()))
    view.update(TuningStatus(["loss"]), None)
    view.stop()
    view.start("name", ["loss"], ["min"], 1)
    view.stop()
    view.stop()


def test_measured_cost_is_shown_with_its_limit_and_by_trial() -> None:
    clock, out = VirtualClock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, height=20, color_system=None, legacy_windows=False)
    status = TuningStatus(["loss"], [TrialStarted(0.0, 0.0, i, 0, {"lr": 0.5}) for i in range(3)])
    status.observe(CostMeasured(0.0, 0.0, "0-0", 0.0042, 60.0, False, 0))
    status.observe(CostMeasured(0.0, 0.0, "1-0", 1.25, 60.0, True, 1))
    status.observe(CostMeasured(0.0, 0.0, "the tuner's own instance", 0.5, 60.0, False))
    view = LiveView(console, clock=clock)
    view.start("paid", ["loss"], ["min"], 3, None, 5.0, "At most $5.20.")
    view.update(status, None)
    view.stop()
    frame = CONTROL.sub("", out.getvalue())
    assert frame.index("At most $5.20.") < frame.index("workers 3/3")
    assert "~$1.75 of $5.00 (other than trials: $0.50)" in frame
    rows = [line.split() for line in frame.replace("\r", "").splitlines() if re.match(r" +\d ", line)][-3:]
    assert [row[row.index("lr=0.5") - 1] for row in rows] == ["$0.0042", "$1.25", "-"]


@pytest.mark.parametrize("terminal", [True, False])
def test_trials_that_wait_for_a_machine_do_not_run(terminal: bool) -> None:
    clock, out = VirtualClock(), io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, height=20, color_system=None)
    status = TuningStatus(["loss"], [TrialStarted(0.0, 0.0, i, 0, {"lr": 0.5}) for i in range(3)])
    status.observe(StopRequested(0.0, 1.0, 2, 0, "stopped"))
    view = LiveView(console, clock=clock)
    view.start("slow", ["loss"], ["min"], 4)
    view.update(status, None, waiting={1, 2})
    view.stop()
    said = CONTROL.sub("", out.getvalue()).replace("\r", "")
    assert ("workers 3/4 (2 waiting)" if terminal else "3/4 workers busy (2 waiting)") in said
    rows = [line.split()[:2] for line in said.splitlines() if re.match(r" +\d ", line)][-3:]
    assert rows == ([["0", "running"], ["1", "waiting"], ["2", "stopping"]] if terminal else [])

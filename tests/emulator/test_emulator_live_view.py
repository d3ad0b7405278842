"""The emulator as people see it: pictures of it, a terminal's view of any size, plain lines."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator_rig import BUCKET, Rig, error_of, eventually
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from cloudtune.emulator import EmulatorHandle, SageMakerEmulator
from cloudtune.emulator.screen.displays import PlainLines, printable
from cloudtune.emulator.screen.terminal_view import render

LAST_LINE = "Ctrl-C ends it."
LAST = b"Ctrl-C ends the emulator and all its jobs."
ALTERNATE, NORMAL = b"\x1b[?1049h", b"\x1b[?1049l"


def job(name: str, phase: str = "Training", status: str = "InProgress", **facts: Any) -> dict[str, Any]:
    row = {"name": name, "status": status, "phase": phase, "message": "because", "age_s": 75.0, "attempt": 0}
    row |= {"instances": [[1, "ml.m5.large"]], "spot": False, "billable_s": 3700.0, "cpus": 2, "gpus": 0}
    return row | facts


def call(number: int, operation: str = "PutObject", error: str | None = None, **facts: Any) -> dict[str, Any]:
    entry = {"number": number, "time": 1.8e9, "kind": "call", "service": "s3", "operation": operation}
    return entry | {"status": 404 if error else 200, "error": error, "seconds": 0.0123} | facts


def fault(number: int, name: str, **facts: Any) -> dict[str, Any]:
    return {"number": number, "time": 1.8e9, "kind": "fault", "fault": name, "service_time": 1.0, **facts}


def picture(**changes: Any) -> dict[str, Any]:
    found = {
        "endpoint_url": "http://127.0.0.1:4566",
        "isolation": "user",
        "max_parallel_jobs": 2,
        "time_scale": 60.0,
        "scenario": "bad_day",
        "seed": 7,
        "machine": {"cpus": 4, "gpus": 1},
        "job_counts": {"running": 2, "waiting": 1, "completed": 0, "failed": 1, "stopped": 0},
        "jobs": [
            job("mine-1", spot=True),
            job("mine-2", attempt=1, instances=[[2, "ml.g4dn.12xlarge"]]),
            job("waits", "Starting", message="Launching requested ML instances"),
            job("broken", "Failed", "Failed", message="AlgorithmError: out of memory, exit code: 1"),
        ],
        "logs": [
            {"job": "mine-1", "lines": [["algo-1", f"epoch {n}"] for n in range(20)]},
            {"job": "mine-2", "lines": [["algo-1", "first host"], ["algo-2", "second host"]]},
        ],
        "counts": {"entries": 100, "calls": 1234, "errors": 3, "faults": 2},
        "calls": [call(n, bucket="b", key=f"key-{n}") for n in range(40)]
        + [call(90, "GetObject", "NoSuchKey", bucket="b", key="gone")],
        "faults": [
            fault(3, "interruption", job="mine-1", rule=0),
            fault(5, "throttled", operation="s3:*"),
        ],
    }
    return found | changes


def drawn(shown: dict[str, Any], width: int, height: int, **options: Any) -> list[str]:
    """What a terminal of that size has on its lines."""
    view = render(shown, 12.0, width, height, **({"footer": LAST_LINE} | options))
    assert len(view.renderables) <= height
    for line in view.renderables:
        assert isinstance(line, Text)
        assert line.cell_len <= width
    console = Console(width=width, height=height, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(view)
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50)])
def test_all_that_matters_is_there(width: int, height: int) -> None:
    lines = drawn(picture(), width, height)
    text = "\n".join(lines)
    assert len(lines) == height
    assert 'eval "$(cloudtune emulator --export 4566)"' in text
    for part in ("http://127.0.0.1:4566", "isolation user", "4 CPUs, 1 GPUs", "2 jobs at once", "time x60"):
        assert part in text
    assert "scenario bad_day, seed 7" in text
    assert re.search(r"JOBS.*2 running  1 waiting  1 failed.*--max_parallel_jobs", text)
    assert re.search(r"mine-1 +Training +1:15 +1:01:40 +ml.m5.large spot", text)
    assert "2x ml.g4dn.12xlarge" in text
    assert re.search(r"broken +Failed", text)
    assert "epoch 19" in text
    assert re.search(r"REQUESTS.*1,234  12/s  3 errors  injected faults: 2", text)
    assert re.search(r"s3 GetObject +12 ms 404 NoSuchKey b/gone", text)
    assert "fault throttled operation=s3:*" in text
    assert lines[-1] == LAST_LINE


def test_a_wide_one_says_why_and_what_is_used() -> None:
    text = "\n".join(drawn(picture(), 160, 50))
    assert "AlgorithmError: out of memory" in text
    assert "Launching requested ML instances" in text
    assert "2 CPU 0 GPU" in text
    assert "algo-2 second host" in text


def test_a_narrow_one_keeps_names_and_phases() -> None:
    text = "\n".join(drawn(picture(jobs=[job("a-name-that-is-much-too-long-for-this", "Uploading")]), 40, 12))
    assert re.search(r"a-name-that-is-\S*…  Uploading", text)


def test_a_warning_of_the_emulator_is_shown() -> None:
    assert drawn(picture(), 80, 24, warning="error: disk full")[-2] == "error: disk full"


def test_errors_and_faults_stand_out() -> None:
    view = render(picture(), 1.0, 80, 24, footer=LAST_LINE)
    styles = {
        span.style: line.plain[span.start : span.end]
        for line in view.renderables
        if isinstance(line, Text)
        for span in line.spans
    }
    assert "NoSuchKey" in styles["bold red"]
    assert "fault throttled" in styles["magenta"]


def test_faults_are_not_pushed_out_by_calls() -> None:
    busy = picture(calls=[call(n) for n in range(1000, 1060)])
    assert "fault throttled operation=s3:*" in "\n".join(drawn(busy, 80, 24))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 250),
    st.integers(1, 90),
    st.integers(0, 60),
    st.integers(0, 8),
    st.text(max_size=60),
)
def test_any_size_and_any_text_fits(width: int, height: int, jobs: int, logs: int, text: str) -> None:
    shown = picture(
        jobs=[job(f"job-{n}", message=text) for n in range(jobs)],
        logs=[{"job": f"job-{n}", "lines": [["algo-1", text]] * n} for n in range(logs)],
        calls=[call(n, bucket="b", key=text) for n in range(jobs)],
        faults=[fault(99, "lost", key=text)] if jobs % 2 else [],
        scenario=text or "calm",
    )
    view = render(shown, 0.0, width, height, footer=LAST_LINE, warning=printable(text))
    assert len(view.renderables) == height
    for line in view.renderables:
        assert isinstance(line, Text)
        assert line.cell_len <= width
        assert line.plain.isprintable()


def test_nothing_commands_the_terminal() -> None:
    assert printable("\x1b[31mred\x1b[0m\x1b]0;title\x07 \x07\x9b2J\n") == "red ??2J"
    assert printable("10%\r20%\r30%\r\n") == "30%"
    assert printable("a\tb\u202e") == "a   b?"
    assert printable("\x1b") == "?"


def test_a_picture_of_a_real_job(emulator: SageMakerEmulator, rig: Rig) -> None:
    handle = EmulatorHandle(emulator.endpoint_url, 0)
    code = "signal.signal(15, lambda *_: sys.exit())\nprint('hello from the job', flush=True)\nsignal.pause()"
    rig.submit("pictured", code, spot=True)

    def tail() -> list[list[str]]:
        return next((log["lines"] for log in handle.live()["logs"] if log["job"] == "pictured"), [])

    lines = eventually(tail, "its log is shown")
    assert ["algo-1", "hello from the job"] in lines
    shown = handle.live()
    (row,) = (job for job in shown["jobs"] if job["name"] == "pictured")
    assert (row["phase"], row["spot"], row["attempt"]) == ("Training", True, 0)
    assert row["instances"] == [[1, "ml.m5.large"]]
    assert row["cpus"] >= 1
    assert 0 < row["billable_s"] <= 0.3 * row["age_s"]
    assert shown["job_counts"]["running"] == 1
    rig.sagemaker.stop_training_job(TrainingJobName="pictured")
    rig.ended("pictured")
    error_of(rig.s3.get_object, Bucket=BUCKET, Key="none")
    shown = emulator.live()
    (row,) = (job for job in shown["jobs"] if job["name"] == "pictured")
    assert row["billable_s"] == rig.describe("pictured")["BillableTimeInSeconds"]
    assert (row["status"], row["cpus"]) == ("Stopped", 0)
    assert shown["job_counts"] == {"running": 0, "waiting": 0, "completed": 0, "failed": 0, "stopped": 1}
    assert shown["calls"][-1]["error"] == "NoSuchKey"
    assert "pictured" in "\n".join(drawn(shown, 80, 24))


def test_watching_keeps_no_idle_emulator_alive(emulator: SageMakerEmulator, rig: Rig) -> None:
    handle = EmulatorHandle(emulator.endpoint_url, 0)
    rig.s3.list_buckets()
    before = emulator.idle_seconds()
    handle.live()
    assert emulator.idle_seconds() > before
    asked = time.monotonic()
    handle.health()
    assert emulator.idle_seconds() <= time.monotonic() - asked


def test_plain_lines_tell_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    shown = [
        picture(),
        picture(),
        picture(jobs=[job("mine-1", "Completed", "Completed")], faults=[fault(9, "slow")]),
    ]
    lines = PlainLines(lambda: shown.pop(0))
    for _ in range(3):
        lines.update()
    told = [line.split(" ", 2)[2] for line in capsys.readouterr().out.splitlines()]
    assert told == [
        "job broken Failed: AlgorithmError: out of memory, exit code: 1",
        "job waits Starting",
        "job mine-2 Training",
        "job mine-1 Training",
        "fault interruption job=mine-1 rule=0",
        "fault throttled operation=s3:*",
        "job mine-1 Completed",
        "fault slow",
    ]


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, arguments: list[str], size: tuple[int, int], folder: Path, **environment: str) -> None:
        self._master, slave = pty.openpty()
        self.resize(*size)
        known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloudtune.emulator", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env={**known, "TERM": "xterm-256color", "CLOUDTUNE_FOLDER": str(folder), **environment},
            start_new_session=True,
        )
        os.close(slave)
        self.seen = b""

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def until(self, shown: Callable[[bytes], object], timeout_s: float = 120.0) -> bytes:
        give_up = time.monotonic() + timeout_s
        while not shown(self.seen):
            if time.monotonic() > give_up:
                raise AssertionError(f"not seen in {self.seen[-3000:].decode(errors='replace')}")
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._master, 1 << 16)
                except OSError:  # it has ended
                    return self.seen
        return self.seen

    def end(self) -> int:
        """Ctrl-C; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.until(lambda _: self.process.poll() is not None)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str, size: tuple[int, int] = (80, 24), **environment: str) -> Terminal:
        opened.append(Terminal(list(arguments), size, tmp_path, **environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def port_of(seen: bytes) -> str:
    found = re.search(rb"--export (\d+)", seen)
    assert found is not None
    return found[1].decode()


def test_the_view_in_a_terminal(terminal: Callable[..., Terminal]) -> None:
    view = terminal()
    seen = view.until(lambda seen: LAST in seen)
    exports, _, screen = seen.partition(ALTERNATE)
    assert b"export AWS_ENDPOINT_URL=http://127.0.0.1:" in exports, "it stays above, to be copied"
    assert b"isolation " in screen and b"\x1b[1m" in screen
    url = f"http://127.0.0.1:{port_of(screen)}"
    rig = Rig(url, "arn:aws:iam::123456789012:role/any")
    rig.submit("seen-live", "print('a line', 'of its log', flush=True)\nsignal.pause()")
    view.until(lambda seen: b"a line of its log" in seen)
    view.seen = b""
    view.resize(160, 50)
    view.until(lambda seen: b"attempt" in seen and b"billed" in seen)  # columns come with width
    code = view.end()
    assert code == 0
    assert NORMAL in view.until(lambda seen: NORMAL in seen)


def test_without_colours_and_in_a_dumb_terminal(terminal: Callable[..., Terminal]) -> None:
    plain = terminal(NO_COLOR="1")
    seen = plain.until(lambda seen: LAST in seen)
    assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", seen.partition(ALTERNATE)[2])
    plain.end()
    dumb = terminal(TERM="dumb")
    seen = dumb.until(lambda seen: b"# jobs" in seen)
    dumb.end()
    assert b"\x1b" not in dumb.seen


def test_one_watches_another_until_it_ends(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    with SageMakerEmulator(max_parallel_jobs=1) as aws:
        watch = terminal("--watch", str(aws.port))
        watch.until(lambda seen: b"the emulator runs on" in seen)
        Rig(aws.endpoint_url, aws.role_arn)
        watch.until(lambda seen: b"CreateBucket" in seen)
        assert watch.end() == 0
        assert aws.jobs() == []
        again = terminal("--watch", str(aws.port))
        again.until(lambda seen: b"the emulator runs on" in seen)
    again.until(lambda _: again.process.poll() is not None)
    assert again.process.wait(timeout=60) == 7

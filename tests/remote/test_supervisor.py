from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_rig import eventually

from cloudtune.remote import process1, supervisor

PR_SET_CHILD_SUBREAPER = 36


class Job:
    """A job's ``/opt/ml``, and the supervisor as a real process in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.code = root / "cloudtune" / "code"
        self.code.mkdir(parents=True)
        self._processes: list[subprocess.Popen[bytes]] = []

    def script(self, text: str, name: str = "tune.py") -> None:
        (self.code / name).write_text(textwrap.dedent(text), encoding="utf-8")

    def requirements(self, text: str) -> None:
        (self.code / "requirements.txt").write_text(text)

    def hyperparameters(self, values: dict[str, str]) -> None:
        path = self.root / "input" / "config" / "hyperparameters.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))

    def start(
        self, command: Any = ("tune.py",), reaper: bool = False, stdin: int | None = None
    ) -> subprocess.Popen[bytes]:
        def adopt_orphans() -> None:  # as process 1 of a container does
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

        environment = {**os.environ, "CLOUDTUNE_ML_ROOT": str(self.root), "CLOUDTUNE_COMMAND": json.dumps(command)}
        process = subprocess.Popen(
            [sys.executable, supervisor.__file__],
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=adopt_orphans if reaper else None,
        )
        self._processes.append(process)
        return process

    def run(self, command: Any = ("tune.py",)) -> tuple[int, str, str]:
        process = self.start(command)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output.decode(), errors.decode()

    @property
    def failure(self) -> str | None:
        path = self.root / "output" / "failure"
        return path.read_text(encoding="utf-8") if path.exists() else None

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=60)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path / "ml")
    yield job
    job.close()


def test_success(job: Job) -> None:
    job.script("import os, sys; print(os.environ['CLOUDTUNE_FOLDER'], os.getcwd(), sys.path)")
    code, output, _ = job.run()
    assert code == 0
    assert str(job.root / "cloudtune" / "experiments") in output
    assert str(job.code) in output
    assert (job.root / "checkpoints").is_dir()
    assert job.failure is None


def test_the_end_of_the_errors_is_the_reason(job: Job) -> None:
    job.script("import sys; print('x' * 5000 + ' the réason', file=sys.stderr); sys.exit(6)")
    code, _, errors = job.run()
    assert code == 6
    assert job.failure is not None
    assert job.failure.endswith("the réason")
    assert len(job.failure) <= 1024
    assert errors.count("the réason") == 1, "the log has it once"


def test_an_error_message_of_ours_is_the_reason(job: Job) -> None:
    job.script(
        "import sys; print('INFO: before\\nerror: no space\\n  -> make room', file=sys.stderr); sys.exit(5)"
    )
    assert job.run()[0] == 5
    assert job.failure == "error: no space\n  -> make room"


def test_a_silent_end_has_a_reason_as_well(job: Job) -> None:
    job.script("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert job.run()[0] == 128 + signal.SIGKILL
    assert job.failure is not None
    assert "memory ran out: use fewer workers" in job.failure
    job.script("import sys; sys.exit(9)")
    assert job.run()[0] == 9
    assert job.failure == "The tuner ended with exit code 9 and wrote no reason: look at the job's log."
    job.script("import os, signal; os.kill(os.getpid(), signal.SIGABRT)")
    assert job.run()[0] == 128 + signal.SIGABRT
    assert job.failure == "The tuner was ended by signal SIGABRT."


def test_arguments_arrive_as_they_were(job: Job) -> None:
    job.script("import json, sys; print(json.dumps(sys.argv[1:]))")
    values = {"text": "two words", "quotes": '"it\'s"', "empty": "", "unicode": "naïve 日本", "yes": True}
    numbers = {"zero": 0, "small": 1e-05, "nothing": None, "list": [1, "a b"]}
    job.hyperparameters(
        {name: json.dumps(value) for name, value in {**values, **numbers}.items()} | {"raw": "v1.2"}
    )
    code, output, _ = job.run(["tune.py", "--first"])
    assert code == 0
    found = json.loads(output)
    assert found[0] == "--first"
    assert dict(zip(found[1::2], found[2::2], strict=True)) == {
        "--text": "two words",
        "--quotes": '"it\'s"',
        "--empty": "",
        "--unicode": "naïve 日本",
        "--yes": "true",
        "--zero": "0",
        "--small": "1e-05",
        "--nothing": "null",
        "--list": '[1, "a b"]',
        "--raw": "v1.2",
    }


def test_sigterm_reaches_the_tuner_and_is_waited_for(job: Job) -> None:
    job.script(
        """
        import signal, sys, time
        def end(*_):
            time.sleep(0.3)
            print("state is flushed", flush=True)
            sys.exit(143)
        signal.signal(signal.SIGTERM, end)
        print("ready", flush=True)
        signal.pause()
        """
    )
    process = job.start()
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert b"state is flushed" in output
    assert process.returncode == 143
    assert job.failure is None, "it was asked to end"


def test_sigterm_while_installing_ends_the_job(job: Job) -> None:
    job.script("print('the tuner runs')")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        job.requirements(f"--index-url {index}\nno-such-package-of-ours==1\n")
        process = job.start()
        silent.settimeout(60)
        connection, _ = silent.accept()
        process.terminate()
        output, _ = process.communicate(timeout=60)
        connection.close()
    assert process.returncode == 143
    assert b"the tuner runs" not in output


def test_what_is_installed_is_not_installed_again(job: Job) -> None:
    job.script("print('the tuner runs')")
    job.requirements(
        "# comment\n\nnumpy>=1.20  # ok\nPyTest\nno-such-package-of-ours; python_version < '3'\nboto3>=1.34,<99\n"
    )
    code, output, _ = job.run()
    assert (code, output) == (0, "the tuner runs\n")


@pytest.mark.parametrize("requirement", ["numpy>=99", "no-such-package-of-ours", "numpy @ file:///no/such/file"])
def test_what_cannot_be_installed_is_the_reason(job: Job, requirement: str) -> None:
    job.script("print('the tuner runs')")
    job.requirements(f"--no-index\n{requirement}\n")
    code, output, _ = job.run()
    assert code == 1
    assert "the tuner runs" not in output
    assert job.failure is not None
    assert job.failure.startswith("The tuning job could not be set up: pip could not install")


@pytest.mark.parametrize("command", [["missing.py"], [], "tune.py", [1], None])
def test_a_wrong_command_is_the_reason(job: Job, command: Any) -> None:
    job.script("")
    assert job.run(command)[0] == 1
    assert job.failure is not None
    assert "could not be set up" in job.failure


def test_orphans_are_reaped_and_not_waited_for(job: Job) -> None:
    job.script(
        """
        import os, subprocess, sys, time
        short = "import time; time.sleep(0.1)"
        for code in (short, short, "import time; time.sleep(300)"):
            subprocess.run(["/bin/sh", "-c", f'{sys.executable} -c "{code}" >/dev/null 2>&1 & echo $!'],
                           check=True)
        print("ready", flush=True)
        sys.stdin.readline()
        """
    )
    process = job.start(reaper=True, stdin=subprocess.PIPE)
    assert process.stdout is not None and process.stdin is not None
    orphans = [int(process.stdout.readline()) for _ in range(3)]
    assert process.stdout.readline() == b"ready\n"
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans[:2]), "zombies are reaped")
    assert process.poll() is None
    process.stdin.write(b"\n")
    process.stdin.flush()
    try:
        assert process.wait(timeout=60) == 0, "the last orphan keeps the job"
    finally:
        os.kill(orphans[2], signal.SIGKILL)


def test_a_signal_does_not_lose_the_end_of_the_tuner(job: Job) -> None:
    """Signals that arrive as the tuner ends, while an orphan lives on: the job ends all the same."""
    job.script(
        """
        import os, signal, subprocess, sys
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        done = subprocess.run(
            ["/bin/sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!"], check=True, stdout=subprocess.PIPE
        )
        print(int(done.stdout), flush=True)
        signal.pause()
        """
    )
    process = job.start(reaper=True)
    assert process.stdout is not None
    orphan = int(process.stdout.readline())
    try:
        for _ in range(20):
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 7
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_signals_while_nobody_reads_the_log(job: Job) -> None:
    """The second one arrives while the first is being told."""
    job.script(
        """
        import os, signal, sys
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        os.set_blocking(1, False)
        try:
            while True:
                os.write(1, b"x" * 4096)
        except BlockingIOError:
            pass
        try:
            while True:
                os.write(1, b"x")
        except BlockingIOError:
            os.set_blocking(1, True)
        print("ready", file=sys.stderr, flush=True)
        signal.pause()
        """
    )
    process = job.start()
    assert process.stdout is not None and process.stderr is not None
    assert process.stderr.readline() == b"ready\n"
    process.terminate()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    eventually(lambda: all(map(_is_zombie, children.read_text().split())), "the tuner is told at once")
    for _ in range(5):
        process.terminate()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 7, errors.decode()
    assert output.count(b"SIGTERM") >= 1


def _is_zombie(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True  # reaped already


def test_progress_bars_pass_at_once_and_fill_no_memory(job: Job) -> None:
    job.script(
        """
        import sys
        sys.stderr.write("50%\\r")
        sys.stderr.flush()
        sys.stdin.readline()
        for _ in range(400):
            sys.stderr.write("x" * 100_000)
        sys.exit("\\nerror: the end")
        """
    )
    process = job.start(stdin=subprocess.PIPE)
    assert process.stderr is not None and process.stdin is not None
    assert process.stderr.read(4) == b"50%\r", "no line has ended, and yet it is there"
    errors = process.communicate(b"\n", timeout=60)[1]
    assert len(errors) > 40_000_000
    assert process.returncode == 1
    assert job.failure == "error: the end"


def test_a_failure_that_cannot_be_written_keeps_the_exit_code(job: Job) -> None:
    (job.root / "output").write_text("a file, where the folder should be")
    job.script("import sys; sys.exit(6)")
    code, _, errors = job.run()
    assert code == 6
    assert "cannot be written" in errors


def test_an_old_python_is_named() -> None:
    with pytest.raises(ValueError, match=r"Python 3\.8; cloudtune needs 3\.10"):
        process1.check_python((3, 8))
    process1.check_python((3, 10))

"""Process 1 of a tuning job: installs requirements, runs the tuner, passes signals on, reports failures.

Run by path, with the standard library alone. SIGTERM (a stop, or a spot interruption with notice) goes to the
tuner, which interrupts its trials and uploads what it knows; the supervisor waits for it.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

if __name__ == "__main__":  # run by path: the folder of this file must not shadow installed packages
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from cloudtune.remote import job_layout as layout

#: The service keeps 1024 characters of a failure, of which it needs some itself.
_FAILURE_CHARS = 960
#: Of what the tuner writes to stderr, so much is remembered.
_TAIL_BYTES = 32 * 1024
_PIP_TIMEOUT_S = 1800
#: As in pyproject.toml; this file itself can be read by older ones.
_OLDEST_PYTHON = (3, 10)


class StopSignal:
    """Remembers that the job is to end, and tells whoever runs for it.

    Process 1 ignores signals that it has no handler for, so this one is installed before anything else begins.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._process: subprocess.Popen[Any] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def follow(self, process: subprocess.Popen[Any]) -> None:
        """From now on ``process`` is told; at once if the signal has come already."""
        self._process = process
        if self.number is not None:
            self._tell(self.number)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self._tell(number)
        # Not print: the next signal may come in the middle of it, and a second print would then raise, here.
        with suppress(OSError):
            os.write(1, f"Signal {signal.Signals(number).name}: the tuner is asked to end.\n".encode())

    def _tell(self, number: int) -> None:
        # Not Popen.send_signal: it would reap the process, which _wait would then miss.
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)


def main() -> int:
    """Returns the tuner's exit code."""
    stop = StopSignal()
    code = layout.code_folder()
    try:
        _check_python(sys.version_info[:2])
        _install(code / layout.REQUIREMENTS, stop)
        if stop.number is not None:
            return 128 + stop.number
        return _run(_command(code), code, stop)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        text = f"The tuning job could not be set up: {error}"
        print(text, file=sys.stderr, flush=True)
        _write_failure(text)
        return 1


def _check_python(version: tuple[int, ...]) -> None:
    if version < _OLDEST_PYTHON:
        here, needed = (".".join(map(str, numbers)) for numbers in (version, _OLDEST_PYTHON))
        raise ValueError(
            f"the image has Python {here}; cloudtune needs {needed} or newer. Choose another image_uri."
        )


def _command(code: Path) -> list[str]:
    text = os.environ.get(layout.ENV_COMMAND, "null")
    command = json.loads(text)
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise ValueError(f"{layout.ENV_COMMAND} must be a JSON list of strings, not {text}.")
    script = code / command[0]
    if not script.is_file():
        raise ValueError(f"The code archive has no {command[0]}.")
    return [sys.executable, "-u", str(script), *command[1:], *_arguments()]


def _arguments() -> list[str]:
    """The job's hyperparameters as an argument vector. Values are JSON, as SageMaker's own toolkit has them."""
    path = layout.ml_root() / "input" / "config" / "hyperparameters.json"
    arguments: list[str] = []
    for name, text in sorted(json.loads(path.read_text(encoding="utf-8")).items()) if path.exists() else []:
        try:
            value: Any = json.loads(text)
        except ValueError:
            value = text
        arguments += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    return arguments


def _install(requirements: Path, stop: StopSignal) -> None:
    """Installs what is missing; a container that has all of it starts at once."""
    lines = requirements.read_text(encoding="utf-8").splitlines() if requirements.exists() else []
    if all(_is_satisfied(line) for line in lines):
        return
    print(f"Installing {requirements} ...", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with subprocess.Popen([*pip, "-r", str(requirements)], stderr=subprocess.PIPE) as process:
        stop.follow(process)
        try:
            errors = process.communicate(timeout=_PIP_TIMEOUT_S)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    sys.stderr.write(errors)
    if process.returncode != 0 and stop.number is None:
        raise ValueError(f"pip could not install the requirements: {errors.strip()[-600:]}")


def _is_satisfied(line: str) -> bool:
    """Whether a requirement is installed already; in doubt no, and pip decides."""
    text = line.split(" #", 1)[0].strip()
    if not text or text.startswith("#"):
        return True
    try:
        from importlib.metadata import version

        from pip._vendor.packaging.requirements import Requirement

        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            return True
        if requirement.url or requirement.extras:
            return False
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except Exception:  # noqa: BLE001  whatever this pip or that line is like: pip itself will say
        return False


def _run(command: list[str], code: Path, stop: StopSignal) -> int:
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code), environment.get("PYTHONPATH", "")]))
    environment["CLOUDTUNE_FOLDER"] = str(layout.experiments_folder())
    layout.experiments_folder().mkdir(parents=True, exist_ok=True)
    layout.checkpoints_folder().mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(command, env=environment, cwd=code, stderr=subprocess.PIPE, start_new_session=True)
    stop.follow(process)
    tail = bytearray()
    reader = threading.Thread(target=_copy, args=(process.stderr, tail), daemon=True)
    reader.start()
    returncode = _wait(process)
    reader.join(timeout=5)
    if returncode != 0 and stop.number is None:
        _write_failure(_why(returncode, bytes(tail).decode(errors="replace")))
    return returncode if returncode >= 0 else 128 - returncode


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Waits for the tuner. Process 1 also inherits orphans, which it has to reap."""
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return process.wait()
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode


def _copy(source: IO[bytes] | None, tail: bytearray) -> None:
    """As it comes: progress bars end no line for hours."""
    if not isinstance(source, io.BufferedReader):
        return
    while chunk := source.read1(_TAIL_BYTES):
        with suppress(OSError):  # the tuner must not stall because nobody takes the log
            sys.stderr.buffer.write(chunk)
            sys.stderr.buffer.flush()
        tail += chunk
        del tail[:-_TAIL_BYTES]


def _why(returncode: int, text: str) -> str:
    """The last error message of cloudtune, else all of ``text``; what a signal says it says itself."""
    lines = text.splitlines(keepends=True)
    begins = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    reason = "".join(lines[begins[-1] :] if begins else lines).strip()
    if returncode == -signal.SIGKILL:
        return (
            f"{reason[-600:]}\nThe tuner was killed (SIGKILL), often since memory ran out: use fewer workers, "
            "or an instance type with more memory, and launch again: the experiment continues."
        ).strip()
    if returncode < 0 and not begins:
        reason = f"{reason[-800:]}\nThe tuner was ended by signal {_signal_name(-returncode)}.".strip()
    return reason or f"The tuner ended with exit code {returncode} and wrote no reason: look at the job's log."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _write_failure(text: str) -> None:
    """The end matters most: that is where an error says what it is."""
    path = layout.failure_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text[-_FAILURE_CHARS:], encoding="utf-8")
    except OSError as error:  # a full disk is no reason to lose the exit code as well
        print(f"The reason of the failure cannot be written to {path}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

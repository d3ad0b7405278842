"""Process 1 of a tuning job: installs requirements, runs the tuner, passes signals on, reports failures.

Run by path, with the standard library alone. SIGTERM (a stop, or a spot interruption with notice) goes to the
tuner, which interrupts its trials and uploads what it knows; the supervisor waits for it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

if __name__ == "__main__":  # run by path: the folder of this file must not shadow installed packages
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from cloudtune.clock import WallClock
from cloudtune.remote import job_layout as layout
from cloudtune.remote import process1
from cloudtune.remote.job_requirements import install


def main() -> int:
    """Returns the tuner's exit code."""
    os.environ[layout.ENV_TUNER_SINCE] = str(WallClock().now())
    stop = process1.StopSignal("the tuner")
    code = layout.code_folder()
    try:
        process1.check_python(sys.version_info[:2])
        install(code / layout.REQUIREMENTS, stop)
        if stop.number is not None:
            return 128 + stop.number
        return _run(_command(code), code, stop)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        text = f"The tuning job could not be set up: {error}"
        process1.say(text)
        process1.write_failure(text)
        return 1


def _command(code: Path) -> list[str]:
    script, *words = process1.command_words()
    if not (code / script).is_file():
        raise ValueError(f"The code archive has no {script}.")
    for name, value in process1.hyperparameters().items():
        words += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    return [sys.executable, "-u", str(code / script), *words]


def _run(command: list[str], code: Path, stop: process1.StopSignal) -> int:
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code), environment.get("PYTHONPATH", "")]))
    environment["CLOUDTUNE_FOLDER"] = str(layout.experiments_folder())
    layout.experiments_folder().mkdir(parents=True, exist_ok=True)
    layout.checkpoints_folder().mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(command, env=environment, cwd=code, stderr=subprocess.PIPE, start_new_session=True)
    stop.follow(process)
    tail = process1.Tail()
    reader = threading.Thread(target=process1.pass_on, args=(process.stderr, 2, tail.add), daemon=True)
    reader.start()
    returncode = process1.wait(process)
    reader.join(timeout=5)
    if returncode != 0 and stop.number is None:
        process1.write_failure(_why(returncode, str(tail)))
    return process1.as_in_shells(returncode)


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
        reason = f"{reason[-800:]}\nThe tuner was ended by signal {process1.signal_name(-returncode)}.".strip()
    return reason or f"The tuner ended with exit code {returncode} and wrote no reason: look at the job's log."


if __name__ == "__main__":
    sys.exit(main())

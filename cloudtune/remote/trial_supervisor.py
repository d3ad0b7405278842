"""Process 1 of a trial's job: installs requirements, runs the script, uploads its reports, passes signals on.

Run by path, with the standard library alone until requirements are installed. It takes the place of SageMaker's
training toolkit: scripts find the variables that they know. See :mod:`cloudtune.remote.trial_layout`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # run by path: the folder of this file must not shadow installed packages
    sys.path[0] = str(Path(__file__).resolve().parents[2])

if TYPE_CHECKING:
    from cloudtune.aws.objects import S3Objects
    from cloudtune.remote.trial_reports import TrialReports

from cloudtune import constants
from cloudtune.clock import WallClock
from cloudtune.paths import S3Uri
from cloudtune.remote import job_layout as layout
from cloudtune.remote import process1, trial_command, trial_layout
from cloudtune.remote.job_configuration import JobConfiguration
from cloudtune.remote.job_requirements import install
from cloudtune.remote.sagemaker_environment import count_gpus, sagemaker_environment
from cloudtune.remote.seen_level import SeenLevel
from cloudtune.remote.trial_script import TrialScript
from cloudtune.report_lines import ReportScanner

#: How long the script waits for S3 to tell what earlier runs have reported, seconds.
_BEGIN_S = 60.0
#: How long the last reports wait for S3, seconds: a result that is paid for, and what SIGTERM leaves.
_FLUSH_S = 300.0
_FLUSH_STOPPED_S = 15.0
_TAIL_CHARS = 2000
_LOOK_S = 0.2


def main() -> int:
    """Returns the script's exit code."""
    stop = process1.StopSignal("the script")
    try:
        process1.check_python(sys.version_info[:2])
        install(layout.code_folder() / layout.REQUIREMENTS, stop, dispensable=("boto3",))
        if stop.number is not None:
            return 128 + stop.number
        return _run(JobConfiguration.read(), stop)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        text = f"The trial could not be set up: {error}"
        process1.say(text)
        process1.write_failure(text)
        return 1


def _run(job: JobConfiguration, stop: process1.StopSignal) -> int:
    words = process1.command_words()
    command, arguments = trial_command.resolve(words), trial_command.arguments(job)
    folder = trial_command.script_folder()
    seen = SeenLevel(layout.ml_root() / "cloudtune" / "seen_level", _recorded_level())
    environment = {
        **os.environ,
        **sagemaker_environment(job, words, arguments, folder, count_gpus()),
        **_own_variables(folder, seen),
    }
    for path in (layout.ml_root() / "model", layout.ml_root() / "output" / "data"):
        path.mkdir(parents=True, exist_ok=True)
    reports = _connect(job, seen, stop)
    scanner = ReportScanner()

    def note(output: bytes) -> None:
        if reports is not None:
            for metrics in scanner.feed(output):
                reports.add(metrics)

    script = TrialScript(stop, note)
    returncode = -stop.number if stop.number else script.run([*command, *arguments], folder, environment)
    if reports is not None:
        for metrics in scanner.finish():
            reports.add(metrics)
        _finish(reports, returncode, script.error_tail, stop)
    if returncode != 0 and stop.number is None:
        process1.write_failure(_why(returncode, script.error_tail))
    return process1.as_in_shells(returncode)


def _recorded_level() -> int:
    text = os.environ.get(trial_layout.ENV_SEEN_LEVEL, "0")
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{trial_layout.ENV_SEEN_LEVEL}={text!r} is no level.") from None


def _own_variables(folder: Path, seen: SeenLevel) -> Mapping[str, str]:
    path = [str(folder), str(layout.code_folder()), os.environ.get("PYTHONPATH", "")]
    variables = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(filter(None, path))}
    if os.environ.get(trial_layout.ENV_RESOURCE_ATTR):
        variables[constants.ENV_SEEN_LEVEL_FILE] = str(seen.path)
    return variables


def _connect(job: JobConfiguration, seen: SeenLevel, stop: process1.StopSignal) -> TrialReports | None:
    """Where reports go; None if that is the log alone. Waits for what S3 knows of earlier runs."""
    uri = os.environ.get(trial_layout.ENV_REPORTS_URI)
    resource_attr = os.environ.get(trial_layout.ENV_RESOURCE_ATTR)
    objects = _s3() if uri else None
    if objects is None or not uri:
        return None
    from cloudtune.remote.level_follower import LevelFollower
    from cloudtune.remote.trial_reports import TrialReports

    if not job.is_first_host:
        if resource_attr:
            follower = LevelFollower(objects, S3Uri.parse(uri), resource_attr, seen.raise_to)
            follower.start()
            _wait(follower.begun, stop)
        return None
    reports = TrialReports(objects, S3Uri.parse(uri), resource_attr, job.host, seen.raise_to)
    reports.start()
    _wait(reports.begun, stop)
    return reports


def _s3() -> S3Objects | None:
    try:
        from cloudtune.aws.objects import S3Objects
        from cloudtune.aws.session import AwsSession

        return S3Objects(AwsSession())
    except Exception as error:  # noqa: BLE001  an image's packages may fit each other badly, in many ways
        process1.say(f"Reports are in this log alone: S3 cannot be used. {error}")
        return None


def _wait(begun: threading.Event, stop: process1.StopSignal) -> None:
    clock = WallClock()
    deadline = clock.now() + _BEGIN_S
    while stop.number is None and clock.now() < deadline:
        if begun.wait(_LOOK_S):
            return


def _finish(reports: TrialReports, returncode: int, tail: str, stop: process1.StopSignal) -> None:
    """Leaves S3 the time that there is to take the last reports."""
    reports.finish(
        {
            "exit_code": process1.as_in_shells(returncode),
            "tail": tail[-_TAIL_CHARS:],
            "stopped": stop.number is not None,
        }
    )
    clock = WallClock()
    deadline = clock.now() + _FLUSH_S
    while not reports.join(_LOOK_S):
        if stop.number is not None:
            deadline = min(deadline, clock.now() + _FLUSH_STOPPED_S)
        if clock.now() >= deadline:
            break
    if not reports.is_complete:
        process1.say("S3 has not taken the last reports; they are in this log.")


def _why(returncode: int, tail: str) -> str:
    text = f"exit code {process1.as_in_shells(returncode)}"
    if returncode < 0:
        text += f" ({process1.signal_name(-returncode)})"
    if returncode == -signal.SIGKILL:
        text += ", often since memory ran out: use an instance type with more"
    tail = tail.strip() or "The script wrote no reason: look at the job's log."
    return f"{text}\n{tail[len(text) + 1 - process1.FAILURE_CHARS :]}"


if __name__ == "__main__":
    sys.exit(main())

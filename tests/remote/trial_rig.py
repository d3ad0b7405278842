"""A trial's job: its ``/opt/ml``, the supervisor as a real process, and its stream in S3."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import cloudtune
from cloudtune.aws.objects import S3Objects
from cloudtune.paths import S3Uri
from cloudtune.remote import trial_layout as trial
from cloudtune.remote import trial_supervisor
from cloudtune.report_stream import decode_lines, parse_object_name

PACKAGE = Path(cloudtune.__file__).parents[1]
#: Makes ``num_levels`` reports from its newest usable checkpoint on; obeys ``die_at`` by killing everything.
TRAIN = """
import argparse, os, signal, sys
from pathlib import Path
from cloudtune import Reporter
from cloudtune.checkpointing import checkpoint_model_at_rung_level, resume_from_checkpointed_model

parser = argparse.ArgumentParser()
parser.add_argument("--num_levels", type=int)
parser.add_argument("--st_checkpoint_dir")
config = vars(parser.parse_args())
report = Reporter()
begin = resume_from_checkpointed_model(config, lambda path: int(Path(path, "level").read_text()))
for level in range(begin + 1, config["num_levels"] + 1):
    checkpoint_model_at_rung_level(config, lambda path, l: Path(path, "level").write_text(str(l)), level)
    report(level=level, loss=1 / level)
    gate = Path(os.environ["GATE"]) / str(level)
    if gate.exists():
        gate.open().read()
"""


class TrialJob:
    """One job; :meth:`start` is a run of it.

    Args:
        endpoint: Of S3.
    """

    def __init__(self, root: Path, endpoint: str, reports: S3Uri) -> None:
        self.root = root
        self.script_folder = root / "cloudtune" / "code" / trial.SCRIPT_FOLDER
        self.script_folder.mkdir(parents=True)
        self.config = root / "input" / "config"
        self.config.mkdir(parents=True)
        self.gates = root / "gates"
        self.gates.mkdir()
        self.reports = reports
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "CLOUDTUNE_ML_ROOT": str(root),
            "CLOUDTUNE_REPORTS_URI": str(reports),
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONPATH": str(PACKAGE),
            "GATE": str(self.gates),
        }
        self.command("train.py")
        self._processes: list[subprocess.Popen[bytes]] = []

    def command(self, *words: str) -> None:
        self.environment["CLOUDTUNE_COMMAND"] = json.dumps(words)

    def script(self, text: str, name: str = "train.py") -> None:
        (self.script_folder / name).write_text(textwrap.dedent(text), encoding="utf-8")

    def hyperparameters(self, **values: Any) -> None:
        encoded = {name: json.dumps(value) for name, value in values.items()}
        (self.config / "hyperparameters.json").write_text(json.dumps(encoded))

    def hosts(self, current: str, *names: str) -> None:
        (self.config / "resourceconfig.json").write_text(json.dumps({"current_host": current, "hosts": names}))

    def gate(self, level: int) -> Path:
        """The script waits behind its report of ``level`` until somebody opens this for writing."""
        path = self.gates / str(level)
        os.mkfifo(path)
        return path

    def start(self, hurry_s: float | None = None) -> subprocess.Popen[bytes]:
        """Begins a run.

        Args:
            hurry_s: After SIGTERM script and S3 are given so long each, not what the platform allows.
        """
        command = [sys.executable, trial_supervisor.__file__]
        if hurry_s is not None:
            text = "import sys; from cloudtune.remote import trial_script, trial_supervisor; "
            text += f"trial_script.GRACE_S = trial_supervisor._FLUSH_STOPPED_S = {hurry_s}; "
            command = [sys.executable, "-c", text + "sys.exit(trial_supervisor.main())"]
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def run(self) -> tuple[int, bytes, str]:
        process = self.start()
        output, errors = process.communicate(timeout=120)
        return process.returncode, output, errors.decode()

    def lose_machine(self, process: subprocess.Popen[bytes]) -> None:
        """Nothing of the run is left, at once; checkpoints have been synced."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in [process.pid, *map(int, children)]:
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
        shutil.rmtree(self.gates)
        self.gates.mkdir()

    @property
    def seen_level(self) -> int:
        return int((self.root / "cloudtune" / "seen_level").read_text())

    @property
    def failure(self) -> str | None:
        path = self.root / "output" / "failure"
        return path.read_text(encoding="utf-8") if path.exists() else None

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=60)


def records(objects: S3Objects, reports: S3Uri) -> list[dict[str, Any]]:
    """All that is in the stream, in order; each object must be whole and properly named."""
    found = []
    for item in objects.list(reports):
        name = item.uri.key.rsplit("/", 1)[-1]
        assert parse_object_name(name) is not None
        content = objects.get(item.uri)
        lines, length = decode_lines(content)
        assert length == len(content)
        found += lines
    return found


def metrics(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the reports, whose numbers must be 0, 1, 2, ..."""
    reports = [record for record in found if record["kind"] == "report"]
    assert [record["seq"] for record in reports] == list(range(len(reports)))
    return [record["metrics"] for record in reports]

"""kill -9 at any file operation leaves a good checkpoint: the last one that was complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).parent / "kill_points.py"


def test_killed_at_each_file_operation(tmp_path):
    # In memory where possible: a killed process needs no fsync, and there are a thousand of them.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        check_all_points(folder)


def check_all_points(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), folder], capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) > 60
    for run in runs:
        written = [int(line.split()[1]) for line in run["first"] if line.startswith("written")]
        last = max(written, default=0)
        resumed = int(run["again"][0].split()[1])
        # The one in flight may count already; nothing that was complete is lost.
        assert last <= resumed <= last + 1, run
        assert run["again"][-1] == "done"
        assert run["left"] == ["00000003", "00000004"], run
    assert runs[-1]["first"][-1] == "done"
    assert {int(run["again"][0].split()[1]) for run in runs} == {0, 1, 2, 3}

"""What ``docs/emulator.md`` tells people to do works as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "emulator.md"


def test_the_first_job_of_the_page(tmp_path: Path) -> None:
    [program] = re.findall(r"## A job\n\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    told, phases = done.stdout.splitlines()
    status, loss, seconds = told.split()
    assert status == "Completed"
    assert abs(float(loss) - 0.01) < 1e-9
    assert int(seconds) >= 1
    assert phases == "['Starting', 'Downloading', 'Training', 'Uploading', 'Completed']"

"""A tuner in a process of its own, which a test kills."""

from __future__ import annotations

import sys
from pathlib import Path

from job_rig import make_tuner

if __name__ == "__main__":
    make_tuner(Path(sys.argv[1]), sys.argv[2], trials=3, epoch_s=float(sys.argv[3]), epochs=3).run()

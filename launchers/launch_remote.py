"""Compares tuning methods on SageMaker: one training job per method and seed, several trials in parallel in each.

    python launchers/launch_remote.py --num_seeds 10

Without AWS credentials the jobs run on the emulator. ``--dry_run`` prints what would be sent and its cost.
"""

import sys
from pathlib import Path

from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.launch_remote_local import launch_remote

if __name__ == "__main__":
    entry_point = Path(__file__).resolve().parent.parent / "entry_points" / "hpo_main.py"
    sys.exit(launch_remote(entry_point, methods, real_benchmark_definitions))

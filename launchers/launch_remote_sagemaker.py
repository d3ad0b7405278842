"""Compares tuning methods on SageMaker: one small training job per method and seed, and one for each trial.

    python launchers/launch_remote_sagemaker.py --num_seeds 3 --dry_run

Without AWS credentials the jobs run on the emulator.
"""

import sys
from pathlib import Path

from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.launch_remote_sagemaker import launch_remote

if __name__ == "__main__":
    entry_point = Path(__file__).resolve().parent.parent / "entry_points" / "hpo_main_sagemaker.py"
    sys.exit(launch_remote(entry_point, methods, real_benchmark_definitions))

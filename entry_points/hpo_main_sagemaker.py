"""Tunes one benchmark with one of the default methods, and a SageMaker training job for each trial. The tuner runs
here; the jobs of launchers/launch_remote_sagemaker.py run this script, too.

python entry_points/hpo_main_sagemaker.py --benchmark mlp_digits --method ASHA --max_wallclock_time 300
"""

import sys

from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.hpo_main_sagemaker import main

if __name__ == "__main__":
    sys.exit(main(methods, real_benchmark_definitions))

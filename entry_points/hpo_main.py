"""Tunes one benchmark with the default methods, on the machine it runs on. The launcher's jobs run this script.

python entry_points/hpo_main.py --benchmark mlp_digits --method ASHA --max_wallclock_time 60
"""

import sys

from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.hpo_main_local import main

if __name__ == "__main__":
    sys.exit(main(methods, real_benchmark_definitions))

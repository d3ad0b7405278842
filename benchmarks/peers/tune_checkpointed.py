"""A tuner to be killed and continued: ``python tune_checkpointed.py METHOD MAX_TRIALS EPOCH_S``."""

from __future__ import annotations

import sys

from cloudtune import StoppingCriterion, Tuner
from cloudtune.backend import LocalBackend
from cloudtune.experiments.benchmark_definitions.checkpoint_example import checkpoint_example_benchmark
from cloudtune.optimizer.baselines import ASHA, RandomSearch


def main(method: str, max_trials: int, epoch_s: float) -> None:
    benchmark = checkpoint_example_benchmark()
    space = {**benchmark.config_space, "sleep_time": epoch_s}
    common = {
        "metric": benchmark.metric,
        "mode": benchmark.mode,
        "resource_attr": benchmark.resource_attr,
        "max_resource_attr": benchmark.max_resource_attr,
        "random_seed": 0,
    }
    scheduler = RandomSearch(space, **common) if method == "random" else ASHA(space, type=method, **common)
    Tuner(
        LocalBackend(str(benchmark.script)),
        scheduler,
        StoppingCriterion(max_num_trials_started=max_trials),
        n_workers=benchmark.n_workers,
        tuner_name="killed",
        suffix_tuner_name=False,
    ).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))

"""A tuner to be stopped: ``python tune_here.py NAME GATE``."""

from __future__ import annotations

import sys
from pathlib import Path

from cloudtune import StoppingCriterion, Tuner
from cloudtune.backend import LocalBackend
from cloudtune.config_space import uniform
from cloudtune.optimizer.baselines import RandomSearch

if __name__ == "__main__":
    Tuner(
        LocalBackend(Path(__file__).with_name("gated_train.py"), rotate_gpus=False, grace_period_s=1.0),
        RandomSearch(
            {"epochs": 6, "x": uniform(0.5, 1.5), "gate": sys.argv[2]},
            metric="loss",
            random_seed=7,
            resource_attr="epoch",
        ),
        StoppingCriterion(max_num_trials_started=2),
        n_workers=2,
        tuner_name=sys.argv[1],
        suffix_tuner_name=False,
    ).run()

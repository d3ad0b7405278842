"""A tuner to be killed: ``python kill_me_tune.py METHOD MAX_TRIALS EPOCH_S``."""

from __future__ import annotations

import sys
from pathlib import Path

from cloudtune import StoppingCriterion, Tuner
from cloudtune.backend import LocalBackend
from cloudtune.config_space import uniform
from cloudtune.optimizer.baselines import ASHA, RandomSearch


def main(method: str, max_trials: int, epoch_s: float) -> None:
    space = {"x": uniform(0, 1), "epochs": 9, "epoch_s": epoch_s}
    common = {"metric": "loss", "resource_attr": "epoch", "max_resource_attr": "epochs", "random_seed": 3}
    scheduler = RandomSearch(space, **common) if method == "random" else ASHA(space, type=method, **common)
    Tuner(
        LocalBackend(str(Path(__file__).with_name("kill_me_train.py")), rotate_gpus=False, grace_period_s=2.0),
        scheduler,
        StoppingCriterion(max_num_trials_started=max_trials),
        n_workers=3,
        tuner_name="killed",
        suffix_tuner_name=False,
    ).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))

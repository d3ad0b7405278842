"""No-op trials with Syne Tune 0.16: ``python run_syne_tune.py SCRIPT NUM_TRIALS N_WORKERS [SLEEP_TIME]``."""

import sys

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import LocalBackend
from syne_tune.config_space import uniform
from syne_tune.optimizer.baselines import RandomSearch


def main(script: str, num_trials: int, n_workers: int, sleep_time: float | None = None) -> None:
    others = {} if sleep_time is None else {"sleep_time": sleep_time}
    Tuner(
        LocalBackend(script),
        RandomSearch({"x": uniform(0, 1), "reporter": "syne_tune"}, metrics=["loss"]),
        # Its limit is the last number that does not stop it.
        StoppingCriterion(max_num_trials_started=num_trials - 1),
        n_workers=n_workers,
        wait_trial_completion_when_stopping=True,
        tuner_name="noop",
        **others,
    ).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:]))

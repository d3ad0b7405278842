"""20 no-op trials on 2 workers with cloudtune: ``python run_cloudtune.py SCRIPT NUM_TRIALS N_WORKERS [SECONDS]``.

``SECONDS``: each trial sleeps between so many and twice as many.
"""

from __future__ import annotations

import sys

from cloudtune import StoppingCriterion, Tuner
from cloudtune.backend import LocalBackend
from cloudtune.config_space import uniform
from cloudtune.optimizer.baselines import RandomSearch


def main(script: str, num_trials: int, n_workers: int, seconds: float = 0.0) -> None:
    space = {"x": uniform(0, 1), "seconds": uniform(seconds, 2 * seconds) if seconds else 0.0}
    Tuner(
        LocalBackend(script),
        RandomSearch(space, metric="loss"),
        StoppingCriterion(max_num_trials_started=num_trials),
        n_workers=n_workers,
        tuner_name="noop",
        resume=False,
    ).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:]))

"""A tuner in a process of its own, on a machine of its own, whose uploads stop after a while.

python held_back_tune.py SCRIPT MACHINE CHECKPOINTS STATE_URI NUM_PUTS
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from cloudtune import StoppingCriterion, Tuner
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.backend import LocalBackend
from cloudtune.config_space import uniform
from cloudtune.optimizer.baselines import RandomSearch
from cloudtune.paths import ExperimentPaths, S3Uri
from cloudtune.remote.mirrored_store import MirroredStore

EPOCHS, TRIALS = 30, 3


class HeldBack(S3Objects):
    """S3 takes so many parts of the journal; further ones wait for ever."""

    def __init__(self, num_puts: int) -> None:
        super().__init__(AwsSession())
        self._left = num_puts

    def put(self, uri: S3Uri, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if uri.key.endswith(".jsonl"):
            self._left -= 1
            if self._left < 0:
                threading.Event().wait()
        return super().put(uri, data, if_absent=if_absent, if_match=if_match)


def main(script: str, machine: str, checkpoints: str, state: str, num_puts: str) -> None:
    space = {"num_epochs": EPOCHS, "multiplier": uniform(0.9, 1.1), "sleep_time": 0.06}
    tuner = Tuner(
        LocalBackend(script),
        RandomSearch(space, metric="train_acc", mode="max", resource_attr="epoch", random_seed=5),
        StoppingCriterion(max_num_trials_started=TRIALS),
        n_workers=2,
        tuner_name="held",
        suffix_tuner_name=False,
    )
    folder = Path(machine) / "held"
    paths = ExperimentPaths(folder, trials_dir=folder / "trials", checkpoints_dir=Path(checkpoints))
    store = MirroredStore(paths, HeldBack(int(num_puts)), S3Uri.parse(state))
    store.restore()
    tuner.relocate(paths, store)
    tuner.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

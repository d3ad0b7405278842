"""Real jobs on the emulator, for the backend: a script without heavy imports, and tuners on it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from cloudtune import StoppingCriterion, Tuner
from cloudtune.backend import SageMakerBackend
from cloudtune.config_space import uniform
from cloudtune.experiment.events import Event
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.optimizer.baselines import ASHA
from cloudtune.stores import FileStore

SCRIPT = """
    import argparse, time
    from pathlib import Path
    from cloudtune.report import Reporter
    from cloudtune.checkpointing import (
        add_checkpointing_to_argparse, checkpoint_model_at_rung_level, resume_from_checkpointed_model,
    )

    parser = argparse.ArgumentParser()
    parser.add_argument("--x", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--epoch_s", type=float)
    add_checkpointing_to_argparse(parser)
    config = vars(parser.parse_args())
    value = 0.0

    def load(path):
        global value
        level, text = (Path(path) / "state").read_text().split()
        value = float(text)
        return int(level)

    def save(path, level):
        (Path(path) / "state").write_text(f"{level} {value!r}")

    report = Reporter()
    for epoch in range(resume_from_checkpointed_model(config, load) + 1, config["epochs"] + 1):
        time.sleep(config["epoch_s"])
        value = 0.5 * value + config["x"]
        checkpoint_model_at_rung_level(config, save, epoch)
        report(epoch=epoch, loss=value)
"""


def write_script(folder: Path) -> Path:
    path = folder / "code" / "train.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(SCRIPT))
    return path


def make_backend(folder: Path, *, spot: bool = False, **arguments: Any) -> SageMakerBackend:
    spec = TrainingJobSpec(instance_type="ml.m5.large", spot=spot, max_run_s=3600)
    return SageMakerBackend(spec, metrics_names=["loss"], entry_point=write_script(folder), **arguments)


def make_tuner(folder: Path, name: str, *, trials: int = 4, spot: bool = False, **options: Any) -> Tuner:
    """ASHA by promotion: trials pause at epochs 1 and 3, and are resumed from their checkpoints."""
    space = {"x": uniform(0, 1), "epochs": options.pop("epochs", 9), "epoch_s": options.pop("epoch_s", 0.05)}
    scheduler = ASHA(
        space,
        metric="loss",
        resource_attr="epoch",
        max_resource_attr="epochs",
        type="promotion",
        random_seed=options.pop("random_seed", 3),
        reduction_factor=options.pop("reduction_factor", 3),
    )
    return Tuner(
        options.pop("backend", None) or make_backend(folder, spot=spot),
        scheduler,
        StoppingCriterion(max_num_trials_started=trials),
        n_workers=options.pop("n_workers", 2),
        tuner_name=name,
        suffix_tuner_name=False,
        max_failures=options.pop("max_failures", 0),
        **options,
    )


def journal(tuner: Tuner) -> list[Event]:
    return FileStore(tuner.paths).read()

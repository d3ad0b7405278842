"""What ``--simulate`` does: plays experiments on a virtual clock; tells how long they take, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rich.console import Console

from cloudtune.instance_info import prices_date
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.sagemaker_backend.backend import SageMakerBackend
from cloudtune.sagemaker_backend.ports import Cloud
from cloudtune.simulated_cloud.job_desk import REGION
from cloudtune.simulated_cloud.rehearsal import rehearse
from cloudtune.stopping_criterion import StoppingCriterion


def rehearse_methods(
    methods: Sequence[str],
    make_scheduler: Callable[[str, int], Scheduler],
    make_backend: Callable[[Cloud], SageMakerBackend],
    stop_criterion: StoppingCriterion,
    n_workers: int,
    epoch_s: float,
    tuner_instance: tuple[str, bool] | None,
    **tuner_options: Any,
) -> None:
    """Prints a table for each method; ``make_scheduler`` is given a method and a seed. ``tuner_instance`` and
    ``tuner_options`` as of :func:`rehearse`."""
    console = Console()
    for method in methods:
        rehearsal = rehearse(
            make_backend,
            partial(make_scheduler, method),
            stop_criterion,
            n_workers,
            epoch_s,
            tuner_instance=tuner_instance,
            **tuner_options,
        )
        table = rehearsal.table()
        table.title = f"{method}: {table.title}"
        console.print(table)
    tuner = "" if tuner_instance is None else f", and of the tuner's own {tuner_instance[0]}"
    console.print(
        f"Nothing was sent. Costs are those of the jobs of trials{tuner}, per experiment; prices of "
        f"{prices_date(REGION)} in {REGION}.",
        highlight=False,
        soft_wrap=True,
    )

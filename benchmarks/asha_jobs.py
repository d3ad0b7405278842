"""ASHA by promotion on real learning, one job per trial: highest rung reached, and the results of a local run.

    python benchmarks/asha_jobs.py
    python benchmarks/asha_jobs.py --trials 9 --reduction_factors 3

For each reduction factor, ``mlp_digits`` is tuned twice with the same seed: by SageMakerBackend on the
emulator, one job per trial and attempt, and by LocalBackend. Whichever trial is faster is promoted earlier, so
the order differs; what a trial reports at a level must not. Exit code 1 if a report differs, is missing or
doubled, or no trial reaches the top.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

from measuring import show, timed

from cloudtune import StoppingCriterion, Tuner
from cloudtune.backend import LocalBackend, SageMakerBackend
from cloudtune.constants import ENV_FOLDER
from cloudtune.emulator import SageMakerEmulator
from cloudtune.experiment import events as ev
from cloudtune.experiment.ports import TrialBackend
from cloudtune.experiments.benchmark_definitions.mlp_digits import mlp_digits_benchmark
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.optimizer.baselines import ASHA
from cloudtune.stores import FileStore
from cloudtune.testing.journal_checks import check_journal

BENCHMARK = mlp_digits_benchmark(sagemaker_backend=True)
Reports = dict[tuple[int, int], float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reduction_factors", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--n_workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows, problems = [], []
    with tempfile.TemporaryDirectory() as folder, SageMakerEmulator(max_parallel_jobs=args.n_workers) as aws:
        os.environ |= {**aws.environment(), ENV_FOLDER: folder}
        for factor in args.reduction_factors:
            spec = TrainingJobSpec(instance_type=BENCHMARK.instance_type)
            jobs, jobs_s = tune(args, factor, SageMakerBackend(spec, entry_point=BENCHMARK.script))
            local, local_s = tune(args, factor, LocalBackend(str(BENCHMARK.script)))
            there, here = reports_of(jobs), reports_of(local)
            both = there.keys() & here.keys()
            differing = [key for key in both if there[key] != here[key]]
            problems += [f"factor {factor}: trial {t}, epoch {e} differs" for t, e in differing]
            problems += [f"factor {factor}: {problem}" for events in (jobs, local) for problem in check(events)]
            top = max(level for _, level in there)
            if top < BENCHMARK.config_space["epochs"]:
                problems.append(f"factor {factor}: no trial has come beyond epoch {top}")
            resumed = sum(isinstance(e, ev.TrialStarted) and e.attempt > 0 for e in jobs)
            row = [factor, args.trials, resumed, top, max(level for _, level in here), len(there), len(here)]
            rows.append([*row, len(both), len(differing), f"{jobs_s:.0f}", f"{local_s:.0f}"])
    show(
        f"ASHA by promotion on mlp_digits, {args.n_workers} workers, seed {args.seed}: a job per trial, and local",
        [
            "factor",
            "trials",
            "resumed",
            "top epoch, jobs",
            "local",
            "reports, jobs",
            "local",
            "in both",
            "differing",
            "s, jobs",
            "local",
        ],
        rows,
        ["Each report of both runs is compared: accuracy of (trial, epoch), exactly.", *problems],
    )
    return 1 if problems else 0


def tune(args: argparse.Namespace, factor: int, backend: TrialBackend) -> tuple[list[ev.Event], float]:
    scheduler = ASHA(
        dict(BENCHMARK.config_space),
        metric=BENCHMARK.metric,
        mode=BENCHMARK.mode,
        resource_attr=BENCHMARK.resource_attr,
        max_resource_attr=BENCHMARK.max_resource_attr,
        type="promotion",
        reduction_factor=factor,
        random_seed=args.seed,
    )
    name = f"asha-{factor}-{type(backend).__name__.lower()}"
    stop = StoppingCriterion(max_num_trials_started=args.trials)
    tuner = Tuner(backend, scheduler, stop, args.n_workers, tuner_name=name, suffix_tuner_name=False)
    seconds = timed(tuner.run)
    return FileStore(tuner.paths).read(), seconds


def reports_of(events: list[ev.Event]) -> Reports:
    return {
        (event.trial_id, event.metrics[BENCHMARK.resource_attr]): event.metrics[BENCHMARK.metric]
        for event in events
        if isinstance(event, ev.TrialReported)
    }


def check(events: list[ev.Event]) -> list[str]:
    return check_journal(events, str(BENCHMARK.resource_attr), str(BENCHMARK.max_resource_attr))


if __name__ == "__main__":
    sys.exit(main())

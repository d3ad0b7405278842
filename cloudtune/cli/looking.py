"""``cloudtune list``, ``show``, ``compare`` and ``plot``: experiments looked at and compared."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtune.cli.progress import doing
from cloudtune.cli.tables import console as make_console
from cloudtune.cli.tables import duration, fitting, print_facts, sayer, table
from cloudtune.experiments.launchers.arguments import at_least, text
from cloudtune.tuning_status import MIN_SHOWN_COST

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from cloudtune.cli.parsing import Commands
    from cloudtune.experiments.experiment_result import ExperimentResult

#: Width below which a table of trials has what is essential only.
_NARROW = 72


def add(commands: Commands) -> None:
    """Declares the commands of this module."""
    shown = commands.add("list", _list, "the experiments on this machine, the newest first")
    shown.add_argument("--tag", type=text, help="only those of this study; fetched from S3 if need be")

    shown = commands.add("show", _show, "one experiment: summary, best configuration, trials")
    _add_experiment(shown)
    shown.add_argument(
        "--trials", type=at_least(0), default=20, metavar="N", help="best trials shown (default: 20)"
    )

    shown = commands.add("compare", _compare, "the methods of a study, over seeds and time")
    shown.add_argument("tag", type=text, help="the study's --experiment_tag")
    shown.add_argument("--benchmark", type=text, help="where a study has several; default: each of them")
    shown.add_argument("--metric", type=text, help="default: the objective")
    shown.add_argument("-o", "--output", type=text, metavar="FILE", help="draw it, too: .png, .pdf or .svg")

    shown = commands.add("plot", _plot, "one experiment: best value over time")
    _add_experiment(shown)
    shown.add_argument("--trials", action="store_true", help="draw every report of every trial instead")
    shown.add_argument("-o", "--output", type=text, metavar="FILE", help="default: NAME.png here")


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=text, help="the tuner's name, as 'cloudtune list' has it")
    parser.add_argument("--tag", type=text, help="study it belongs to, where several have one of that name")
    parser.add_argument("--metric", type=text, help="default: the objective")


def _list(options: argparse.Namespace) -> int:
    from cloudtune.experiments.loading import list_experiments, load_experiments
    from cloudtune.paths import experiments_root

    with doing(f"Looking for {options.tag or 'experiments'}"):
        found = load_experiments(options.tag) if options.tag else list_experiments()
    if not found:
        print(f"No experiments in {experiments_root()}. Set CLOUDTUNE_FOLDER if they are elsewhere.")
        return 0
    headings = ["experiment", "method", "status", ">trials", ">best", ">age"]
    rows = [[e.name, _method(e), _state(e), str(e.num_trials), _best_text(e), _age(e)] for e in found]
    console = make_console()
    console.print(
        fitting(console, *(table([headings, *rows], columns) for columns in (range(6), (0, 2, 3, 4), (0, 2))))
    )
    return 0


def _show(options: argparse.Namespace) -> int:
    experiment = _load(options)
    console = make_console()
    print_facts(sayer(console), _summary(experiment))
    if experiment.num_reports == 0:
        print("No reports yet.")
        return 0
    metric = experiment.metric_name(options.metric or 0)
    best = experiment.best_config(metric)
    config = {key.removeprefix("config_"): value for key, value in best.items() if key.startswith("config_")}
    print(f"\nBest {metric}: {best[metric]:.6g} (trial {best['trial_id']})")
    print(json.dumps(config, indent=2, default=str))
    if experiment.status is not None and options.trials:
        console.print(_trials_table(experiment, metric, options.trials, console))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from cloudtune.errors import SpecError
    from cloudtune.experiments.comparison import compare_methods
    from cloudtune.experiments.launchers.arguments import choose
    from cloudtune.experiments.loading import load_experiments

    groups: dict[str, list[ExperimentResult]] = {}
    with doing(f"Looking for {options.tag}"):
        experiments = load_experiments(options.tag)
    for experiment in experiments:
        name = str(experiment.metadata.get("benchmark") or experiment.entrypoint_name())
        groups.setdefault(name, []).append(experiment)
    if options.benchmark is not None:
        groups = choose("benchmark", groups, options.benchmark)
    if options.output and len(groups) > 1:
        raise SpecError(f"Study {options.tag} has {len(groups)} benchmarks.", "Choose one: --benchmark NAME.")
    for group in groups.values():
        comparison = compare_methods(group, metric=options.metric)
        comparison.print(make_console())
    if options.output:
        print(f"Picture: {comparison.plot(options.output)}")
    return 0


def _plot(options: argparse.Namespace) -> int:
    experiment = _load(options)
    output = Path(options.output or f"{experiment.name}.png")
    draw = experiment.plot_trials_over_time if options.trials else experiment.plot
    draw(options.metric or 0, output)
    print(f"Picture: {output}")
    return 0


def _load(options: argparse.Namespace) -> ExperimentResult:
    from cloudtune.errors import NotFound
    from cloudtune.experiments.loading import load_experiment

    try:
        with doing(f"Looking for {options.name}"):
            return load_experiment(options.name, experiment_name=options.tag)
    except NotFound as error:
        if options.tag is None and _is_study(options.name):
            raise NotFound(
                f"{options.name!r} is a study, not an experiment.",
                f"'cloudtune compare {options.name}' compares its methods, 'cloudtune list --tag {options.name}' "
                "lists its experiments.",
            ) from error
        raise


def _is_study(name: str) -> bool:
    from cloudtune.experiments.loading import list_experiments

    return bool(list_experiments(lambda path: Path(path).parents[1].name == name))


def _summary(experiment: ExperimentResult) -> list[tuple[str, str]]:
    metadata = experiment.metadata
    lines = [("experiment", experiment.name), ("status", _state(experiment)), ("method", _method(experiment))]
    lines += [(key, str(metadata[key])) for key in ("benchmark", "tag", "seed", "n_workers") if key in metadata]
    goals = zip(experiment.metric_names(), map(experiment.mode_of, experiment.metric_names()), strict=True)
    lines.append(("objective", ", ".join(f"{name} ({mode})" for name, mode in goals)))
    lines.append(("trials", _trials_text(experiment)))
    lines.append(("reports", str(experiment.num_reports)))
    lines.append(("time", f"{experiment.wallclock_time:.1f} s"))
    if experiment.status is not None and experiment.status.cost >= MIN_SHOWN_COST:
        lines.append(("cost", experiment.status.cost_text()))
    if experiment.num_interruptions:
        lines.append(("interrupted", f"{experiment.num_interruptions} times, and continued"))
    lines.append(("folder", str(experiment.path)))
    return [*lines, ("error", experiment.error)] if experiment.error else lines


def _trials_text(experiment: ExperimentResult) -> str:
    """``8: 5 completed, 2 stopped, 1 failed``."""
    from collections import Counter

    if experiment.status is None:
        return f"{experiment.num_trials} with reports"
    rows = experiment.status.trial_rows()
    counts = Counter("running" if row.status.is_running else str(row.status).lower() for row in rows)
    return ": ".join(
        filter(None, [str(len(rows)), ", ".join(f"{n} {status}" for status, n in counts.most_common())])
    )


def _trials_table(experiment: ExperimentResult, metric: str, limit: int, console: Console) -> Table:
    rows = experiment.status.trial_rows() if experiment.status is not None else []
    largest = experiment.mode_of(metric) == "max"

    def best(row: Any) -> float | None:
        values = row.metrics.max_metrics if largest else row.metrics.min_metrics
        return values.get(metric)  # type: ignore[no-any-return]

    def rank(row: Any) -> tuple[bool, float]:
        value = best(row)
        return (True, 0.0) if value is None else (False, -value if largest else value)

    shown = sorted(rows, key=rank)[:limit]
    keys = list(dict.fromkeys(key for row in rows for key in row.config))
    lines = [
        [">trial", "status", ">attempts", ">reports", f">best {metric}", "configuration", *(f">{k}" for k in keys)]
    ]
    for row in shown:
        value = best(row)
        cells = {key: _cell(row.config.get(key, "")) for key in keys}
        lines.append(
            [
                str(row.trial_id),
                str(row.status),
                str(row.attempt + 1),
                str(row.num_reports),
                "" if value is None else f"{value:.6g}",
                " ".join(f"{key}={cell}" for key, cell in cells.items() if cell),
                *cells.values(),
            ]
        )
    each = table(lines, (0, 1, 2, 3, 4, *range(6, 6 + len(keys))))
    shown_table = fitting(console, each, table(lines, (0, 1, 3, 4, 5) if console.width >= _NARROW else (0, 4, 5)))
    if len(rows) > limit:
        shown_table.caption = f"{limit} best of {len(rows)} trials; --trials {len(rows)} shows all"
    return shown_table


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _method(experiment: ExperimentResult) -> str:
    return str(experiment.metadata.get("algorithm") or experiment.metadata.get("scheduler_name") or "")


def _state(experiment: ExperimentResult) -> str:
    """Whether it is over, and well; if not over, whether a tuner on this machine runs it."""
    from cloudtune.experiments.operations.local_tuner import tuner_here
    from cloudtune.experiments.s3_experiments import came_from_s3
    from cloudtune.paths import ExperimentPaths

    if experiment.ended:
        return "failed" if experiment.error else "ended"
    if came_from_s3(experiment.path):
        return "not ended"
    return "running" if tuner_here(ExperimentPaths(experiment.path)) is not None else "interrupted"


def _best_text(experiment: ExperimentResult) -> str:
    from cloudtune.errors import CloudtuneError

    try:
        name = experiment.metric_name(0)
        return f"{name} {float(experiment.best_config(name)[name]):.4g}"
    except CloudtuneError:  # no reports yet, or no metadata
        return ""


def _age(experiment: ExperimentResult) -> str:
    from cloudtune.clock import WallClock

    created = experiment.metadata.get("st_tuner_creation_timestamp")
    return duration(WallClock().now() - created) if isinstance(created, int | float) else ""

"""The command ``cloudtune``: experiments looked at and compared, the emulator started and stopped.

Each subcommand imports what it needs when it runs: ``cloudtune --help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtune import __version__
from cloudtune.experiments.launchers.arguments import Parser, at_least, text
from cloudtune.experiments.launchers.command_line import configure_logging, run_command
from cloudtune.tuning_status import MIN_SHOWN_COST

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from cloudtune.experiments.experiment_result import ExperimentResult

#: Width below which a table of trials has what is essential only.
_NARROW = 72
_EPILOG = """\
examples:
  cloudtune emulator                 AWS for rehearsals, until Ctrl-C
  cloudtune list                     what has been tuned here
  cloudtune show my-experiment       its best configuration and its trials
  cloudtune compare my-study -o comparison.png

Experiments are looked for in $CLOUDTUNE_FOLDER (default: ~/cloudtune), then in S3: with AWS credentials in the
account's SageMaker bucket, else in the emulator's if it runs.

exit codes: 0 fine, 2 wrong arguments, 3 not found, 5 unreadable state, 7 AWS, 130 Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line ``argv`` (default: the process's) and returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["emulator"]:
        return run_command(lambda: _emulator(arguments[1:]))

    def command() -> int:
        parser = _parser()
        options, unknown = parser.parse_known_args(arguments)
        if unknown:  # said by the subcommand, which knows what may have been meant
            getattr(options, "parser", parser).error(f"unrecognized arguments: {' '.join(unknown)}")
        if options.command is None:
            parser.print_help()
            return 2
        configure_logging(options.verbose)
        return int(options.run(options))

    return run_command(command)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="cloudtune",
        description="Hyperparameter tuning on SageMaker: see experiments, compare methods, rehearse without AWS.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cloudtune {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    commands.add_parser("emulator", help="start, show or stop the emulator of AWS", add_help=False)

    shown = _command(commands, "list", _list, "the experiments on this machine, the newest first")
    shown.add_argument("--tag", type=text, help="only those of this study; fetched from S3 if need be")

    shown = _command(commands, "show", _show, "one experiment: summary, best configuration, trials")
    _add_experiment(shown)
    shown.add_argument(
        "--trials", type=at_least(0), default=20, metavar="N", help="best trials shown (default: 20)"
    )

    shown = _command(commands, "compare", _compare, "the methods of a study, over seeds and time")
    shown.add_argument("tag", type=text, help="the study's --experiment_tag")
    shown.add_argument("--benchmark", type=text, help="where a study has several; default: each of them")
    shown.add_argument("--metric", type=text, help="default: the objective")
    shown.add_argument("-o", "--output", type=text, metavar="FILE", help="draw it, too: .png, .pdf or .svg")

    shown = _command(commands, "plot", _plot, "one experiment: best value over time")
    _add_experiment(shown)
    shown.add_argument("--trials", action="store_true", help="draw every report of every trial instead")
    shown.add_argument("-o", "--output", type=text, metavar="FILE", help="default: NAME.png here")
    return parser


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"Shows {text}.")
    added.add_argument("--verbose", action="store_true", help="say what is done meanwhile")
    added.set_defaults(run=run, parser=added)
    return added


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=text, help="the tuner's name, as 'cloudtune list' has it")
    parser.add_argument("--tag", type=text, help="study it belongs to, where several have one of that name")
    parser.add_argument("--metric", type=text, help="default: the objective")


def _emulator(arguments: Sequence[str]) -> int:
    from cloudtune.emulator.__main__ import main as run

    return run(arguments, "cloudtune emulator")


def _list(options: argparse.Namespace) -> int:
    from cloudtune.experiments.loading import list_experiments, load_experiments
    from cloudtune.paths import experiments_root

    found = load_experiments(options.tag) if options.tag else list_experiments()
    if not found:
        print(f"No experiments in {experiments_root()}. Set CLOUDTUNE_FOLDER if they are elsewhere.")
        return 0
    headings = ["experiment", "method", "status", ">trials", ">best", ">age"]
    rows = [[e.name, _method(e), _state(e), str(e.num_trials), _best_text(e), _age(e)] for e in found]
    console = _console()
    console.print(
        _fitting(console, *(_table([headings, *rows], columns) for columns in (range(6), (0, 2, 3, 4), (0, 2))))
    )
    return 0


def _show(options: argparse.Namespace) -> int:
    experiment = _load(options)
    console = _console()
    for label, value in _summary(experiment):
        console.print(f"{label + ':':<14}{value}", markup=False, highlight=False, soft_wrap=True)
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
    for experiment in load_experiments(options.tag):
        name = str(experiment.metadata.get("benchmark") or experiment.entrypoint_name())
        groups.setdefault(name, []).append(experiment)
    if options.benchmark is not None:
        groups = choose("benchmark", groups, options.benchmark)
    if options.output and len(groups) > 1:
        raise SpecError(f"Study {options.tag} has {len(groups)} benchmarks.", "Choose one: --benchmark NAME.")
    for group in groups.values():
        comparison = compare_methods(group, metric=options.metric)
        comparison.print(_console())
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
        lines.append(("cost", f"${experiment.status.cost:.2f} (estimated, of the trials)"))
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
    each = _table(lines, (0, 1, 2, 3, 4, *range(6, 6 + len(keys))))
    table = _fitting(console, each, _table(lines, (0, 1, 3, 4, 5) if console.width >= _NARROW else (0, 4, 5)))
    if len(rows) > limit:
        table.caption = f"{limit} best of {len(rows)} trials; --trials {len(rows)} shows all"
    return table


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(lines: Sequence[Sequence[str]], columns: Sequence[int]) -> Table:
    """Some columns of ``lines``, the first of which holds the headings; one with ``>`` stands to the right."""
    from rich.table import Table
    from rich.text import Text

    headings, *rows = lines
    chosen = [number for number in range(len(headings)) if number in columns]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number in chosen:
        right = headings[number].startswith(">")
        table.add_column(headings[number].removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[number]) for number in chosen))
    return table


def _fitting(console: Console, *tables: Table) -> Table:
    """The first that is not wider than the console; else the last."""
    unlimited = console.options.update(width=10_000)
    fitting = (t for t in tables if console.measure(t, options=unlimited).maximum <= console.width)
    return next(fitting, tables[-1])


def _console() -> Console:
    """Wide where nobody looks: pipes and files get whole lines."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=240)


def _method(experiment: ExperimentResult) -> str:
    return str(experiment.metadata.get("algorithm") or experiment.metadata.get("scheduler_name") or "")


def _state(experiment: ExperimentResult) -> str:
    """Whether it is over, and well; if not over, whether a tuner on this machine runs it."""
    from cloudtune.experiments.s3_experiments import came_from_s3
    from cloudtune.paths import ExperimentPaths

    if experiment.ended:
        return "failed" if experiment.error else "ended"
    if came_from_s3(experiment.path):
        return "not ended"
    try:
        holder = ExperimentPaths(experiment.path).lock.read_text(errors="replace")
        host, _, pid = holder.strip().rpartition(":")
        if host == socket.gethostname():
            os.kill(int(pid), 0)
            return "running"
    except PermissionError:
        return "running"
    except (OSError, ValueError):
        pass  # nobody holds it, or whoever did is gone
    return "interrupted"


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
    if not isinstance(created, int | float):
        return ""
    seconds = max(0.0, WallClock().now() - created)
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())

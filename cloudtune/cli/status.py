"""``cloudtune status``: what runs, and where one experiment stands."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from cloudtune.cli.parsing import Commands, add_which
from cloudtune.cli.progress import doing
from cloudtune.cli.tables import console as make_console
from cloudtune.cli.tables import dollars, duration, fitting, plural, print_facts, sayer, table
from cloudtune.experiments.launchers.arguments import positive

if TYPE_CHECKING:
    from rich.console import Console

    from cloudtune.experiments.operations.account import Access
    from cloudtune.experiments.operations.overview import Running
    from cloudtune.experiments.operations.status import ExperimentStatus

#: An experiment needs somebody.
NEEDS_ATTENTION = 9
#: Ended jobs shown besides those that run.
_ENDED_JOBS = 5
#: Jobs named that belong to no experiment.
_MAX_UNKNOWN = 5
_EPILOG = """\
examples:
  cloudtune status                        what runs now, here and in the account
  cloudtune status my-experiment          its tuner, trials, jobs, cost, and what is wrong
  cloudtune status my-experiment --watch  the same, again every few seconds, until Ctrl-C or its end
  cloudtune status --tag my-study --json  all experiments of a study, for a program

A tuner is alive if a process on this machine holds the experiment's folder, if a job of its runs,
or if it has written to S3 within three minutes. Ages of jobs count from their creation.

exit codes: 0 all is well, 3 not found, 7 AWS, 9 something needs attention (said at the end, with
the command)
"""


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add(
        "status",
        _status,
        "what runs now; or one experiment: tuner, trials, jobs, cost, problems",
        "Shows what runs now, or where an experiment stands: its tuner, trials, jobs, cost, and what is wrong.",
        _EPILOG,
    )
    add_which(parser, optional=True)
    parser.add_argument("--watch", action="store_true", help="look again and again")
    parser.add_argument(
        "--interval", type=positive, default=None, metavar="SECONDS", help="between two looks (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON document")


def _status(options: argparse.Namespace) -> int:
    from cloudtune.clock import WallClock
    from cloudtune.experiments.operations.account import Access

    access, console, clock = Access(), make_console(), WallClock()
    with doing(f"Looking at {options.name or options.tag or 'what runs'}"):
        code, is_over = _look(options, access, console)
    while options.watch and not is_over:
        clock.sleep(options.interval or 10.0)
        if console.is_terminal and not options.json:
            console.clear()
        code, is_over = _look(options, access, console)
    return code


def _look(options: argparse.Namespace, access: Access, console: Console) -> tuple[int, bool]:
    """Exit code, and whether nothing will change any more."""
    if not options.name and not options.tag:
        return _show_what_runs(options, access, console), False
    from cloudtune.experiments.operations.status import experiment_status
    from cloudtune.experiments.operations.subject import find_subjects

    found = [experiment_status(subject) for subject in find_subjects(options.name, options.tag, access)]
    if options.json:
        documents = [status.to_json_dict() for status in found]
        print(json.dumps(documents[0] if options.name else documents, default=str), flush=True)
    elif options.name:
        _show_one(found[0], console)
    else:
        _show_many(found, console)
    needs_attention = any(status.problems or status.error for status in found)
    is_over = all(status.outcome and not status.num_running_jobs for status in found)
    return NEEDS_ATTENTION if needs_attention else 0, is_over


def _show_what_runs(options: argparse.Namespace, access: Access, console: Console) -> int:
    from cloudtune.experiments.operations.overview import what_runs

    overview = what_runs(access)
    running = overview.experiments
    if options.json:
        print(json.dumps([_document(item) for item in running]), flush=True)
        return NEEDS_ATTENTION if any(not item.tuner for item in running) else 0
    say = sayer(console)
    if access.account is None:
        say("There are no AWS credentials: experiments on this machine alone.")
    if overview.unknown:
        names = [job.name for job in overview.unknown]
        more = f" and {len(names) - _MAX_UNKNOWN} more" if len(names) > _MAX_UNKNOWN else ""
        say(
            f"{plural(len(names), 'job')} of the account with nothing of an experiment in S3 "
            f"(just launched, or not cloudtune's): {', '.join(names[:_MAX_UNKNOWN])}{more}."
        )
    if not running:
        nothing = "No experiment" if overview.unknown else "Nothing"
        say(f"{nothing} runs. 'cloudtune list' shows what there is on this machine.")
        return 0
    lines = [["experiment", "tag", "tuner", ">jobs", ">trials", ">reports", "best"]]
    for item in running:
        result = item.subject.result
        lines.append(
            [
                item.subject.name,
                item.subject.tag or "",
                item.tuner or "none known",
                str(len(item.jobs)),
                str(result.num_trials) if result is not None else "",
                str(result.num_reports) if result is not None else "",
                _best_of(item),
            ]
        )
    console.print(fitting(console, *(table(lines, columns) for columns in (range(7), (0, 2, 3, 6), (0, 3)))))
    orphaned = [item.subject.name for item in running if not item.tuner]
    for name in orphaned:
        say(f"Jobs of {name} run, and no job tunes it: cloudtune status {name}")
    return NEEDS_ATTENTION if orphaned else 0


def _document(item: Running) -> dict[str, Any]:
    result = item.subject.result
    return {
        "name": item.subject.name,
        "tag": item.subject.tag,
        "tuner": item.tuner,
        "jobs": [job.name for job in item.jobs],
        "num_trials": result.num_trials if result is not None else 0,
        "num_reports": result.num_reports if result is not None else 0,
    }


def _best_of(item: Running) -> str:
    result = item.subject.result
    if result is None or result.status is None or not result.metric_names():
        return ""
    metric = result.metric_name(0)
    best = result.status.best(metric, result.mode_of(0))
    return "" if best is None else f"{metric} {best.value:.4g}"


def _show_many(found: list[ExperimentStatus], console: Console) -> None:
    lines = [["experiment", "tuner", ">trials", ">reports", "best", ">jobs", ">cost", "problem"]]
    for status in found:
        best = "" if status.best is None else f"{status.best.metric} {status.best.value:.4g}"
        lines.append(
            [
                status.name,
                status.tuner,
                str(sum(status.trials.values())),
                str(status.num_reports),
                best,
                str(status.num_running_jobs),
                dollars(status.usd),
                status.error or " ".join(problem.text for problem in status.problems),
            ]
        )
    console.print(
        fitting(console, *(table(lines, columns) for columns in (range(8), (0, 1, 2, 4, 5, 6), (0, 1, 4), (0, 4))))
    )
    for status in found:
        _show_problems(status, console)


def _show_one(status: ExperimentStatus, console: Console) -> None:
    say = sayer(console)
    print_facts(say, _facts(status))
    if status.jobs:
        console.print()
        _show_jobs(status, console)
    _show_problems(status, console)


def _facts(status: ExperimentStatus) -> list[tuple[str, str]]:
    lines = [("experiment", status.name)]
    if status.tag:
        lines.append(("study", status.tag))
    lines.append(("tuner", status.tuner))
    if status.silent_s is not None and not status.outcome:
        lines.append(("last sign", f"{duration(status.silent_s)} ago"))
    trials = ", ".join(f"{number} {name}" for name, number in status.trials.items())
    lines.append(("trials", f"{sum(status.trials.values())}{': ' if trials else ''}{trials}"))
    if status.n_workers and status.life.is_alive:
        busy = status.trials.get("InProgress", 0) + status.trials.get("Stopping", 0)
        lines.append(("workers", f"{busy} of {status.n_workers} busy"))
    lines.append(("reports", str(status.num_reports)))
    if status.best is not None:
        lines.append(("best", f"{status.best.metric} {status.best.value:.6g} (trial {status.best.trial_id})"))
    lines.append(("time", duration(status.wallclock_s)))
    if status.usd is not None:
        so_far = "" if status.outcome else " so far"
        lines.append(("cost", f"{dollars(status.usd)}{so_far}; 'cloudtune cost {status.name}' asks for each job"))
    if status.outcome:
        lines.append(("ended", status.error or status.outcome))
    return lines + [("where", place) for place in status.where]


def _show_jobs(status: ExperimentStatus, console: Console) -> None:
    shown = list(status.jobs[: status.num_running_jobs + _ENDED_JOBS])
    lines = [[">trial", ">attempt", "job", "state", "phase", "instance", ">age"]]
    for job in shown:
        lines.append(
            [
                "tuner" if job.trial_id is None else str(job.trial_id),
                "" if job.attempt is None else str(job.attempt),
                job.job,
                job.state,
                job.phase,
                job.instance,
                duration(job.age_s),
            ]
        )
    columns = [number for number in range(7) if number != 5 or any(line[5] for line in lines[1:])]
    made = fitting(console, *(table(lines, chosen) for chosen in (columns, (0, 1, 2, 4, 6), (0, 1, 4, 6), (0, 4))))
    if len(status.jobs) > len(shown):
        made.caption = f"and {plural(len(status.jobs) - len(shown), 'job')} that ended earlier"
    console.print(made)


def _show_problems(status: ExperimentStatus, console: Console) -> None:
    say = sayer(console)
    for problem in status.problems:
        say(f"\n{status.name}: {problem.text}\n  -> {problem.command}")

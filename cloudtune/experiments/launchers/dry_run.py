"""What ``--dry_run`` prints: what would run, what it may cost, what would be sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cloudtune.experiments.launchers.launch_plan import LaunchPlan, Study
from cloudtune.remote import job_layout as layout

#: Folders of the archive are listed to this depth.
_DEPTH = 1


def describe(study: Study, plan: LaunchPlan, requests: Sequence[Mapping[str, Any]], where: str, full: bool) -> str:
    """The plan, for a person.

    Args:
        requests: One for each job.
        where: Cloud, account and region.
        full: All files and requests, instead of the first request and what differs in the others.
    """
    archive = plan.archive
    lines = [
        "Dry run: nothing is sent.",
        "",
        *_facts(study, plan, where),
        "",
        f"Code: {len(archive.listing)} files, {len(archive.data):,} bytes packed, for all jobs together:",
        *(_files(archive.listing) if full else _folders(archive.listing)),
        *(f"  left out: {name}" for name in archive.skipped),
        "",
    ]
    if full or len(requests) == 1:
        for number, request in enumerate(requests, 1):
            lines += [f"CreateTrainingJob, request {number} of {len(requests)}:", json.dumps(request, indent=2)]
    else:
        lines += [f"CreateTrainingJob, request 1 of {len(requests)}:", json.dumps(requests[0], indent=2)]
        lines += ["", f"The other {len(requests) - 1} differ from it in (--verbose shows them in full):"]
        lines += [f"  {_difference(requests[0], request)}" for request in requests[1:]]
    return "\n".join(lines)


def _facts(study: Study, plan: LaunchPlan, where: str) -> list[str]:
    arguments, benchmark, spec = study.arguments, study.benchmark, plan.specs[0]
    methods = list(dict.fromkeys(e.method for e in plan.experiments))
    seeds = list(dict.fromkeys(e.seed for e in plan.experiments))
    shown = ", ".join(map(str, seeds)) if len(seeds) < 3 else f"{seeds[0]} to {seeds[-1]}"
    facts = {
        "where": where,
        "study": arguments.experiment_tag,
        "experiments": f"{len(plan.experiments)} = {_count(len(methods), 'method')} ({', '.join(methods)}) "
        f"x {_count(len(seeds), 'seed')} ({shown})",
        "each": f"tunes {study.benchmark_name} for {benchmark.max_wallclock_time:g} s "
        f"with {_count(benchmark.n_workers, 'worker')}",
        "jobs": f"{len(plan.specs)} on {spec.instance_type}, {'spot' if spec.spot else 'on demand'}, "
        f"each at most {spec.max_run_s:,} s",
        **study.trials.facts(plan.region),
        "cost": str(plan.cost) if plan.cost.why else f"{plan.cost} (every job running to its limit, on demand)",
        "code": f"{plan.code}/{layout.CODE_ARCHIVE}",
    }
    return [f"{name:<12} {value}" for name, value in facts.items()]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _files(listing: Sequence[tuple[str, int]]) -> list[str]:
    return [f"  {name}  {size:,} bytes" for name, size in listing]


def _folders(listing: Sequence[tuple[str, int]]) -> list[str]:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for name, size in listing:
        parts = name.split("/")
        folder = "/".join(parts[:_DEPTH]) + "/" if len(parts) > _DEPTH else name
        counts[folder] += 1
        sizes[folder] += size
    width = max(map(len, counts), default=0)
    return [f"  {name:<{width}}  {counts[name]:>4} files  {sizes[name]:>10,} bytes" for name in sorted(counts)]


def _difference(first: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    ours, theirs = first["HyperParameters"], other["HyperParameters"]
    changed = [f"{key}={value}" for key, value in sorted(theirs.items()) if ours.get(key) != value]
    return f"{other['TrainingJobName']}: {', '.join(changed)}"

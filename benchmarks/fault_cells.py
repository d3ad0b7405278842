"""All cells of the fault matrix."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import faults_local as local
import faults_sagemaker as jobs
from fault_cell import FAULTS, Cell, Run
from faults_remote import Bucket, RemoteCloudLab, instance_lost, with_unreliable_s3
from faults_rivals import first_is_superseded, second_is_refused

from cloudtune.testing import witnessed_checkpoints

_SPOT = {"spot": True, "max_wait_s": 2 * 86400}
_CHECKPOINTS = Path(witnessed_checkpoints.__file__)


def _accidents(strike: Callable[[local.LocalLab], bool], probability: float, script: Path | None = None) -> Run:
    return functools.partial(local.with_accidents, strike, probability, script=script)


def _local() -> list[Cell]:
    cells = {
        "tuner killed": (
            local.tuner_killed,
            "at random calls to store and backend; trials go on. Half on a virtual clock",
        ),
        "tuner instance interrupted": (local.machine_lost, "tuner and trials die at once; the disk stays"),
        "trial killed": (_accidents(local.kill_a_script, 0.3), "`kill -9` of a script, as for lack of memory"),
        "trial interrupted": (
            _accidents(local.interrupt_a_trial, 0.4),
            "SIGTERM from outside, or SIGKILL to all of its processes",
        ),
        "checkpoint truncated": (
            _accidents(local.truncate_a_checkpoint, 0.3, _CHECKPOINTS),
            "the newest checkpoint of a trial is cut to half",
        ),
        "report file torn": (
            local.torn_files,
            "a trial dies in the middle of a line; so does the tuner in its journal",
        ),
        "two tuners": (
            _accidents(local.let_in_a_rival, 0.2),
            "the second is refused by name; after the first one's death the next goes on",
        ),
        "clock jump": (local.clock_jumps, "forward while a tuner runs, in any direction from one to the next"),
    }
    nothing = {
        "API throttled 30 %": "no API",
        "S3 errors 10 %": "no S3",
        "listing delayed": "nothing is listed",
        "quota halved midway": "no quota",
    }
    quick = ("tuner killed", "two tuners")
    found = [Cell(fault, "local", run, note, False, fault in quick) for fault, (run, note) in cells.items()]
    return found + [Cell(fault, "local", None, why) for fault, why in nothing.items()]


def _of_jobs(make_lab: jobs.MakeLab) -> dict[str, tuple[Run, str]]:
    """Faults that are the same wherever the tuner runs."""

    def partly(function: Callable[..., None], *args: object, **options: object) -> Run:
        return functools.partial(function, *args, make_lab, **options)

    return {
        "tuner killed": (partly(jobs.tuner_killed), "at random calls to store and backend; jobs go on"),
        "trial killed": (
            partly(jobs.trial_killed),
            "scripts fail, the platform fails under jobs, and somebody stops jobs in the console",
        ),
        "trial interrupted": (
            partly(jobs.with_scenario, jobs.spot_settings, **_SPOT),
            "spot instances are taken away, with and without notice",
        ),
        "API throttled 30 %": (
            partly(jobs.with_scenario, jobs.throttled_settings),
            "and 5 % of the other requests are performed without an answer",
        ),
        "S3 errors 10 %": (
            partly(jobs.with_scenario, jobs.s3_settings),
            "errors, cut connections, truncated bodies, half of them after the effect",
        ),
        "listing delayed": (
            partly(jobs.with_scenario, jobs.stale_settings),
            "jobs appear a minute late; List is 45 s behind, Describe 20 s. Each answer that is stale counts",
        ),
        "quota halved midway": (
            partly(jobs.quota_halved),
            "again and again; half of the tuners cannot read quotas",
        ),
        "checkpoint truncated": (
            partly(jobs.with_scenario, jobs.lost_checkpoint_settings, **_SPOT),
            "uploads that are cut short, which is to a script as if there were none; and late ones, after the end",
        ),
        "report file torn": (
            partly(jobs.with_scenario, jobs.torn_settings),
            "uploads of reports arrive in half, and every other time stay so",
        ),
        "clock jump": (
            partly(jobs.clock_jumps),
            "of the tuner's machine, both ways, by 15 min on average",
        ),
    }


def _sagemaker(bucket: Bucket) -> list[Cell]:
    cells = _of_jobs(jobs.CloudLab)
    cells["tuner instance interrupted"] = (
        functools.partial(jobs.machine_lost, jobs.CloudLab),
        "the machine is away for half an hour on average; its disk stays",
    )
    cells["two tuners"] = (
        functools.partial(second_is_refused, bucket),
        "the second, on another machine, is refused by name; after the first one's death the next goes on",
    )
    return [
        Cell(fault, "SageMaker", run, note, quick=fault != "two tuners") for fault, (run, note) in cells.items()
    ]


def _remote(bucket: Bucket) -> list[Cell]:
    cells = _of_jobs(functools.partial(RemoteCloudLab, bucket))
    run, note = cells["tuner killed"]
    cells["tuner killed"] = run, f"{note}, and the disk is lost with the tuner's job"
    cells["S3 errors 10 %"] = (
        functools.partial(with_unreliable_s3, bucket),
        "of trials' reports and of the journal",
    )
    cells["two tuners"] = (
        functools.partial(first_is_superseded, bucket),
        "an instance that was given up for dead wakes up: it is refused, and disturbs nothing",
    )
    found = [
        Cell(fault, "remote", run, note, quick=fault == "tuner killed") for fault, (run, note) in cells.items()
    ]
    lost = functools.partial(instance_lost, bucket)
    note = "trials on the tuner's instance die with it and its disk; checkpoints are synced"
    return [*found, Cell("tuner instance interrupted", "remote", lost, note, jobs=False)]


def all_cells(bucket: Bucket) -> list[Cell]:
    """By fault and place."""
    found = [*_local(), *_sagemaker(bucket), *_remote(bucket)]
    return sorted(found, key=lambda cell: FAULTS.index(cell.fault))

"""Does what a plan of cleaning says, after another look at each experiment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from cloudtune.aws.objects import S3Object
from cloudtune.errors import CloudtuneError
from cloudtune.experiments.operations.account import Access, Account
from cloudtune.experiments.operations.cleaning import Leftovers, Plan, why_alive
from cloudtune.experiments.operations.inventory import STATE, Stored
from cloudtune.experiments.operations.jobs import jobs_of
from cloudtune.experiments.operations.stopping import stop_all, wait_for_end
from cloudtune.experiments.operations.subject import Subject

_log = logging.getLogger(__name__)


@dataclass
class CleanedUp:
    """What was done."""

    num_jobs: int = 0
    num_pools: int = 0
    num_objects: int = 0
    num_bytes: int = 0
    #: Experiments that were left as they are, since something went wrong or a tuner has begun.
    num_failed: int = 0


def clean_up(plan: Plan, access: Access, say: Callable[[str], None]) -> CleanedUp:
    """Stops, releases and deletes. One experiment that cannot be cleaned does not keep the others."""
    account, done = access.required("clean up"), CleanedUp()
    for leftovers in plan.leftovers:
        try:
            _clean(leftovers, account, access, say, done)
        except CloudtuneError as error:
            done.num_failed += 1
            _log.warning("%s is left as it is: %s", leftovers.stored.name, error)
    return done


def _clean(
    leftovers: Leftovers, account: Account, access: Access, say: Callable[[str], None], done: CleanedUp
) -> None:
    name = leftovers.stored.name
    jobs = jobs_of(name, account.jobs)
    reason = why_alive(account, _now(leftovers.stored, account), jobs)
    if reason:
        done.num_failed += 1
        _log.warning("%s is left as it is: %s now.", name, reason)
        return
    running = [job for job in leftovers.jobs if job.name in {now.name for now in jobs.running}]
    if running:
        say(f"{name}: stopping {len(running)} {'job' if len(running) == 1 else 'jobs'} ...")
        stop_all(account, running)
        if leftovers.objects:  # a job uploads until its end
            wait_for_end(Subject(name, leftovers.stored.tag, None, access), [job.name for job in running], say)
        done.num_jobs += len(running)
    for job in leftovers.warm:
        account.jobs.release_warm_pool(job.name)
        done.num_pools += 1
    objects = _in_order(leftovers)
    if objects:
        say(f"{name}: deleting {len(objects)} objects ...")
        account.objects.delete(item.uri for item in objects)
        done.num_objects += len(objects)
        done.num_bytes += leftovers.num_bytes


def _now(stored: Stored, account: Account) -> Stored:
    """With its state as it is now."""
    return Stored(stored.paths, stored.tag, {STATE: list(account.objects.list(stored.paths.state))})


def _in_order(leftovers: Leftovers) -> list[S3Object]:
    """The state last: it is by its state that what is left of an experiment is found again, should this be cut
    short."""
    parts = sorted(leftovers.objects, key=lambda part: part == STATE)
    return [item for part in parts for item in leftovers.objects[part]]

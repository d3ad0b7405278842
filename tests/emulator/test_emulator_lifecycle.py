"""Jobs under whatever happens to them, in whatever order: no illegal transition, time never goes back, the last
state is the last, and every instance is counted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from fleet_rig import REGION, FleetRig, request, spot
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cloudtune.emulator.faults.kinds import CapacityError
from cloudtune.emulator.fleet.delays import FamilyDelays
from cloudtune.emulator.fleet.job_states import FOLLOWERS, INTERNAL_ERROR, JobStatus, Phase
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.service_error import ServiceError

LIMIT = 4
DELAYS = (FamilyDelays(("ml.",), (10.0, 90.0), (20.0, 200.0), (5.0, 5.0), (0.0, 100.0)),)


class Lifecycle(RuleBasedStateMachine):
    """The engine's part, and the user's, played by hypothesis."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = FleetRig(CapacityError(probability=0.3), delays=DELAYS)
        for kind in ("on_demand", "spot"):
            self.rig.quotas.set_limit("*", kind, LIMIT)
        self.rig.quotas.set_limit("*", "warm_pool", 2)
        self.jobs: list[TrainingJob] = []
        self.running: list[TrainingJob] = []
        self.ended: dict[str, dict[str, Any]] = {}

    @rule(
        is_spot=st.booleans(),
        count=st.integers(1, 2),
        retries=st.integers(0, 2),
        keep_alive=st.sampled_from([0, 100]),
        pending=st.booleans(),
    )
    def create(self, is_spot: bool, count: int, retries: int, keep_alive: int, pending: bool) -> None:
        changes: dict[str, Any] = spot(max_wait_s=3600) if is_spot else {"keep_alive": keep_alive}
        if retries:
            changes["RetryStrategy"] = {"MaximumRetryAttempts": retries}
        wanted = request(f"job-{len(self.jobs)}", type="ml.g5.xlarge", count=count, **changes)
        if pending and not is_spot:
            wanted["StoppingCondition"]["MaxPendingTimeInSeconds"] = 1800
        kind = "spot" if is_spot else "on_demand"
        used = self.rig.used(kind, "ml.g5.xlarge")
        try:
            self.jobs.append(self.rig.fleet.create(REGION, wanted))
        except ServiceError:
            assert used + count > LIMIT
        self.rig.fleet.advance()

    @rule(seconds=st.integers(0, 400))
    def wait(self, seconds: int) -> None:
        self.rig.later(float(seconds))

    @rule()
    def wait_for_the_next_event(self) -> None:
        due = self.rig.fleet.next_due()
        if due < float("inf"):
            self.rig.later(max(0.0, due - self.rig.clock.time))

    @rule(slots=st.integers(0, 2))
    def start(self, slots: int) -> None:
        for job in self.rig.fleet.take_ready(slots):
            job.enter(Phase.downloading)
            self.running.append(job)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(["train", "interrupt", "internal", "own", "complete", "end"]))
    def go_on(self, data: st.DataObject, how: str) -> None:
        job = data.draw(st.sampled_from(self.running))
        if how == "train":
            if job.phase is Phase.downloading:
                job.enter(Phase.training)
            return
        if how == "interrupt" and not job.is_spot:
            return
        self.running.remove(job)
        job.end_attempt()
        if job.status is JobStatus.stopping:
            job.enter(Phase.stopped)
        elif how == "interrupt":
            self._again(job, job.enter(Phase.interrupted))
        elif how == "internal":
            restarts = job.restart()
            self._again(job, restarts)
            if not restarts:
                job.fail(INTERNAL_ERROR)
        elif how == "own":
            job.fail("AlgorithmError: , exit code: 1")
        else:
            job.enter(Phase.uploading)
            job.enter(Phase.completed)

    def _again(self, job: TrainingJob, granted: bool) -> None:
        if granted and job.enter(Phase.starting):
            self.rig.fleet.relaunch(job)
            self.rig.fleet.advance()

    @precondition(lambda self: any(not job.status.is_terminal for job in self.jobs))
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from([job for job in self.jobs if not job.status.is_terminal]))
        job.enter(Phase.stopping)
        if job not in self.running:
            self.rig.fleet.stop(job)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), phase=st.sampled_from(sorted(Phase)))
    def try_anything(self, data: st.DataObject, phase: Phase) -> None:
        """A caller with a defect changes nothing that has ended."""
        job = data.draw(st.sampled_from(self.jobs))
        if job.status.is_terminal:
            assert not job.enter(phase) and not job.fail("again") and not job.restart()
        elif job.phase is not Phase.stopping and phase not in FOLLOWERS[job.phase]:
            before = job.phase
            try:
                job.enter(phase)
            except ValueError:
                assert job.phase is before
            else:
                raise AssertionError(f"{phase} after {before}")

    @invariant()
    def transitions_are_legal_and_times_monotone(self) -> None:
        for job in self.jobs:
            document = job.describe()
            transitions = document["SecondaryStatusTransitions"]
            assert (
                transitions[0]["Status"] == "Starting" and transitions[0]["StartTime"] >= document["CreationTime"]
            )
            for earlier, later in pairwise(transitions):
                assert Phase(later["Status"]) in FOLLOWERS[Phase(earlier["Status"])]
                assert earlier["StartTime"] <= earlier["EndTime"] == later["StartTime"]
            assert ("EndTime" in transitions[-1]) is job.status.is_terminal
            assert transitions[-1]["Status"] == document["SecondaryStatus"]
            assert document["LastModifiedTime"] >= transitions[-1]["StartTime"]

    @invariant()
    def the_last_state_is_the_last(self) -> None:
        for job in self.jobs:
            if job.status.is_terminal:
                document = {
                    k: v for k, v in job.describe().items() if k not in ("WarmPoolStatus", "LastModifiedTime")
                }
                assert self.ended.setdefault(job.name, document) == document
                if "TrainingStartTime" in document:
                    assert document["TrainingEndTime"] >= document["TrainingStartTime"]
                    assert 1 <= document["BillableTimeInSeconds"] <= document["TrainingTimeInSeconds"]
                else:
                    assert "TrainingEndTime" not in document and "BillableTimeInSeconds" not in document

    @invariant()
    def no_attempt_is_billed_twice(self) -> None:
        entries = self.rig.audit.entries("billed")
        training = [(entry["job"], entry["attempt"]) for entry in entries if entry["what"] == "training"]
        assert len(set(training)) == len(training)
        pools = [entry["job"] for entry in entries if entry["what"] == "warm_pool"]
        assert len(set(pools)) == len(pools)
        for job in self.jobs:
            exact = sum(e["seconds"] for e in entries if e["job"] == job.name and e["what"] == "training")
            assert abs(exact - job.seconds_used) < 1e-3

    @invariant()
    def every_instance_is_counted(self) -> None:
        alive = [job for job in self.jobs if not job.status.is_terminal]
        pools = [job for job in self.jobs if job.warm_pool_status == "Available"]
        for kind, is_spot in (("spot", True), ("on_demand", False)):
            least = sum(job.cluster[0][1] for job in [*alive, *pools] if job.is_spot is is_spot)
            assert least <= self.rig.used(kind, "ml.g5.xlarge") <= LIMIT
        assert sum(job.cluster[0][1] for job in pools) == self.rig.used("warm_pool", "ml.g5.xlarge") <= 2


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

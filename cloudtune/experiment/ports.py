"""What the loop asks of the world. Adapters implement these; the loop knows nothing else of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from cloudtune.clock import Clock
from cloudtune.experiment.events import Event
from cloudtune.paths import ExperimentPaths
from cloudtune.trial import Outcome, Trial


@dataclass(frozen=True)
class AttemptKey:
    """One run of one trial."""

    trial_id: int
    attempt: int


@dataclass(frozen=True)
class ReportSeen:
    """A backend has found the ``seq``-th report (from 0) of an attempt."""

    trial_id: int
    attempt: int
    seq: int
    metrics: dict[str, Any]


@dataclass(frozen=True)
class AttemptEnded:
    """A backend has found that an attempt is over.

    ``outcome`` is what the backend can know: ``completed``, ``failed``, ``stopped`` (it was asked to stop it) or
    ``interrupted``. ``reason`` is for people (for a failure: the end of its error output). ``by_other``: it was
    stopped by somebody else than the tuner, who meant this trial, and it is over.
    """

    trial_id: int
    attempt: int
    outcome: Outcome
    reason: str = ""
    exit_code: int | None = None
    by_other: bool = False


@dataclass(frozen=True)
class CostSeen:
    """A backend has found what something has cost so far; meanings as in
    :class:`~cloudtune.experiment.events.CostMeasured`. May come for trials that have ended, and as often as one
    likes: what is known, and changes of less than a cent, are not recorded. The final cost of an attempt should
    come before its end: it is needed to decide what may be started next."""

    source: str
    usd: float
    billed_s: float
    final: bool
    trial_id: int | None = None


Fact: TypeAlias = "ReportSeen | AttemptEnded | CostSeen"


@dataclass(frozen=True)
class BackendContext:
    """What a backend learns when a tuner starts using it."""

    paths: ExperimentPaths
    clock: Clock
    #: Levels at which checkpoints are needed; None: after every report.
    rung_levels: Sequence[int] | None = None
    #: Name of the resource in reports, if there is one.
    resource_attr: str | None = None
    #: Trials that run at a time.
    n_workers: int = 1
    #: What earlier sessions have told the cost of, but not its final one.
    unsettled: Sequence[str] = ()


class TrialBackend(Protocol):
    """Runs trials. Everything it does can be asked for twice: the tuner may die between any two calls and
    its successor asks again for what the journal says. Called from one thread."""

    def open(self, context: BackendContext) -> None:
        """Before anything else. Refuses (SpecError) what cannot work, such as a missing script."""
        ...

    def start(self, trial: Trial) -> None:
        """Runs attempt ``trial.attempt``, unless it runs or has run already: then adopts it.

        Returns at once. What goes wrong with this attempt alone arrives as an AttemptEnded; an exception
        means that no attempt can be started at all.
        """
        ...

    def adopt(self, trial: Trial) -> None:
        """Takes over attempt ``trial.attempt``, which has reported already, from an earlier tuner. Never runs it:
        what it has printed since is not to be mixed with a second run. If it is nowhere to be found, :meth:`poll`
        says that it was interrupted."""
        ...

    def poll(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        """News of the attempts in ``seen``, which maps each running one to the number of its reports that
        are recorded already.

        Reports of an attempt come in order, none below ``seen`` (a backend may deliver one again as long as
        the journal does not have it). ``AttemptEnded`` comes after all reports of the attempt, at each poll
        until the attempt is no longer in ``seen``. An attempt that the backend knows nothing of has been
        interrupted. Must not block.
        """
        ...

    def stop(self, trial_id: int, attempt: int) -> None:
        """Asks the attempt to end, everything it has started included. Returns at once; the end arrives by
        :meth:`poll`. Does nothing if it has ended."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Returns when :meth:`poll` may have news, at the latest after ``timeout_s``."""
        ...

    def close(self) -> None:
        """Releases handles. Running trials go on: whoever wants them ended stops them first. Those that were asked
        to stop may be killed."""
        ...

    def metadata(self) -> dict[str, Any]:
        """JSON-able facts for ``metadata.json``: at least ``backend`` and ``entrypoint``."""
        ...


@runtime_checkable
class SupportsCheckpoints(Protocol):
    """A backend that can hand checkpoints from trial to trial."""

    def copy_checkpoint(self, source_trial_id: int, target_trial_id: int) -> None: ...

    def delete_checkpoint(self, trial_id: int) -> None:
        """Removes what the trial has stored; nothing there is no error."""
        ...


@runtime_checkable
class SupportsAcknowledge(Protocol):
    """A backend that tells trials how much of what they reported is safe."""

    def acknowledge(self, trial_id: int, level: int) -> None:
        """The report at resource ``level`` (and all before) will survive any crash; older checkpoints than
        the newest at or below it may go. See ``ENV_SEEN_LEVEL_FILE``."""
        ...


@runtime_checkable
class SupportsRetire(Protocol):
    """A backend that keeps what it knows of an attempt until its end is safe."""

    def retire(self, trial_id: int, attempt: int) -> None:
        """The end of this attempt is recorded durably: what was kept to find it again may go. Called once at most,
        and perhaps never."""
        ...


@runtime_checkable
class HasOutput(Protocol):
    """A backend that knows what trials printed."""

    def stdout(self, trial_id: int) -> list[str]: ...

    def stderr(self, trial_id: int) -> list[str]: ...


@runtime_checkable
class HasWaiting(Protocol):
    """A backend whose trials may wait for a machine after they have been started."""

    def waiting(self) -> Collection[int]:
        """Those that do, as far as is known. Asked at every turn: asks nobody."""
        ...


@runtime_checkable
class HasCost(Protocol):
    """A backend that spends money."""

    def highest_cost(
        self,
        n_workers: int,
        stop_criterion: object,
        config_space: Mapping[str, Any],
        overlap: bool = False,
        drain: bool = False,
    ) -> str | None:
        """What tuning can cost at most, for people; None if nothing can be said. Asked before anything starts.

        Args:
            n_workers, stop_criterion, config_space: The tuner's and its scheduler's.
            overlap: Whether a trial begins while the last one is still stopping.
            drain: Whether trials that run in the end are left to finish.
        """
        ...


class ExperimentStore(Protocol):
    """Keeps the journal of one experiment. One writer at a time."""

    def open(self, holder: str) -> None:
        """Takes the experiment for writing.

        Raises:
            Conflict: Naming the holder, while another writer has it.
        """
        ...

    def append(self, events: Sequence[Event]) -> None:
        """All of ``events`` or, after a crash, a prefix of them; on disk when it returns."""
        ...

    def read(self, since: int = 0) -> list[Event]:
        """All events from number ``since`` on. Works without :meth:`open`, while another writes."""
        ...

    def durable(self) -> int:
        """How many events would survive the loss of this machine (as far as the store can promise that)."""
        ...

    def close(self) -> None:
        """Lets go of the experiment."""
        ...


@runtime_checkable
class SupportsTakeover(Protocol):
    """A store that may be taken from a holder who shows no sign of life."""

    #: Set before :meth:`ExperimentStore.open`.
    takeover: bool


@runtime_checkable
class SupportsRestore(Protocol):
    """A store that keeps a copy elsewhere."""

    def restore(self) -> None:
        """If this machine has nothing of the experiment, brings here what is there; called before anything is
        read."""
        ...


@runtime_checkable
class ProvidesStore(Protocol):
    """A backend whose experiments are kept elsewhere than in files of this machine alone."""

    def make_store(self, paths: ExperimentPaths) -> ExperimentStore: ...

"""One run of a trial's script in its container: what it reports and stores when, and how it ends."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloudtune import constants
from cloudtune.report import TAG
from cloudtune.simulated_cloud.trial_script import TrialOrder, TrialScript
from cloudtune.trial import Outcome

_EXIT_OF_SIGTERM = 143
_EXIT_OF_SIGKILL = 137


@dataclass(frozen=True)
class Beginning:
    """Where a run begins.

    Args:
        run: Number of the container's start, from 0.
        at: When, seconds since the epoch by the service's clock.
        stored: Levels of the checkpoints that the platform has fetched.
        seen: Highest level known to be recorded or in S3; None: nobody counts levels.
    """

    run: int
    at: float
    stored: frozenset[int]
    seen: int | None


class TrialProcess:
    """All that it would do is fixed when it starts, and happens as time passes.

    Args:
        order: What its job tells.
        script: What runs.
        beginning: Where it begins.
        report_delay_s: From a report to S3.
    """

    def __init__(
        self, order: TrialOrder, script: TrialScript, beginning: Beginning, report_delay_s: float
    ) -> None:
        self.order = order
        self.begun = beginning.at
        self.run = beginning.run
        self.outcome = Outcome.completed
        #: What it writes to its error output; empty if it ends well.
        self.error = ""
        #: Whether SIGTERM has come.
        self.terminated = False
        #: When it was killed, or had uploaded all; None: it goes on.
        self.ended: float | None = None
        #: Whether it could upload all before.
        self.flushed = False
        self._script = script
        self._delay_s = report_delay_s
        self._seen = beginning.seen
        usable = [level for level in beginning.stored if beginning.seen is None or level <= beginning.seen]
        self.from_level = max(usable, default=0) if script.checkpointing else 0
        #: Levels of the checkpoints on its disk.
        self.local = {level for level in beginning.stored if level <= self.from_level}
        self._begin_training(script)

    def _begin_training(self, script: TrialScript) -> None:
        self._last_write = self.begun
        #: How many levels have been looked at for checkpoints.
        self._looked = 0
        self.times: list[float] = []
        setup_done = self.begun + script.setup_s
        max_level = self.order.config.get(script.max_resource_attr)
        if not isinstance(max_level, int):
            self.max_level = 0
            self._plan_end(setup_done, Outcome.failed, f"KeyError: {script.max_resource_attr!r}")
            return
        self.max_level = max_level
        epoch_s = script.seconds_per_level(
            {**self.order.config, constants.ST_INSTANCE_TYPE: self.order.instance_type}
        )
        fault = script.fault(self.order, self.from_level, max_level)
        last_level = max_level if fault is None else fault.level - 1
        levels = max(0, last_level - self.from_level)
        self.times = [setup_done + number * epoch_s for number in range(1, levels + 1)]
        last = self.times[-1] if self.times else setup_done
        if fault is None:
            self._plan_end(last + script.end_delay_s, Outcome.completed)
        else:
            error = f"RuntimeError: scripted fault at level {fault.level}"
            self._plan_end(last + epoch_s / 2, fault.outcome, error)

    def _plan_end(self, when: float, outcome: Outcome, error: str = "") -> None:
        self.ends_at, self.outcome, self.error = when, outcome, error

    @property
    def exit_code(self) -> int:
        """Of its supervisor, once it has ended."""
        if not self.flushed and self.ended is not None:
            return _EXIT_OF_SIGKILL
        if self.outcome is Outcome.stopped:
            return _EXIT_OF_SIGTERM
        return 0 if self.outcome is Outcome.completed else 1

    def terminate(self, now: float) -> None:
        """SIGTERM."""
        self.terminated = True
        end = now + self._script.stop_delay_s
        if end < self.ends_at:
            self._plan_end(end, Outcome.stopped)

    def finish(self, now: float, flushed: bool) -> None:
        """It is over: by itself, all it wrote uploaded (``flushed``), or killed with its machine."""
        self.ended, self.flushed = now, flushed

    def printed(self, now: float) -> int:
        """How many reports it has made."""
        return bisect_right(self.times, now if self.ended is None else min(now, self.ended))

    def uploaded(self, now: float) -> int:
        """How many of them have come to S3. What was made in the last moment before it was killed never does."""
        if self.flushed and self.ended is not None and now >= self.ended:
            return self.printed(now)
        limit = now if self.ended is None else min(now, self.ended)
        return bisect_right(self.times, limit - self._delay_s)

    def says_hello(self, now: float) -> bool:
        """Whether S3 knows that it has begun."""
        if self.flushed and self.ended is not None:
            return True
        return self.begun + self._delay_s <= (now if self.ended is None else min(now, self.ended))

    def says_end(self, now: float) -> bool:
        return self.flushed and self.ended is not None and now >= self.ended

    def next_upload(self, after: float) -> float | None:
        """When S3 next has more of it, as things stand."""
        if after < self.begun + self._delay_s:
            return self.begun + self._delay_s
        number = self.uploaded(after)
        return self.times[number] + self._delay_s if number < len(self.times) else None

    def levels(self, count: int) -> range:
        """Of its first ``count`` reports."""
        return range(self.from_level + 1, self.from_level + 1 + count)

    def metrics(self, number: int) -> dict[str, Any]:
        """Its report ``number``, from 0."""
        when = self.times[number]
        return {
            **self._script.report(self.order.config, self.from_level + 1 + number),
            constants.ST_WORKER_ITER: number,
            constants.ST_WORKER_TIMESTAMP: when,
            constants.ST_WORKER_TIME: when - self.begun,
        }

    def log(self, now: float) -> list[str]:
        """What it has printed that can be read in its log."""
        lines = [TAG + json.dumps(self.metrics(number)) for number in range(self.uploaded(now))]
        if self.error and self.says_end(now):
            lines.append(self.error)
        return lines

    def store(self, until: float, upload: Callable[[int, set[int]], None]) -> None:
        """Writes the checkpoints that are due until then: ``upload`` is told the level of each, and which older
        ones go."""
        if not self._script.checkpointing:
            return
        while self._looked < len(self.times) and self.times[self._looked] <= until:
            when, level = self.times[self._looked], self.from_level + 1 + self._looked
            self._looked += 1
            if self._is_due(level, when):
                self._last_write = when
                self.local.add(level)
                removed = self.local - _kept(self.local, self._seen_at(when))
                self.local -= removed
                upload(level, removed)

    def _is_due(self, level: int, when: float) -> bool:
        rungs = self.order.rung_levels
        return rungs is None or level in rungs or when - self._last_write >= self.order.checkpoint_interval_s

    def _seen_at(self, when: float) -> int | None:
        if self._seen is None:
            return None
        confirmed = bisect_right(self.times, when - self._delay_s)
        return max(self._seen, self.from_level + confirmed)


def _kept(levels: set[int], seen: int | None) -> set[int]:
    """As :func:`cloudtune.checkpointing.directory.prune` has it."""
    newest_first = sorted(levels, reverse=True)
    keep = set(newest_first[:1])
    if seen is not None:
        keep.update([level for level in newest_first if level <= seen][:1])
        keep.update([level for level in newest_first if level > seen][-1:])
    if len(keep) < 2:
        keep.update(newest_first[:2])
    return keep

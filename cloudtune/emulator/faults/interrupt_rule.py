"""Interruptions of spot jobs by a rule that tests and launchers set while the emulator runs."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

from cloudtune.emulator.service_error import JsonObject
from cloudtune.errors import SpecError


@dataclass(frozen=True)
class InterruptRule:
    """Interrupts every spot job whose name begins with ``name_prefix`` and has ``name_contains`` in it.

    Args:
        name_prefix: Empty: all.
        after_s: After ``Training`` has begun, in the service's seconds.
        times: How often each job is interrupted, each time ``after_s`` into a new attempt.
        notice: Whether the job gets SIGTERM and the grace period first. A job without notice is killed, and its
            checkpoints are not uploaded once more.
        name_contains: Empty: all. Names of the jobs of one experiment's trials have their ends in common.
    """

    name_prefix: str = ""
    after_s: float = 5.0
    times: int = 1
    notice: bool = False
    name_contains: str = ""

    @classmethod
    def from_json(cls, document: object) -> InterruptRule:
        """Raises SpecError for what is no rule."""
        if not isinstance(document, dict):
            raise SpecError("An interrupt rule is a JSON object.", 'Example: {"after_s": 5}')
        known = asdict(cls())
        unknown = sorted(set(document) - set(known))
        if unknown:
            raise SpecError(f"An interrupt rule has no {unknown}.", f"It has: {', '.join(known)}.")
        for name, default in known.items():
            value = document.get(name, default)
            wanted = (int, float) if isinstance(default, float) else type(default)
            if not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(default, bool)):
                raise SpecError(
                    f"{name} of an interrupt rule must not be {value!r}.", f"Like the default: {default!r}."
                )
        return cls(**document).checked()

    def checked(self) -> InterruptRule:
        """Itself. Raises SpecError for values out of range."""
        if not 0 <= self.after_s <= sys.float_info.max:  # JSON's whole numbers may be larger
            raise SpecError(
                f"after_s={self.after_s} of an interrupt rule is out of range.", "Give seconds, 0 or more."
            )
        if self.times < 1:
            raise SpecError(f"times={self.times} of an interrupt rule is illegal.", "Give 1 or more.")
        return self

    def concerns(self, job_name: str) -> bool:
        return job_name.startswith(self.name_prefix) and self.name_contains in job_name

    def to_json(self) -> JsonObject:
        return asdict(self)

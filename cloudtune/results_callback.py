"""Adds columns of your own to the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtune.tuner_callback import TunerCallback

if TYPE_CHECKING:
    from cloudtune.tuner import Tuner


class ExtraResultsComposer:
    """Subclass it: returns, after each report, what is to be recorded in the report's row."""

    def __call__(self, tuner: Tuner) -> dict[str, Any] | None:
        """JSON-able values by column name, or None. ``tuner`` may be looked at, not changed."""
        raise TypeError(f"{type(self).__name__} must define __call__(self, tuner).")

    def keys(self) -> list[str]:
        """Names of the columns."""
        raise TypeError(f"{type(self).__name__} must define keys(self).")


class StoreResultsCallback(TunerCallback):
    """Results are always stored; pass one of these to ``Tuner(callbacks=[...])`` to add columns to them.

    Args:
        add_wallclock_time: Kept for scripts written for Syne Tune: ``st_tuner_time`` is always there.
        extra_results_composer: Makes the columns. They are recorded in the journal with the report.
    """

    def __init__(
        self, add_wallclock_time: bool = True, extra_results_composer: ExtraResultsComposer | None = None
    ) -> None:
        self.add_wallclock_time = add_wallclock_time
        self.extra_results_composer = extra_results_composer

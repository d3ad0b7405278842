"""Accidents at random turns of a tuner."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from cloudtune.experiment.events import Event


class Accidents:
    """A :class:`~cloudtune.tuner_loop.LoopObserver` that lets something go wrong now and then.

    Args:
        strike: Does it; returns whether there was anything to strike.
        rng: Chooses the turns.
        probability: At each turn.
    """

    def __init__(self, strike: Callable[[], bool], rng: random.Random, probability: float) -> None:
        self._strike = strike
        self._rng = rng
        self._probability = probability
        self.num_struck = 0

    def on_session(self, past: Sequence[Event]) -> None:
        """Nothing happens before the first turn."""

    def on_events(self, events: Sequence[Event]) -> None:
        """Nor between turns."""

    def on_turn(self) -> None:
        if self._rng.random() < self._probability and self._strike():
            self.num_struck += 1

    def on_session_end(self) -> None:
        """Nor after the last one."""

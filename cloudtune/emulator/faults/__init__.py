"""Faults on request: what goes wrong, by a scenario, seeded and repeatable.

docs/emulator_scenarios.md tells how to write one.
"""

from __future__ import annotations

from cloudtune.emulator.faults.interrupt_rule import InterruptRule
from cloudtune.emulator.faults.interruptions import SpotAttempt
from cloudtune.emulator.faults.job_faults import Faults
from cloudtune.emulator.faults.scenario import Scenario, load_scenario, preset_names

__all__ = ["Faults", "InterruptRule", "Scenario", "SpotAttempt", "load_scenario", "preset_names"]

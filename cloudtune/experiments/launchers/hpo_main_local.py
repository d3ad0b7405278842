"""Tunes here, or on the one instance of a job, with trials as processes."""

from __future__ import annotations

from cloudtune.experiments.launchers.hpo_main import TuningCommand
from cloudtune.experiments.launchers.trials_here import TrialsHere

_DESCRIPTION = """\
Run tuning experiments on this machine: methods x seeds, one after the other, several trials at a time.
Ctrl-C, a crash or a reboot lose nothing: the same command continues."""

_EXAMPLES = """\
examples:
  {prog} --method ASHA --max_wallclock_time 30     one experiment
  {prog} --num_seeds 3                             all methods, three repetitions each, compared at the end
  {prog} --experiment_tag demo --num_seeds 5       a study with a name; with more seeds, only new ones run
"""

#: Any methods and seeds, one after the other.
main = TuningCommand(TrialsHere, _DESCRIPTION, _EXAMPLES)

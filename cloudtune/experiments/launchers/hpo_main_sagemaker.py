"""Tunes with a training job for each trial; the tuner runs here, or in a job itself."""

from __future__ import annotations

from cloudtune.experiments.launchers.hpo_main import TuningCommand
from cloudtune.experiments.launchers.trials_in_jobs import TrialsInJobs

_DESCRIPTION = """\
Run one tuning experiment with a SageMaker training job for each trial. The tuner runs here: Ctrl-C, a crash or a
closed lid lose nothing, the same command continues and comes back to the trials that run.

Without AWS credentials, jobs really run, on the emulator on this machine."""

_EXAMPLES = """\
examples:
  {prog} --method ASHA --max_cost 20                      until 20 dollars are spent, or the time is up
  {prog} --method ASHA --spot --n_workers 8 --instance_type ml.g5.xlarge
  {prog} --method RS --start_seed 3 --num_seeds 4         the repetition with seed 3
"""

#: Exactly one method and one seed.
main = TuningCommand(TrialsInJobs, _DESCRIPTION, _EXAMPLES)

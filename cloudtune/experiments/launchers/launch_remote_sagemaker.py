"""Launches methods x seeds as small SageMaker training jobs that tune, with a job of its own for each trial."""

from __future__ import annotations

from cloudtune.experiments.launchers.study_launch import LaunchCommand
from cloudtune.experiments.launchers.trials_in_jobs import TrialsInJobs

_DESCRIPTION = """\
Compare tuning methods: one small SageMaker training job per method and seed, which tunes by starting a training
job for each trial. An interrupted tuner comes back to its trials, and so does this command to its jobs when it is
run again. It waits for them, prints a table and draws a picture.

Without AWS credentials, jobs really run, on the emulator on this machine."""

_EXAMPLES = """\
examples:
  {prog} --num_seeds 3 --max_cost 20               all methods, three repetitions, 20 dollars each
  {prog} --num_seeds 3 --dry_run                   look first: plan, requests, highest cost of tuners and trials
  {prog} --spot --spot_tuner --n_workers 8 --instance_type ml.g5.xlarge --yes --no_wait
  {prog} --method ASHA --spot_tuner --interrupt_after 20 --max_wallclock_time 60 --local
"""

#: For an ``entry_point`` that calls ``hpo_main_sagemaker.main``.
launch_remote = LaunchCommand(TrialsInJobs, _DESCRIPTION, _EXAMPLES)

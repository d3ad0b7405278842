"""Launches methods x seeds as SageMaker training jobs, each of which runs its trials on its own instance."""

from __future__ import annotations

from cloudtune.experiments.launchers.study_launch import LaunchCommand
from cloudtune.experiments.launchers.trials_here import TrialsHere

_DESCRIPTION = """\
Compare tuning methods: one SageMaker training job per method and seed, each running several trials at a
time on its instance. State goes to S3 all the while: interrupted jobs continue where they were, and so does
this command when it is run again. It waits for the jobs, prints a table and draws a picture.

Without AWS credentials, jobs really run, on the emulator on this machine."""

_EXAMPLES = """\
examples:
  {prog} --num_seeds 10                         all methods, ten repetitions each
  {prog} --num_seeds 10 --dry_run               look first: plan, requests, highest cost
  {prog} --experiment_tag demo --num_seeds 20   a study with a name; with more seeds, only new ones run
  {prog} --method ASHA --benchmark train_height --max_wallclock_time 10
  {prog} --spot --interrupt_after 5 --local     watch jobs survive the loss of their instances
  {prog} --instance_type ml.g4dn.12xlarge --n_workers 4 --spot --yes --no_wait
"""

#: For an ``entry_point`` that calls ``hpo_main_local.main``.
launch_remote = LaunchCommand(TrialsHere, _DESCRIPTION, _EXAMPLES)

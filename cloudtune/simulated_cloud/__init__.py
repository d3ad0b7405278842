"""SageMaker and S3 on a virtual clock: thousands of trial jobs, days long, with all that goes wrong, in seconds.

Jobs, their states and bills, quotas, warm pools, delays and faults are those of :mod:`cloudtune.emulator`; what
runs in the jobs is a script that exists only as a curve. Behind :mod:`cloudtune.sagemaker_backend.ports`::

    world = SimulatedCloud(TrialScript(curve))
    backend = SageMakerBackend(template, cloud=world)
    Tuner(backend, scheduler, criterion, n_workers=8, clock=world.clock).run()
"""

from __future__ import annotations

from cloudtune.simulated_cloud.cloud import SimulatedCloud
from cloudtune.simulated_cloud.settings import CloudSettings, FileFaults, QuotaChange
from cloudtune.simulated_cloud.trial_script import TrialScript

__all__ = ["CloudSettings", "FileFaults", "QuotaChange", "SimulatedCloud", "TrialScript"]

"""Makes a tuner at home in a tuning job: state mirrored to S3, checkpoints where the platform syncs them."""

from __future__ import annotations

import os

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.paths import ExperimentPaths, S3Uri
from cloudtune.remote import job_layout as layout
from cloudtune.remote.mirrored_store import MirroredStore
from cloudtune.tuner import Tuner


def is_in_job() -> bool:
    """Whether this process runs in a job that cloudtune has launched."""
    return layout.ENV_STATE_URI in os.environ


def settle(tuner: Tuner) -> Tuner:
    """Gives ``tuner`` the job's name, folders and store, so that a restarted job continues it."""
    name = os.environ.get(layout.ENV_TUNER_NAME, tuner.name)
    paths = ExperimentPaths(
        layout.experiments_folder() / name,
        trials_dir=layout.experiments_folder() / name / "trials",
        checkpoints_dir=layout.checkpoints_folder(),
    )
    logs = os.environ.get(layout.ENV_LOGS_URI)
    store = MirroredStore(
        paths,
        S3Objects(AwsSession()),
        S3Uri.parse(os.environ[layout.ENV_STATE_URI]),
        S3Uri.parse(logs) if logs else None,
    )
    store.restore()  # before the tuner looks for metadata
    tuner.relocate(paths, store)
    return tuner

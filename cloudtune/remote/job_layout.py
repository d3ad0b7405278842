"""What a tuning job finds where: the contract between the launcher outside and the supervisor inside.

Standard library alone: the supervisor runs before anything is installed.
"""

from __future__ import annotations

import os
from pathlib import Path

#: Replaces ``/opt/ml`` where a job cannot have one of its own (the emulator without namespaces).
ENV_ML_ROOT = "CLOUDTUNE_ML_ROOT"
#: S3 URI that the tuner uploads its state to.
ENV_STATE_URI = "CLOUDTUNE_STATE_URI"
#: S3 URI for the output of trials; absent: it stays in the job.
ENV_LOGS_URI = "CLOUDTUNE_LOGS_URI"
#: JSON list: what the supervisor runs, relative to the code folder; hyperparameters follow as ``--name value``.
ENV_COMMAND = "CLOUDTUNE_COMMAND"
#: Name of the experiment that the job tunes.
ENV_TUNER_NAME = "CLOUDTUNE_TUNER_NAME"
#: Where each trial has a job of its own: type of the instance that the tuner has for itself; and ``spot``, if so.
ENV_TUNER_INSTANCE = "CLOUDTUNE_TUNER_INSTANCE"
#: Set by the supervisor: since when that instance is in use, seconds since the epoch.
ENV_TUNER_SINCE = "CLOUDTUNE_TUNER_SINCE"

#: Input channel that holds the code archive.
CODE_CHANNEL = "cloudtune"
CODE_ARCHIVE = "code.tar.gz"
#: File in the archive: merged requirements of tuner and training script.
REQUIREMENTS = "requirements.txt"
#: RemoteLauncher: the pickled tuner in the archive, the folder of its training script, and what runs them.
TUNER_SNAPSHOT = "tuner/tuner.dill"
SCRIPT_FOLDER = "tuner/script"
RUN_TUNER = "cloudtune/remote/run_tuner.py"
CHECKPOINTS_PATH = "/opt/ml/checkpoints"

_CODE = "/opt/ml/cloudtune/code"
#: ``exec`` makes the supervisor process 1, so that SIGTERM reaches it: the stock ``train`` chain swallows it.
#: Until then the shell is, which would ignore the signal. The service takes 256 characters for each part.
ENTRYPOINT = (
    "/bin/bash",
    "-c",
    "trap 'exit 143' TERM; "
    'no() { echo "$1" | tee /opt/ml/output/failure >&2; exit 1; }; '
    'm=$(mkdir -p $1 2>&1 && tar -xzf $2 -C $1 2>&1) || no "$3 $m"; '
    'type python3 >/dev/null || no "$4"; '
    "exec python3 $1/cloudtune/remote/supervisor.py",
    "cloudtune",
    _CODE,
    f"/opt/ml/input/data/{CODE_CHANNEL}/{CODE_ARCHIVE}",
    "The code archive cannot be unpacked; is the volume large enough (volume_size)?",
    "The image has no python3: choose another one (image_uri).",
)


def ml_root() -> Path:
    """``/opt/ml``, or where the platform has put it."""
    return Path(os.environ.get(ENV_ML_ROOT, "/opt/ml"))


def code_folder() -> Path:
    return ml_root() / "cloudtune" / "code"


def experiments_folder() -> Path:
    """Where the tuner keeps its journal inside the job; not synced by the platform."""
    return ml_root() / "cloudtune" / "experiments"


def checkpoints_folder() -> Path:
    """Synced by the platform; one folder a trial."""
    return ml_root() / "checkpoints"


def failure_file() -> Path:
    """Its first 1024 characters become the job's failure reason."""
    return ml_root() / "output" / "failure"

"""How jobs go, and what they report: read with a number of calls that does not grow with the number of trials."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from cloudtune import names
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.errors import AccessDenied, AwsError, InvalidRequest, ResourceNotFound
from cloudtune.experiment.ports import AttemptKey
from cloudtune.sagemaker_backend.activity import Activity
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.log_watch import LogWatch
from cloudtune.sagemaker_backend.patience import each_in_turn
from cloudtune.sagemaker_backend.ports import ReportObject
from cloudtune.sagemaker_backend.trial_run import Phase, TrialRun

logger = logging.getLogger(__name__)

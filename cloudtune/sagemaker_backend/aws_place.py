"""AWS (or the emulator) as the place where trials' jobs run."""

from __future__ import annotations

import logging
import os
from functools import cached_property

from cloudtune.aws.code_archive import upload_code
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.prices import refresh as refresh_prices
from cloudtune.experiment.ports import ExperimentStore
from cloudtune.paths import ExperimentPaths, S3ExperimentPaths, S3Uri
from cloudtune.remote import job_layout as layout
from cloudtune.remote.cloud import Cloud as Connection
from cloudtune.remote.cloud import connect
from cloudtune.remote.mirrored_store import MirroredStore
from cloudtune.remote.polite_claim import PoliteClaim
from cloudtune.sagemaker_backend.aws_cloud import AwsTrialFiles, AwsTrialJobs
from cloudtune.sagemaker_backend.ports import Pace, Prepared, TrialFiles, TrialJobs
from cloudtune.sagemaker_backend.template import TrialTemplate
from cloudtune.sagemaker_backend.template_completion import complete
from cloudtune.sagemaker_backend.trial_package import build_trial_archive

logger = logging.getLogger(__name__)

#: ListTrainingJobs allows two calls a second in the whole account; S3 is paid for by the call.
_AWS_PACE = Pace(reports_s=4.0, jobs_s=8.0)
_NEAR_PACE = Pace(reports_s=0.4, jobs_s=0.4)


class AwsPlace:
    """The account that the environment's credentials belong to; the emulator where there are none.

    Args:
        s3_path: Where experiments are kept; None: in the account's SageMaker bucket,
            where ``load_experiment`` looks.
    """

    def __init__(self, s3_path: S3Uri | None = None) -> None:
        self._s3_path = s3_path
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """Made on first use: says where jobs will run if that is not AWS."""
        if self._connection is None:
            self._connection = connect(force_emulator=False)
            if self._connection.emulator is not None:
                logger.warning(
                    "Trials run on the embedded emulator at %s (no AWS credentials found). "
                    "For AWS: 'aws configure'.",
                    self._connection.emulator.endpoint_url,
                )
        return self._connection

    @cached_property
    def jobs(self) -> TrialJobs:
        return AwsTrialJobs(self.connection.session)

    @property
    def pace(self) -> Pace:
        return _NEAR_PACE if self.connection.session.endpoint_url else _AWS_PACE

    def files(self, where: S3ExperimentPaths) -> TrialFiles:
        return AwsTrialFiles(self.connection.session, where)

    def where(self, tuner_name: str) -> S3ExperimentPaths:
        """Inside a tuning job, the place that the launcher has given it."""
        state = os.environ.get(layout.ENV_STATE_URI)
        if state is not None:
            uri = S3Uri.parse(state)
            return S3ExperimentPaths(S3Uri(uri.bucket, uri.key.rpartition("/")[0]))
        session = self.connection.session
        if self._s3_path is None:
            return S3ExperimentPaths.of(session.default_bucket(), tuner_name)
        session.check_bucket(self._s3_path.bucket)
        return S3ExperimentPaths(self._s3_path / tuner_name)

    def make_room(self, jobs: int) -> None:
        """The emulator lets so many jobs run at a time; of AWS's quotas, the engine takes care."""
        if self.connection.emulator is not None:
            self._connection = connect(force_emulator=False, jobs_at_once=jobs)

    def prepare(self, template: TrialTemplate, where: S3ExperimentPaths) -> Prepared:
        """Raises SpecError, AwsError."""
        session = self.connection.session
        archive = build_trial_archive(template)
        if archive.skipped:
            logger.warning("Not sent, since jobs should not need them: %s", ", ".join(archive.skipped))
        code = upload_code(S3Objects(session), where.root.bucket, archive)
        refresh_prices(session, session.region, [template.spec.instance_type])
        return Prepared(complete(template, session), code, session.region)

    def make_store(self, paths: ExperimentPaths, where: S3ExperimentPaths) -> ExperimentStore:
        """For tuners outside of jobs: one after the other, and the second is refused."""
        return MirroredStore(paths, S3Objects(self.connection.session), where.state, claim=PoliteClaim)

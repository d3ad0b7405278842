"""A session of SageMakerBackend, put together: what is looked up once, and what is known of quotas."""

from __future__ import annotations

import os
import random

from cloudtune.experiment.ports import BackendContext
from cloudtune.sagemaker_backend.admission import Admission
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.outbox import Outbox
from cloudtune.sagemaker_backend.own_instance import OwnInstance
from cloudtune.sagemaker_backend.ports import Cloud, Usage
from cloudtune.sagemaker_backend.template import TrialTemplate
from cloudtune.sagemaker_backend.trial_job_spec import TrialPlace


def open_session(
    cloud: Cloud,
    template: TrialTemplate,
    fallback: tuple[str, ...],
    context: BackendContext,
    config_as_json: bool,
) -> Desk:
    """Everything that the engine needs.

    Raises:
        SpecError, AwsError: What cannot work, before anything is started.
    """
    where = cloud.where(context.paths.name)
    cloud.make_room(context.n_workers)
    prepared = cloud.prepare(template, where)
    spec = prepared.template.spec
    place = TrialPlace(
        context.paths.name,
        where,
        prepared.code,
        prepared.region,
        None if context.rung_levels is None else tuple(context.rung_levels),
        context.resource_attr,
        config_as_json,
    )
    types = tuple(dict.fromkeys((spec.instance_type, *fallback)))
    admission = Admission(
        types,
        instance_count=spec.instance_count,
        usage=Usage.spot if spec.spot else Usage.on_demand,
        keep_alive=bool(spec.keep_alive_s),
        rng=random.Random(context.paths.name),
    )
    for (instance_type, usage), limit in cloud.jobs.quotas(types).items():
        admission.know_quota(instance_type, usage, limit)
    return Desk(
        prepared.template,
        place,
        cloud.jobs,
        cloud.files(where),
        cloud.pace,
        context.clock,
        admission,
        Outbox(),
        own_instance=OwnInstance.of_job(os.environ, prepared.region),
        unsettled=context.unsettled,
    )

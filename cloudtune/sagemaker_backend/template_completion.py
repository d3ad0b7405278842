"""What a template leaves to the account that its jobs run in."""

from __future__ import annotations

from dataclasses import replace

from cloudtune.aws.session import AwsSession
from cloudtune.sagemaker_backend.template import TrialTemplate
from cloudtune.sagemaker_backend.trial_job_spec import image_of


def complete(template: TrialTemplate, session: AwsSession) -> TrialTemplate:
    """The template with the ARN of its role. Where it names no image, each trial has that of its kind of instance.

    Raises:
        SpecError: There is no such role, or no image is known for the template's instance type.
        AwsError: The account cannot be asked.
    """
    image_of(template, session.region, template.spec.instance_type)
    role_arn = session.role_arn(template.spec.role_arn or None)
    return replace(template, spec=replace(template.spec, role_arn=role_arn))

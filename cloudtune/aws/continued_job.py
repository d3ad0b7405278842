"""Another job like one that there is: the request is made again from what the service says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from cloudtune.aws.errors import aws_call
from cloudtune.aws.model_rules import service_model
from cloudtune.aws.retry import Retry
from cloudtune.aws.session import AwsSession
from cloudtune.aws.training_request import OPERATION, Request, validate_request
from cloudtune.clock import Clock

#: What Describe adds to a part of the request when the service has chosen.
_CHOSEN = ("SelectedInstanceType", "SelectedInstanceCount")


def request_like(described: Mapping[str, Any], tags: list[dict[str, str]], name: str) -> Request:
    """The CreateTrainingJob request that made the job ``described``, for a job called ``name``: pure.

    Args:
        described: The answer of DescribeTrainingJob.
        tags: The job's, which that answer lacks.
    """
    shape = service_model("sagemaker").operation_model(OPERATION).input_shape
    request: Request = _members(shape, described) if shape is not None else {}
    for chosen in _CHOSEN:
        request.get("ResourceConfig", {}).pop(chosen, None)
    request["TrainingJobName"] = name
    # Tags that AWS itself has set cannot be set.
    own = [tag for tag in tags if not tag["Key"].lower().startswith("aws:")]
    return {**request, "Tags": own} if own else request


def create_like(session: AwsSession, clock: Clock, job: str, name: str) -> None:
    """Creates a job called ``name`` that is like ``job``: same code, arguments, instances, limits, places in S3.

    Raises:
        ResourceNotFound: There is no ``job``.
        AlreadyExists: There is a job called ``name``.
    """
    client, retry = session.client("sagemaker"), Retry(clock)

    def ask() -> tuple[dict[str, Any], list[dict[str, str]]]:
        with aws_call(f"describe training job {job!r} (sagemaker:DescribeTrainingJob)"):
            described = client.describe_training_job(TrainingJobName=job)
        with aws_call(f"read the tags of training job {job!r} (sagemaker:ListTags)"):
            return dict(described), list(client.list_tags(ResourceArn=described["TrainingJobArn"])["Tags"])

    request = request_like(*retry.call(ask), name)
    validate_request(request)
    with aws_call(f"create training job {name!r} (sagemaker:CreateTrainingJob)"):
        client.create_training_job(**request)


def _members(shape: Shape, value: Any) -> Any:
    """``value`` without what a request does not take."""
    if isinstance(shape, StructureShape):
        return {key: _members(shape.members[key], item) for key, item in value.items() if key in shape.members}
    if isinstance(shape, ListShape):
        return [_members(shape.member, item) for item in value]
    if isinstance(shape, MapShape):
        return {key: _members(shape.value, item) for key, item in value.items()}
    return value

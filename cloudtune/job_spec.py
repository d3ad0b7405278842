"""A SageMaker training job as plain data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudtune.errors import SpecError

KIND = "training_job"
SCHEMA = 1

DEFAULT_CHECKPOINT_PATH = "/opt/ml/checkpoints"
#: How long a spot job may wait for instances on top of its run time, unless ``max_wait_s`` says otherwise.
DEFAULT_SPOT_WAIT_S = 24 * 3600


@dataclass(frozen=True)
class TrainingJobSpec:
    """Everything a training job is made of; becomes a request by
    :func:`cloudtune.aws.training_request.create_training_job_request`.

    What is empty is no default of the service's: a request needs name, image, role and output. As a template of
    trials' jobs, a spec may leave them open, and they are found.

    Args:
        name: Of the job; unique in account and region.
        image: URI of the container image.
        role_arn: Role the job runs as.
        output_s3_uri: Where the platform puts ``model.tar.gz``.
        entrypoint: Process 1 of the container, which alone receives SIGTERM; empty: the image's ``train``.
        arguments: Of the entrypoint.
        hyperparameters: Any JSON values; each is JSON-encoded by itself in the request.
        environment: Of the container.
        max_run_s: Training seconds after which the job is stopped.
        max_wait_s: Spot only: seconds of waiting and training together; default: ``max_run_s`` and a day.
        spot: Managed spot training.
        keep_alive_s: Seconds the instance is kept warm afterwards; not with ``spot``.
        checkpoint_s3_uri: Synced continuously with ``checkpoint_local_path``, deletions included. No two jobs
            that run at a time may share it.
        channels: Name to S3 URI; downloaded to ``/opt/ml/input/data/{name}`` before the start.
        metric_definitions: Name to regular expression, for the console's plots.
        retry_attempts: How often the service starts the job again after errors of its own.
        max_pending_s: Seconds the job may wait for capacity of accelerated instances.
    """

    name: str = ""
    image: str = ""
    role_arn: str = ""
    output_s3_uri: str = ""
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    instance_type: str = "ml.m5.large"
    instance_count: int = 1
    volume_size_gb: int = 30
    max_run_s: int = 24 * 3600
    max_wait_s: int | None = None
    spot: bool = False
    keep_alive_s: int | None = None
    checkpoint_s3_uri: str | None = None
    checkpoint_local_path: str = DEFAULT_CHECKPOINT_PATH
    channels: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metric_definitions: dict[str, str] = field(default_factory=dict)
    subnets: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    volume_kms_key: str | None = None
    output_kms_key: str | None = None
    network_isolation: bool = False
    retry_attempts: int | None = None
    max_pending_s: int | None = None

    def __post_init__(self) -> None:
        for name in _TUPLES:
            value = getattr(self, name)
            if isinstance(value, str):
                raise SpecError(
                    f"TrainingJobSpec.{name} is the string {value!r}, but must be a sequence of strings.",
                    f"Write {name}=({value!r},).",
                )
            object.__setattr__(self, name, tuple(value))

    @property
    def effective_max_wait_s(self) -> int | None:
        """``max_wait_s``, or its default for spot jobs."""
        if self.spot and self.max_wait_s is None:
            return self.max_run_s + DEFAULT_SPOT_WAIT_S
        return self.max_wait_s

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the inverse of :meth:`from_dict`."""
        record: dict[str, Any] = {"kind": KIND, "schema": SCHEMA}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            record[item.name] = list(value) if isinstance(value, tuple) else value
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TrainingJobSpec:
        """Raises SpecError for anything that :meth:`to_dict` did not make, unknown fields included."""
        fields = dict(record)
        kind, schema = fields.pop("kind", None), fields.pop("schema", None)
        if (kind, schema) != (KIND, SCHEMA):
            raise SpecError(
                f"This is no training job: kind {kind!r}, schema {schema!r}; expected {KIND!r}, schema {SCHEMA}.",
                "Read it with the version of cloudtune that wrote it.",
            )
        known = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(fields.keys() - known)
        if unknown:
            raise SpecError(
                f"A training job has no field {', '.join(unknown)}.", f"Known: {', '.join(sorted(known))}."
            )
        missing = [name for name in ("name", "image", "role_arn", "output_s3_uri") if name not in fields]
        if missing:
            raise SpecError(f"This training job is incomplete: it lacks {', '.join(missing)}.")
        return cls(**fields)

    def to_json(self) -> str:
        return encode_json(self.to_dict(), f"training job {self.name!r}")

    @classmethod
    def from_json(cls, text: str) -> TrainingJobSpec:
        try:
            record = json.loads(text)
        except ValueError as error:
            raise SpecError(f"This is no JSON: {error}.") from error
        if not isinstance(record, dict):
            raise SpecError(f"A training job is a JSON object, not {type(record).__name__}.")
        return cls.from_dict(record)


_TUPLES = ("entrypoint", "arguments", "subnets", "security_group_ids")


def encode_hyperparameters(values: Mapping[str, Any]) -> dict[str, str]:
    """The strings that the service wants: each value as JSON, as version 2 of the SageMaker SDK does and the
    training toolkit in the images expects.

    Raises:
        SpecError: For a value that is not JSON-able, with its name.
    """
    return {str(name): encode_json(value, f"hyperparameter {name!r}") for name, value in values.items()}


def decode_hyperparameters(values: Mapping[str, str]) -> dict[str, Any]:
    """The inverse of :func:`encode_hyperparameters`; a string that is no JSON stands for itself, since other
    clients send plain strings."""
    decoded: dict[str, Any] = {}
    for name, text in values.items():
        try:
            decoded[name] = json.loads(text)
        except ValueError:
            decoded[name] = text
    return decoded


def encode_json(value: Any, what: str) -> str:
    """ASCII JSON of ``value``; NumPy scalars become numbers. ``what`` names it in errors."""
    try:
        return json.dumps(value, default=_plain)
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"The {what} cannot be written as JSON: {error}.",
            "Use numbers, strings, booleans, None, and lists and dictionaries of them.",
        ) from error


def _plain(value: Any) -> Any:
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        return item()
    raise TypeError(f"{type(value).__name__} is not JSON-able")

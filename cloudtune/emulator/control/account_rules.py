"""The rules of CreateTrainingJob that ask what the account has: roles, buckets, objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloudtune.emulator.control.iam import Roles
from cloudtune.emulator.object_store import ObjectStore, split_uri
from cloudtune.emulator.service_error import JsonObject, invalid


@dataclass(frozen=True)
class Account:
    """What a request may refer to."""

    store: ObjectStore
    roles: Roles


def check_account(request: JsonObject, region: str, account: Account) -> None:
    """Raises ServiceError for a role that SageMaker cannot assume, for buckets that are missing or elsewhere, and
    for channels without objects."""
    account.roles.check_assumable(request["RoleArn"])
    for where, uri in _outputs(request):
        bucket, _ = split_uri(uri)
        found = account.store.region_of(bucket)
        if found is None:
            raise invalid(
                f"The bucket of {where} ({uri}) does not exist: {bucket!r}.", rule="create.bucket.exists"
            )
        if found != region:
            raise invalid(
                f"The bucket of {where} ({uri}) is in region {found}; the training job is in {region}.",
                rule="create.bucket.region",
            )
    for channel in request.get("InputDataConfig", []):
        source = channel["DataSource"].get("S3DataSource")
        if source is not None:
            _check_input(source["S3Uri"], request["RoleArn"], region, account.store)


def _outputs(request: JsonObject) -> Iterator[tuple[str, str]]:
    """Each place that the job writes to: member and URI."""
    for name, member in (
        ("OutputDataConfig", "S3OutputPath"),
        ("CheckpointConfig", "S3Uri"),
        ("DebugHookConfig", "S3OutputPath"),
        ("TensorBoardOutputConfig", "S3OutputPath"),
        ("ProfilerConfig", "S3OutputPath"),
    ):
        if member in request.get(name, {}):
            yield f"{name}.{member}", request[name][member]


def _check_input(uri: str, role_arn: str, region: str, store: ObjectStore) -> None:
    bucket, prefix = split_uri(uri)
    found = store.region_of(bucket)
    if found not in (None, region):
        raise invalid(
            f"The bucket of {uri} is in region {found}; the training job is in {region}.",
            rule="create.input.region",
        )
    if found is None or not store.has_any(bucket, prefix):
        raise invalid(
            f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the '
            "bucket exists in the selected region, that objects exist under that S3 prefix, and that the role "
            f'"{role_arn}" has "s3:ListBucket" permissions on bucket "{bucket}".',
            rule="create.input.objects",
        )

"""The AWS account as cloudtune sees it: clients, region, bucket, role."""

from __future__ import annotations

import copy
import json
import os
import re
import threading
import urllib.parse
from collections.abc import Mapping
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import EnvProvider, InstanceMetadataProvider
from botocore.exceptions import BotoCoreError, ProfileNotFound
from botocore.utils import InstanceMetadataFetcher, resolve_imds_endpoint_mode

from cloudtune.aws.errors import aws_call, translate
from cloudtune.aws.retry import Retry, Wait
from cloudtune.clock import WallClock
from cloudtune.errors import (
    AccessDenied,
    AlreadyExists,
    AwsError,
    ResourceNotFound,
    ServiceFailed,
    SpecError,
    Throttled,
)

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
# An object is read and written within milliseconds; a connection that has died is better given up soon.
S3_READ_TIMEOUT_S = 20
MAX_ATTEMPTS = 8
# For callers with a patience of their own.
IMPATIENT_ATTEMPTS = 2
IMPATIENT_READ_TIMEOUT_S = 20
# The first calls of all: a dead endpoint or a wrong key should be told within seconds. So should prices, which can
# be done without.
FIRST_CALL_ATTEMPTS = 3
MAX_CONNECTIONS = 32
# botocore asks the metadata service of EC2 twice (v2, then v1) and takes whole seconds as timeouts only:
# together below one second where there is no such service.
METADATA_TIMEOUT_S = 0.4
#: Services that are not in every region, and where they answer for all of them.
_HOME_OF = {"pricing": "us-east-1"}

ENV_ROLE = ("AWS_ROLE", "CLOUDTUNE_ROLE")
SAGEMAKER_ROLE = "AmazonSageMaker-ExecutionRole"
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[A-Za-z0-9_+=,.@/-]+")
_ASSUMED_ROLE = re.compile(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([^/]+)/.+")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d+")


class AwsSession:
    """Makes all clients. Thread-safe; nothing is sent before the first call that needs an answer.

    Args:
        region: Default: ``AWS_REGION``, ``AWS_DEFAULT_REGION``, then the profile's.
        endpoint_url: Used for every service (emulator, LocalStack). Default: ``AWS_ENDPOINT_URL_{SERVICE}``,
            then ``AWS_ENDPOINT_URL``.
        environ: Read instead of the process's environment.

    Raises:
        SpecError: For an endpoint, region or profile that cannot be.
    """

    def __init__(
        self,
        region: str | None = None,
        endpoint_url: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._endpoint_url = _checked_endpoint(endpoint_url) if endpoint_url else None
        self._core = _core_session(self._environ)
        self._given_region = _checked_region(region) if region else None
        self._boto: Any = boto3.Session(botocore_session=self._core)
        self._clients: dict[str, Any] = {}
        self._clients_lock = threading.Lock()
        self._facts_lock = threading.RLock()  # held during calls; making clients must not wait for it
        self._account_id: str | None = None
        self._is_impatient = False
        self._owned_buckets: set[str] = set()

    @property
    def region(self) -> str:
        """Raises SpecError if none is set."""
        region = (
            self._given_region
            or self._environ.get("AWS_REGION")
            or self._environ.get("AWS_DEFAULT_REGION")
            or self._core.get_config_variable("region")
        )
        if not region:
            raise SpecError("No AWS region is set.", "Set AWS_REGION, for example to us-west-2.")
        return _checked_region(str(region))

    @property
    def endpoint_url(self) -> str | None:
        """The endpoint of all services, if one was given or is set in the environment."""
        return self._endpoint_url or self._environ.get("AWS_ENDPOINT_URL") or None

    def has_credentials(self) -> bool:
        """Whether the usual chain finds credentials, valid or not; within a second also where there is no
        metadata service. Credentials that are configured but cannot be loaded count: their error comes with
        the first call."""
        try:
            return self._core.get_credentials() is not None
        except BotoCoreError:
            return True

    def client(self, name: str) -> Any:
        """The client of a service (``"s3"``, ``"sagemaker"``, ...); always the same one, safe for threads."""
        with self._clients_lock:
            if name not in self._clients:
                self._clients[name] = self._make_client(name)
            return self._clients[name]

    def impatient(self) -> AwsSession:
        """The same account through clients that raise what a call meets after two tries, within a minute."""
        other = copy.copy(self)
        other._is_impatient = True
        other._clients, other._clients_lock = {}, threading.Lock()
        return other

    def account_id(self) -> str:
        """Twelve digits, from STS; asked once."""
        with self._facts_lock:
            if self._account_id is None:
                self._account_id = str(self._identity()["Account"])
            return self._account_id

    def default_bucket_name(self) -> str:
        """``sagemaker-{region}-{account}``, whether it exists or not."""
        return f"sagemaker-{self.region}-{self.account_id()}"

    def default_bucket(self) -> str:
        """``sagemaker-{region}-{account}``, made if it is missing: for writing.

        Raises:
            AccessDenied: If another account owns the bucket of that name.
        """
        name = self.default_bucket_name()
        with self._facts_lock:
            if name not in self._owned_buckets:
                try:
                    self._require_own_bucket(name)
                except ResourceNotFound:
                    self._create_bucket(name)
                self._owned_buckets.add(name)
            return name

    def check_bucket(self, name: str) -> str:
        """Returns ``name`` if the bucket exists and this account owns it.

        Raises:
            ResourceNotFound: If it does not exist.
            AccessDenied: If it is not ours, or we may not see it.
        """
        with self._facts_lock:
            if name not in self._owned_buckets:
                self._require_own_bucket(name)
                self._owned_buckets.add(name)
            return name

    def role_arn(self, given: str | None = None) -> str:
        """ARN of the role that SageMaker jobs run as.

        In this order: ``given`` (an ARN, or a role's name), ``AWS_ROLE``, ``CLOUDTUNE_ROLE``, the role this
        process runs as (if SageMaker may assume it), the newest role called AmazonSageMaker-ExecutionRole.

        Raises:
            SpecError: If there is none, or ``given`` is not one.
        """
        for name in ENV_ROLE:
            given = given or self._environ.get(name)
        if given:
            return self._named_role(given)
        role = self._own_role() or self._execution_role()
        if role is None:
            raise SpecError(
                "No role for SageMaker jobs was found.",
                "Pass role=..., or set AWS_ROLE to the ARN of a role that sagemaker.amazonaws.com may assume "
                "(arn:aws:iam::<account>:role/<name>).",
            )
        return role

    # ---- clients

    def _make_client(self, service: str) -> Any:
        endpoint = self._endpoint_of(service)
        attempts = FIRST_CALL_ATTEMPTS if service in ("sts", "iam", "pricing") else MAX_ATTEMPTS
        read_timeout_s = S3_READ_TIMEOUT_S if service == "s3" else READ_TIMEOUT_S
        if self._is_impatient:
            attempts, read_timeout_s = IMPATIENT_ATTEMPTS, IMPATIENT_READ_TIMEOUT_S
        # Adaptive clients sleep before they call.
        is_adaptive = service == "sagemaker" and not self._is_impatient
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=read_timeout_s,
            retries={"mode": "adaptive" if is_adaptive else "standard", "total_max_attempts": attempts},
            max_pool_connections=MAX_CONNECTIONS,
            user_agent_extra="cloudtune",
            # Buckets are subdomains on AWS; an endpoint such as http://localhost:4566 has none.
            s3={"addressing_style": "path"} if endpoint else None,
        )
        try:
            region = _HOME_OF.get(service) or self.region
            return self._boto.client(service, region_name=region, endpoint_url=endpoint, config=config)
        except BotoCoreError as error:
            raise translate(error, f"make a client for {service}") from error

    def _endpoint_of(self, service: str) -> str | None:
        if self._endpoint_url:
            return self._endpoint_url
        name = f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"
        value = self._environ.get(name) or self._environ.get("AWS_ENDPOINT_URL")
        return _checked_endpoint(value) if value else None

    def _identity(self) -> dict[str, Any]:
        client = self.client("sts")

        def ask() -> dict[str, Any]:
            with aws_call("find out whose credentials these are (sts:GetCallerIdentity)"):
                return dict(client.get_caller_identity())

        return _patient().call(ask)

    # ---- bucket

    def _require_own_bucket(self, name: str) -> None:
        account = self.account_id()
        client = self.client("s3")
        try:
            with aws_call(f"use bucket {name!r} (s3:ListBucket)"):
                client.head_bucket(Bucket=name, ExpectedBucketOwner=account)
        except AccessDenied as error:
            raise AccessDenied(
                f"Bucket {name!r} is not ours: it does not belong to account {account}, or these credentials may "
                "not see it.",
                "Name a bucket of your own account, or allow s3:ListBucket on this one.",
                error.code,
            ) from error

    def _create_bucket(self, name: str) -> None:
        client = self.client("s3")
        arguments: dict[str, Any] = {"Bucket": name}
        if self.region != "us-east-1":  # the one region that S3 refuses to hear named
            arguments["CreateBucketConfiguration"] = {"LocationConstraint": self.region}
        try:
            with aws_call(f"create bucket {name!r} (s3:CreateBucket)"):
                client.create_bucket(**arguments)
        except AlreadyExists:
            self._require_own_bucket(name)  # made by somebody else just now: is that us?

    # ---- role

    def _named_role(self, role: str) -> str:
        if _ROLE_ARN.fullmatch(role):
            return role
        if ":" in role or "/" in role:
            raise SpecError(
                f"{role!r} is no role.", "Write arn:aws:iam::<account>:role/<name>, or the name alone."
            )
        try:
            return str(self._get_role(role)["Arn"])
        except ResourceNotFound as error:
            raise SpecError(
                f"There is no role {role!r} in account {self.account_id()}.",
                "Check its name in the IAM console, or pass its ARN.",
            ) from error

    def _own_role(self) -> str | None:
        match = _ASSUMED_ROLE.fullmatch(str(self._identity()["Arn"]))
        if match is None:
            return None
        partition, account, name = match.groups()
        try:
            role = self._get_role(name)  # its ARN has the path, which the session's ARN lacks
        except AccessDenied:
            # We are that role, but may not look at it: inside a SageMaker job or notebook, most likely.
            path = "service-role/" if name.startswith(SAGEMAKER_ROLE) else ""
            return f"arn:{partition}:iam::{account}:role/{path}{name}"
        except ResourceNotFound:
            return None
        return str(role["Arn"]) if _sagemaker_may_assume(role) else None

    def _execution_role(self) -> str | None:
        client = self.client("iam")

        def look() -> list[tuple[str, str]]:
            with aws_call("look for a SageMaker role (iam:ListRoles)"):
                return [
                    (role["CreateDate"].isoformat(), str(role["Arn"]))
                    for page in client.get_paginator("list_roles").paginate()
                    for role in page["Roles"]
                    if str(role["RoleName"]).startswith(SAGEMAKER_ROLE)
                ]

        try:
            found = _patient().call(look)
        except AccessDenied:
            return None
        return max(found)[1] if found else None

    def _get_role(self, name: str) -> dict[str, Any]:
        client = self.client("iam")

        def look() -> dict[str, Any]:
            with aws_call(f"look up role {name!r} (iam:GetRole)"):
                return dict(client.get_role(RoleName=name)["Role"])

        return _patient().call(look)


def _patient() -> Retry:
    """For the first calls of all, whose client gives a dead endpoint up soon: who answers is asked again."""
    waits: dict[type[AwsError], Wait] = {
        ServiceFailed: Wait(base_s=0.5, cap_s=5.0, give_up_after_s=20.0),
        Throttled: Wait(base_s=1.0, cap_s=5.0, give_up_after_s=60.0),
    }
    return Retry(WallClock(), waits)


def _sagemaker_may_assume(role: Mapping[str, Any]) -> bool:
    policy = role.get("AssumeRolePolicyDocument", {})
    text = policy if isinstance(policy, str) else json.dumps(policy)
    return "sagemaker.amazonaws.com" in urllib.parse.unquote(text)


def _core_session(environ: Mapping[str, str]) -> botocore.session.Session:
    core = botocore.session.Session()
    try:
        if environ is not os.environ:
            _use_config_of(core, environ)
        core.get_scoped_config()
        _adjust_credential_chain(core, environ)
    except ProfileNotFound as error:
        raise SpecError(
            f"AWS_PROFILE is {environ.get('AWS_PROFILE')!r}, but there is no such profile.",
            f"Known profiles: {', '.join(core.available_profiles) or 'none'}.",
        ) from error
    except BotoCoreError as error:
        raise SpecError(f"The AWS configuration cannot be read: {error}", "Mend ~/.aws/config.") from error
    return core


def _use_config_of(core: botocore.session.Session, environ: Mapping[str, str]) -> None:
    variables = {"credentials_file": "AWS_SHARED_CREDENTIALS_FILE", "config_file": "AWS_CONFIG_FILE"}
    if "AWS_ACCESS_KEY_ID" not in environ:  # keys go before a profile
        variables["profile"] = "AWS_PROFILE"
    for variable, name in variables.items():
        if environ.get(name):
            core.set_config_variable(variable, environ[name])


def _adjust_credential_chain(core: botocore.session.Session, environ: Mapping[str, str]) -> None:
    metadata = InstanceMetadataProvider(
        iam_role_fetcher=InstanceMetadataFetcher(
            timeout=METADATA_TIMEOUT_S,  # type: ignore[arg-type]  # the stubs say int; urllib3 takes either
            num_attempts=1,
            user_agent=core.user_agent(),
            config={
                "ec2_metadata_service_endpoint": core.get_config_variable("ec2_metadata_service_endpoint"),
                "ec2_metadata_service_endpoint_mode": resolve_imds_endpoint_mode(core),
                "ec2_metadata_v1_disabled": core.get_config_variable("ec2_metadata_v1_disabled"),
            },
        )
    )
    replacements: dict[str, Any] = {InstanceMetadataProvider.METHOD: metadata}
    if environ is not os.environ:
        replacements[EnvProvider.METHOD] = EnvProvider(environ=dict(environ))
    resolver = core.get_component("credential_provider")
    resolver.providers[:] = [replacements.get(provider.METHOD, provider) for provider in resolver.providers]


def _checked_endpoint(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    try:
        legal = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        legal = False
    if not legal:
        raise SpecError(f"{url!r} is no endpoint.", "Write it as http://127.0.0.1:5000 or https://host.")
    return url


def _checked_region(region: str) -> str:
    if not _REGION.fullmatch(region):
        raise SpecError(f"{region!r} is no AWS region.", "Regions look like us-west-2 or eu-central-1.")
    return region

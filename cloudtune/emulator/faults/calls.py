"""What a request asks for: service, operation, and the job or object that it names."""

from __future__ import annotations

import difflib
import functools
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs

from botocore.loaders import Loader

from cloudtune.errors import SpecError

Environ = dict[str, Any]
_SCOPE = re.compile(r"Credential=[^/,\s]+/\d{8}/[a-z0-9-]+/([a-z0-9-]+)/aws4_request")
_BUCKET_HOST = re.compile(r"([a-z0-9][a-z0-9.-]{1,61})\.s3[.-]")
_MAX_BODY = 8 << 20  # larger ones name no job
#: Services by the name that requests are signed for, with botocore's name of their model.
_MODELS = {
    "sagemaker": "sagemaker",
    "logs": "logs",
    "iam": "iam",
    "sts": "sts",
    "ecr": "ecr",
    "servicequotas": "service-quotas",
    "pricing": "pricing",
}
#: S3's requests differ by method, path and query alone; those that are told apart.
S3_OPERATIONS = (
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateBucket",
    "CreateMultipartUpload",
    "DeleteBucket",
    "DeleteObject",
    "DeleteObjects",
    "GetObject",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListObjects",
    "ListObjectsV2",
    "ListParts",
    "Other",
    "PutObject",
    "UploadPart",
)


@dataclass(frozen=True)
class Call:
    """One request of a client.

    Args:
        service: As it is signed for: ``sagemaker``, ``s3``, ``logs``, ...
        operation: Of that service.
        job: Name of the training job that it is about, or empty.
        bucket: Of S3, or empty.
        key: Of an S3 object, or empty.
        size: Bytes that it sends.
    """

    service: str
    operation: str
    job: str = ""
    bucket: str = ""
    key: str = ""
    size: int = 0

    @property
    def name(self) -> str:
        return f"{self.service}:{self.operation}"

    @property
    def resource(self) -> str:
        """What it is about, for telling requests apart."""
        return f"{self.bucket}/{self.key}" if self.bucket else self.job

    def is_one_of(self, patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(self.name, pattern) for pattern in patterns)


def identify(environ: Environ) -> Call:
    """The call that a WSGI request makes. A body that had to be read can be read again."""
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    found = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", "") or environ.get("QUERY_STRING", ""))
    service = found[1] if found else ("sagemaker" if target.startswith("SageMaker.") else "s3")
    size = _size(environ)
    if target:
        return Call(service, target.rpartition(".")[2], _job(_json(environ, size)), size=size)
    if service in _MODELS:
        form = parse_qs(_body(environ, size).decode(errors="replace"))
        return Call(service, form.get("Action", [""])[0], size=size)
    bucket, key = _object(environ)
    return Call(service, _s3_operation(environ, bucket, key), bucket=bucket, key=key, size=size)


def _size(environ: Environ) -> int:
    try:
        return max(0, int(environ.get("CONTENT_LENGTH") or 0))
    except ValueError:
        return 0


def _body(environ: Environ, size: int) -> bytes:
    if not 0 < size <= _MAX_BODY:
        return b""
    body = bytes(environ["wsgi.input"].read(size))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _json(environ: Environ, size: int) -> object:
    try:
        return json.loads(_body(environ, size) or b"{}")
    except (ValueError, RecursionError):
        return {}  # whoever answers will say so


def _job(request: object) -> str:
    """The job that a request of SageMaker or CloudWatch Logs is about."""
    if not isinstance(request, dict):
        return ""
    stream = request.get("logStreamName") or request.get("logStreamNamePrefix") or ""
    arn = request.get("ResourceArn") or ""
    named = request.get("TrainingJobName") or str(stream).partition("/")[0]
    return str(named or (arn.rpartition(":training-job/")[2] if isinstance(arn, str) else ""))


def _object(environ: Environ) -> tuple[str, str]:
    path = environ.get("PATH_INFO", "").removeprefix("/")
    path = path.encode("latin-1", "replace").decode("utf-8", "replace")  # WSGI's texts hold bytes
    host = _BUCKET_HOST.match(environ.get("HTTP_HOST", ""))
    if host is not None:
        return host[1], path
    bucket, _, key = path.partition("/")
    return bucket, key


def _s3_operation(environ: Environ, bucket: str, key: str) -> str:
    method = environ.get("REQUEST_METHOD", "")
    query = set(parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    if not bucket:
        return "ListBuckets" if method == "GET" else "Other"
    return _object_operation(environ, method, query) if key else _bucket_operation(method, query)


_ABOUT_AN_OBJECT = {"tagging", "acl", "retention", "legal-hold", "attributes", "torrent", "select", "restore"}
_ABOUT_A_BUCKET = {
    "acl",
    "cors",
    "encryption",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "object-lock",
} | {
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "tagging",
    "uploads",
    "versioning",
    "versions",
    "website",
}


def _bucket_operation(method: str, query: set[str]) -> str:
    if query & _ABOUT_A_BUCKET:
        return "Other"
    if method == "GET":
        return "ListObjectsV2" if "list-type" in query else "ListObjects"
    if method == "POST":
        return "DeleteObjects" if "delete" in query else "Other"
    return {"HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(method, "Other")


def _object_operation(environ: Environ, method: str, query: set[str]) -> str:
    if query & _ABOUT_AN_OBJECT:
        return "Other"
    upload = "uploadId" in query
    if method == "PUT" and not upload:
        return "CopyObject" if "HTTP_X_AMZ_COPY_SOURCE" in environ else "PutObject"
    if method == "POST" and not upload:
        return "CreateMultipartUpload" if "uploads" in query else "Other"
    names = {
        ("GET", False): "GetObject",
        ("GET", True): "ListParts",
        ("HEAD", False): "HeadObject",
        ("PUT", True): "UploadPart",
        ("POST", True): "CompleteMultipartUpload",
        ("DELETE", False): "DeleteObject",
        ("DELETE", True): "AbortMultipartUpload",
    }
    return names.get((method, upload), "Other")


def check_operations(patterns: Sequence[str], where: str) -> None:
    """Raises SpecError for a pattern that no operation of a known service has."""
    for pattern in patterns:
        service, colon, operation = pattern.partition(":")
        services = [known for known in ("s3", *_MODELS) if fnmatchcase(known, service)]
        if not colon or not services:
            raise SpecError(
                f"{where}: {pattern!r} names no operation of a service.",
                f"Write service:Operation, such as s3:GetObject; services: {', '.join(('s3', *_MODELS))}.",
            )
        known = [name for found in services for name in _operations(found)]
        if not any(fnmatchcase(name, operation) for name in known):
            near = difflib.get_close_matches(operation, known, 3) or sorted(known)[:20]
            raise SpecError(
                f"{where}: {service} has no operation {operation!r}.", f"It has: {', '.join(near)}, ..."
            )


@functools.cache
def _operations(service: str) -> tuple[str, ...]:
    if service == "s3":
        return S3_OPERATIONS
    return tuple(Loader().load_service_model(_MODELS[service], "service-2")["operations"])

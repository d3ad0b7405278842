"""Objects too large for one request: into S3, and within it, part by part."""

from __future__ import annotations

import base64
import hashlib
import logging
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig

from cloudtune.aws.errors import aws_call
from cloudtune.aws.retry import Retry
from cloudtune.errors import AwsError
from cloudtune.paths import S3Uri

_PART = 16 << 20
_COPIED_PART = 128 << 20
_CHECKSUMS = ("ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME")
_log = logging.getLogger(__name__)


def put_in_parts(client: Any, retry: Retry, path: Path, uri: S3Uri) -> str:
    """Uploads a file that nobody writes to any more, each part checked by S3; returns the object's etag."""
    where = {"Bucket": uri.bucket, "Key": uri.key}
    operation = f"write {uri} in parts (s3:PutObject)"
    with aws_call(operation):
        where["UploadId"] = client.create_multipart_upload(**where)["UploadId"]
    try:
        parts: list[dict[str, Any]] = []
        with path.open("rb") as file:
            while data := file.read(_part_size(path)):
                parts.append(_put_part(client, retry, where, len(parts) + 1, data, operation))
        with aws_call(operation):
            answer = client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    except BaseException:
        # Parts that are left behind cost money without being visible.
        _abandon(client, where, uri)
        raise
    return str(answer["ETag"]).strip('"')


def copy_in_parts(client: Any, source: dict[str, str], etag: str, target: S3Uri) -> None:
    """S3 copies the object ``source`` (Bucket, Key) if it still has the ``etag``. Raises what botocore raises."""
    config = TransferConfig(multipart_threshold=1, multipart_chunksize=_COPIED_PART, max_concurrency=4)
    client.copy(source, target.bucket, target.key, ExtraArgs={"CopySourceIfMatch": etag}, Config=config)


def _put_part(
    client: Any, retry: Retry, where: dict[str, str], number: int, data: bytes, operation: str
) -> dict[str, Any]:
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()

    def attempt() -> dict[str, Any]:
        with aws_call(operation):
            return dict(client.upload_part(**where, PartNumber=number, Body=data, ContentMD5=md5))

    answer = retry.call(attempt)
    checksums = {key: value for key, value in answer.items() if key in _CHECKSUMS}
    return {"PartNumber": number, "ETag": answer["ETag"], **checksums}


def _abandon(client: Any, where: dict[str, str], uri: S3Uri) -> None:
    """What made this necessary is what the caller has to hear, whatever comes of it."""
    try:
        with aws_call(f"abandon the parts of {uri} (s3:AbortMultipartUpload)"):
            client.abort_multipart_upload(**where)
    except AwsError as error:
        _log.warning("%s Its parts are kept and paid for until a lifecycle rule removes them.", error.message)


def _part_size(path: Path) -> int:
    """At most 10,000 parts are allowed."""
    return max(_PART, -(-path.stat().st_size // 10_000))

"""S3, logs and roles over restarts, as clients see them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator_rig import BUCKET, LOG_GROUP, Rig, error_of
from moto.core.base_backend import BackendDict

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.object_store import ObjectStore, StoreFailed
from cloudtune.emulator.settings import ACCOUNT_ID
from cloudtune.emulator.state import moto_state
from cloudtune.emulator.state.s3_state import S3State

LARGE = bytes(range(256)) * 256  # 64 KiB: a file of its own
HUGE = b"0123456789abcdef" * (5 << 16)  # 5 MiB: more than engines hold in memory


class Restarts:
    """An emulator that is closed and started again at the same place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.aws = SageMakerEmulator(state_dir=folder).start()
        self.rig = Rig(self.aws.endpoint_url, self.aws.role_arn)

    def again(self) -> Rig:
        """Twice: what is read from files must be written to them as well."""
        for _ in range(2):
            endpoint_url = self.aws.endpoint_url
            self.aws.close()
            self.aws = SageMakerEmulator(state_dir=self.folder).start()
            assert self.aws.endpoint_url == endpoint_url
        return self.rig  # its clients are still good

    def files(self) -> int:
        """Contents that have files."""
        return sum(1 for path in (self.folder / "objects").rglob("*") if path.is_file())


@pytest.fixture
def restarts(tmp_path: Path) -> Iterator[Restarts]:
    found = Restarts(tmp_path / "state")
    yield found
    found.aws.close()


def test_objects_with_all_that_belongs_to_them(restarts: Restarts) -> None:
    s3 = restarts.rig.s3
    for number, body in enumerate((b"", b"small", LARGE)):
        s3.put_object(
            Bucket=BUCKET,
            Key=f"full/{number}",
            Body=body,
            Metadata={"who": "me", "snow": "man"},
            ContentType="text/x-thing",
            ContentEncoding="zstd",
            CacheControl="no-cache",
            StorageClass="STANDARD_IA",
            Tagging="a=1&b=2",
            ChecksumAlgorithm="SHA256",
        )
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "full/2"})
    s3.put_object_tagging(Bucket=BUCKET, Key="copy", Tagging={"TagSet": [{"Key": "later", "Value": "tag"}]})

    def seen() -> list[Any]:
        found: list[Any] = []
        for key in ("full/0", "full/1", "full/2", "copy"):
            answer = s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
            names = ("ETag", "LastModified", "Metadata", "ContentType", "ContentEncoding", "CacheControl")
            names += ("StorageClass", "TagCount", "ChecksumSHA256", "ContentLength")
            found.append([answer["Body"].read(), *(answer.get(name) for name in names)])
            found.append(s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"])
        found.append(s3.list_objects_v2(Bucket=BUCKET)["Contents"])
        return found

    before = seen()
    assert before[0][0] == b"" and before[4][0] == LARGE and before[4][3] == {"who": "me", "snow": "man"}
    restarts.again()
    assert seen() == before
    assert s3.get_object(Bucket=BUCKET, Key="full/2", Range="bytes=255-257")["Body"].read() == LARGE[255:258]


def test_what_was_replaced_or_deleted_is_gone(restarts: Restarts) -> None:
    rig = restarts.rig
    for key in ("replaced", "deleted", "deleted-with-others"):
        rig.put(key, LARGE)
    rig.put("replaced", b"small now")
    rig.put("grown", b"small")
    rig.put("grown", LARGE)
    rig.s3.delete_object(Bucket=BUCKET, Key="deleted")
    rig.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "deleted-with-others"}]})
    assert restarts.files() == 1  # of "grown"
    rig.s3.create_bucket(Bucket="short-lived")
    rig.s3.delete_bucket(Bucket="short-lived")
    restarts.again()
    assert sorted(rig.keys("")) == ["grown", "replaced"]
    assert (rig.get("replaced"), rig.get("grown")) == (b"small now", LARGE)
    assert [bucket["Name"] for bucket in rig.s3.list_buckets()["Buckets"]] == [BUCKET]
    rig.s3.create_bucket(Bucket="short-lived")  # its name is free


def test_versions_and_delete_markers(restarts: Restarts) -> None:
    s3 = restarts.rig.s3
    s3.put_object(Bucket=BUCKET, Key="key", Body=b"before")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    made = [s3.put_object(Bucket=BUCKET, Key="key", Body=body)["VersionId"] for body in (b"1", LARGE, b"3", b"4")]
    s3.delete_object(Bucket=BUCKET, Key="key", VersionId=made[2])
    s3.put_object_tagging(
        Bucket=BUCKET, Key="key", VersionId=made[0], Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}
    )
    s3.delete_object(Bucket=BUCKET, Key="key")
    s3.put_object(Bucket=BUCKET, Key="undeleted", Body=b"x")
    marker = s3.delete_object(Bucket=BUCKET, Key="undeleted")["VersionId"]
    s3.delete_object(Bucket=BUCKET, Key="undeleted", VersionId=marker)

    def seen() -> Any:
        listed = s3.list_object_versions(Bucket=BUCKET)
        return [
            [(v["Key"], v["VersionId"], v["Size"], v["IsLatest"], v["LastModified"]) for v in listed["Versions"]],
            [(v["Key"], v["VersionId"], v["IsLatest"]) for v in listed["DeleteMarkers"]],
            [s3.get_object(Bucket=BUCKET, Key="key", VersionId=v)["Body"].read() for v in made if v != made[2]],
            s3.get_object_tagging(Bucket=BUCKET, Key="key", VersionId=made[0])["TagSet"],
        ]

    before = seen()
    assert before[2] == [b"1", LARGE, b"4"] and len(before[1]) == 1
    restarts.again()
    assert seen() == before
    assert restarts.rig.get("key") is None and restarts.rig.get("undeleted") == b"x"
    s3.put_object(Bucket=BUCKET, Key="key", Body=b"5")
    assert restarts.again().get("key") == b"5"


def test_settings_of_buckets(restarts: Restarts) -> None:
    s3 = restarts.rig.s3
    s3.create_bucket(Bucket="in-frankfurt", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    s3.put_bucket_policy(Bucket="in-frankfurt", Policy=policy)
    s3.put_bucket_tagging(Bucket="in-frankfurt", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "key"}}
    s3.put_bucket_encryption(Bucket="in-frankfurt", ServerSideEncryptionConfiguration={"Rules": [rule]})

    def seen() -> list[Any]:
        return [
            s3.get_bucket_location(Bucket="in-frankfurt")["LocationConstraint"],
            s3.get_bucket_policy(Bucket="in-frankfurt")["Policy"],
            s3.get_bucket_tagging(Bucket="in-frankfurt")["TagSet"],
            s3.get_bucket_encryption(Bucket="in-frankfurt")["ServerSideEncryptionConfiguration"],
            s3.list_buckets()["Buckets"],
        ]

    before = seen()
    assert before[0] == "eu-central-1"
    restarts.again()
    assert seen() == before


def test_multipart_uploads(restarts: Restarts) -> None:
    s3 = restarts.rig.s3
    restarts.rig.put("single", HUGE)
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts", Metadata={"a": "b"})["UploadId"]
    parts = []
    for number, body in enumerate((HUGE, b"end"), 1):
        etag = s3.upload_part(Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    complete: dict[str, Any] = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload}
    etag = s3.complete_multipart_upload(**complete, MultipartUpload={"Parts": parts})["ETag"]
    half = s3.create_multipart_upload(Bucket=BUCKET, Key="half")["UploadId"]
    restarts.again()
    answer = s3.get_object(Bucket=BUCKET, Key="parts")
    assert answer["Body"].read() == HUGE + b"end"
    assert (answer["ETag"], answer["Metadata"]) == (etag, {"a": "b"})
    code, _ = error_of(s3.list_parts, Bucket=BUCKET, Key="half", UploadId=half)
    assert code == "NoSuchUpload"  # of an upload in progress nothing is kept


def test_a_reset_of_moto_and_of_the_emulator_is_kept_as_well(restarts: Restarts) -> None:
    rig = restarts.rig
    rig.put("gone", LARGE)
    BackendDict.reset()  # as moto's own page does it
    rig.s3.create_bucket(Bucket=BUCKET)
    rig.put("there", LARGE)
    assert restarts.again().keys("") == ["there"]
    assert restarts.files() == 1
    restarts.aws.reset()
    rig.s3.create_bucket(Bucket="after-reset")
    restarts.again()
    assert [bucket["Name"] for bucket in rig.s3.list_buckets()["Buckets"]] == ["after-reset"]
    assert restarts.files() == 0


def test_logs(restarts: Restarts) -> None:
    logs = restarts.rig.logs
    rig = restarts.rig
    assert rig.run("talks", "for n in range(50): print('line', n)")["TrainingJobStatus"] == "Completed"
    now = int(time.time() * 1000)
    logs.create_log_group(logGroupName="own", tags={"a": "b"})
    logs.put_retention_policy(logGroupName="own", retentionInDays=7)
    for name in ("kept", "deleted"):
        logs.create_log_stream(logGroupName="own", logStreamName=name)
        logs.put_log_events(
            logGroupName="own", logStreamName=name, logEvents=[{"timestamp": now, "message": "first\nline"}]
        )
    logs.delete_log_stream(logGroupName="own", logStreamName="deleted")
    logs.create_log_group(logGroupName="short-lived")
    logs.delete_log_group(logGroupName="short-lived")

    def seen() -> list[Any]:
        streams = logs.describe_log_streams(logGroupName="own")["logStreams"]
        names = ("logStreamName", "creationTime", "firstEventTimestamp", "storedBytes", "lastIngestionTime")
        return [
            rig.all_logs("talks"),
            rig.streams("talks"),
            [[stream[name] for name in names] for stream in streams],
            [(g["logGroupName"], g.get("retentionInDays")) for g in logs.describe_log_groups()["logGroups"]],
            logs.list_tags_log_group(logGroupName="own")["tags"],
        ]

    before = seen()
    assert before[0] == [f"line {n}" for n in range(50)]
    assert [group for group, _ in before[3]] == [LOG_GROUP, "own"]
    restarts.again()
    assert seen() == before
    for text in ("second", "third"):  # an old stream goes on
        logs.put_log_events(
            logGroupName="own", logStreamName="kept", logEvents=[{"timestamp": now + 1, "message": text}]
        )
        restarts.again()
    events = logs.get_log_events(logGroupName="own", logStreamName="kept", startFromHead=True)["events"]
    assert [event["message"] for event in events] == ["first\nline", "second", "third"]
    files = list((restarts.folder / "logs").iterdir())
    assert len(files) == 2
    with max(files, key=lambda path: path.stat().st_size).open("ab") as file:
        file.write(b"[1, 2, half")  # killed while it wrote
    assert len(restarts.again().all_logs("talks")) == 50


def test_roles_and_policies(restarts: Restarts) -> None:
    iam = restarts.rig.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = {"Version": "2012-10-17", "Statement": [trust]}
    iam.create_role(
        RoleName="mine", AssumeRolePolicyDocument=json.dumps(document), Tags=[{"Key": "a", "Value": "b"}]
    )
    allow = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    )
    iam.put_role_policy(RoleName="mine", PolicyName="inline", PolicyDocument=allow)
    own = iam.create_policy(PolicyName="own", PolicyDocument=allow)["Policy"]["Arn"]
    iam.create_policy_version(PolicyArn=own, PolicyDocument=allow, SetAsDefault=True)
    for arn in (own, "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"):
        iam.attach_role_policy(RoleName="mine", PolicyArn=arn)

    def seen() -> list[Any]:
        role = iam.get_role(RoleName="mine")["Role"]
        decided = iam.simulate_principal_policy(
            PolicySourceArn=role["Arn"], ActionNames=["s3:GetObject", "ec2:RunX"]
        )
        return [
            role,
            iam.list_role_policies(RoleName="mine")["PolicyNames"],
            iam.list_attached_role_policies(RoleName="mine")["AttachedPolicies"],
            iam.get_policy(PolicyArn=own)["Policy"]["DefaultVersionId"],
            [result["EvalDecision"] for result in decided["EvaluationResults"]],
        ]

    before = seen()
    assert before[3:] == ["v2", ["allowed", "implicitDeny"]]
    restarts.again()
    assert seen() == before


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    """The machinery's own way to S3, without a server."""
    BackendDict.reset()
    state = S3State(tmp_path)
    with state.keeping():
        moto_state.s3().create_bucket(BUCKET, "us-east-1")
    yield ObjectStore(ACCOUNT_ID, state)
    BackendDict.reset()


def reopened(folder: Path) -> ObjectStore:
    BackendDict.reset()
    return ObjectStore(ACCOUNT_ID, S3State(folder))


def test_what_the_machinery_stores_is_kept(store: ObjectStore, tmp_path: Path) -> None:
    def breaks() -> Iterator[bytes]:
        yield HUGE
        yield HUGE
        raise RuntimeError("the source is gone")

    store.put(BUCKET, "small", b"1")
    store.put_chunks(BUCKET, "chunks", iter([b"a", LARGE, b"b"]))
    store.put_chunks(BUCKET, "huge", iter([HUGE, b"end"]))
    store.put(BUCKET, "deleted", LARGE)
    store.delete(BUCKET, "deleted")
    with pytest.raises(RuntimeError, match="gone"):
        store.put_chunks(BUCKET, "huge", breaks())
    for found in (store, reopened(tmp_path)):
        assert [item.key for item in found.list(BUCKET, "")] == ["chunks", "huge", "small"]
        assert found.get(BUCKET, "chunks") == b"a" + LARGE + b"b"
        assert b"".join(found.chunks(BUCKET, "huge")) == HUGE + b"end"
    assert sum(1 for path in (tmp_path / "objects").rglob("*") if path.is_file()) == 2


def test_any_key_is_kept_and_none_leaves_the_folder(store: ObjectStore, tmp_path: Path) -> None:
    keys = [
        "../../up",
        "/absolute",
        "a//b",
        "nul\x00",
        "\N{SNOWMAN}",
        "x" * 1024,
        "CON",
        "a.",
        "%2e%2e/x",
        "\n",
        ".",
    ]
    for number, key in enumerate(keys):
        store.put(BUCKET, key, LARGE + str(number).encode())
    found = reopened(tmp_path)
    for number, key in enumerate(keys):
        assert found.get(BUCKET, key) == LARGE + str(number).encode(), key
    assert {path.name for path in tmp_path.iterdir()} == {"objects", "s3.jsonl"}
    assert {len(path.name) for path in (tmp_path / "objects").rglob("*") if path.is_file()} == {32}


def test_an_object_that_is_replaced_while_it_is_read(store: ObjectStore, tmp_path: Path) -> None:
    store.put_chunks(BUCKET, "huge", iter([HUGE]))
    pieces = store.chunks(BUCKET, "huge")
    next(pieces)
    store.put(BUCKET, "huge", b"new")
    with pytest.raises(StoreFailed, match="replaced"):
        next(pieces)


def test_a_file_that_nobody_names_is_removed(store: ObjectStore, tmp_path: Path) -> None:
    store.put(BUCKET, "large", LARGE)
    left = tmp_path / "objects" / "ab" / "abcdef"  # killed between the file and its line
    left.write_bytes(b"x")
    assert reopened(tmp_path).get(BUCKET, "large") == LARGE
    assert not left.exists()


def test_a_disk_that_is_full_is_said_and_nothing_is_answered(store: ObjectStore, tmp_path: Path) -> None:
    store.put(BUCKET, "old", b"1")
    store._s3.close()  # type: ignore[union-attr] # from now on the journal refuses
    with pytest.raises(StoreFailed, match="cannot be written"):
        store.put(BUCKET, "new", b"2")
    assert [item.key for item in reopened(tmp_path).list(BUCKET, "")] == ["old"]


def test_ten_thousand_objects_are_there_at_once(store: ObjectStore, tmp_path: Path) -> None:
    for number in range(10_000):
        store.put(BUCKET, f"k/{number}", b"x" * 100)
    before = time.process_time()
    found = reopened(tmp_path)
    assert time.process_time() - before < 60  # about 0.8 on an idle machine
    assert len(found.list(BUCKET, "k/")) == 10_000

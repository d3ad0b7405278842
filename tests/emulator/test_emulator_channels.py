"""Input data: modes, data types, distribution over hosts, pipes; and what is refused."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from emulator_rig import BUCKET, Rig, channel, error_of, eventually
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.s3.models import s3_backends

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.machine.channel_pipe import ChannelPipe
from cloudtune.emulator.machine.channels import Channel, Part, channel_parts
from cloudtune.emulator.object_store import ObjectStore, StoreFailed

LISTS = """
root = ROOT + '/input/data'
found = {
    name: {f: open(os.path.join(root, name, f)).read() for f in sorted(os.listdir(os.path.join(root, name)))}
    for name in sorted(os.listdir(root)) if name != 'code'
}
open(ROOT + '/checkpoints/' + os.environ['HOSTNAME'], 'w').write(json.dumps(found))
"""


def request_with(rig: Rig, name: str, code: str, *channels: dict[str, Any]) -> dict[str, Any]:
    request = rig.request(name, code)
    request["InputDataConfig"] += channels
    return request


def source_of(item: dict[str, Any]) -> dict[str, Any]:
    return item["DataSource"]["S3DataSource"]  # type: ignore[no-any-return]


def completed(rig: Rig, request: dict[str, Any]) -> None:
    rig.sagemaker.create_training_job(**request)
    name = request["TrainingJobName"]
    job = rig.ended(name)
    assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), rig.all_logs(name))


def no_pipe_is_fed() -> bool:
    return "channel-pipe" not in [thread.name for thread in threading.enumerate()]


def test_a_manifest_names_the_files(rig: Rig) -> None:
    for name in ("a", "deep/b", "not-named"):
        rig.put(f"listed/{name}", name)
    rig.put("manifests/two", json.dumps([{"prefix": f"s3://{BUCKET}/listed/"}, "a", "deep/b"]))
    rig.put("manifests/all", json.dumps([{"prefix": f"s3://{BUCKET}/listed/d"}]))
    items = [channel("two", f"s3://{BUCKET}/manifests/two"), channel("all", f"s3://{BUCKET}/manifests/all")]
    for item in items:
        source_of(item)["S3DataType"] = "ManifestFile"
    code = """
    root = ROOT + '/input/data'
    for folder, _, names in os.walk(root):
        for name in names:
            print(os.path.relpath(os.path.join(folder, name), root))
    """
    completed(rig, request_with(rig, "manifest", code, *items))
    assert sorted(rig.all_logs("manifest")) == ["all/deep/b", "code/train.py", "two/a", "two/deep/b"]


@pytest.mark.parametrize(
    "manifest",
    [
        "no JSON",
        "{}",
        "[]",
        '["a"]',
        '[{"prefix": 3}]',
        '[{"prefix": "x"}]',
        '[{"prefix": "s3://rehearsals/x"}, 4]',
    ],
)
def test_what_is_no_manifest_is_refused(store: ObjectStore, manifest: str) -> None:
    store.put("bucket", "m", manifest.encode())
    with pytest.raises(StoreFailed, match="manifest"):
        channel_parts(store, {"S3DataType": "ManifestFile", "S3Uri": "s3://bucket/m"})


def test_objects_are_dealt_out_to_hosts(rig: Rig) -> None:
    for number in range(5):
        rig.put(f"sharded/{number}", str(number))
    item = channel("shard", f"s3://{BUCKET}/sharded/")
    source_of(item)["S3DataDistributionType"] = "ShardedByS3Key"
    request = request_with(rig, "sharded", LISTS, item, channel("full", f"s3://{BUCKET}/sharded/"))
    request["ResourceConfig"]["InstanceCount"] = 2
    completed(rig, request)
    found = [json.loads(rig.get(f"checkpoints/sharded/algo-{number}") or b"") for number in (1, 2)]
    assert [sorted(host["shard"]) for host in found] == [["0", "2", "4"], ["1", "3"]]
    assert all(sorted(host["full"]) == list("01234") for host in found)


@pytest.mark.parametrize("mode", ["File", "FastFile"])
def test_a_fastfile_channel_cannot_be_written(emulator: SageMakerEmulator, rig: Rig, mode: str) -> None:
    if emulator.isolation != "root":
        pytest.skip("needs a mount")
    rig.put("fast/x", "1")
    code = """
    assert open(ROOT + '/input/data/fast/x').read() == '1'
    try:
        open(ROOT + '/input/data/fast/x', 'w').write('2')
        print('written')
    except OSError as error:
        print(error.strerror)
    """
    name = f"mode-{mode}".lower()
    completed(rig, request_with(rig, name, code, channel("fast", f"s3://{BUCKET}/fast/") | {"InputMode": mode}))
    assert rig.all_logs(name) == ["written" if mode == "File" else "Read-only file system"]


def test_pipes_deliver_each_pass_in_full(rig: Rig) -> None:
    for number in range(3):
        rig.put(f"piped/{number}", str(number) * 200_000)
        rig.put(f"zipped/{number}", gzip.compress(str(number).encode() * 100_000))
    code = """
    import hashlib
    data = ROOT + '/input/data/'
    for epoch in range(3):
        for name in ('plain', 'zipped'):
            with open(data + '%s_%d' % (name, epoch), 'rb') as pipe:
                if (epoch, name) == (1, 'plain'):
                    pipe.read(1000)  # not all of it
                    continue
                content = pipe.read()
            print(name, epoch, len(content), ''.join(sorted(set(content.decode()))))
    print(json.load(open(ROOT + '/input/config/inputdataconfig.json'))['plain']['TrainingInputMode'])
    """
    items = [
        channel("plain", f"s3://{BUCKET}/piped/") | {"InputMode": "Pipe"},
        channel("zipped", f"s3://{BUCKET}/zipped/") | {"InputMode": "Pipe", "CompressionType": "Gzip"},
    ]
    completed(rig, request_with(rig, "pipes", code, *items))
    assert rig.all_logs("pipes") == [
        "plain 0 600000 012",
        "zipped 0 300000 012",
        "zipped 1 300000 012",
        "plain 2 600000 012",
        "zipped 2 300000 012",
        "Pipe",
    ]
    eventually(no_pipe_is_fed, "its threads end")


def test_a_pipe_that_cannot_deliver_fails_the_job(rig: Rig) -> None:
    rig.put("broken/x", b"this is no gzip file")
    item = channel("z", f"s3://{BUCKET}/broken/") | {"InputMode": "Pipe", "CompressionType": "Gzip"}
    code = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(ROOT + '/input/data/z_0', 'rb').read()
    while True: signal.pause()
    """
    rig.sagemaker.create_training_job(**request_with(rig, "broken-pipe", code, item))
    reason = rig.ended("broken-pipe")["FailureReason"]
    assert reason.startswith("ClientError: Data download failed: s3://rehearsals/broken/x is no gzip file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CompressionType": "Gzip"}, "used only in Pipe input mode"),
        ({"RecordWrapperType": "RecordIO"}, "does not wrap records"),
        ({"S3DataType": "AugmentedManifestFile"}, "S3Prefix and ManifestFile"),
        ({"DataSource": {"FileSystemDataSource": None}}, "no file systems"),
    ],
)
def test_what_is_not_supported_is_refused(rig: Rig, changes: dict[str, Any], message: str) -> None:
    rig.put("some/data", "x")
    item = channel("data", f"s3://{BUCKET}/some/")
    if "S3DataType" in changes:
        source_of(item).update(changes)
    elif "DataSource" in changes:
        system = {"FileSystemId": "fs-12345678901", "FileSystemAccessMode": "ro", "FileSystemType": "EFS"}
        item["DataSource"] = {"FileSystemDataSource": {**system, "DirectoryPath": "/d"}}
    else:
        item |= changes
    code, text = error_of(rig.sagemaker.create_training_job, **request_with(rig, "refused", "", item))
    assert code == "ValidationException"
    assert message in text


@pytest.fixture(scope="module")
def store(emulator: SageMakerEmulator) -> ObjectStore:
    """Of another account, which the emulator's jobs do not know."""
    s3_backends["222222222222"]["aws"].create_bucket("bucket", "us-east-1")
    return ObjectStore("222222222222")


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(0, 20), hosts=st.integers(1, 6), seed=st.none() | st.integers(0, 9), epoch=st.integers(0, 3)
)
def test_shards_are_a_partition_of_each_pass(count: int, hosts: int, seed: int | None, epoch: int) -> None:
    parts = [Part("bucket", str(number), str(number)) for number in range(count)]
    channels = [Channel("c", "File", parts, (host, hosts), seed, False) for host in range(hosts)]
    shares = [item.share(epoch) for item in channels]
    assert sorted((part for share in shares for part in share), key=parts.index) == parts
    assert shares == [item.share(epoch) for item in channels]
    assert all(abs(len(share) - count / hosts) < 1 for share in shares)
    whole = Channel("c", "File", parts, (0, 1), seed, False)
    if seed is not None and count > 15:
        assert whole.share(epoch) != whole.share(epoch + 1)


@settings(max_examples=20, deadline=None)
@given(members=st.lists(st.binary(max_size=3000), max_size=4))
def test_gzip_members_are_unpacked_one_after_another(
    store: ObjectStore, tmp_path_factory: pytest.TempPathFactory, members: list[bytes]
) -> None:
    store.put("bucket", "x", b"".join(map(gzip.compress, members)))
    folder = tmp_path_factory.mktemp("pipes")
    pipe = ChannelPipe(folder, Channel("c", "Pipe", [Part("bucket", "x", "x")], (0, 1), None, True), store)
    pipe.start(lambda error: pytest.fail(str(error)))
    try:
        assert (folder / "c_0").read_bytes() == b"".join(members)
        assert (folder / "c_1").exists()
    finally:
        pipe.end()


def test_an_unread_pipe_ends(store: ObjectStore, tmp_path: Path) -> None:
    store.put("bucket", "x", b"1" * (1 << 20))
    pipe = ChannelPipe(tmp_path, Channel("c", "Pipe", [Part("bucket", "x", "x")], (0, 1), None, False), store)
    pipe.start(lambda error: pytest.fail(str(error)))
    pipe.end()
    pipe.end()
    eventually(no_pipe_is_fed, "its threads end")

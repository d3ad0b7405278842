"""Jobs with hostile names, texts, inputs and leavings: they end, and nothing outside their folder changes."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator_rig import BUCKET, LOG_GROUP
from victim import ROLE, Victim

from cloudtune.emulator.machine import keeper


@pytest.fixture(scope="module", params=["auto", "none"])
def victim(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Victim]:
    options = ["--isolation", request.param, "--max_parallel_jobs", "2", "--stop_grace_s", "1"]
    with Victim(tmp_path_factory.mktemp("fuzz"), *options) as started:
        started.rig()  # makes the bucket
        yield started
        started.check()
        started.shut_down()


def run(victim: Victim, name: str, *program: str, **members: Any) -> dict[str, Any]:
    """The final description of a job; ``members`` replace those of its request."""
    algorithm = {
        "TrainingImage": "image",
        "TrainingInputMode": "File",
        "ContainerEntrypoint": list(program),
        **members.pop("algorithm", {}),
    }
    request = {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": algorithm,
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        **members,
    }
    answer = victim.ask("CreateTrainingJob", request)
    if answer.status != 200:
        return {"Refused": json.loads(answer.body)["message"]}
    ended = victim.job_ended(name)
    assert "InternalServerError" not in ended.get("FailureReason", ""), ended
    return ended


def shell(victim: Victim, name: str, script: str, **members: Any) -> dict[str, Any]:
    """Runs ``script``, in which ``$ROOT`` is where ``/opt/ml`` is."""
    victim.rig().put(f"scripts/{name}/run.sh", f"ROOT=${{CLOUDTUNE_ML_ROOT:-/opt/ml}}\n{script}\n")
    channels = [*members.pop("InputDataConfig", []), channel("script", f"scripts/{name}/")]
    return run(victim, name, "/bin/sh", "/opt/ml/input/data/script/run.sh", InputDataConfig=channels, **members)


def channel(name: str, prefix: str, **members: Any) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **members}


KEYS = [
    "../{}",
    "a/../../{}",
    "../../../../../../tmp/{}",
    "/tmp/{}",
    "/",
    "..",
    "a/..",
    "{}\0",
    "n" * 256,
    "d/" * 400 + "x",
]


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_objects_become_files_in_their_channel_or_none(victim: Victim, number: int) -> None:
    key = KEYS[number].replace("{}", victim.token)
    rig = victim.rig()
    rig.put(f"hostile-{number}/{key}", "x")
    for use in ("InputDataConfig", "CheckpointConfig"):
        prefix = f"hostile-{number}/"
        config: Any = [channel("data", prefix)]
        if use == "CheckpointConfig":
            config = {"S3Uri": f"s3://{BUCKET}/{prefix}"}
        ended = run(victim, f"keys-{number}-{use}", "true", **{use: config})
        assert ended["TrainingJobStatus"] in ("Completed", "Failed")
        if ended["TrainingJobStatus"] == "Failed":
            assert ended["FailureReason"].startswith("ClientError: ")
    victim.check()


def test_keys_that_are_file_and_folder_at_once(victim: Victim) -> None:
    rig = victim.rig()
    for key in ("both/a", "both/a/b", "both/a/", "both//c", "both/./d", "both/a/b/c"):
        rig.put(key, "x")
    assert run(victim, "both", "true", InputDataConfig=[channel("data", "both/")])["FailureReason"].startswith(
        "ClientError: Data download failed"
    )
    victim.check()


def archive(*members: tuple[str, bytes, str]) -> bytes:
    """A tar archive of (name, type, target)."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    return content.getvalue()


def test_archives_are_delivered_as_they_are(victim: Victim) -> None:
    """The emulator unpacks none: what is in them is the business of the job."""
    token = victim.token
    hostile = archive(
        (f"../../{token}", tarfile.REGTYPE, ""),
        (f"/tmp/{token}", tarfile.REGTYPE, ""),
        ("link", tarfile.SYMTYPE, "/"),
        (f"link/tmp/{token}", tarfile.REGTYPE, ""),
        ("hard", tarfile.LNKTYPE, "/etc/passwd"),
        ("device", tarfile.BLKTYPE, ""),
        ("pipe", tarfile.FIFOTYPE, ""),
    )
    victim.rig().put("archive/sourcedir.tar.gz", hostile)
    script = "cd $ROOT/input/data/code; cat sourcedir.tar.gz > $ROOT/model/same; ls > $ROOT/model/names"
    ended = shell(victim, "archive", script, InputDataConfig=[channel("code", "archive/")])
    assert ended["TrainingJobStatus"] == "Completed"
    with tarfile.open(fileobj=io.BytesIO(victim.rig().get("output/archive/output/model.tar.gz") or b"")) as model:
        assert model.extractfile("same").read() == hostile  # type: ignore[union-attr]
        assert model.extractfile("names").read() == b"sourcedir.tar.gz\n"  # type: ignore[union-attr]
    victim.check()


def test_a_bomb_in_a_pipe_takes_no_memory(victim: Victim) -> None:
    member = gzip.compress(bytes(64 << 20))
    victim.rig().put("bomb/zeros.gz", member * 40)  # 2.5 GiB in 2.6 MB
    before = victim.memory_mib()
    config = [channel("bomb", "bomb/", InputMode="Pipe", CompressionType="Gzip")]
    script = "head -c 300000000 $ROOT/input/data/bomb_0 | wc -c > $ROOT/model/size"
    assert shell(victim, "bomb", script, InputDataConfig=config)["TrainingJobStatus"] == "Completed"
    assert victim.memory_mib() - before < 100
    victim.rig().put("nogzip/x.gz", b"\x1f\x8b" + b"nothing of the kind")
    config = [channel("bomb", "nogzip/", InputMode="Pipe", CompressionType="Gzip")]
    ended = shell(victim, "no-gzip", "cat $ROOT/input/data/bomb_0; sleep 20", InputDataConfig=config)
    assert "is no gzip file" in ended["FailureReason"]
    victim.check()


def test_texts_reach_the_job_as_they_are(victim: Victim) -> None:
    """Nothing in between takes them for commands, paths or lines."""
    token = victim.token
    texts = [
        f"$(touch /tmp/{token})",
        f"`touch /tmp/{token}`",
        f"'; touch /tmp/{token}; '",
        f"\n touch /tmp/{token}\n",
        '"',
        "\\",
        "${IFS}",
        "%s%n",
        "\u202e",
        "\U0001f4a9",
        "\x1b]0;x\x07",
        "-c",
        "--help",
        "",
        " ",
        "*",
        "../..",
        "é" * 100,
    ]
    code = "import json, os, sys; print(json.dumps([sys.argv[1:], [os.environ[f'T{n}'] for n in range(%d)]]))"
    arguments = [text for text in texts if text and "\n" not in text]
    ended = run(
        victim,
        "texts",
        "python3",
        "-c",
        code % len(texts),
        algorithm={"ContainerArguments": arguments},
        Environment={f"T{number}": text for number, text in enumerate(texts)},
        HyperParameters={f"h{number}": text for number, text in enumerate(arguments)},
        Tags=[{"Key": f"k{number}", "Value": "v"} for number in range(3)],
    )
    assert ended.get("TrainingJobStatus") == "Completed", ended
    (line,) = victim.rig().all_logs("texts")
    assert json.loads(line) == [arguments, texts]
    victim.check()


@pytest.mark.parametrize(
    "environment",
    [
        {"PATH": "/nowhere"},
        {"PATH": ""},
        {"IFS": "/"},
        {"ENV": "/tmp/x", "BASH_ENV": "/tmp/x"},
        {"_ct_job": "/etc", "_ct_path": "/"},
        {"LD_PRELOAD": "/nothing.so"},
        {"PYTHONPATH": "/x", "PYTHONHOME": "/y"},
        {"CLOUDTUNE_EMULATOR_MARK": "x"},
        {"PS4": "$(id)"},
        {"TMPDIR": "../../.."},
        {"HOME": "/"},
        {"AWS_ENDPOINT_URL": "http://[::"},
        {"CLOUDTUNE_ML_ROOT": "/"},
    ],
    ids=lambda found: next(iter(found)),
)
def test_environments_that_mean_something_on_the_way(victim: Victim, environment: dict[str, str]) -> None:
    name = f"env-{'-'.join(environment).replace('_', '')}-{len(''.join(environment.values()))}"
    ended = run(victim, name, "/bin/sh", "-c", "exit 0", Environment=environment)
    assert ended["TrainingJobStatus"] in ("Completed", "Failed")
    victim.check()


@pytest.mark.parametrize(
    "program",
    [
        ["/"],
        ["/nowhere"],
        ["\u00e9"],
        ["--"],
        ["-c"],
        [" "],
        ["../x"],
        ["/etc/passwd"],
        ["."],
        ["exit"],
        ["x" * 256],
    ],
)
def test_programs_that_cannot_run(victim: Victim, program: list[str]) -> None:
    name = f"program-{sum(map(ord, program[0]))}"
    assert run(victim, name, *program)["TrainingJobStatus"] == "Failed"
    victim.check()


@pytest.mark.parametrize(
    "path",
    [
        "/opt/ml/" + "x" * 300,
        "/opt/ml/" + "y/" * 2000,
        "/opt/ml/a\0b",
        "/opt/ml/a\nb",
        "/opt/ml/./x",
        "/opt/ml//x/",
    ],
)
def test_checkpoint_paths(victim: Victim, path: str) -> None:
    config = {"S3Uri": f"s3://{BUCKET}/none/", "LocalPath": path}
    ended = run(victim, f"path-{len(path)}-{sum(map(ord, path))}", "true", CheckpointConfig=config)
    assert "Refused" in ended or ended["TrainingJobStatus"] in ("Completed", "Failed")
    victim.check()


def test_what_a_job_leaves_cannot_reach_out(victim: Victim) -> None:
    """Links, pipes, devices, sockets, loops and unreadable folders where results are looked for."""
    secret, there = victim.canary / "secret.txt", victim.canary
    script = " ; ".join(
        [
            f"cd $ROOT/model && ln -s {secret} link && ln -s {there} folder && ln -s . loop && mkfifo pipe",
            "mknod device c 1 5",
            f"cd $ROOT/checkpoints && ln -s {secret} link && ln -s {there} folder && mkfifo pipe",
            f"cd $ROOT/output && ln -s {secret} failure && rm -rf data && ln -s {there} data",
            "mkdir $ROOT/model/closed && chmod 0 $ROOT/model/closed",
            f"rm -rf $ROOT/code && ln -s {there} $ROOT/code",
            "cd $ROOT/.. ; ln -s / work2",
            "true",
        ]
    )
    for number, compression in enumerate(("GZIP", "NONE")):
        output = {"S3OutputPath": f"s3://{BUCKET}/output", "CompressionType": compression}
        ended = shell(
            victim,
            f"leavings-{number}",
            f"({script}) 2> /dev/null",
            OutputDataConfig=output,
            CheckpointConfig={"S3Uri": f"s3://{BUCKET}/left-{number}/"},
        )
        assert ended["TrainingJobStatus"] in ("Completed", "Failed"), ended
        victim.check()
    rig = victim.rig()
    for key in rig.keys(""):
        assert victim.token.encode() not in (rig.get(key) or b""), key


def test_results_without_end(victim: Victim) -> None:
    """A folder swapped for a link, names that are no text, a file of a gigabyte that has no content."""
    script = (
        f"cd $ROOT; mv checkpoints old; ln -s {victim.canary} checkpoints; truncate -s 200M model/holes;"
        "touch $ROOT/model/$(printf 'a\\377b') $ROOT/model/'new\nline' $ROOT/model/-rf"
    )
    before = victim.memory_mib()
    ended = shell(victim, "swapped", script, CheckpointConfig={"S3Uri": f"s3://{BUCKET}/swapped/"})
    assert ended["TrainingJobStatus"] in ("Completed", "Failed"), ended
    assert victim.memory_mib() - before < 150
    rig = victim.rig()
    assert [key for key in rig.keys("swapped/") if "secret" in key] == []
    victim.check()


def test_what_a_job_prints(victim: Victim) -> None:
    code = (
        "import os, sys\nw = sys.stdout.buffer.write\nw(bytes(range(256)) * 400)\nw(b'x' * 3_000_000 + b'\\n')\n"
        "w(b'\\n' * 50_000)\nw('\\u2028\\r\\r\\n'.encode() * 100)\nw(b'loss=' + b'9' * 5_000 + b'\\n')\n"
        "w(b'loss=1e999\\nloss=nan\\nloss=0.5\\n' + b'a' * 40_000 + b'!\\n')\n"
    )
    metrics = [
        {"Name": "loss", "Regex": "loss=(\\S+)"},
        {"Name": "slow", "Regex": "(a+)+$"},
        {"Name": "slower", "Regex": "(a|aa|aaa)+b"},
        {"Name": "empty", "Regex": "x*"},
        {"Name": "none", "Regex": "loss"},
        {"Name": "back", "Regex": "(?:(a*)*)*\\1c"},
    ]
    victim.rig().put("scripts/code/prints.py", code)
    ended = run(
        victim,
        "prints",
        "python3",
        "/opt/ml/input/data/script/prints.py",
        algorithm={"MetricDefinitions": metrics},
        InputDataConfig=[channel("script", "scripts/code/")],
    )
    assert ended["TrainingJobStatus"] == "Completed", ended
    assert [item["Value"] for item in ended["FinalMetricDataList"] if item["MetricName"] == "loss"] == [0.5]
    rig = victim.rig()
    assert max(len(line.encode()) for line in rig.all_logs("prints")) <= 1_000_000
    rig.logs.filter_log_events(logGroupName=LOG_GROUP, logStreamNamePrefix="prints/", filterPattern='"(a+)+$" [')
    victim.check()


@pytest.mark.parametrize("region", ["z" * 300, "..", "-", "a.b", "us-east-1x", "US-EAST-1"])
def test_regions_that_are_none(victim: Victim, region: str) -> None:
    headers = {
        "X-Amz-Target": "SageMaker.CreateTrainingJob",
        "Authorization": f"AWS4-HMAC-SHA256 Credential=a/20200101/{region}/sagemaker/aws4_request",
    }
    request = {
        "TrainingJobName": "region",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": "i",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["true"],
        },
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    answer = victim.send("/", json.dumps(request).encode(), headers)
    assert answer.status in (200, 400)  # a region that cannot be read is the default one
    victim.check()


def test_removing_a_folder_leaves_alone_what_links_point_to(tmp_path: Path) -> None:
    """As a user who is not root, to whom a folder without rights is in the way."""
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    for folder in (outside / "private", tree / "closed" / "inner"):
        folder.mkdir(parents=True)
    (outside / "private").chmod(0o500)
    (tree / "link").symlink_to(outside / "private")
    (tree / "closed").chmod(0)
    for path in (tmp_path, *tmp_path.parents):
        if (
            path.owner() == tmp_path.owner()
            and os.getuid() == 0
            and path.name.startswith(("pytest", "popen", "test"))
        ):
            path.chmod(0o755)
    user = {"user": 65534} if os.getuid() == 0 else {}
    if user:
        for path in (tmp_path, outside, outside / "private", tree, tree / "closed", tree / "closed" / "inner"):
            os.chown(path, 65534, -1)
    code = "import pathlib, runpy, sys; runpy.run_path(sys.argv[1])['remove_tree'](pathlib.Path(sys.argv[2]))"
    command = ["/usr/bin/env", "python3", "-I", "-c", code, keeper.__file__, str(tree)]
    subprocess.run(command, check=True, timeout=60, **user)  # type: ignore[call-overload]
    assert not tree.exists()
    assert (outside / "private").stat().st_mode & 0o777 == 0o500

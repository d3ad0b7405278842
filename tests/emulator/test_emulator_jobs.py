"""Jobs really run: what they find, what becomes of their results, how they end."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.request
import zipfile
from typing import Any

import pytest
from emulator_rig import BUCKET, LOG_GROUP, Rig, channel, error_of, eventually

from cloudtune.emulator import SageMakerEmulator


def test_a_job_trains(rig: Rig) -> None:
    code = """
    config = ROOT + '/input/config/'
    data = ROOT + '/input/data/'
    facts = {
        'hyperparameters': json.load(open(config + 'hyperparameters.json')),
        'resources': json.load(open(config + 'resourceconfig.json')),
        'channels': json.load(open(config + 'inputdataconfig.json')),
        'data': open(data + 'train/sub/x.csv').read(),
        'single': os.listdir(data + 'one'),
        'environment': dict(os.environ),
        'arguments': sys.argv[1:],
    }
    open(ROOT + '/model/facts.json', 'w').write(json.dumps(facts))
    os.makedirs(ROOT + '/output/data', exist_ok=True)
    open(ROOT + '/output/data/report.txt', 'w').write('fine')
    print('loss=0.5; loss=x')
    print('loss=1e-05;')
    """
    rig.put("data/sub/x.csv", "1,2")
    rig.put("single/file.bin", "z")
    request = rig.request("trains", code, HyperParameters={"lr": '"0.1"', "odd": 'it\'s "ü" $HOME'})
    request["AlgorithmSpecification"] |= {
        "ContainerArguments": ["a b", "ü'\"$(x)*"],
        "MetricDefinitions": [
            {"Name": "loss", "Regex": r"loss=([0-9.e-]+);"},
            {"Name": "never", "Regex": "no(x)"},
        ],
    }
    request["InputDataConfig"] += [
        channel("train", f"s3://{BUCKET}/data"),
        channel("one", f"s3://{BUCKET}/single/file.bin"),
    ]
    request["Environment"] = {"MY_SETTING": "a 'quoted' $value"}
    rig.sagemaker.create_training_job(**request)
    job = rig.ended("trains")

    assert job["TrainingJobStatus"] == "Completed"
    assert rig.phases("trains") == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/output/trains/output/model.tar.gz"
    assert rig.keys("output/trains/output/") == ["model.tar.gz", "output.tar.gz"]
    with tarfile.open(fileobj=io.BytesIO(rig.get("output/trains/output/model.tar.gz") or b"")) as archive:
        facts = json.load(archive.extractfile("facts.json") or io.BytesIO())
    assert facts["hyperparameters"] == {"lr": '"0.1"', "odd": 'it\'s "ü" $HOME'}
    assert facts["arguments"] == ["a b", "ü'\"$(x)*"]
    assert facts["data"] == "1,2"
    assert facts["single"] == ["file.bin"]
    assert facts["resources"]["current_host"] == "algo-1"
    assert set(facts["channels"]) == {"code", "train", "one"}
    environment = facts["environment"]
    assert environment["MY_SETTING"] == "a 'quoted' $value"
    assert environment["TRAINING_JOB_NAME"] == "trains"
    assert environment["TRAINING_JOB_ARN"] == job["TrainingJobArn"]
    assert environment["AWS_ENDPOINT_URL"] == rig.endpoint_url
    assert [item["Value"] for item in job["FinalMetricDataList"] if item["MetricName"] == "loss"] == [1e-05]
    assert len(job["FinalMetricDataList"]) == 1
    assert job["TrainingTimeInSeconds"] >= 1
    assert job["TrainingStartTime"] <= job["TrainingEndTime"]
    assert rig.all_logs("trains") == ["loss=0.5; loss=x", "loss=1e-05;"]


def test_a_failing_job_says_why(rig: Rig) -> None:
    job = rig.run("fails", "open(ROOT + '/output/failure', 'w').write('no data' * 300); sys.exit(3)")
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: no data")
    assert job["FailureReason"].endswith(", exit code: 3")
    assert len(job["FailureReason"]) <= 1024


# The first process of a container cannot be killed from inside, only report that its child was.
_CHILD_KILLED = "import subprocess, sys; sys.exit(128 - subprocess.call(['sh', '-c', 'kill -9 $$']))"


@pytest.mark.parametrize(
    ("name", "entrypoint", "code"),
    [("child-killed", ["python3", "-c", _CHILD_KILLED], 137), ("absent", ["no-such-program"], 127)],
)
def test_exit_codes_are_a_containers(rig: Rig, name: str, entrypoint: list[str], code: int) -> None:
    request = rig.request(name)
    request["AlgorithmSpecification"]["ContainerEntrypoint"] = entrypoint
    rig.sagemaker.create_training_job(**request)
    assert rig.ended(name)["FailureReason"] == f"AlgorithmError: , exit code: {code}"


def test_a_job_without_entrypoint_fails_with_a_hint(rig: Rig) -> None:
    request = rig.request("no-entrypoint")
    del request["AlgorithmSpecification"]["ContainerEntrypoint"]
    rig.sagemaker.create_training_job(**request)
    reason = rig.ended("no-entrypoint")["FailureReason"]
    assert reason.startswith("ClientError: ")
    assert "sagemaker-training" in reason


def test_stop_sends_sigterm_and_keeps_results(rig: Rig) -> None:
    code = """
    def end(*_):
        open(ROOT + '/model/m', 'w').write('saved')
        open(ROOT + '/checkpoints/last', 'w').write('saved')
        print('SIGTERM seen')
        sys.exit(0)
    signal.signal(signal.SIGTERM, end)
    open(ROOT + '/checkpoints/ready', 'w').write('1')
    while True: signal.pause()
    """
    rig.submit("stopped", code)
    rig.printed("checkpoints/stopped/ready")
    rig.sagemaker.stop_training_job(TrainingJobName="stopped")
    rig.sagemaker.stop_training_job(TrainingJobName="stopped")  # asked twice is asked once
    job = rig.ended("stopped")
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Stopped"
    assert rig.phases("stopped") == ["Starting", "Downloading", "Training", "Stopping", "Stopped"]
    assert "SIGTERM seen" in rig.all_logs("stopped")
    assert rig.get("checkpoints/stopped/last") == b"saved"
    assert rig.get("output/stopped/output/model.tar.gz") is not None
    code_, message = error_of(rig.sagemaker.stop_training_job, TrainingJobName="stopped")
    assert code_ == "ValidationException"
    assert message == "The request was rejected because the training job is in status Stopped."


SPOT = """
checkpoint = ROOT + '/checkpoints/epoch'
epoch = int(open(checkpoint).read()) if os.path.exists(checkpoint) else 0
print('begin', epoch, flush=True)
def end(*_):
    print('SIGTERM seen', flush=True)
    open(ROOT + '/checkpoints/notice', 'w').write('1')
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while epoch < 3:
    epoch += 1
    open(checkpoint + '.tmp', 'w').write(str(epoch))
    os.replace(checkpoint + '.tmp', checkpoint)
    print('epoch', epoch, flush=True)
    if epoch == 2:
        stay = ROOT + '/checkpoints/interrupted-once'
        if not os.path.exists(stay):
            open(stay, 'w').write('1')
            while True: signal.pause()
"""


@pytest.mark.parametrize("notice", [False, True])
def test_an_interrupted_spot_job_resumes(emulator: SageMakerEmulator, rig: Rig, notice: bool) -> None:
    name = rig.submit(f"spot-{notice}".lower(), SPOT, spot=True)
    rig.printed(f"checkpoints/{name}/interrupted-once")
    emulator.interrupt(name, notice=notice)
    job = rig.ended(name)
    assert job["TrainingJobStatus"] == "Completed"
    assert rig.phases(name) == [
        "Starting", "Downloading", "Training", "Interrupted",
        "Starting", "Downloading", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    first, second = (rig.log(stream) for stream in rig.streams(name))
    assert first == ["begin 0", "epoch 1", "epoch 2"] + ["SIGTERM seen"] * notice
    assert second == ["begin 2", "epoch 3"]
    assert (rig.get(f"checkpoints/{name}/notice") == b"1") is notice
    assert job["BillableTimeInSeconds"] <= job["TrainingTimeInSeconds"]


def test_six_jobs_in_turns_each_with_its_own_opt_ml(rig: Rig) -> None:
    code = """
    name = os.environ['TRAINING_JOB_NAME']
    assert not os.listdir(ROOT + '/model')
    open(ROOT + '/model/' + name, 'w').write(name)
    open(ROOT + '/checkpoints/' + name, 'w').write(name)
    time.sleep(0.2)
    assert os.listdir(ROOT + '/model') == os.listdir(ROOT + '/checkpoints') == [name]
    """
    names = [f"parallel-{number}" for number in range(6)]
    for name in names:
        rig.submit(name, code)
    jobs = [rig.ended(name) for name in names]
    assert [job["TrainingJobStatus"] for job in jobs] == ["Completed"] * 6
    assert [rig.keys(f"checkpoints/{name}/") for name in names] == [[name] for name in names]
    starts = [job["TrainingStartTime"] for job in jobs]
    assert all(
        first <= third for first, third in zip(starts, starts[2:], strict=False)
    )  # first come, first served
    for job in jobs:  # never more than two at once
        at_once = [
            other
            for other in jobs
            if other["TrainingStartTime"] <= job["TrainingStartTime"] < other["TrainingEndTime"]
        ]
        assert len(at_once) <= 2


def test_a_waiting_job_can_be_stopped(rig: Rig) -> None:
    forever = """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    open(ROOT + '/checkpoints/listens', 'w').write('1')
    while True: signal.pause()
    """
    running = [rig.submit(f"long-{number}", forever) for number in range(2)]
    for name in running:
        rig.printed(f"checkpoints/{name}/listens")
    rig.submit("waits", "")
    assert rig.describe("waits")["SecondaryStatus"] == "Starting"
    rig.sagemaker.stop_training_job(TrainingJobName="waits")
    assert rig.phases("waits") == ["Starting", "Stopping", "Stopped"]
    assert "TrainingStartTime" not in rig.describe("waits")
    for name in running:
        rig.sagemaker.stop_training_job(TrainingJobName=name)
        rig.ended(name)


def test_max_runtime(rig: Rig) -> None:
    job = rig.run(
        "too-long",
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nwhile True: signal.pause()",
        StoppingCondition={"MaxRuntimeInSeconds": 1},
    )
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_checkpoints_follow_the_folder(rig: Rig) -> None:
    code = """
    folder = ROOT + '/checkpoints/'
    assert open(folder + 'deep/old').read() == 'from before'
    os.remove(folder + 'deep/old')
    open(folder + 'new', 'w').write('1')
    import boto3, botocore
    s3 = boto3.client('s3')
    while True:  # until the test says so, through S3
        try:
            s3.head_object(Bucket='rehearsals', Key='go')
            break
        except botocore.exceptions.ClientError:
            time.sleep(0.05)
    sys.exit(os.path.exists(folder + 'later'))
    """
    rig.put("checkpoints/follow/deep/old", "from before")
    rig.submit("follow", code)
    eventually(lambda: rig.keys("checkpoints/follow/") == ["new"], "old deleted, new uploaded, while it runs")
    assert rig.describe("follow")["SecondaryStatus"] == "Training"
    rig.put("checkpoints/follow/later", "from elsewhere")
    rig.put("go", "1")
    assert rig.ended("follow")["TrainingJobStatus"] == "Completed"
    assert rig.keys("checkpoints/follow/") == ["later", "new"]


def test_output_of_any_kind_is_logged(rig: Rig) -> None:
    code = r"""
    sys.stdout.buffer.write(b'\xff\xfe binary\n\n\nx\r\n')
    sys.stdout.buffer.write(b'a' * 600_000)
    sys.stdout.flush()
    os.system('echo from a child >&2')
    sys.stdout.write('no newline at the end')
    """
    rig.run("prints", code)
    lines = rig.all_logs("prints")
    assert lines[:2] == ["\ufffd\ufffd binary", "x"]
    assert sum(line.count("a") for line in lines[2:-1]) == 600_000 + "from a child".count("a")
    assert max(map(len, lines)) <= 256_000
    assert lines[-1] == "no newline at the end"


def _wheel(version: str) -> bytes:
    content = io.BytesIO()
    info = f"emulatorprobe-{version}.dist-info"
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("emulatorprobe.py", f"version = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: emulatorprobe\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return content.getvalue()


def test_what_a_job_installs_stays_with_it(rig: Rig) -> None:
    for version in ("1.0", "2.0"):
        rig.put(f"wheels/{version}/emulatorprobe-{version}-py3-none-any.whl", _wheel(version))
    code = """
    import subprocess
    wheel = ROOT + '/input/data/wheels/' + os.listdir(ROOT + '/input/data/wheels')[0]
    subprocess.run(['pip', 'install', '-q', '--no-index', wheel], check=True)
    import numpy, emulatorprobe  # of the environment, and of this job
    open(ROOT + '/checkpoints/version', 'w').write(emulatorprobe.version)
    """
    for version in ("1.0", "2.0"):
        name = f"installs-{version[0]}"
        request = rig.request(name, code)
        request["InputDataConfig"].append(channel("wheels", f"s3://{BUCKET}/wheels/{version}"))
        rig.sagemaker.create_training_job(**request)
    for version in ("1.0", "2.0"):
        job = rig.ended(f"installs-{version[0]}")
        assert job["TrainingJobStatus"] == "Completed", rig.all_logs(f"installs-{version[0]}")
        assert rig.get(f"checkpoints/installs-{version[0]}/version") == version.encode()
    with pytest.raises(ImportError):
        __import__("emulatorprobe")


def test_hostile_object_names_stay_in_the_job(rig: Rig) -> None:
    rig.put("hostile/../../escape", "x")
    request: dict[str, Any] = rig.request("hostile", "")
    request["InputDataConfig"].append(channel("data", f"s3://{BUCKET}/hostile"))
    rig.sagemaker.create_training_job(**request)
    assert rig.ended("hostile")["FailureReason"].startswith("ClientError: Data download failed")


def test_hostile_variables_arrive_as_they_are(rig: Rig) -> None:
    values = {"job": "a", "path": "b", "name": "c", "entry": "d", "PATH_": "$(id) `id` ' \"", "EMPTY": ""}
    code = f"print(json.dumps({{name: os.environ.get(name) for name in {list(values)}}}))"
    rig.run("variables", code, Environment=values)
    assert json.loads(rig.all_logs("variables")[0]) == values


def test_a_failure_that_is_no_file_is_not_waited_for(rig: Rig) -> None:
    reason = rig.run("pipe", "os.mkfifo(ROOT + '/output/failure'); sys.exit(3)")["FailureReason"]
    assert reason == "AlgorithmError: , exit code: 3"


def test_a_log_that_a_user_deletes_does_not_hold_up_the_job(rig: Rig) -> None:
    code = """
    import urllib.request
    print('first', flush=True)
    open(ROOT + '/checkpoints/up', 'w').write('1')
    url = os.environ['AWS_ENDPOINT_URL'] + '/_emulator/interrupt_rules'
    while b'go-on' not in urllib.request.urlopen(url, timeout=60).read(): time.sleep(0.02)
    for _ in range(40): sys.stdout.write('x' * 20_000 + chr(10))
    """
    name = rig.submit("unlogged", code)
    rig.printed("checkpoints/unlogged/up")
    rig.logs.delete_log_group(logGroupName=LOG_GROUP)
    rule = json.dumps({"name_prefix": "go-on"}).encode()
    urllib.request.urlopen(f"{rig.endpoint_url}/_emulator/interrupt_rules", data=rule, timeout=60).close()
    assert rig.ended(name)["TrainingJobStatus"] == "Completed"
    rig.run("logged-again", "print('back')")
    assert rig.all_logs("logged-again") == ["back"]

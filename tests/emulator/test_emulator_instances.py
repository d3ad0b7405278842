"""Jobs of several hosts: what each finds, how they reach one another, how they end together."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest
from emulator_rig import BUCKET, Rig, channel, eventually

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.fleet.instances import preferences
from cloudtune.emulator.machine.hosts import Addresses, hosts_of, resource_configuration

RESOURCES = {"InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
GROUPS = [
    {"InstanceGroupName": "big", "InstanceType": "ml.c5.xlarge", "InstanceCount": 1},
    {"InstanceGroupName": "small", "InstanceType": "ml.m5.large", "InstanceCount": 2},
]


@pytest.fixture(autouse=True)
def needs_namespaces(emulator: SageMakerEmulator) -> None:
    """What hosts can do without is in test_emulator_isolation.py."""
    if emulator.isolation == "none":
        pytest.skip("without namespaces hosts have no names")


def on_hosts(rig: Rig, name: str, code: str, count: int = 2, **changes: Any) -> dict[str, Any]:
    """Runs ``code`` on ``count`` hosts; ``HOST`` and ``HOSTS`` in it are the resource configuration's."""
    return rig.ended(submit(rig, name, code, count, **changes))


def submit(rig: Rig, name: str, code: str, count: int = 2, **changes: Any) -> str:
    prologue = "resources = json.load(open(ROOT + '/input/config/resourceconfig.json'))\n"
    prologue += "HOST, HOSTS = resources['current_host'], resources['hosts']\n"
    request = rig.request(name, "", **changes)
    own = "import os, sys, json, time, signal\nROOT = os.environ.get('CLOUDTUNE_ML_ROOT', '/opt/ml')\n"
    rig.put(f"code/{name}/train.py", own + prologue + code)
    if "ResourceConfig" not in changes:
        request["ResourceConfig"] = {**RESOURCES, "InstanceCount": count}
    rig.sagemaker.create_training_job(**request)
    return name


def model(rig: Rig, name: str) -> dict[str, str]:
    content = rig.get(f"output/{name}/output/model.tar.gz") or b""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {
            member.name: (archive.extractfile(member) or io.BytesIO()).read().decode()
            for member in archive.getmembers()
            if member.isfile()
        }


def test_each_host_has_its_own_files_and_all_results_are_merged(rig: Rig) -> None:
    code = """
assert os.listdir(ROOT + '/model') == os.listdir(ROOT + '/checkpoints') == []
facts = {'resources': resources, 'name': os.environ['HOSTNAME'], 'node': os.uname().nodename, 'pid': os.getpid()}
open(ROOT + '/model/' + HOST, 'w').write(json.dumps(facts))
open(ROOT + '/model/same', 'w').write(HOST)
os.makedirs(ROOT + '/output/data/deep', exist_ok=True)
open(ROOT + '/output/data/deep/' + HOST, 'w').write('1')
open(ROOT + '/checkpoints/' + HOST, 'w').write(HOST)
print('loss=%s;' % HOST[-1])
"""
    request = rig.request("several")
    algorithm = request["AlgorithmSpecification"]
    algorithm["MetricDefinitions"] = [{"Name": "loss", "Regex": "loss=([0-9]);"}]
    job = on_hosts(rig, "several", code, 3, AlgorithmSpecification=algorithm)
    assert job["TrainingJobStatus"] == "Completed", rig.all_logs("several")
    names = ["algo-1", "algo-2", "algo-3"]
    found = model(rig, "several")
    assert sorted(found) == [*names, "same"]
    assert found["same"] == "algo-1"
    for name in names:
        facts = json.loads(found[name])
        assert facts["resources"]["current_host"] == facts["name"] == facts["node"] == name
        assert facts["resources"]["hosts"] == names
        assert facts["pid"] == 1
    assert rig.keys("checkpoints/several/") == names
    streams = rig.streams("several")
    assert [stream.rsplit("-", 1)[0] for stream in streams] == [f"several/{name}" for name in names]
    assert [rig.log(stream) for stream in streams] == [["loss=1;"], ["loss=2;"], ["loss=3;"]]
    assert [item["Value"] in (1, 2, 3) for item in job["FinalMetricDataList"]] == [True]
    content = rig.get("output/several/output/output.tar.gz") or b""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert [name for name in archive.getnames() if "/" in name] == [f"deep/{name}" for name in names]


def test_hosts_reach_one_another_by_name(rig: Rig) -> None:
    code = """
import socket
port = 7777
if HOST == 'algo-1':
    with socket.create_server(('algo-1', port)) as server:
        connection, peer = server.accept()
        print(connection.recv(10).decode())
else:
    while True:
        try:
            with socket.create_connection(('algo-1', port), source_address=('algo-2', 0)) as connection:
                connection.send(b'hello')
            break
        except ConnectionRefusedError:
            time.sleep(0.02)
"""
    names = [submit(rig, f"by-name-{number}", code) for number in range(2)]  # the same port at once
    for name in names:
        assert rig.ended(name)["TrainingJobStatus"] == "Completed", rig.all_logs(name)
        assert rig.all_logs(name) == ["hello"]


TORCH = """
import torch
import torch.distributed as distributed
os.environ.update(
    MASTER_ADDR=HOSTS[0], MASTER_PORT='29555', GLOO_SOCKET_IFNAME=resources['network_interface_name'],
    RANK=str(HOSTS.index(HOST)), WORLD_SIZE=str(len(HOSTS)),
)
distributed.init_process_group('gloo')
value = torch.tensor([float(distributed.get_rank() + 1)])
distributed.all_reduce(value)
distributed.barrier()
open(ROOT + '/model/' + HOST, 'w').write(str(value.item()))
distributed.destroy_process_group()
"""


@pytest.mark.parametrize("isolated", [False, True])
def test_a_torch_job_of_two_hosts(rig: Rig, isolated: bool) -> None:
    pytest.importorskip("torch")
    name = f"torch-{isolated}".lower()
    job = on_hosts(rig, name, TORCH, EnableNetworkIsolation=isolated)
    assert job["TrainingJobStatus"] == "Completed", rig.all_logs(name)
    assert model(rig, name) == {"algo-1": "3.0", "algo-2": "3.0"}


def test_isolated_jobs_use_the_same_port_at_once(rig: Rig) -> None:
    """Also by listening everywhere, as torch's store does."""
    code = """
import socket
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if HOST == 'algo-1':
    server = socket.create_server(('', 7777))
    open(ROOT + '/checkpoints/up', 'w').write('1')
while True: signal.pause()
"""
    names = [submit(rig, f"same-port-{number}", code, EnableNetworkIsolation=True) for number in range(2)]
    for name in names:
        rig.printed(f"checkpoints/{name}/up")
    for name in names:
        rig.sagemaker.stop_training_job(TrainingJobName=name)
        assert rig.ended(name)["TrainingJobStatus"] == "Stopped"


def test_one_failing_host_ends_the_others(rig: Rig) -> None:
    code = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if HOST == 'algo-2':
    open(ROOT + '/output/failure', 'w').write('no luck on ' + HOST)
    sys.exit(7)
while True: signal.pause()
"""
    job = on_hosts(rig, "one-fails", code, 3)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: no luck on algo-2, exit code: 7"


def test_all_must_end_and_the_last_may_take_its_time(rig: Rig) -> None:
    code = """
import boto3, botocore
if HOST == 'algo-2':
    s3 = boto3.client('s3')
    while True:
        try:
            s3.head_object(Bucket='rehearsals', Key='go/all')
            break
        except botocore.exceptions.ClientError:
            time.sleep(0.05)
    open(ROOT + '/checkpoints/late', 'w').write('1')
else:
    open(ROOT + '/checkpoints/early', 'w').write('1')
"""
    name = submit(rig, "all-end", code)
    rig.printed(f"checkpoints/{name}/early")
    assert rig.describe(name)["SecondaryStatus"] == "Training"
    rig.put("go/all", "1")
    assert rig.ended(name)["TrainingJobStatus"] == "Completed"
    assert rig.keys(f"checkpoints/{name}/") == ["early", "late"]


def test_stop_reaches_all_hosts(rig: Rig) -> None:
    code = """
def end(*_):
    print('SIGTERM on', HOST)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
open(ROOT + '/checkpoints/' + HOST, 'w').write('1')
while True: signal.pause()
"""
    name = submit(rig, "stop-all", code)
    eventually(lambda: len(rig.keys(f"checkpoints/{name}/")) == 2, "both are up")
    rig.sagemaker.stop_training_job(TrainingJobName=name)
    assert rig.ended(name)["TrainingJobStatus"] == "Stopped"
    assert sorted(rig.all_logs(name)) == ["SIGTERM on algo-1", "SIGTERM on algo-2"]


def test_an_interrupted_job_resumes_on_all_hosts_with_all_checkpoints(
    emulator: SageMakerEmulator, rig: Rig
) -> None:
    code = """
before = sorted(os.listdir(ROOT + '/checkpoints'))
if before:
    open(ROOT + '/model/' + HOST, 'w').write(' '.join(before))
    sys.exit(0)
open(ROOT + '/checkpoints/of-' + HOST, 'w').write('1')
while True: signal.pause()
"""
    name = submit(rig, "again", code, spot=True)
    eventually(lambda: len(rig.keys(f"checkpoints/{name}/")) == 2, "both have written")
    emulator.interrupt(name)
    assert rig.ended(name)["TrainingJobStatus"] == "Completed"
    assert model(rig, name) == {"algo-1": "of-algo-1 of-algo-2", "algo-2": "of-algo-1 of-algo-2"}
    assert len(rig.streams(name)) == 4


def test_instance_groups(rig: Rig) -> None:
    code = """
data = ROOT + '/input/data'
found = {name: sorted(os.listdir(data + '/' + name)) for name in sorted(os.listdir(data)) if name != 'code'}
open(ROOT + '/model/' + HOST, 'w').write(json.dumps([resources, found]))
"""
    for number in range(4):
        rig.put(f"grouped/{number}", str(number))
    request = rig.request("groups")
    for name, groups in (("only-small", ["small"]), ("all", ["big", "small"])):
        item = channel(name, f"s3://{BUCKET}/grouped/")
        item["DataSource"]["S3DataSource"] |= {"InstanceGroupNames": groups}
        item["DataSource"]["S3DataSource"]["S3DataDistributionType"] = "ShardedByS3Key"
        request["InputDataConfig"].append(item)
    resources = {"InstanceGroups": GROUPS, "VolumeSizeInGB": 1}
    job = on_hosts(rig, "groups", code, InputDataConfig=request["InputDataConfig"], ResourceConfig=resources)
    assert job["TrainingJobStatus"] == "Completed", rig.all_logs("groups")
    facts = {host: json.loads(text) for host, text in model(rig, "groups").items()}
    assert facts["algo-1"][1] == {"all": ["0", "3"]}
    assert facts["algo-2"][1] == {"all": ["1"], "only-small": ["0", "2"]}
    assert facts["algo-3"][1] == {"all": ["2"], "only-small": ["1", "3"]}
    first, third = facts["algo-1"][0], facts["algo-3"][0]
    assert (first["current_group_name"], first["current_instance_type"]) == ("big", "ml.c5.xlarge")
    assert (third["current_group_name"], third["current_instance_type"]) == ("small", "ml.m5.large")
    assert third["instance_groups"] == [
        {"instance_group_name": "big", "instance_type": "ml.c5.xlarge", "hosts": ["algo-1"]},
        {"instance_group_name": "small", "instance_type": "ml.m5.large", "hosts": ["algo-2", "algo-3"]},
    ]


def test_no_two_jobs_have_an_address_in_common() -> None:
    addresses = Addresses()
    taken = [address for _ in range(1000) for address in addresses.take(3)]
    assert len(set(taken)) == 3000
    assert all(address.startswith("127.") for address in taken)


def test_a_job_of_one_host_is_one_group() -> None:
    request = {"ResourceConfig": {**RESOURCES, "InstanceCount": 1}}
    hosts = hosts_of(request, preferences(request)[0])
    assert resource_configuration(hosts, hosts[0])["instance_groups"] == [
        {"instance_group_name": "homogeneousCluster", "instance_type": "ml.m5.large", "hosts": ["algo-1"]}
    ]

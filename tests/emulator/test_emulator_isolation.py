"""Every way to isolate jobs, as far as it works on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator_rig import Rig, channel, error_of, eventually

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.machine.job_environment import relocated
from cloudtune.emulator.machine.keeper import MARK, marked_processes
from cloudtune.errors import SpecError


@pytest.fixture(scope="module", params=["root", "user", "none"])
def isolated(request: pytest.FixtureRequest) -> Iterator[SageMakerEmulator]:
    emulator = SageMakerEmulator(isolation=request.param, stop_grace_s=0.3, max_parallel_jobs=2)
    try:
        emulator.start()
    except SpecError as error:
        pytest.skip(str(error))
    yield emulator
    emulator.close()


@pytest.fixture(scope="module")
def user(isolated: SageMakerEmulator) -> Rig:
    return Rig(isolated.endpoint_url, isolated.role_arn)


def test_the_mode_is_reported(isolated: SageMakerEmulator) -> None:
    assert isolated.health()["isolation"] == isolated.isolation


def test_a_job_sees_its_own_opt_ml(isolated: SageMakerEmulator, user: Rig) -> None:
    code = """
    assert sys.argv[1] == ROOT + '/x', sys.argv
    assert os.environ['WHERE'] == ROOT + '/y'
    parameters = json.load(open(ROOT + '/input/config/hyperparameters.json'))
    assert parameters == {'dir': ROOT + '/z', 'other': '/opt/mlflow'}
    open(ROOT + '/checkpoints/c', 'w').write('1')
    if ROOT == '/opt/ml':
        assert 'algo-1' in open('/etc/hosts').read() and os.getpid() == 1
    """
    request = user.request("own", code, HyperParameters={"dir": "/opt/ml/z", "other": "/opt/mlflow"})
    request["AlgorithmSpecification"]["ContainerArguments"] = ["/opt/ml/x"]
    request["Environment"] = {"WHERE": "/opt/ml/y"}
    before = sorted(Path("/opt").iterdir())
    user.sagemaker.create_training_job(**request)
    assert user.ended("own")["TrainingJobStatus"] == "Completed", user.all_logs("own")
    assert user.get("checkpoints/own/c") == b"1"
    assert sorted(Path("/opt").iterdir()) == before


NETWORK = """
import socket
def reaches(address):
    try:
        socket.create_connection(address, timeout=5).close()
        return True
    except OSError:
        return False
endpoint = os.environ['AWS_ENDPOINT_URL'].removeprefix('http://').split(':')
with socket.create_server(('localhost', 0)) as server:
    own = reaches(server.getsockname())
names = [socket.if_indextoname(number) for number, _ in socket.if_nameindex()]
facts = {'endpoint': reaches((endpoint[0], int(endpoint[1]))), 'itself': own, 'interfaces': names}
open(ROOT + '/checkpoints/facts', 'w').write(json.dumps(facts))
open(ROOT + '/model/m', 'w').write('1')
"""


def test_network_isolation(isolated: SageMakerEmulator, user: Rig) -> None:
    """Nothing is reached, S3 neither; what the platform does goes on."""
    assert user.run("open-network", NETWORK)["TrainingJobStatus"] == "Completed"
    facts = json.loads(user.get("checkpoints/open-network/facts") or b"")
    assert (facts["endpoint"], facts["itself"]) == (True, True)
    job = user.run("no-network", NETWORK, EnableNetworkIsolation=True)
    if isolated.isolation == "none":
        assert job["FailureReason"].startswith("ClientError: The emulator cannot isolate the network")
        return
    assert job["TrainingJobStatus"] == "Completed", user.all_logs("no-network")
    facts = json.loads(user.get("checkpoints/no-network/facts") or b"")
    assert facts == {"endpoint": False, "itself": True, "interfaces": ["lo"]}
    assert user.get("output/no-network/output/model.tar.gz") is not None
    eventually(lambda: not _processes_of("no-network"), "nothing of it is left")


def test_two_hosts(isolated: SageMakerEmulator, user: Rig) -> None:
    code = """
    import socket
    resources = json.load(open(ROOT + '/input/config/resourceconfig.json'))
    host = resources['current_host']
    address = socket.gethostbyname(host) if ROOT == '/opt/ml' else ''
    open(ROOT + '/checkpoints/' + host, 'w').write(address)
    """
    request = user.request("two", code)
    request["ResourceConfig"]["InstanceCount"] = 2
    user.sagemaker.create_training_job(**request)
    assert user.ended("two")["TrainingJobStatus"] == "Completed", user.all_logs("two")
    first, second = (user.get(f"checkpoints/two/algo-{number}") or b"" for number in (1, 2))
    if isolated.isolation != "none":
        assert first.startswith(b"127.") and second.startswith(b"127.") and first != second


def test_the_drivers_of_sdk_v3_are_told_where_opt_ml_is(isolated: SageMakerEmulator, user: Rig) -> None:
    user.put("drivers/sm_train.sh", "\n#!/bin/bash\ncat /opt/ml/input/data/sm_drivers/common/utils.py\n")
    user.put("drivers/common/utils.py", "WHERE = '/opt/ml/input'  # not /opt/mlflow\n")
    user.put("drivers/common/utils.pyc", b"\xff/opt/ml/\xff")
    request = user.request("drivers")
    request["InputDataConfig"] = [channel("sm_drivers", "s3://rehearsals/drivers/")]
    request["AlgorithmSpecification"] |= {
        "ContainerEntrypoint": ["/bin/bash"],
        "ContainerArguments": [
            "-c",
            "chmod +x /opt/ml/input/data/sm_drivers/sm_train.sh && /opt/ml/input/data/sm_drivers/sm_train.sh",
        ],
    }
    user.sagemaker.create_training_job(**request)
    assert user.ended("drivers")["TrainingJobStatus"] == "Completed", user.all_logs("drivers")
    (line,) = user.all_logs("drivers")
    assert line.startswith("WHERE = '/") and line.endswith("/input'  # not /opt/mlflow")
    assert line.startswith("WHERE = '/opt/ml/input'") is (isolated.isolation != "none")


def test_descendants_do_not_outlive_a_job(user: Rig) -> None:
    code = """
    if os.fork() == 0:  # a daemon: another session, ignores signals, holds the output
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True: signal.pause()
    """
    assert user.run("daemonises", code)["TrainingJobStatus"] == "Completed"
    eventually(lambda: not _processes_of("daemonises"), "nothing of it is left")


def test_a_deaf_job_is_killed_after_the_grace_period(user: Rig) -> None:
    code = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(ROOT + '/checkpoints/ready', 'w').write('1')
    while True: signal.pause()
    """
    user.submit("deaf", code)
    user.printed("checkpoints/deaf/ready")
    user.sagemaker.stop_training_job(TrainingJobName="deaf")
    assert user.ended("deaf")["SecondaryStatus"] == "Stopped"
    eventually(lambda: not _processes_of("deaf"), "nothing of it is left")


def _processes_of(job: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"{MARK}=".encode() in environment and f"TRAINING_JOB_NAME={job}\0".encode() in environment:
            found.append(int(entry.name))
    return found


def test_relocation_replaces_the_folder_and_nothing_else() -> None:
    assert relocated("/opt/ml/model /opt/ml:/opt/mlx /opt/ml", "/j") == "/j/model /j:/opt/mlx /j"
    assert relocated("--dir=/opt/ml", r"/j\1") == r"--dir=/j\1"
    assert relocated("/opt/ml/x", "/opt/ml") == "/opt/ml/x"


def test_an_unknown_isolation_is_refused() -> None:
    with pytest.raises(SpecError, match="auto, root, user, none"):
        SageMakerEmulator(isolation="docker")


def _mark_of(pid: int) -> str:
    """What all processes of that one's emulator carry."""
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    (mark,) = [part for part in environment if part.startswith(f"{MARK}=".encode())]
    return mark.decode().partition("=")[2].partition(":")[0]


SERVER = """
import sys
from cloudtune.emulator import SageMakerEmulator
with SageMakerEmulator(isolation=sys.argv[1]) as aws:
    print(aws.endpoint_url, aws.role_arn, flush=True)
    aws.wait_closed()
"""


@pytest.mark.parametrize(("isolation", "hosts"), [("auto", 1), ("auto", 2), ("none", 2)])
def test_nothing_is_left_when_the_emulator_is_killed(isolation: str, hosts: int, tmp_path: Path) -> None:
    """Neither of a job of two hosts with a network of their own."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, isolation],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    if server.stdout is None:
        raise AssertionError("no output")
    with server, server.stdout as output, contextlib.ExitStack() as at_the_end:
        at_the_end.callback(server.kill)  # also where the test fails: else it would be waited for
        rig = Rig(*output.readline().split())
        name = f"orphan-{isolation}"
        code = """
        if os.fork() == 0: os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(ROOT + '/checkpoints/ready', 'w').write('1')
        while True: signal.pause()
        """
        request = rig.request(name, code, EnableNetworkIsolation=isolation == "auto" and hosts > 1)
        request["ResourceConfig"]["InstanceCount"] = hosts
        rig.sagemaker.create_training_job(**request)
        rig.printed(f"checkpoints/{name}/ready")
        eventually(lambda: len(_processes_of(name)) >= 2 * hosts, "all hosts are up")
        mark = _mark_of(_processes_of(name)[0])
        isolated = request.get("EnableNetworkIsolation", False)
        eventually(  # one that holds the network
            lambda: len(marked_processes(mark)) - len(_processes_of(name)) == isolated, "a network is held"
        )
        server.send_signal(signal.SIGKILL)
        server.wait()
    eventually(lambda: not marked_processes(mark), "no process is left")
    eventually(lambda: not list(tmp_path.iterdir()), "no file is left")
    assert str(tmp_path) not in Path("/proc/mounts").read_text(encoding="utf-8")


def test_an_interruption_needs_a_running_spot_job(isolated: SageMakerEmulator, user: Rig) -> None:
    user.run("no-spot", "")
    with pytest.raises(SpecError, match="does not run on a spot instance"):
        isolated.interrupt("no-spot")
    with pytest.raises(SpecError, match="There is no job"):
        isolated.interrupt("nobody")
    assert error_of(user.sagemaker.describe_training_job, TrainingJobName="nobody")[0] == "ValidationException"

"""Rate limits: token buckets per operation, and clients that meet them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from emulator_rig import BUCKET, Rig, error_of
from scenario_rig import of, page, struck

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.faults import Scenario

#: Service seconds pass so slowly that no token comes back during a test.
FROZEN = 1e-6


def throttle(*operations: str, per_s: float = 2, burst: int = 2, **limits: Any) -> Scenario:
    return of({"kind": "throttle", "operations": list(operations), "per_s": per_s, "burst": burst, **limits})


@pytest.fixture(scope="module")
def frozen() -> Iterator[SageMakerEmulator]:
    with SageMakerEmulator(max_parallel_jobs=1, time_scale=FROZEN) as aws:
        yield aws


@pytest.fixture
def rig(frozen: SageMakerEmulator) -> Iterator[Rig]:
    frozen.apply_scenario("calm")
    yield Rig(frozen.endpoint_url, frozen.role_arn)
    frozen.apply_scenario("calm")


def answers(call: Callable[[], object], times: int) -> list[str]:
    """``ok`` or the error code of each of so many calls."""
    found = []
    for _ in range(times):
        try:
            call()
            found.append("ok")
        except ClientError as error:
            found.append(error.response["Error"]["Code"])
    return found


def test_each_operation_has_a_bucket_of_its_own(frozen: SageMakerEmulator, rig: Rig) -> None:
    frozen.apply_scenario(throttle("sagemaker:ListTrainingJobs", "sagemaker:Search"))
    search = lambda: rig.sagemaker.search(Resource="TrainingJob")  # noqa: E731
    refused = "ThrottlingException"
    assert answers(rig.sagemaker.list_training_jobs, 4) == ["ok", "ok", refused, refused]
    assert answers(search, 3) == ["ok", "ok", refused]
    assert answers(rig.sagemaker.list_models, 4) == ["ok"] * 4  # no rule for it
    code, message = error_of(rig.sagemaker.list_training_jobs)
    assert (code, message) == (refused, "Rate exceeded")
    assert struck(frozen, "throttled")[-1]["operation"] == "sagemaker:ListTrainingJobs"


def test_every_service_says_it_in_its_own_words(frozen: SageMakerEmulator, rig: Rig) -> None:
    frozen.apply_scenario(throttle("*:*", burst=1, per_s=1))
    calls: dict[str, Callable[[], object]] = {
        "SlowDown": rig.s3.list_buckets,
        "Throttling": rig.client("sts").get_caller_identity,
        "ThrottlingException": rig.logs.describe_log_groups,
    }
    for code, call in calls.items():
        assert answers(call, 2) == ["ok", code]
        with pytest.raises(ClientError) as error:
            call()
        status = error.value.response["ResponseMetadata"]["HTTPStatusCode"]
        assert status == (503 if code == "SlowDown" else 400)


def test_a_limit_on_times_and_names(frozen: SageMakerEmulator, rig: Rig) -> None:
    frozen.apply_scenario(throttle("sagemaker:DescribeTrainingJob", burst=1, times=2, name_prefix="busy"))
    for name in ("busy", "idle"):
        rig.submit(name, "")
    assert answers(lambda: rig.describe("idle"), 4) == ["ok"] * 4
    assert answers(lambda: rig.describe("busy"), 4) == ["ok", "ThrottlingException", "ThrottlingException", "ok"]


def test_concurrent_clients_share_the_bucket(frozen: SageMakerEmulator, rig: Rig) -> None:
    frozen.apply_scenario(throttle("sagemaker:ListTrainingJobs", burst=5))
    start = threading.Barrier(8)

    def one(_: int) -> list[str]:
        start.wait(timeout=60)
        return answers(rig.sagemaker.list_training_jobs, 3)

    with ThreadPoolExecutor(8) as pool:
        found = [answer for answers_ in pool.map(one, range(8)) for answer in answers_]
    assert found.count("ok") == 5


def test_the_emulators_own_pages_are_never_throttled(frozen: SageMakerEmulator, rig: Rig) -> None:
    frozen.apply_scenario(throttle("*:*", burst=1))
    assert all(page(rig.endpoint_url, "GET", "health")["endpoint_url"] for _ in range(5))


def test_retrying_clients_get_through_and_tokens_come_back() -> None:
    with SageMakerEmulator(max_parallel_jobs=1, time_scale=20) as aws:
        aws.apply_scenario(throttle("sagemaker:ListTrainingJobs", per_s=0.02, burst=1))  # 2.5 s each
        client = boto3.client(
            "sagemaker",
            endpoint_url=aws.endpoint_url,
            region_name=aws.region,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(retries={"mode": "standard", "max_attempts": 10}),
        )
        for _ in range(2):
            client.list_training_jobs()
        assert struck(aws, "throttled")


def test_s3_throttled_by_operation(frozen: SageMakerEmulator, rig: Rig) -> None:
    rig.put("a", "content")
    frozen.apply_scenario(throttle("s3:PutObject", "s3:ListObjectsV2", burst=1))
    assert answers(lambda: rig.s3.put_object(Bucket=BUCKET, Key="b", Body=b"x" * 100_000), 2) == ["ok", "SlowDown"]
    assert answers(lambda: rig.s3.list_objects_v2(Bucket=BUCKET), 2) == ["ok", "SlowDown"]
    assert answers(lambda: rig.s3.get_object(Bucket=BUCKET, Key="a"), 4) == ["ok"] * 4

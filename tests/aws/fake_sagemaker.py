"""A stand-in for SageMaker's control plane behind a real client: state, paging, error codes and texts as the
service has them (moto completes jobs at once and cannot stop them)."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import Any

import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.validate import ParamValidator

from cloudtune.aws.session import AwsSession

REGION = "us-west-2"
_MODEL = botocore.session.Session().get_service_model("sagemaker")


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self._data


class FakeSageMaker:
    def __init__(self, session: AwsSession) -> None:
        config = Config(region_name=REGION, retries={"total_max_attempts": 1})
        client = session._boto.client("sagemaker", config=config)
        client.meta.events.register("before-send.sagemaker.*", self._answer)
        session._clients["sagemaker"] = client
        self.jobs: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.faults: list[tuple[str, str, str]] = []  # operation, code, message; each happens once
        self.quota = 10**9
        self._lock = threading.Lock()

    def fail(self, operation: str, code: str, message: str = "Rate exceeded", times: int = 1) -> None:
        self.faults += [(operation, code, message)] * times

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        operation = request.headers["X-Amz-Target"].decode().split(".")[1]
        arguments = json.loads(request.body)
        with self._lock:
            self.calls[operation] += 1
            for fault in self.faults:
                if fault[0] == operation:
                    self.faults.remove(fault)
                    return self._error(request, *fault[1:])
            shape = _MODEL.operation_model(operation).input_shape
            if shape is not None:
                report = ParamValidator().validate(arguments, shape)
                if report.has_errors():
                    return self._error(request, "ValidationException", report.generate_report())
            result = getattr(self, f"_{operation}")(arguments)
        if isinstance(result, tuple):
            return self._error(request, *result)
        return AWSResponse(request.url, 200, {}, _Body(json.dumps(result).encode()))

    def _error(self, request: Any, code: str, message: str) -> AWSResponse:
        body = json.dumps({"__type": code, "message": message}).encode()
        return AWSResponse(request.url, 400, {}, _Body(body))

    def end(self, name: str, status: str, **more: Any) -> None:
        self.jobs[name].update(TrainingJobStatus=status, SecondaryStatus=status, TrainingEndTime=2e9, **more)

    def _CreateTrainingJob(self, arguments: dict[str, Any]) -> Any:
        name = arguments["TrainingJobName"]
        if name in self.jobs:
            return "ResourceInUse", "Training job names must be unique within an AWS account and region."
        running = sum(job["TrainingJobStatus"] in ("InProgress", "Stopping") for job in self.jobs.values())
        if running >= self.quota:
            text = (
                f"The account-level service limit 'ml.m5.large for training job usage' is {self.quota} Instances, "
                f"with current utilization of {running} Instances and a request delta of 1 Instances."
            )
            return "ResourceLimitExceeded", text
        arn = f"arn:aws:sagemaker:{REGION}:123456789012:training-job/{name}"
        self.jobs[name] = {
            "TrainingJobName": name,
            "TrainingJobArn": arn,
            "CreationTime": 1.7e9 + len(self.jobs),
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
        }
        return {"TrainingJobArn": arn}

    def _DescribeTrainingJob(self, arguments: dict[str, Any]) -> Any:
        job = self.jobs.get(arguments["TrainingJobName"])
        return job or ("ValidationException", "Requested resource not found.")

    def _StopTrainingJob(self, arguments: dict[str, Any]) -> Any:
        job = self.jobs.get(arguments["TrainingJobName"])
        if job is None:
            return "ValidationException", "Requested resource not found."
        if job["TrainingJobStatus"] != "InProgress":
            status = job["TrainingJobStatus"]
            return (
                "ValidationException",
                f"The request was rejected because the training job is in status {status}.",
            )
        job["TrainingJobStatus"] = "Stopping"
        return {}

    def _ListTrainingJobs(self, arguments: dict[str, Any]) -> Any:
        text = arguments.get("NameContains", "")
        names = [name for name in reversed(self.jobs) if text in name]
        start = int(arguments.get("NextToken", "0"))
        size = arguments.get("MaxResults", 10)
        keys = ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingJobStatus", "SecondaryStatus")
        page = [{key: self.jobs[name][key] for key in keys} for name in names[start : start + size]]
        more = {"NextToken": str(start + size)} if start + size < len(names) else {}
        return {"TrainingJobSummaries": page, **more}

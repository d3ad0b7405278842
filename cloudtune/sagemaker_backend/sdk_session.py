"""What scripts written for Syne Tune give to an estimator of the SageMaker SDK."""

from __future__ import annotations

import importlib
from typing import Any

from cloudtune.errors import MissingExtra
from cloudtune.remote.cloud import connect


def get_execution_role() -> str:
    """ARN of the role of SageMaker jobs, as :meth:`AwsSession.role_arn` finds it; where there are no AWS
    credentials, that of the emulator, which is started.

    Raises:
        SpecError: The account has none.
    """
    return connect(force_emulator=False).session.role_arn()


def default_sagemaker_session() -> Any:
    """A ``Session`` of the SageMaker SDK, version 2.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        make = importlib.import_module("sagemaker").Session
    except (ImportError, AttributeError) as error:  # version 3 has no such class
        raise MissingExtra.of("sagemaker<3", "sagemaker2", "default_sagemaker_session") from error
    return make()

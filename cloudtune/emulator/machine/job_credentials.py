"""Who a job is to AWS: its role, in a session that the service names ``SageMaker``."""

from __future__ import annotations

import re
from typing import Any

from moto.sts.models import sts_backends

from cloudtune.emulator.settings import ACCOUNT_ID

_SESSION = "SageMaker"
_DURATION_S = 43_200  # the longest that there is; nothing here expires
_OWN_ROLE = re.compile(rf"arn:[\w-]+:iam::{ACCOUNT_ID}:role/.+")
_ANYBODY = "testing"


def credentials(role_arn: str, region: str) -> dict[str, str]:
    """Variables with temporary credentials of the role: ``GetCallerIdentity`` tells the assumed role, from which
    scripts derive the role to give to jobs of their own.

    A role of another account is nobody's here: the account and its buckets are the only ones.
    """
    if _OWN_ROLE.fullmatch(role_arn) is None:
        return {"AWS_ACCESS_KEY_ID": _ANYBODY, "AWS_SECRET_ACCESS_KEY": _ANYBODY}
    sts: Any = sts_backends[ACCOUNT_ID]["aws"]
    session = sts.assume_role(region, _SESSION, role_arn, None, _DURATION_S, None)
    return {
        "AWS_ACCESS_KEY_ID": session.access_key_id,
        "AWS_SECRET_ACCESS_KEY": session.secret_access_key,
        "AWS_SESSION_TOKEN": session.session_token,
    }


def role_of(access_key_id: str) -> str | None:
    """Name of the role that :func:`credentials` has given the key to, or that somebody has assumed with it."""
    sts: Any = sts_backends[ACCOUNT_ID]["aws"]
    found = sts.get_assumed_role_from_access_key(access_key_id)
    return None if found is None else str(found.role_arn).rpartition("/")[2]

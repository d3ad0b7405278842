"""IAM as an account where every role exists and may do everything."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.sax.saxutils import escape

from moto.iam.models import iam_backends

from cloudtune.emulator.settings import ACCOUNT_ID

_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


def ensure_role(name: str) -> None:
    """Creates the role if it is missing."""
    backend: Any = iam_backends[ACCOUNT_ID]["aws"]
    if name not in {role.name for role in list(backend.roles.values())}:
        backend.create_role(name, _TRUST, "/service-role/", None, "Created by cloudtune's emulator", [], "3600")


def answer_iam(form: dict[str, list[str]]) -> str | None:
    """The answer to a request that moto lacks; None to let moto answer."""
    action = form.get("Action", [""])[0]
    if action == "GetRole":
        name = form.get("RoleName", [""])[0]
        if _ROLE_NAME.fullmatch(name):
            ensure_role(name)
        return None
    if action == "SimulatePrincipalPolicy":
        return _all_allowed(form)
    return None


def _all_allowed(form: dict[str, list[str]]) -> str:
    actions = [values[0] for key, values in form.items() if key.startswith("ActionNames.member.")]
    members = "".join(
        f"<member><EvalActionName>{escape(action)}</EvalActionName><EvalResourceName>*</EvalResourceName>"
        "<EvalDecision>allowed</EvalDecision></member>"
        for action in actions
    )
    return (
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        f"<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>{members}"
        "</EvaluationResults></SimulatePrincipalPolicyResult><ResponseMetadata><RequestId>emulator</RequestId>"
        "</ResponseMetadata></SimulatePrincipalPolicyResponse>"
    )

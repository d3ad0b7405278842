"""Roles: whether SageMaker can assume them, and what their policies allow."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, iam_backends

from cloudtune.emulator.service_error import JsonObject, ServiceError, invalid
from cloudtune.emulator.settings import ACCOUNT_ID

_PRINCIPAL = "sagemaker.amazonaws.com"
_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):(role|user|group)/(?:.*/)?([^/]+)", re.DOTALL)
_TRUST: JsonObject = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": _PRINCIPAL}, "Action": "sts:AssumeRole"}],
}
_EVERYTHING: JsonObject = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
_NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"


class Roles:
    """The account's roles, in moto's IAM.

    Attributes:
        strict: Only roles that somebody has created exist, and only those of this account. Otherwise a role comes
            into being when it is first asked for, trusted and with all permissions: a rehearsal needs no IAM.
    """

    def __init__(self) -> None:
        self.strict = False
        self._paths: dict[str, str] = {}  # by name, of roles that jobs were given and nobody has created
        self._lock = threading.Lock()

    @property
    def _backend(self) -> Any:
        return iam_backends[ACCOUNT_ID]["aws"]

    def _find(self, name: str) -> Any:
        """Moto's role; None if there is none."""
        return next((role for role in list(self._backend.roles.values()) if role.name == name), None)

    def ensure(self, name: str) -> None:
        """Creates the role if it is missing."""
        with self._lock:
            if self._find(name) is None:
                trust, path = json.dumps(_TRUST), self._paths.get(name, "/service-role/")
                self._backend.create_role(name, trust, path, None, "Created by cloudtune's emulator", [], "3600")
                self._backend.put_role_policy(name, "everything", json.dumps(_EVERYTHING))

    def mentioned(self, name: str) -> None:
        """Somebody asks for the role."""
        if not self.strict and _ROLE_NAME.fullmatch(name):
            self.ensure(name)

    def check_assumable(self, arn: str) -> None:
        """Raises ServiceError where SageMaker cannot assume the role."""
        match = _ARN.fullmatch(arn)
        if match is not None and match[1] != ACCOUNT_ID:
            if self.strict:
                raise invalid("Cross-account pass role is not allowed.", rule="create.role.account")
            return
        role = self._find(match[3]) if match else None
        if role is None and not self.strict:
            if match is not None:  # jobs look their role up by its name, and want the same ARN back
                self._paths[match[3]] = arn.partition(":role")[2].removesuffix(match[3])
            return
        if role is None or not _trusts_sagemaker(role.assume_role_policy_document):
            raise invalid(
                f"Could not assume role {arn}. Please ensure that the role exists and allows principal "
                f"'{_PRINCIPAL}' to assume the role.",
                rule="create.role.assumable",
            )

    def answer(self, form: dict[str, list[str]]) -> str | None:
        """The answer to a request that moto lacks; None to let moto answer. Raises ServiceError."""
        action = form.get("Action", [""])[0]
        if action == "GetRole":
            self.mentioned(form.get("RoleName", [""])[0])
        elif any("::aws:policy/" in value for values in form.values() for value in values):
            self.load_managed_policies()
        elif action == "SimulatePrincipalPolicy":
            return self._simulate(form)
        return None

    def load_managed_policies(self) -> None:
        """AWS's own policies, which moto loads only if told before its start, for all."""
        with self._lock:
            backend = self._backend
            if not backend.aws_managed_policies:
                backend.aws_managed_policies = [
                    AWSManagedPolicy.from_data(name, ACCOUNT_ID, backend.region_name, data)
                    for name, data in json.loads(aws_managed_policies_data).items()
                ]
                backend.managed_policies.update({policy.arn: policy for policy in backend.aws_managed_policies})

    def _simulate(self, form: dict[str, list[str]]) -> str:
        source = form.get("PolicySourceArn", [""])[0]
        actions = _members(form, "ActionNames")
        if not actions or not source:
            raise ServiceError("ValidationError", "PolicySourceArn and ActionNames are required.")
        resources = _members(form, "ResourceArns") or ["*"]
        policies = [*self._policies_of(source), *_members(form, "PolicyInputList")]
        statements = [statement for policy in policies for statement in _statements(policy)]
        return _simulation([(a, r, decide(statements, a, r)) for a in actions for r in resources])

    def _policies_of(self, arn: str) -> Iterator[str | JsonObject]:
        """All policies of a role, user or group."""
        match = _ARN.fullmatch(arn)
        owners: list[Any] = []
        if match is not None and match[1] == ACCOUNT_ID:
            kind, name = match[2], match[3]
            if kind == "role":
                self.mentioned(name)
                owners = [self._find(name)]
            elif kind == "user" and name in self._backend.users:
                owners = [self._backend.users[name], *self._backend.get_groups_for_user(name)]
            elif kind == "group":
                owners = [self._backend.groups.get(name)]
        elif match is not None and not self.strict:
            yield _EVERYTHING
            return
        if not owners or owners[0] is None:
            raise ServiceError("NoSuchEntity", f"The entity with ARN {arn} cannot be found.", 404)
        for owner in owners:
            yield from _inline(owner)
            for policy in list(owner.managed_policies.values()):
                yield next((version.document for version in policy.versions if version.is_default), "{}")


def _inline(owner: Any) -> list[str]:
    found = owner.policies
    return [document if isinstance(document, str) else json.dumps(document) for document in list(found.values())]


def _trusts_sagemaker(document: str) -> bool:
    for statement in _statements(document):
        principal = statement.get("Principal", {})
        services = ["*"] if principal == "*" else _listed(principal.get("Service", []))
        everybody = isinstance(principal, dict) and "*" in _listed(principal.get("AWS", []))
        if statement.get("Effect") == "Allow" and (everybody or {"*", _PRINCIPAL} & set(services)):
            return True
    return False


def decide(statements: Sequence[JsonObject], action: str, resource: str) -> str:
    """``allowed``, ``explicitDeny`` or ``implicitDeny``. Statements with conditions are left out: a simulation
    without context keys does not meet them."""
    effects = {
        statement.get("Effect")
        for statement in statements
        if "Condition" not in statement
        and _concerns(statement, "Action", action.lower())
        and _concerns(statement, "Resource", resource)
    }
    if "Deny" in effects:
        return "explicitDeny"
    return "allowed" if "Allow" in effects else "implicitDeny"


def _concerns(statement: JsonObject, element: str, value: str) -> bool:
    patterns = _listed(statement.get(element, []))
    excepted = _listed(statement.get(f"Not{element}", []))
    if element == "Action":
        patterns, excepted = [item.lower() for item in patterns], [item.lower() for item in excepted]
    if excepted:
        return not any(_matches(pattern, value) for pattern in excepted)
    return any(_matches(pattern, value) for pattern in patterns)


def _matches(pattern: str, value: str) -> bool:
    # Not a regular expression of ours: those with several stars may take for ever.
    return fnmatchcase(value, pattern.replace("[", "[[]"))


def _statements(document: str | JsonObject) -> list[JsonObject]:
    """Of a policy that users may have written: what is no statement is left out."""
    if isinstance(document, str):
        try:
            document = json.loads(unquote(document) if document.startswith("%7B") else document)
        except (ValueError, RecursionError):
            raise ServiceError("InvalidInput", "The policy is no valid JSON.") from None
    found = document.get("Statement", []) if isinstance(document, dict) else []
    return [item for item in (found if isinstance(found, list) else [found]) if isinstance(item, dict)]


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _members(form: dict[str, list[str]], name: str) -> list[str]:
    """The members of a list in the query protocol, in order."""
    prefix = f"{name}.member."
    numbered = [(key[len(prefix) :], values[0]) for key, values in form.items() if key.startswith(prefix)]
    return [value for number, value in sorted(numbered, key=lambda item: (len(item[0]), item[0]))]


def _simulation(decisions: Sequence[tuple[str, str, str]]) -> str:
    members = "".join(
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName><EvalDecision>{decision}</EvalDecision>"
        "<MatchedStatements/><MissingContextValues/></member>"
        for action, resource, decision in decisions
    )
    return (
        f'<SimulatePrincipalPolicyResponse xmlns="{_NAMESPACE}"><SimulatePrincipalPolicyResult>'
        f"<IsTruncated>false</IsTruncated><EvaluationResults>{members}</EvaluationResults>"
        "</SimulatePrincipalPolicyResult><ResponseMetadata><RequestId>emulator</RequestId></ResponseMetadata>"
        "</SimulatePrincipalPolicyResponse>"
    )

"""What moto holds of IAM, as a JSON document and back: roles and the account's own policies, and nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from moto.iam.models import ManagedPolicy, PolicyVersion, Role, iam_backends

from cloudtune.emulator.service_error import JsonObject
from cloudtune.emulator.settings import ACCOUNT_ID

# Moto's models do not implement all that their bases declare as abstract.
_ROLE: Any = Role
_MANAGED_POLICY: Any = ManagedPolicy
_PLAIN_OF_ROLE = (
    "path",
    "description",
    "assume_role_policy_document",
    "max_session_duration",
    "permissions_boundary_arn",
    "tags",
    "policies",
    "_linked_service",
)


def roles_document() -> JsonObject:
    """All roles, and the account's own policies."""
    backend = iam_backends[ACCOUNT_ID]["aws"]
    own = [policy for arn, policy in list(backend.managed_policies.items()) if ":aws:policy/" not in arn]
    return {
        "policies": [
            {
                "name": policy.name,
                "path": policy.path,
                "description": policy.description,
                "tags": policy.tags,
                "created": policy.create_date.isoformat(),
                "next": policy.next_version_num,
                "versions": [
                    [version.version_id, version.document, version.is_default] for version in policy.versions
                ],
            }
            for policy in own
        ],
        "roles": [
            {
                "id": role.id,
                "name": role.name,
                "created": role.create_date.isoformat(),
                "attached": list(role.managed_policies),
                **{name: getattr(role, name) for name in _PLAIN_OF_ROLE},
            }
            for role in list(backend.roles.values())
        ],
    }


def restore_roles(document: JsonObject) -> None:
    """Policies of AWS's that roles refer to must be there already."""
    backend = iam_backends[ACCOUNT_ID]["aws"]
    for item in document["policies"]:
        policy = _MANAGED_POLICY(
            item["name"],
            ACCOUNT_ID,
            backend.region_name,
            description=item["description"],
            path=item["path"],
            create_date=datetime.fromisoformat(item["created"]),
            tags=item["tags"],
        )
        policy.versions = [
            PolicyVersion(policy.arn, text, default, version) for version, text, default in item["versions"]
        ]
        policy.default_version_id = next(version for version, _, default in item["versions"] if default)
        policy.next_version_num = item["next"]
        backend.managed_policies[policy.arn] = policy
    for item in document["roles"]:
        role = _ROLE(
            ACCOUNT_ID,
            backend.partition,
            item["id"],
            item["name"],
            item["assume_role_policy_document"],
            item["path"],
            item["permissions_boundary_arn"],
            item["description"],
            item["tags"],
            item["max_session_duration"],
        )
        for name in _PLAIN_OF_ROLE:
            setattr(role, name, item[name])
        role.create_date = datetime.fromisoformat(item["created"])
        backend.roles[role.id] = role
        for arn in item["attached"]:
            if arn in backend.managed_policies:
                backend.managed_policies[arn].attach_to(role)

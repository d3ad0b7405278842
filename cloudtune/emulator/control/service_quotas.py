"""Service Quotas as far as it is about SageMaker: the quotas of training instances that jobs are held to."""

from __future__ import annotations

import hashlib
from functools import cached_property

from cloudtune.emulator.control.json_service import JsonService
from cloudtune.emulator.control.validation import load_model
from cloudtune.emulator.fleet.quotas import USAGE, QuotaKind, Quotas
from cloudtune.emulator.service_error import JsonObject, ServiceError
from cloudtune.emulator.settings import ACCOUNT_ID

_SERVICE = "sagemaker"
_PAGE = 100


class ServiceQuotas(JsonService):
    """GetServiceQuota and ListServiceQuotas, beside AWS's defaults.

    Args:
        quotas: In force.
    """

    def __init__(self, quotas: Quotas) -> None:
        super().__init__(
            "service-quotas",
            {
                "GetServiceQuota": self._get,
                "GetAWSDefaultServiceQuota": self._get,
                "ListServiceQuotas": self._list,
                "ListAWSDefaultServiceQuotas": self._list,
            },
        )
        self._quotas = quotas

    @cached_property
    def _known(self) -> dict[str, tuple[str, QuotaKind]]:
        """Instance type and use by quota code, in the order of the quotas' names."""
        types = load_model("sagemaker").shape_for("TrainingInstanceType").metadata["enum"]
        names = sorted((f"{name} for {USAGE[kind]}", name, kind) for name in types for kind in QuotaKind)
        return {quota_code(title): (name, kind) for title, name, kind in names}

    def _get(self, region: str, request: JsonObject) -> JsonObject | None:
        if request["ServiceCode"] != _SERVICE:
            return None
        if request["QuotaCode"] not in self._known:
            raise ServiceError(
                "NoSuchResourceException", "The request failed because the specified quota does not exist."
            )
        return {"Quota": self._describe(region, request["QuotaCode"])}

    def _list(self, region: str, request: JsonObject) -> JsonObject | None:
        if request["ServiceCode"] != _SERVICE:
            return None
        codes = [code for code in self._known if request.get("QuotaCode") in (None, code)]
        token = request.get("NextToken", "0")
        if not token.isdigit() or len(token) > len(str(len(codes))):
            raise ServiceError("InvalidPaginationTokenException", "Invalid pagination token.")
        start, size = int(token), request.get("MaxResults", _PAGE)
        more = {"NextToken": str(start + size)} if start + size < len(codes) else {}
        return {"Quotas": [self._describe(region, code) for code in codes[start : start + size]], **more}

    def _describe(self, region: str, code: str) -> JsonObject:
        name, kind = self._known[code]
        return {
            "ServiceCode": _SERVICE,
            "ServiceName": "Amazon SageMaker",
            "QuotaArn": f"arn:aws:servicequotas:{region}:{ACCOUNT_ID}:{_SERVICE}/{code}",
            "QuotaCode": code,
            "QuotaName": f"{name} for {USAGE[kind]}",
            "Value": float(self._quotas.limit(name, kind)),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
            "QuotaAppliedAtLevel": "ACCOUNT",
        }


def quota_code(name: str) -> str:
    """The emulator's code of a quota, of the service's form. The service's own are not published as a list."""
    return f"L-{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}"

"""The price list as far as it is about training instances: cloudtune's own dated table in the service's form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cached_property

from cloudtune.emulator.control.json_service import JsonService
from cloudtune.emulator.service_error import JsonObject, ServiceError
from cloudtune.instance_info import InstanceInfo, instance_infos

_SERVICE = "AmazonSageMaker"
_REGION = "us-east-1"  # the table's; other regions have no prices here
_FAMILY = "ML Instance"
_FORMAT = "aws_v1"
_PAGE = 100
_ON_DEMAND, _HOURLY = "JRTCKXETXF", "6YS6EN2CT7"  # codes of the offer term and of the rate in public price lists
_MATCHES: dict[str, Callable[[str, str], bool]] = {
    "TERM_MATCH": lambda value, wanted: value == wanted,
    "EQUALS": lambda value, wanted: value == wanted,
    "CONTAINS": lambda value, wanted: wanted in value,
    "ANY_OF": lambda value, wanted: value in wanted.split(","),
    "NONE_OF": lambda value, wanted: value not in wanted.split(","),
}


class Pricing(JsonService):
    """GetProducts, DescribeServices and GetAttributeValues."""

    def __init__(self) -> None:
        super().__init__(
            "pricing",
            {
                "GetProducts": self._products,
                "DescribeServices": self._services,
                "GetAttributeValues": self._values,
            },
        )

    @cached_property
    def _attributes(self) -> dict[str, dict[str, str]]:
        """Attributes of the products, by instance type."""
        return {info.name: _attributes(info) for info in instance_infos()}

    def _products(self, region: str, request: JsonObject) -> JsonObject:
        del region  # prices of all regions are at one address
        found = list(self._attributes) if request["ServiceCode"] == _SERVICE else []
        for item in request.get("Filters", []):
            matches = _MATCHES[item["Type"]]
            found = [
                name
                for name in found
                if matches(self._attributes[name].get(item["Field"], _product_field(item["Field"])), item["Value"])
            ]
        page, more = _page(found, request)
        return {"FormatVersion": _FORMAT, "PriceList": [self._product(name) for name in page], **more}

    def _product(self, name: str) -> str:
        sku = hashlib.sha256(name.encode()).hexdigest()[:16].upper()
        term, rate = f"{sku}.{_ON_DEMAND}", f"{sku}.{_ON_DEMAND}.{_HOURLY}"
        price = f"{instance_infos()(name).price_per_hour:.10f}"
        dimension = {
            "unit": "Hrs",
            "beginRange": "0",
            "endRange": "Inf",
            "rateCode": rate,
            "appliesTo": [],
            "description": f"${price} per Training {name} hour in {_REGION} (cloudtune's table)",
            "pricePerUnit": {"USD": price},
        }
        offer = {
            "sku": sku,
            "offerTermCode": _ON_DEMAND,
            "effectiveDate": "2025-07-01T00:00:00Z",
            "termAttributes": {},
            "priceDimensions": {rate: dimension},
        }
        product = {"productFamily": _FAMILY, "sku": sku, "attributes": self._attributes[name]}
        return json.dumps(
            {
                "product": product,
                "serviceCode": _SERVICE,
                "terms": {"OnDemand": {term: offer}},
                "version": "20250701000000",
                "publicationDate": "2025-07-01T00:00:00Z",
            }
        )

    def _services(self, region: str, request: JsonObject) -> JsonObject:
        del region
        names = sorted({name for attributes in self._attributes.values() for name in attributes})
        if request.get("ServiceCode", _SERVICE) != _SERVICE:
            raise ServiceError(
                "NotFoundException", f"The service code {request['ServiceCode']!r} is unknown here."
            )
        service = {"ServiceCode": _SERVICE, "AttributeNames": [*names, "productFamily"]}
        return {"Services": [service], "FormatVersion": _FORMAT}

    def _values(self, region: str, request: JsonObject) -> JsonObject:
        del region
        name = request["AttributeName"]
        own = {attributes[name] for attributes in self._attributes.values() if name in attributes}
        values = sorted(own or {_product_field(name)} - {""})
        if request["ServiceCode"] != _SERVICE or not values:
            raise ServiceError("NotFoundException", f"{request['ServiceCode']} has no attribute {name!r} here.")
        page, more = _page(values, request)
        return {"AttributeValues": [{"Value": value} for value in page], **more}


def _product_field(name: str) -> str:
    """Fields that can be asked for and are no attributes."""
    return {"productFamily": _FAMILY, "serviceCode": _SERVICE, "ServiceCode": _SERVICE}.get(name, "")


def _page(items: list[str], request: JsonObject) -> tuple[list[str], JsonObject]:
    token = request.get("NextToken", "0")
    if not (token.isascii() and token.isdigit() and len(token) < 10) or int(token) > len(items):
        raise ServiceError("InvalidNextTokenException", "The pagination token is invalid.")
    start, size = int(token), request.get("MaxResults", _PAGE)
    more = {"NextToken": str(start + size)} if start + size < len(items) else {}
    return items[start : start + size], more


def _attributes(info: InstanceInfo) -> dict[str, str]:
    _, family, size = info.name.split(".", 2)
    return {
        "servicecode": _SERVICE,
        "servicename": "Amazon SageMaker",
        "component": "Training",
        "instanceName": info.name,
        "instanceType": f"{info.name}-Training",
        "platoinstancename": family,
        "platoinstancetype": size,
        "location": "US East (N. Virginia)",
        "locationType": "AWS Region",
        "regionCode": _REGION,
        "usagetype": f"USE1-Train:{info.name}",
        "operation": "RunInstance",
        "vCpu": str(info.vcpus),
        "memory": f"{info.memory_gib:g} GiB",
        "gpu": str(info.gpus) if info.gpus else "N/A",
    }

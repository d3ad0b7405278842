"""Prices of instances from the service's own price list."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from cloudtune import instance_prices
from cloudtune.aws.errors import aws_call
from cloudtune.aws.session import AwsSession
from cloudtune.clock import WallClock
from cloudtune.errors import AwsError
from cloudtune.instance_prices import LookedUp

logger = logging.getLogger(__name__)


def refresh(session: AwsSession, region: str, instance_types: Iterable[str]) -> LookedUp | None:
    """Looks up what ``instance_types`` cost in ``region``, one call for each (pricing:GetProducts), unless that
    was done within a month; :func:`cloudtune.instance_info.price_per_hour` uses it from then on.

    Returns what is known of the region; None where prices may not or cannot be read: the package's table remains.
    """
    known = instance_prices.looked_up(region)
    wanted = set(instance_types)
    if known is not None and wanted <= known.usd_per_hour.keys():
        return known
    client = session.client("pricing")
    prices: dict[str, float] = {}
    dates: list[str] = []
    try:
        for instance_type in sorted(wanted | (known.usd_per_hour.keys() if known is not None else set())):
            with aws_call(f"look up the price of {instance_type} (pricing:GetProducts)"):
                products = [json.loads(text) for text in _products(client, region, instance_type)]
            found = [price for product in products for price in _hourly_prices(product)]
            if found:
                prices[instance_type] = max(found)
                dates += [str(product.get("publicationDate", ""))[:10] for product in products]
    except (AwsError, ValueError) as error:
        logger.info("Prices in %s cannot be looked up, those of cloudtune's table are used: %s", region, error)
        return known
    if not prices:
        return known
    now = WallClock().now()
    result = LookedUp(min(dates), now, prices)
    try:
        instance_prices.keep(region, result)
    except OSError as error:
        logger.warning("Prices in %s cannot be kept (%s); they are looked up again next time.", region, error)
    return result


def _products(client: Any, region: str, instance_type: str) -> Iterable[str]:
    fields = {"regionCode": region, "component": "Training", "instanceName": instance_type}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()]
    pages = client.get_paginator("get_products").paginate(ServiceCode="AmazonSageMaker", Filters=filters)
    for page in pages:
        yield from page["PriceList"]


def _hourly_prices(product: Mapping[str, Any]) -> Iterable[float]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0))
            if price > 0 and dimension["unit"].lower() in ("hrs", "hours"):
                yield price

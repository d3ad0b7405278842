"""What a client needs to find the emulator, and to find nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from cloudtune.emulator.settings import DEFAULT_REGION

_IGNORE = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
_LOCAL = "127.0.0.1,localhost"
# boto and the AWS CLI; requests and pip; curl; the modules ssl and urllib.
_BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def client_environment(endpoint_url: str, ca_bundle: Path | None = None) -> dict[str, str]:
    """Environment variables for boto3, the AWS CLI and the SDKs: dummy keys, no metadata service.

    They replace all counterparts in the user's environment, so that updating ``os.environ`` with them is
    enough whatever profile or session was in force.

    Args:
        endpoint_url: Of the emulator.
        ca_bundle: File with the authorities to trust. Given, the emulator becomes the proxy for HTTPS, and is
            found behind AWS's own addresses as well.
    """
    known = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    own_profile = {name: "default" for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE") if name in os.environ}
    own_endpoints = {name: endpoint_url for name in os.environ if name.startswith("AWS_ENDPOINT_URL_")}
    no_proxy = known if _LOCAL in known else ",".join(filter(None, (known, _LOCAL)))
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": DEFAULT_REGION,
        "AWS_DEFAULT_REGION": DEFAULT_REGION,
        "AWS_SESSION_TOKEN": "testing",
        "AWS_CONFIG_FILE": str(Path(__file__).with_name("aws_config.txt")),
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        # A profile that is not in the configuration file is an error; one that nobody named is not looked for.
        **own_profile,
        # These go before AWS_ENDPOINT_URL.
        **own_endpoints,
        **({_IGNORE: "false"} if _IGNORE in os.environ else {}),
        **({} if ca_bundle is None else proxy_environment(endpoint_url, ca_bundle)),
    }


def proxy_environment(endpoint_url: str, ca_bundle: Path) -> dict[str, str]:
    """Variables with which clients take the emulator for their HTTPS proxy, and trust it."""
    bundles = {name: str(ca_bundle) for name in _BUNDLES}
    proxies = {"HTTPS_PROXY": endpoint_url, "https_proxy": endpoint_url}
    # What the user's proxy is not asked for may hold AWS's hosts.
    return {**bundles, **proxies, "NO_PROXY": _LOCAL, "no_proxy": _LOCAL}

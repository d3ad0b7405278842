"""Scripts inside jobs that insist on AWS's addresses: they stay on this machine, too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from client_rig import BUCKET, Account, eventually

PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
ASK = """
import json, os, boto3, requests
sts = boto3.client("sts", endpoint_url="https://sts.us-east-1.amazonaws.com")
telemetry = requests.get("https://sm-pysdk-t-us-east-1.s3.us-east-1.amazonaws.com/telemetry", timeout=60)
print(json.dumps([sts.get_caller_identity()["Account"], telemetry.status_code]))
"""
TELL = "import json, os; print(json.dumps([os.environ.get('HTTPS_PROXY'), os.environ.get('AWS_CA_BUNDLE')]))"


def told_by(account: Account, name: str, code: str) -> Any:
    """The JSON that a job with this script prints."""
    account.s3.put_object(Bucket=BUCKET, Key=f"{name}/ask.py", Body=code.encode())
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": f"s3://{BUCKET}/{name}/",
        "S3DataDistributionType": "FullyReplicated",
    }
    account.submit(
        name,
        "exec python3 /opt/ml/input/data/code/ask.py",
        InputDataConfig=[{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
    )
    eventually(lambda: account.status(name) in ("Completed", "Failed"), f"{name} ends")
    printed = account.printed(name)
    assert account.status(name) == "Completed", printed
    return json.loads(printed[-1])


@pytest.fixture(autouse=True)
def _no_proxy_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def test_a_script_reaches_the_emulator(account: Account) -> None:
    assert told_by(account, "job-asks-sts", ASK) == ["123456789012", 200]


def test_a_networks_own_proxy_stays(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/company.pem")
    assert told_by(account, "job-tells", TELL) == ["http://proxy.example:3128", "/etc/company.pem"]

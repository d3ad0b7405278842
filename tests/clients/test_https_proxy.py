"""Clients that insist on AWS's addresses reach the emulator through its proxy; others reach whom they want."""

from __future__ import annotations

import contextlib
import http.client
import socket
import socketserver
import ssl
import subprocess
import sys
import textwrap
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from client_rig import Account

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.web.https_proxy import Authority, is_aws

STS = "sts.us-east-1.amazonaws.com"


@pytest.fixture
def proxied(aws: SageMakerEmulator, clean_environment: dict[str, str]) -> dict[str, str]:
    return {**clean_environment, **aws.environment(proxy=True)}


def run_python(code: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def connect(aws: SageMakerEmulator, host: str, port: int = 443) -> http.client.HTTPConnection:
    """A connection through the proxy, not yet secured."""
    connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=30)
    connection.set_tunnel(host, port)
    connection.connect()
    return connection


def trusting(aws: SageMakerEmulator, host: str) -> ssl.SSLSocket:
    """TLS with ``host`` as the strictest client would have it."""
    context = ssl.create_default_context(cafile=aws.environment(proxy=True)["AWS_CA_BUNDLE"])
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context.wrap_socket(connect(aws, host).sock, server_hostname=host)


def test_clients_that_know_aws_addresses_alone(proxied: dict[str, str], account: Account) -> None:
    """Not even the endpoint is in the environment."""
    printed = run_python(
        """
        import os, boto3
        del os.environ["AWS_ENDPOINT_URL"]
        print(boto3.client("sts", endpoint_url="https://sts.us-east-1.amazonaws.com").get_caller_identity()["Account"])
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="through-the-proxy")
        s3.put_object(Bucket="through-the-proxy", Key="a b/ü", Body=b"x" * 3_000_000)
        print(len(s3.get_object(Bucket="through-the-proxy", Key="a b/ü")["Body"].read()))
        print(boto3.client("iam").get_role(RoleName="Mine")["Role"]["Arn"])
        allowed = boto3.client("iam").simulate_principal_policy(
            PolicySourceArn="arn:aws:iam::123456789012:role/service-role/Mine", ActionNames=["s3:GetObject"]
        )
        print(allowed["EvaluationResults"][0]["EvalDecision"])
        print(boto3.client("sagemaker").meta.endpoint_url, len(boto3.client("sagemaker").list_training_jobs()))
        """,
        proxied,
    )
    assert printed.splitlines()[:4] == [
        "123456789012",
        "3000000",
        "arn:aws:iam::123456789012:role/service-role/Mine",
        "allowed",
    ]
    assert "https://api.sagemaker.us-east-1.amazonaws.com" in printed
    head = account.s3.head_object(Bucket="through-the-proxy", Key="a b/ü")
    assert head["ContentLength"] == 3_000_000


def test_requests_and_urllib_trust_it_and_telemetry_ends_here(proxied: dict[str, str]) -> None:
    printed = run_python(
        """
        import urllib.request, requests
        url = "https://sm-pysdk-t-us-east-1.s3.us-east-1.amazonaws.com/telemetry?x-accountId=1"
        answer = requests.get(url, timeout=30)
        print(answer.status_code, answer.content)
        print(urllib.request.urlopen(url, timeout=30).read())
        """,
        proxied,
    )
    assert printed.splitlines() == ["200 b''", "b''"]


@pytest.mark.parametrize(
    "host",
    [
        STS,
        "bucket.s3.eu-west-1.amazonaws.com",
        "sts.cn-north-1.amazonaws.com.cn",
        f"{'x' * 63}.api.aws",
        "sts.cn-north-1.api.amazonwebservices.com.cn",
    ],
)
def test_certificates_please_strict_clients(aws: SageMakerEmulator, host: str) -> None:
    with trusting(aws, host) as secured:
        assert secured.getpeercert()["subjectAltName"] == (("DNS", host),)


def test_a_certificate_is_for_the_host_that_was_asked_for(aws: SageMakerEmulator) -> None:
    context = ssl.create_default_context(cafile=aws.environment(proxy=True)["AWS_CA_BUNDLE"])
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        context.wrap_socket(connect(aws, STS).sock, server_hostname="iam.amazonaws.com")


def test_the_authority_cannot_speak_for_others(tmp_path: Path) -> None:
    """Even with its key: clients refuse a certificate for a host that is not AWS's."""
    authority = Authority(tmp_path / "tls")
    for host, trusted in ((STS, True), ("example.com", False), ("amazonaws.com.example.com", False)):
        server, client = ssl.MemoryBIO(), ssl.MemoryBIO()
        answering = authority.context(host).wrap_bio(client, server, server_side=True)
        context = ssl.create_default_context(cafile=str(authority.bundle))
        asking = context.wrap_bio(server, client, server_hostname=host)
        assert shake_hands(asking, answering) is trusted


def shake_hands(asking: ssl.SSLObject, answering: ssl.SSLObject) -> bool:
    """Whether the client trusts the server."""
    for _ in range(10):
        for side in (asking, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
            if side is asking:
                return True
    raise AssertionError("the handshake does not end")


def test_what_is_aws() -> None:
    assert is_aws(STS) and is_aws("sts.cn-north-1.amazonaws.com.cn") and is_aws("s3.us-east-1.api.aws")
    for other in ("pypi.example", "amazonaws.com.example", "myamazonaws.com", "amazonaws.com", ""):
        assert not is_aws(other)


@pytest.mark.parametrize("dual_stack", [False, True])
def test_every_partition_is_aws(dual_stack: bool) -> None:
    session = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing")
    config = Config(use_dualstack_endpoint=dual_stack)
    for partition in ("aws", "aws-cn", "aws-us-gov", "aws-eusc"):
        region = session.get_available_regions("sts", partition)[0]
        for service in ("sts", "s3", "sagemaker", "iam"):
            host = urlsplit(session.client(service, region_name=region, config=config).meta.endpoint_url).hostname
            assert is_aws(host or ""), host


def test_key_is_private_and_outlives_a_restart(tmp_path: Path) -> None:
    first = Authority(tmp_path / "tls")
    roots = first.bundle.read_bytes()
    assert (tmp_path / "tls").stat().st_mode & 0o077 == 0
    assert Authority(tmp_path / "tls").bundle.read_bytes() == roots
    (tmp_path / "tls" / "authority.pem").write_text("damaged")
    assert Authority(tmp_path / "tls").bundle.read_bytes() != roots
    assert {path.name for path in (tmp_path / "tls").iterdir()} == {"authority.pem", "ca-bundle.pem"}


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that has nothing to do with AWS, and shouts back."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(line.upper())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_others_are_connected_to(aws: SageMakerEmulator, echo: int) -> None:
    connection = connect(aws, "127.0.0.1", echo)
    connection.sock.sendall(b"hello\n" * 20_000)
    received = b""
    while len(received) < 120_000:
        received += connection.sock.recv(1 << 16)
    assert received == b"HELLO\n" * 20_000
    connection.close()


def test_who_cannot_be_reached_is_named(aws: SageMakerEmulator) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(OSError, match=rf"502 127.0.0.1:{port} cannot be reached"):
            connect(aws, "127.0.0.1", port)


@pytest.mark.parametrize("target", ["no-port", ":443", "a b:443", "host:99999", "host:x", "../etc:443"])
def test_nonsense_is_refused(aws: SageMakerEmulator, target: str) -> None:
    with socket.create_connection(("127.0.0.1", aws.port), timeout=30) as plain:
        plain.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert plain.recv(1 << 16).split(b" ")[1] == b"400"


def test_no_proxy_within_the_proxy(aws: SageMakerEmulator) -> None:
    with trusting(aws, STS) as secured:
        secured.sendall(f"CONNECT {STS}:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert secured.recv(1 << 16).split(b" ")[1] == b"400"


def test_a_client_without_tls_does_no_harm(aws: SageMakerEmulator, account: Account) -> None:
    connection = connect(aws, STS)
    connection.sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with contextlib.suppress(ConnectionResetError):
        assert not connection.sock.recv(1 << 16).startswith(b"HTTP/")
    connection.close()
    assert account.s3.list_buckets()["Buckets"]


def test_environment_without_and_with_the_proxy(aws: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", ".amazonaws.com,internal.example")
    without = aws.environment()
    assert not {"HTTPS_PROXY", "https_proxy", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"} & set(without)
    assert without["NO_PROXY"].startswith(".amazonaws.com,")
    with_proxy = aws.environment(proxy=True)
    assert with_proxy["HTTPS_PROXY"] == with_proxy["https_proxy"] == aws.endpoint_url
    assert Path(with_proxy["AWS_CA_BUNDLE"]).is_file()
    for name, value in with_proxy.items():
        monkeypatch.setenv(name, value)
    assert not urllib.request.proxy_bypass(STS)
    assert urllib.request.proxy_bypass("127.0.0.1")
    assert without.items() - with_proxy.items() == {
        ("NO_PROXY", without["NO_PROXY"]),
        ("no_proxy", without["no_proxy"]),
    }

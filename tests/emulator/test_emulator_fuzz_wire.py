"""Hostile names in S3, and connections that do not speak HTTP as they should."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from emulator_rig import BUCKET, eventually
from victim import Answer, Victim

SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/s3/aws4_request, Signature=0"}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with Victim(tmp_path_factory.mktemp("fuzz"), "--max_parallel_jobs", "1") as started:
        started.rig()  # makes the bucket
        yield started
        started.check()
        started.shut_down()


@pytest.fixture(autouse=True)
def unhurt(victim: Victim) -> Iterator[None]:
    yield
    victim.check()


def keys(token: str) -> list[str]:
    """Names of objects that mean something to a file system, a shell, HTML, or a terminal."""
    return [
        f"../../../../../../tmp/{token}",
        f"/tmp/{token}",
        f"//{token}",
        f"a/../../{token}",
        f"./{token}",
        "..",
        ".",
        "/",
        f"..\\..\\{token}",
        f"C:\\{token}",
        f"~/{token}",
        f"{token}\0x",
        f"%2e%2e%2f{token}",
        f"..%c0%af{token}",
        f"$(touch /tmp/{token})",
        f"`touch /tmp/{token}`",
        f"a;touch /tmp/{token}",
        f"a|touch /tmp/{token}",
        f"\n{token}",
        f"\r\nX-Injected: {token}",
        f"\x1b[2J{token}",
        f"<script>{token}</script>",
        f"]]>{token}",
        f"é/{token}",
        f"e\u0301/{token}",
        f"\u202e{token}",
        f"\U0001f4a9{token}",
        f"{'a' * 255}/{token}",
        "k" * 1024,
        "é" * 512,
        f"{'d/' * 500}x",
        f" {token} ",
        f"{token}?versionId=../x",
        f"{token}#f",
        f"{token}&uploads",
        "k" * 256,
        "con",
        "*",
        "?acl",
    ]


def assert_served(answer: Answer, sent: object = None) -> None:
    """An answer of the protocol, no page for people. Where moto fails, that is a clean error, too."""
    failed = answer.status >= 500
    assert not failed or not answer.body or b"<Code>InternalFailure</Code>" in answer.body, (answer, sent)
    assert b"<html" not in answer.body[:500].lower(), (answer, sent)
    assert b"Traceback" not in answer.body


def test_objects_of_hostile_names_stay_in_s3(victim: Victim) -> None:
    rig = victim.rig()
    for number, key in enumerate(keys(victim.token)):
        path = f"/{BUCKET}/{quote(key, safe='')}"
        put = victim.send(path, b"%d" % number, SIGNED, "PUT")
        assert_served(put, key)
        if put.status == 200 and "\r" not in key:
            assert victim.send(path, b"", SIGNED, "GET").body == b"%d" % number
        for query in (
            "uploads",
            "tagging",
            "acl",
            "versionId=../x",
            "partNumber=1&uploadId=../../x",
            "select&select-type=2",
        ):
            for method in ("GET", "POST", "PUT", "HEAD", "DELETE"):
                assert_served(victim.send(f"{path}?{query}", b"<x/>", SIGNED, method), (method, key, query))
        assert_served(victim.send(path, b"", {**SIGNED, "x-amz-copy-source": quote(key)}, "PUT"), key)
        assert_served(
            victim.send(
                f"/{BUCKET}?list-type=2&prefix={quote(key)}&delimiter={quote(key[:1])}", b"", SIGNED, "GET"
            )
        )
        assert_served(victim.send(path, b"", SIGNED, "DELETE"), key)
    assert rig.keys("") is not None


@pytest.mark.parametrize("bucket", ["..", "a", "A" * 300, "x y", "<b>", "169.254.169.254", "é", "%00", "-"])
def test_buckets_of_hostile_names(victim: Victim, bucket: str) -> None:
    for method in ("PUT", "GET", "HEAD", "POST", "DELETE"):
        for rest in ("", "/", "/../../etc/passwd", "?location", "?policy", "?versions&max-keys=x"):
            assert_served(victim.send(f"/{quote(bucket)}{rest}", b"", SIGNED, method), (method, rest))


BODIES = [
    b"",
    b"<",
    b"<a>" * 50_000,
    b"\xff\xfe",
    b"{}",
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&a;</Key></Object></Delete>',
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + number, b"&%c;" % (97 + number) * 10) for number in range(9))
    + b"]><Delete><Object><Key>&j;</Key></Object></Delete>",
    b"<Delete>" + b"<Object><Key>x</Key></Object>" * 3_000 + b"</Delete>",
    b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber><ETag/></Part></CompleteMultipartUpload>",
]


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_documents_that_s3_does_not_expect(victim: Victim, number: int) -> None:
    victim.send("/mistreated", b"", SIGNED, "PUT")
    for query in (
        "delete",
        "tagging",
        "versioning",
        "lifecycle",
        "cors",
        "policy",
        "notification",
        "acl",
        "website",
    ):
        for method in ("POST", "PUT"):
            answer = victim.send(f"/mistreated?{query}", BODIES[number], SIGNED, method)
            assert_served(answer, query)
            assert b"root:" not in answer.body
    for query in ("uploadId=nothing", "uploads", "restore", "select&select-type=2"):
        assert_served(victim.send(f"/mistreated/key?{query}", BODIES[number], SIGNED, "POST"), query)


def exchange(victim: Victim, content: bytes) -> bytes:
    """What comes back for ``content`` on a connection of its own, whose other half is closed."""
    with socket.create_connection(("127.0.0.1", victim.port), timeout=30) as connection:
        received = b""
        with contextlib.suppress(OSError):  # the other side may have heard enough
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(1 << 16):
                received += chunk
        return received


CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Amz-Target: SageMaker.Search\r\n\r\n"
HELLO = b"CONNECT s3.amazonaws.com:443 HTTP/1.1\r\n\r\n"
GARBAGE = [
    b"",
    b"\n",
    b"\r\n\r\n",
    b"\0" * 1000,
    b"GET",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5_000 + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: " + b"x" * 200_000 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf",
    b"POST / HTTP/1.1\r\nContent-Length: -1\r\nX-Amz-Target: SageMaker.Search\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\n{}",
    CHUNKED + b"zz\r\n{}",
    CHUNKED + b"-5\r\n{}",
    CHUNKED + b"fffffffffffffff\r\n{}",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n5\r\n{}",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"PUT /rehearsals/chunked HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
    b"GET /%zz%00%ff HTTP/1.1\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\n\r\n",
    b"GET http://example.com/x HTTP/1.1\r\n\r\n",
    b"GET //[x HTTP/1.1\r\n\r\n",
    b"GET * HTTP/1.1\r\n\r\n",
    b"CONNECT HTTP/1.1\r\n\r\n",
    b"CONNECT / HTTP/1.1\r\n\r\n",
    b"CONNECT a:b HTTP/1.1\r\n\r\n",
    b"CONNECT :1 HTTP/1.1\r\n\r\n",
    b"CONNECT [::1 HTTP/1.1\r\n\r\n",
    b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n",
    b"CONNECT ../..:443 HTTP/1.1\r\n\r\n",
    b"CONNECT " + b"a" * 300 + b":443 HTTP/1.1\r\n\r\n",
    HELLO + b"",
    HELLO + b"GET / HTTP/1.1\r\n\r\n",
    HELLO + b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"CONNECT " + b"a." * 120 + b"amazonaws.com:443 HTTP/1.1\r\n\r\n\0\0\0",
    b"CONNECT \xe2\x80\xae.amazonaws.com:443 HTTP/1.1\r\n\r\nx",
    b"CONNECT -.amazonaws.com:99999 HTTP/1.1\r\n\r\nx",
    b"GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
    b"PUT /rehearsals/x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET /rehearsals HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: rehearsals.s3.amazonaws.com:99999999\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"\x05\x01\x00",
]


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_garbage_on_the_wire(victim: Victim, number: int) -> None:
    received = exchange(victim, GARBAGE[number])
    assert b"Traceback" not in received
    assert b"<html" not in received.lower()
    assert not received or received.startswith((b"HTTP/1.", b"{", b"<?xml")), received[:200]
    assert not re.match(rb"HTTP/1\.\d 50[013]", received), received[:300]


def test_random_bytes_on_the_wire(victim: Victim) -> None:
    draws = random.Random(0)
    good = b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: SageMaker.Search\r\nContent-Length: 2\r\n\r\n{}"
    for _ in range(300):
        content = bytearray(good)
        for _ in range(draws.randint(1, 6)):
            place = draws.randrange(len(content))
            change = draws.choice([b"", bytes([draws.randrange(256)]), b"\r\n", b"\0", content[:place]])
            content[place : place + draws.randint(0, 3)] = change
        received = exchange(victim, bytes(content))
        assert b"<html" not in received.lower(), (bytes(content), received[:300])
        failed = re.match(rb"HTTP/1\.\d 50[013]", received)
        assert not failed or b"InternalFailure" in received, (bytes(content), received)  # moto's; ours are logged


def test_of_pipelined_requests_the_first_is_answered(victim: Victim) -> None:
    one = b"GET /_emulator/%s HTTP/1.1\r\nHost: x\r\n\r\n"
    received = exchange(victim, one % b"health" + one % b"nothing" * 20)
    assert re.findall(rb"HTTP/1\.1 (\d+)", received) == [b"200"]
    assert b"Connection: close" in received  # clients know that they have to ask again


def test_an_unread_body_is_not_the_next_request(victim: Victim) -> None:
    """A refusal before the body is read must not leave it to be read as a request."""
    smuggled = b"POST /_emulator/interrupt_rules HTTP/1.1\r\nContent-Length: 15\r\n\r\n" + b'{"after_s": 77}'
    for head in (
        b"POST /_emulator/health HTTP/1.1\r\nOrigin: https://example.com\r\n",
        b"GET / HTTP/1.1\r\nX-Amz-Target: SageMaker.Search\r\n",
        b"POST / HTTP/1.1\r\nX-Amz-Target: SageMaker.Search\r\nX-Filler: y\r\n",
        b"POST / HTTP/1.1\r\nAuthorization: Credential=a/20200101/us-east-1/nothing/aws4_request\r\n",
    ):
        exchange(victim, head + b"Content-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
    rules = json.loads(victim.page("GET", "interrupt_rules").body)["rules"]
    assert [rule for rule in rules if rule["after_s"] == 77] == []


def test_many_slow_clients_hold_nobody_up(victim: Victim) -> None:
    threads = victim.threads()
    slow = [socket.create_connection(("127.0.0.1", victim.port), timeout=30) for _ in range(150)]
    try:
        for number, connection in enumerate(slow):
            connection.sendall(
                [
                    b"G",
                    b"POST / HTTP/1.1\r\nA: ",
                    b"PUT /rehearsals/slow HTTP/1.1\r\nContent-Length: 999999\r\n\r\nx",
                ][number % 3]
            )
        for _ in range(20):
            assert victim.page("GET", "health").status == 200
            assert_served(victim.send(f"/{BUCKET}?list-type=2", b"", SIGNED, "GET"))
    finally:
        for connection in slow:
            connection.close()
    eventually(lambda: victim.threads() <= threads + 5, "threads of clients that have gone end")


def test_uploads_that_break_off_leave_nothing(victim: Victim) -> None:
    before = victim.memory_mib()
    head = b"PUT /rehearsals/broken HTTP/1.1\r\nContent-Length: 500000000\r\n\r\n"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", victim.port), timeout=30) as connection:
            connection.sendall(head + b"x" * 3_000_000)
    assert victim.send("/rehearsals/broken", b"", SIGNED, "HEAD").status == 404
    eventually(lambda: victim.memory_mib() < before + 100, "memory is given back")

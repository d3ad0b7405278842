"""S3 of the emulator beside plain moto in a process of its own, in the same run.

    python benchmarks/emulator_s3.py

Plain moto is served by the same server with the same settings. Requests are bare HTTP, so that the client costs
little; the servers take turns, operation by operation.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from emulator_process import BUCKET, TIMEOUT_S, emulator
from measuring import show

MOTO = """
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

class Handler(MotoRequestHandler):
    disable_nagle_algorithm = True  # as the emulator
    timeout = 60
    def log_request(self, *_): pass

application = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
print(server.port, flush=True)
server.serve_forever()
"""
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/s3/aws4_request, Signature=0"}
SMALL, LARGE, PART = b"x" * 10_000, b"x" * (4 << 20), b"x" * (5 << 20)
LISTED = 200
_UPLOAD_ID = re.compile(rb"<UploadId>([^<]+)<")


@contextlib.contextmanager
def moto() -> Iterator[str]:
    """URL of moto's own server."""
    process = subprocess.Popen(
        [sys.executable, "-c", MOTO], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline() if process.stdout else 0)}"
    finally:
        process.terminate()
        process.wait(timeout=TIMEOUT_S)


def ask(url: str, method: str, path: str, body: bytes = b"") -> tuple[bytes, str]:
    """Content and entity tag of an answer that is no error."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, SIGNED)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:300]!r}")
        return content, answer.headers.get("ETag", "")
    finally:
        connection.close()


def put_small(url: str, number: int) -> None:
    ask(url, "PUT", f"/{BUCKET}/small/{number % 50}", SMALL)


def get_small(url: str, number: int) -> None:
    ask(url, "GET", f"/{BUCKET}/listed/{number % LISTED}")


def list_keys(url: str, number: int) -> None:
    del number
    ask(url, "GET", f"/{BUCKET}?list-type=2&prefix=listed/")


def put_large(url: str, number: int) -> None:
    ask(url, "PUT", f"/{BUCKET}/large/{number}", LARGE)


def get_large(url: str, number: int) -> None:
    del number
    ask(url, "GET", f"/{BUCKET}/read")


def multipart(url: str, number: int) -> None:
    path = f"/{BUCKET}/parts/{number}"
    found = _UPLOAD_ID.search(ask(url, "POST", f"{path}?uploads")[0])
    upload = found[1].decode() if found else ""
    tags = [ask(url, "PUT", f"{path}?partNumber={part}&uploadId={upload}", PART)[1] for part in (1, 2)]
    parts = "".join(
        f"<Part><PartNumber>{part}</PartNumber><ETag>{tag}</ETag></Part>" for part, tag in enumerate(tags, start=1)
    )
    document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
    ask(url, "POST", f"{path}?uploadId={upload}", document.encode())


OPERATIONS: dict[str, tuple[Callable[[str, int], None], int]] = {
    "PUT 10 kB": (put_small, 200),
    "GET 10 kB": (get_small, 200),
    f"LIST {LISTED} keys": (list_keys, 24),
    "PUT 4 MiB": (put_large, 24),
    "GET 4 MiB": (get_large, 24),
    "multipart, 2 x 5 MiB": (multipart, 8),
}


def rate(operation: Callable[[str, int], None], url: str, count: int, threads: int) -> float:
    """Operations a second."""
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda number: operation(url, number), range(count)))
    return count / (time.perf_counter() - began)


def prepare(url: str) -> None:
    ask(url, "PUT", f"/{BUCKET}")
    ask(url, "PUT", f"/{BUCKET}/read", LARGE)
    for number in range(LISTED):
        ask(url, "PUT", f"/{BUCKET}/listed/{number}", SMALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 8])
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as state, contextlib.ExitStack() as stack:
        servers = {
            "moto": stack.enter_context(moto()),
            "emulator": stack.enter_context(emulator("--scenario", "calm")).url,
            "state": stack.enter_context(emulator("--state", state)).url,
        }
        for url in servers.values():
            prepare(url)
        for name, (operation, count) in OPERATIONS.items():
            for threads in args.threads:
                rates: dict[str, list[float]] = {server: [] for server in servers}
                for round_number in range(args.rounds):
                    order = list(servers)[round_number % 3 :] + list(servers)[: round_number % 3]
                    for server in order:
                        rates[server].append(rate(operation, servers[server], count, threads))
                middle = {server: statistics.median(found) for server, found in rates.items()}
                ratios = [
                    statistics.median(
                        ours / limit for ours, limit in zip(rates[server], rates["moto"], strict=True)
                    )
                    for server in ("emulator", "state")
                ]
                rows.append(
                    [
                        name,
                        threads,
                        *(f"{middle[server]:.0f}" for server in servers),
                        *(f"{r:.2f}" for r in ratios),
                    ]
                )
    show(
        "S3, operations a second",
        ["", "threads", "moto", "emulator", "emulator --state", "emulator / moto", "--state / moto"],
        rows,
        [f"Medians of {args.rounds} rounds in which the servers take turns; ratios are medians of each round's."],
    )


if __name__ == "__main__":
    main()

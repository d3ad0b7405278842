"""For clients that insist on AWS's own addresses: an HTTPS proxy on the emulator's own port.

Both SageMaker SDKs ask ``https://sts.{region}.amazonaws.com``, whatever ``AWS_ENDPOINT_URL`` says. Told by
``HTTPS_PROXY`` they ask the emulator to connect them there. For hosts of AWS it ends TLS itself, with a
certificate of an authority of its own, and answers as it answers any request; nothing is sent to AWS. Hosts that
collect the SDKs' telemetry get an empty answer. Other hosts (package registries, ...) are connected to directly,
and what is said there is neither read nor changed.

Moto's own proxy does not serve: the key of its authority is public, and it knows nothing of the emulator's jobs.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import io
import logging
import os
import re
import selectors
import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
from botocore.loaders import Loader
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from moto.moto_server.werkzeug_app import MotoRequestHandler

from cloudtune.emulator.web.chunked_body import ChunkedBody
from cloudtune.paths import write_atomic

_log = logging.getLogger(__name__)
_TELEMETRY = "sm-pysdk-t-"
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.ASCII)
_CONNECT_TIMEOUT_S = 20.0
_IDLE_S = 600.0  # after which a tunnel is closed
_CHUNK = 1 << 16
_VALID = datetime.timedelta(days=365)
_CLOCK_SKEW = datetime.timedelta(days=1)
_ROOTS = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


@functools.cache
def domains() -> tuple[str, ...]:
    """Of AWS's services in all partitions (``amazonaws.com``, ``amazonaws.com.cn``, ``api.aws``, ...)."""
    outputs = [partition["outputs"] for partition in Loader().load_data("partitions")["partitions"]]
    kinds = ("dnsSuffix", "dualStackDnsSuffix")
    return tuple(sorted({suffixes[kind] for suffixes in outputs for kind in kinds if kind in suffixes}))


def is_aws(host: str) -> bool:
    """Whether ``host`` belongs to a service of AWS."""
    return any(host.endswith(f".{domain}") for domain in domains())


class Authority:
    """A certificate authority that can speak for hosts of AWS and for no others.

    Args:
        folder: Keeps key and certificate, readable for this user alone. An authority that is found there goes on:
            clients of an emulator that was restarted still trust it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder = folder
        self._key, self._certificate = _load(folder / "authority.pem") or _make(folder / "authority.pem")
        #: What clients are to trust: this authority, and those that they would trust without the emulator.
        self.bundle = folder / "ca-bundle.pem"
        write_atomic(self.bundle, _pem(self._certificate) + _usual_roots())
        self.context = functools.lru_cache(maxsize=256)(self._context)

    def _context(self, host: str) -> ssl.SSLContext:
        """For serving as ``host``."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _certificate(host, self._certificate.subject, key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # The module ssl reads from files alone. Only this user can read this one.
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            file.write(_private(key) + _pem(certificate))
            file.flush()
            context.load_cert_chain(file.name)
        return context


def _make(path: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cloudtune emulator")])
    builder = _certificate("cloudtune emulator", name, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = builder.add_extension(usage, critical=True)
    # Whoever gets hold of the key cannot pretend to be anything but the emulator.
    constraints = x509.NameConstraints([x509.DNSName(domain) for domain in domains()], None)
    builder = builder.add_extension(constraints, critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    write_atomic(path, _private(key) + _pem(certificate))
    return key, certificate


def _load(path: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None:
    """The authority in that file; None if there is none that will do for some weeks."""
    try:
        content = path.read_bytes()
        key = serialization.load_pem_private_key(content, None)
        certificate = x509.load_pem_x509_certificate(content)
    except (OSError, ValueError):
        return None
    lasts = certificate.not_valid_after_utc - _now() > _VALID / 10
    return (key, certificate) if lasts and isinstance(key, ec.EllipticCurvePrivateKey) else None


def _certificate(name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    # Common names have 64 characters at most; clients read the alternative names.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    builder = builder.not_valid_before(_now() - _CLOCK_SKEW).not_valid_after(_now() + _VALID)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _usual_roots() -> bytes:
    """What this user's clients trust: a company's network may have an authority of its own."""
    files = [Path(os.environ[name]) for name in _ROOTS if os.environ.get(name)]
    return next((file.read_bytes() for file in files if file.is_file()), Path(certifi.where()).read_bytes())


class ProxyHandler(MotoRequestHandler):
    """Serves requests, and those that come through ``CONNECT``; subclasses set ``authority``."""

    authority: Authority
    _host: str | None = None  # which AWS host the client believes to talk to
    # Of what is no HTTP; the emulator never answers with HTML.
    error_content_type = "application/xml"
    error_message_format = (
        '<?xml version="1.0"?><Error><Code>BadRequest</Code><Message>%(message)s (%(code)d)</Message></Error>'
    )

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        try:
            urlsplit(f"//{self.path}" if self.command == "CONNECT" else self.path)
        except ValueError:
            self.send_error(400, "Not a URL")
            return False
        return True

    def do_CONNECT(self) -> None:  # noqa: N802 - the name is looked up by http.server
        target = urlsplit(f"//{self.path}")
        host, port = (target.hostname or "").lower(), _port(target)
        if port is None or not (_HOST.fullmatch(host) or ":" in host):
            self.send_error(400, "Not a host and a port")
        elif is_aws(host) and self._host is None:
            self._answer_for(host)
        elif self._host is None:
            self._tunnel(host, port)
        else:
            self.send_error(400, "A proxy within a proxy")

    def _established(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.wfile.flush()

    def _answer_for(self, host: str) -> None:
        self._established()
        self.close_connection = True
        secured = self.authority.context(host).wrap_socket(self.connection, server_side=True)
        self.rfile.close()
        self.request = secured
        self.setup()
        self._host = host
        self.close_connection = False

    def _tunnel(self, host: str, port: int) -> None:
        self.close_connection = True
        try:
            other = socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S)
        except OSError as error:
            self.send_error(502, f"{host}:{port} cannot be reached", str(error))
            return
        with other, contextlib.suppress(OSError):  # whoever breaks off, the other one learns of it
            self._established()
            other.settimeout(self.timeout)
            _relay(self.connection, other)

    def make_environ(self) -> dict[str, Any]:
        environ = super().make_environ()
        if "wsgi.input_terminated" in environ:
            environ.pop("CONTENT_LENGTH", None)  # says nothing where there are chunks (RFC 9112, section 6.3)
            environ["wsgi.input"] = io.BufferedReader(ChunkedBody(self.rfile.readline, self.rfile.read))
        if self._host is not None:
            environ["wsgi.url_scheme"] = "https"
        return environ

    def run_wsgi(self) -> None:
        if self._host is not None and self._host.startswith(_TELEMETRY):
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
        else:
            super().run_wsgi()

    def handle(self) -> None:
        try:
            super().handle()
        except ssl.SSLError as error:
            _log.warning("TLS with a client as %s: %s. Does it trust the file AWS_CA_BUNDLE?", self.path, error)
            self.close_connection = True

    def finish(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            super().finish()
        self.connection.close()


def _port(target: Any) -> int | None:
    try:
        return int(target.port)
    except (TypeError, ValueError):
        return None


def _relay(client: socket.socket, server: socket.socket) -> None:
    """Passes on what either side sends, until one of them ends or both are silent for long."""
    peers = {client: server, server: client}
    with selectors.DefaultSelector() as selector:
        for peer in peers:
            selector.register(peer, selectors.EVENT_READ)
        while events := selector.select(_IDLE_S):
            for ready, _ in events:
                source = client if ready.fileobj is client else server
                content = source.recv(_CHUNK)
                if not content:
                    return
                peers[source].sendall(content)

"""A certificate authority that nobody knows, and a certificate for 127.0.0.1 that it signed."""

from __future__ import annotations

import dataclasses
import ssl
import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclasses.dataclass(frozen=True)
class Authority:
    """The files: `ca` is what a client must be given, `certificate` and `key` are the server's."""

    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.certificate, self.key)
        return made


def make(directory: Path) -> Authority:
    """Make both in `directory`, with the openssl command."""
    made = Authority(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    ca_key = directory / "ca.key"
    _openssl("-keyout", ca_key, "-out", made.ca, "-subj", "/CN=unknown authority", *_extensions("CA:TRUE"))
    signer = ("-CA", made.ca, "-CAkey", ca_key)
    names = ("-addext", "subjectAltName=IP:127.0.0.1")
    _openssl(
        *signer, "-keyout", made.key, "-out", made.certificate, "-subj", "/CN=heat", *_extensions("CA:FALSE"), *names
    )
    return made


def _extensions(constraint: str) -> tuple[str, ...]:
    return ("-addext", f"basicConstraints=critical,{constraint}")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", "req", "-x509", *_KEY, *arguments], check=True, capture_output=True, timeout=60)

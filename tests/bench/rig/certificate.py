"""The certificates that every proxy of a run has, and those of its clients."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from .process import Failure

# What `openssl` makes keys of, by the name of the kind.
KEYS = {
    "p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    "rsa2048": ["-newkey", "rsa:2048"],
}


@dataclass(frozen=True)
class Certificate:
    cert: Path
    key: Path
    # HAProxy and the load generator want both in one file.
    both: Path


@dataclass(frozen=True)
class Certificates:
    # By the kind of key.
    servers: dict
    # Of clients, where proxies ask for one: the CA, and a certificate of it.
    ca: Certificate
    client: Certificate


def make(directory):
    """Makes certificates for localhost, good for as long as any run."""
    names = ["-addext", "subjectAltName=DNS:localhost"]
    servers = {kind: _make(directory, kind, kind, names) for kind in KEYS}
    ca = _make(directory, "ca", "p256", [])
    issued = ["-CA", ca.cert, "-CAkey", ca.key, "-addext", "basicConstraints=critical,CA:FALSE"]
    return Certificates(servers, ca, _make(directory, "client", "p256", issued))


def _make(directory, name, kind, more):
    made = Certificate(*(directory / f"{name}-{part}.pem" for part in ("cert", "key", "both")))
    command = ["openssl", "req", "-x509", *KEYS[kind], "-nodes", "-days", "2", "-subj", f"/CN={name}", *more]
    done = subprocess.run([*command, "-keyout", made.key, "-out", made.cert], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"no certificate: {done.stderr.strip()}")
    made.both.write_bytes(made.cert.read_bytes() + made.key.read_bytes())
    return made

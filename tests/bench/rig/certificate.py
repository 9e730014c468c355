"""The certificate that every proxy of a run has."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from .process import Failure


@dataclass(frozen=True)
class Certificate:
    cert: Path
    key: Path
    # HAProxy wants both in one file.
    both: Path


def make(directory):
    """Makes a P-256 certificate for localhost, good for as long as any run."""
    made = Certificate(directory / "cert.pem", directory / "key.pem", directory / "both.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", made.key, "-out", made.cert]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"no certificate: {done.stderr.strip()}")
    made.both.write_bytes(made.cert.read_bytes() + made.key.read_bytes())
    return made

"""A certificate authority of the test's own, by openssl."""

import subprocess
from pathlib import Path


class Authority:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.file = self.folder / "ca.pem"
        # Of P-256, as most of today's are.
        self.key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        self.openssl(
            "req", "-x509", *self.key, "-days", "2", "-subj", "/CN=test authority",
            "-keyout", "ca.key", "-out", "ca.pem",
        )  # fmt: skip

    def issue(self, name):
        """A file with a key and its certificate, for this host or client."""
        self.openssl(
            "req", "-x509", *self.key, "-days", "2", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=CA:FALSE",
            "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", f"{name}.key", "-out", f"{name}.crt",
        )  # fmt: skip
        both = self.folder / f"{name}.pem"
        parts = [(self.folder / f"{name}.{end}").read_text() for end in ("crt", "key")]
        both.write_text("".join(parts))
        return both

    def openssl(self, *command):
        subprocess.run(["openssl", *command], cwd=self.folder, check=True, capture_output=True)

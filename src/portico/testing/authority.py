# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by openssl(1)."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """A certificate authority of one's own, by openssl(1)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl("req", "-x509", *NEW_KEY, "-keyout", self._key, "-out", self.certificate, "-subj", "/CN=ca", *VALID)

    def issue(self, name: str, into: str = "", address: str = "127.0.0.1") -> tuple[Path, Path]:
        """Return files with a certificate for this name, localhost and an address, and its key."""
        request, certificate, key = (self.folder / f"{into or name}.{kind}" for kind in ("csr", "pem", "key"))
        _openssl("req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        names = self.folder / "names"
        names.write_text(f"subjectAltName=DNS:{name},DNS:localhost,IP:{address}\n")
        ca = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial")
        _openssl("x509", "-req", "-in", request, *ca, "-extfile", names, "-out", certificate, *VALID)
        return certificate, key


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
VALID = ("-days", "2")


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

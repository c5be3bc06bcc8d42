"""Keys to sign with, as a user makes them."""

from __future__ import annotations

import subprocess
from pathlib import Path


def keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    """A private and a public key, as openssl makes them."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return private, public

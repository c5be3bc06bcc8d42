"""Paths that users name: local ones, and those of any storage that fsspec knows (`hf://`, `s3://`, `https://`, …)."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from gristmill.errors import UserError


def is_remote(path: str) -> bool:
    """Whether a path is a URL."""
    return "://" in path


def as_path(path: str) -> Path:
    """A local path, or one like it for a URL; remote files are read as they are needed, none is copied whole.

    Raises UserError where the storage's library is not installed or does not know the URL.
    """
    if not is_remote(path):
        return Path(path)
    if find_spec("upath") is None:
        raise UserError(f"{path} needs universal-pathlib", "pip install 'gristmill[remote]'")
    from upath import UPath

    try:
        found = UPath(path)
        found.fs  # noqa: B018  the storage's library is imported here
    except (ImportError, ValueError) as error:
        raise UserError(
            f"cannot read {path}: {error}", "install the library that it names, or check the URL"
        ) from error
    return cast(Path, found)  # it has the methods that we use


def remote_digest(path: Path) -> str:
    """What says whether a remote file, or a file below a remote folder, has changed: names, sizes, dates and tags."""
    storage: Any = path
    try:
        keys = sorted(
            (str(file), str(file.fs.ukey(file.path)))
            for file in ([storage] if storage.is_file() else storage.rglob("*"))
            if file.is_file()
        )
    except Exception as error:  # each storage has errors of its own
        raise UserError(f"cannot list {path}: {error}", "check the URL, the network and your rights") from error
    if not keys:
        raise UserError(f"no such file or folder: {path}", "check the URL")
    return hashlib.sha256(repr(keys).encode()).hexdigest()

"""Files that are there whole or not at all, and their checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gristmill.errors import Damaged

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # no room to write
UMASK = os.umask(0)
os.umask(UMASK)  # it can only be read by setting it


JUST_WRITTEN = 0.1  # seconds: within them a file can change again and keep its time
SEAL = re.compile(rb'\{\n  "checksum": "([0-9a-f]{64})",')
known: dict[tuple[int, int, int, int], str] = {}  # device, inode, size and time of a file → its SHA-256


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in constant memory: once in a process, as long as its size and time stay the same."""
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        key = about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
        if key in known:
            return known[key]
        settled = time.time() - about.st_mtime > JUST_WRITTEN
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if settled:
        known[key] = digest
    return digest


def sealed(text: str) -> str:
    """The text of a JSON object with a checksum at its beginning: the SHA-256 of all that comes after it."""
    body = text[1:] + "\n"
    return f'{{\n  "checksum": "{hashlib.sha256(body.encode()).hexdigest()}",{body}'


def unsealed(path: Path, remedy: str) -> dict[str, Any]:
    """The object in a file of such text. Raises Damaged where it is not as it was written, OSError where it is none."""
    data = path.read_bytes()
    head = SEAL.match(data)
    if not head or hashlib.sha256(data[head.end() :]).hexdigest() != head[1].decode():
        raise Damaged(f"{path} is damaged", remedy)
    content: dict[str, Any] = json.loads(data)
    del content["checksum"]
    return content


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` once the block has succeeded; else remove it."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
            error.filename = str(path)  # Python does not say where there was no room
        raise
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    make_readable(temporary)
    temporary.replace(path)


def make_readable(path: Path) -> None:
    """Let others read a file as the umask says, also where a library made it for its owner alone."""
    path.chmod(path.stat().st_mode | 0o444 & ~UMASK)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, **options: Any) -> None:
    """Write a JSON file atomically, for people to read, too."""
    write_text(path, json.dumps(content, indent=2, **options) + "\n")


def write_jsonl(path: Path, records: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    """Write JSON lines atomically."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

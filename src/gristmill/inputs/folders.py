"""What lies below a folder that a user names: every file in a fixed order, and why those that cannot be read cannot.

Links are followed, and every real folder is entered once, so that a loop of links ends. Hidden files and folders, and
what gristmill itself made of documents, are named and not entered.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.errors import RUN_OUT, UserError
from gristmill.files import sha256_file
from gristmill.inputs.storage import remote_digest
from gristmill.manifest import FINGERPRINT, MANIFEST, RECIPE, Manifest, intact

NEWER = "update/newer.json"  # in a run folder: which pages are newer than its weights
SINCE = "update/since.json"  # the fingerprint of the passages that they are newer than
PIPE, SAVE = "device or pipe", "save what it gives in a file, and name that"
LOCK = ".lock"  # at the end of the name of what says that a process works here
PAGES = ("miniweb", "crawl", "common_crawl")  # stages whose folders hold pages to be read


@dataclass(frozen=True)
class FoundFile:
    """One file, or a folder that is not entered."""

    path: Path
    name: str  # below the folder that was named, as valid Unicode
    fault: str = ""  # why it is not read: hidden, own_run, linked_twice, not_a_file, unreadable
    why: str = ""


def walk(folder: Path) -> Iterator[FoundFile]:
    """Everything below a folder, depth first and by name; also of a remote one."""
    if not isinstance(folder, Path):  # remote storage has no links, rights or hidden files to speak of
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts):
            if path.is_file():
                yield FoundFile(path, path.relative_to(folder).as_posix())
        return
    entered = {identity(folder)}
    waiting = [entries(folder, "")]
    while waiting:
        found = next(waiting[-1], None)
        if found is None:
            waiting.pop()
        elif found.fault or not found.path.is_dir():
            yield found
        elif identity(found.path) in entered:
            yield FoundFile(found.path, found.name, "linked_twice", "this folder is read under another name")
        elif is_run(found.path):
            yield FoundFile(found.path, found.name, "own_run", "made by gristmill; name it itself to have it read")
        else:
            entered.add(identity(found.path))
            waiting.append(entries(found.path, f"{found.name}/"))


def files_of(path: Path) -> list[Path]:
    """A file, or those below a folder. Raises UserError where it has none."""
    files = [found.path for found in walk(path) if found.fault in ("", "unreadable")] if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path} is a folder without files", "name a file, or a folder that has some")
    return files


def entries(folder: Path, prefix: str) -> Iterator[FoundFile]:
    """What is in one folder, by name."""
    try:
        with os.scandir(folder) as listing:
            names = sorted(entry.name for entry in listing)
    except OSError as error:
        if error.errno in RUN_OUT:
            raise
        yield FoundFile(folder, prefix.rstrip("/") or ".", "unreadable", str(error.strerror))
        return
    for each in names:
        path, name = folder / each, prefix + valid(each)
        if each.startswith("."):
            yield FoundFile(path, name, "own_run" if each.endswith(LOCK) else "hidden")
        else:
            yield FoundFile(path, name, *fault_of(path))


def fault_of(path: Path) -> tuple[str, str]:
    """Why something is neither a file nor a folder to be read, as `FoundFile` has it; two empty strings where it is."""
    try:
        kind = path.stat().st_mode
    except OSError as error:
        if error.errno in RUN_OUT:
            raise
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return "not_a_file", "a link that leads nowhere"
        return "unreadable", str(error.strerror)
    return ("", "") if stat.S_ISREG(kind) or stat.S_ISDIR(kind) else ("not_a_file", f"a {PIPE}")


def identity(path: Path) -> tuple[int, int]:
    """What tells a real file or folder from others, whatever links lead to it."""
    about = path.stat()
    return about.st_dev, about.st_ino


def same(path: Path) -> Hashable:
    """What is the same for two names of one file."""
    try:
        return identity(path) if isinstance(path, Path) else str(path)
    except OSError:
        return str(path)


def valid(name: str) -> str:
    """A file's name as text that can be written down: a byte that is no UTF-8 is told as `\\xe9`, so that names stay
    apart that differ in one.
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_run(folder: Path) -> bool:
    """Whether gristmill ran a recipe, or a stage that reads documents, into this folder, or works in it: reading it
    would be reading one's own output.
    """
    if folder.suffix == ".partial" and (folder / FINGERPRINT).exists():
        return True
    made = content(folder / MANIFEST)
    return {"name", "seed"} <= content(folder / RECIPE).keys() or bool(
        made.get("fingerprint") and made.get("stage") not in (*PAGES, None)
    )


def newer(run: Path) -> dict[str, list[str]]:
    """The pages that `gristmill update` found new, changed and gone; nothing where the run was made anew since."""
    own, since = Manifest.read(run / "passages"), content(run / SINCE).get("passages")
    if since is None or (own and own.fingerprint != since):
        return {}
    found: dict[str, list[str]] = json.loads((run / NEWER).read_text(encoding="utf-8"))
    return found


def content(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            found = json.loads(file.read(1 << 24))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def source_names(paths: Sequence[str]) -> list[str]:
    """What of these paths shows in the sources of documents: nothing where there is one folder."""
    return [] if len(paths) == 1 and Path(paths[0]).is_dir() else labels(paths)


def labels(paths: Sequence[str]) -> list[str]:
    """For each of several paths, the shortest end that no other one shares: `notes`, or `a/notes` and `b/notes`."""
    parts = [tuple(part for part in path.replace("://", "/").split("/") if part not in ("", ".")) for path in paths]
    ends = Counter(one[-n:] for one in set(parts) for n in range(1, len(one) + 1))
    lengths = (next((n for n in range(1, len(own)) if ends[own[-n:]] == 1), len(own)) for own in parts)
    return [valid("/".join(own[-n:])) or "." for own, n in zip(parts, lengths, strict=True)]


def digest(path: Path, trust: bool = False) -> str:
    """The content of a stage folder (through its manifest's checksums), another folder or a file, as one hash.

    Raises Damaged where a file of a stage is not what its manifest says, unless they are trusted to be.
    """
    if not isinstance(path, Path):
        return remote_digest(path)
    if not trust:
        intact(path)
    if path.is_dir():
        known = Manifest.read(path)
        found = [] if known else [each for each in walk(path) if each.fault != "own_run"]
        parts = known.outputs if known else {each.name: each.fault or content_of(each.path) for each in found}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    if not path.exists():
        raise UserError(f"no such file or folder: {path}", "check the path")
    if not path.is_file():
        raise UserError(f"{path} is a {PIPE}", SAVE)  # reading it might never end, or be possible only once
    return sha256_file(path)


def content_of(path: Path) -> str:
    """The checksum of a file in a folder; `unreadable` where it cannot be read: the stage says so.

    With a manifest all that it lists is checked.
    """
    if path.name == MANIFEST:
        intact(path.parent)
    try:
        return sha256_file(path)
    except OSError:
        return "unreadable"

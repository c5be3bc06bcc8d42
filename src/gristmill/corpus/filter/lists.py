"""Lists that users bring: hosts and URLs to leave out, and words that give a text away.

Of hosts, the usual formats are read, also mixed: one domain or URL a line (as the UT1 lists, whose folders of `domains`
and `urls` may be named whole), hosts files (`0.0.0.0 bad.example`), Adblock's `||bad.example^`; any of them packed.
Of words: one word or phrase a line, as the "List of Dirty, Naughty, Obscene, and Otherwise Bad Words" that C4 used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from gristmill.corpus.filter.candidate import Candidate, Rule
from gristmill.corpus.text.words import IN_UNSPACED
from gristmill.corpus.text.words import words as words_of
from gristmill.errors import UserError
from gristmill.inputs.folders import files_of
from gristmill.inputs.text_files import BadLine, readable, text_lines

ADDRESS = re.compile(r"^(?:0\.0\.0\.0|127\.0\.0\.1|::1?)\s+")  # what hosts files send hosts to
HOST = re.compile(r"^(?:[^\W_](?:[\w-]*[^\W_])?\.)*[^\W_](?:[\w-]*[^\W_])?$")
LOCAL = frozenset(("localhost", "localhost.localdomain", "local", "broadcasthost", "ip6-localhost", "ip6-loopback"))


def block_list(paths: Sequence[str]) -> Rule:
    """The document's host, a domain above it, or its URL up to one of its slashes is in none of the lists.

    Raises UserError for a file that holds no entry. Eight bytes of memory an entry (as 64-bit hashes).
    """
    lists = [hashes_in(Path(path)) for path in paths]

    def listed(entry: str) -> bool:
        wanted = np.uint64(entry_hash(entry))
        places = ((hashes, int(np.searchsorted(hashes, wanted))) for hashes in lists)
        return any(at < len(hashes) and hashes[at] == wanted for hashes, at in places)

    @lru_cache(10_000)
    def host_listed(host: str) -> bool:
        labels = host.split(".")
        return any(listed(".".join(labels[at:])) for at in range(len(labels)))

    def rule(candidate: Candidate) -> str | None:
        document = candidate.document
        if document.host and host_listed(document.host):
            return "blocked_host"
        return "blocked_url" if any(map(listed, url_prefixes(document.url))) else None

    return rule


def hashes_in(path: Path) -> np.ndarray:
    """Sorted hashes of a file's entries, or of those of the files in a folder, uint64."""
    files = files_of(path)
    try:
        stamps = tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    except OSError as error:
        raise UserError(f"cannot read the list {path}: {error.strerror}", "check filter.block_lists") from error
    hashes = read_hashes(stamps)
    if not len(hashes):
        raise UserError(f"{path} lists no host and no URL", "one domain, URL, hosts-file line or ||domain^ a line")
    return hashes


@lru_cache(8)
def read_hashes(stamps: tuple[tuple[Path, int, int], ...]) -> np.ndarray:
    """Sorted hashes of the entries of files as they were at that time: a list of millions is read once a process."""
    return np.unique(np.fromiter((entry_hash(entry) for file, *_ in stamps for entry in read_entries(file)), np.uint64))


def read_entries(path: Path) -> Iterator[str]:
    """The hosts and URLs (without scheme) of a list; lines that are neither are passed over. Raises UserError where the
    file cannot be read."""
    for line in readable(text_lines(path), []):
        line = line.split(" #")[0].strip()
        if line[:1] in ("#", "!", "[", "@", "/", "") or "##" in line:
            continue  # comments, Adblock's headers, exceptions, expressions and rules for parts of pages
        in_hosts_file = ADDRESS.match(line)
        for name in line[in_hosts_file.end() :].split() if in_hosts_file else [line]:
            if entry := read_entry(name):
                yield entry


def read_entry(name: str) -> str:
    """`host` or `host/path` in lower case (the host), or an empty string."""
    if name.startswith("||"):
        name = re.split(r"[\^$]", name[2:])[0]
    name = re.sub(r"^(?:https?:)?//", "", name.removeprefix("*.").removeprefix("."), flags=re.IGNORECASE)
    host, _, path = name.partition("/")
    host = host.partition(":")[0].lower()
    try:
        host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return ""
    if not HOST.match(host) or host in LOCAL or " " in path:
        return ""
    return f"{host}/{path.rstrip('/')}" if path.strip("/") else host


def url_prefixes(url: str) -> Iterator[str]:
    """A URL without scheme, whole and up to each of its slashes, but for the host alone."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return
    if not host or parts.scheme not in ("http", "https"):
        return
    path = parts.path.strip("/")
    if parts.query:
        yield f"{host}/{path}?{parts.query}"
    while path:
        yield f"{host}/{path}"
        path = path.rpartition("/")[0]


def entry_hash(entry: str) -> int:
    """64 bits that stand for an entry."""
    return int.from_bytes(hashlib.blake2b(entry.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def bad_words(paths: Sequence[str], most: float) -> Rule:
    """At most a share `most` of the words, or phrases, are on the lists; 0: none may (C4, arXiv:1910.10683 §2.2).

    Case does not matter. Whole words count, but for scripts that put no space between words (as C4 does).
    Raises UserError for a file that holds no word, or a line that cannot be read.
    """
    words, within = set[str](), list[str]()
    phrases: dict[str, list[str]] = {}
    for path in paths:
        bad = list[tuple[int, BadLine]]()
        lines = [line.strip().lower() for line in readable(text_lines(Path(path)), bad)]
        entries = [line for line in lines if line and not line.startswith("#")]
        if bad:
            raise UserError(f"{path}:{bad[0][0]}: {bad[0][1].why}", "write it in UTF-8")
        if not entries:
            raise UserError(f"{path} lists no word", "one word or phrase a line")
        for entry in entries:
            parts = words_of(entry)
            if IN_UNSPACED.search(entry) or not parts:
                within.append(entry)
            elif [entry] == parts:
                words.add(entry)
            else:
                phrases.setdefault(parts[0], []).append(rf"\b{re.escape(entry)}(?!\w)")
    patterns = {first: re.compile("|".join(group)) for first, group in phrases.items()}

    def rule(candidate: Candidate) -> str | None:
        found = words_of(candidate.text)
        bad = sum(word in words for word in found)
        for first in patterns.keys() & set(found) if patterns else ():
            bad += len(patterns[first].findall(candidate.lower))
        bad += sum(candidate.lower.count(entry) for entry in within)
        return "bad_words" if bad > most * len(found) else None

    return rule

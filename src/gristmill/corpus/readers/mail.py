"""E-mail: messages (`.eml`, RFC 5322) and archives of them (`.mbox`, RFC 4155), through Python's email package.

A message is its plain text, or its HTML where it has none, with its subject as title; all else is named as left out.
"""

from __future__ import annotations

import email.policy
import re
from collections.abc import Iterable, Iterator
from email.message import MIMEPart
from functools import partial
from pathlib import Path
from typing import cast

from gristmill.errors import TooLarge
from gristmill.inputs.text_files import MAX_WHOLE, opened
from gristmill.record import Record, unread

LINE = 1 << 20  # bytes that are read at once, whatever the length of a line
FROM = b"From "
# the line before a message in an archive: whose, and when (RFC 4155, appendix A); many programs leave a line of text
# that begins so as it is
BEGINNING = re.compile(rb"From .*\b\d\d:\d\d(?::\d\d)?\b.*\b\d{4}\b")


def read_mail(path: Path, name: str) -> Iterator[Record]:
    """One record a message, or a fault where it cannot be read, and one fault a further part.

    Raises what unpacking raises, and TooLarge where a message is longer than any document; those before have been
    yielded by then.
    """
    with opened(path) as file:
        for number, message in enumerate(messages(iter(partial(file.readline, LINE), b"")), 1):
            source = f"{name}:{number}"
            try:
                yield from parts_of(message, name, source)
            except Exception as error:  # noqa: BLE001  # the parser of headers raises what it likes
                yield unread(source, "damaged", f"{type(error).__name__}: {error}")


def messages(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The messages of an archive, or the one that a file is; after an empty line, one with `From` and a time begins
    the next."""
    held: list[bytes] = []
    size, last = 0, b"\n"
    for line in lines:
        if not last.strip() and (BEGINNING.match(line) or (line.startswith(FROM) and not size)):
            if held:
                yield b"".join(held)
            held, size = [], 0
        else:
            held.append(line[1:] if line.lstrip(b">").startswith(FROM) and line[:1] == b">" else line)
            size += len(line)
            if size > MAX_WHOLE:
                raise TooLarge(f"a message is longer than {MAX_WHOLE:,} bytes", "take it out of the archive")
        last = line
    if held:
        yield b"".join(held)


def parts_of(data: bytes, name: str, source: str) -> Iterator[Record]:
    """A message as a record, and what else it holds as faults. Raises what the email package raises."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    body = message.get_body(("plain", "html"))
    known = str(message["message-id"] or "").strip("<> ")
    when = message["date"].datetime if message["date"] else None
    if body is None:
        yield unread(source, "empty", "a message without text")
    else:
        text, charset = body.get_payload(decode=True), body.get_content_charset() or ""
        yield Record(
            cast(bytes, text),
            body.get_content_type(),
            f"{name}#{known}" if known else source,
            source,
            charset,
            str(message["subject"] or ""),
            when,
            whole=True,
        )
    for part in others(message, body):
        label = part.get_filename() or part.get_content_type()
        yield unread(f"{source}:{label}", "unread_kind", "a further part of a message: save it as a file")


def others(part: MIMEPart, body: MIMEPart | None, alike: bool = False) -> Iterator[MIMEPart]:
    """The parts that are neither the text of a message nor (`alike`) the same in another form."""
    if part.is_multipart():
        for inner in cast(list[MIMEPart], part.get_payload()):
            yield from others(inner, body, alike or part.get_content_subtype() == "alternative")
    elif part is not body and (not alike or part.get_filename()):
        yield part

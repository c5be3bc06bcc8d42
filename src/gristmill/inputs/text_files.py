"""Lines and JSON records of the files that users name, whatever they are packed in and whichever charset they have.

A charset is told by a byte order mark, by the pattern of zero bytes that UTF-16 and UTF-32 leave in JSON and other
mostly Western text (RFC 4627, section 3), or by the first 256 kB being valid UTF-8; only where all of these say no is
it detected. Memory is bounded by the longest line, and lines by MAX_LINE.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from mimetypes import guess_type
from pathlib import Path
from typing import Any, BinaryIO, cast

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from gristmill.errors import TooLarge, UserError
from gristmill.manifest import intact

HEAD = 1 << 18  # bytes that tell the charset
ZIP = b"PK\x03\x04"  # begins archives, and the files of word processors and spreadsheets
CONTROLS = bytes({*range(32), 127} - {*b"\t\n\f\r\x1b"})  # of ASCII, which hardly any text has
MOST_CONTROLS = 0.03  # of a text's bytes; of random bytes they are a tenth
MAX_LINE = 1 << 26  # bytes
ASCII = bytes(range(128))
# what the detector says → a codec: the first is UTF-8 to the library; the second has letters of Ukrainian where the
# other has lines to draw boxes with
WIDER = {"cp949": "cp949", "koi8-r": "koi8-u"}
PIECE = 128  # bytes of text that a charset can be told by
MAX_WHOLE = 1 << 28  # bytes of a file that is one document, or one JSON value
MARKS = (  # UTF-32's first: UTF-16's little-endian mark is the beginning of it
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be read, and why."""

    why: str
    remedy: str = "one JSON object a line"


def damaged() -> tuple[type[Exception], ...]:
    """What unpacking raises; the last one also where a file cannot be read."""
    import pyarrow as pa

    return EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowException, OSError


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file's content, unpacked as its name asks (`.gz`, `.zst`, `.bz2`)."""
    with path.open("rb") as raw:
        ending = path.suffix.lower()
        if ending == ".zst":
            import pyarrow as pa  # only now: it takes 27 MB

            yield cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw), "zstd")))
        elif ending in (".gz", ".bz2"):
            with gzip.open(raw) if ending == ".gz" else bz2.open(raw) as file:
                yield cast(BinaryIO, file)
        else:
            # remote files know no readline with a limit
            yield cast(BinaryIO, raw if isinstance(path, Path) else io.BufferedReader(raw))


def whole_file(path: Path) -> bytes:
    """All of a file, unpacked. Raises TooLarge where it is longer than any document."""
    with opened(path) as file:
        data = file.read(MAX_WHOLE + 1)
    if len(data) > MAX_WHOLE:
        raise TooLarge(f"{path} is longer than {MAX_WHOLE:,} bytes", "divide it, or write it as JSON lines")
    return data


def charset_of(head: bytes) -> str:
    """The Python codec for a text that begins with `head`; `utf-8-sig` for UTF-8, marked or not."""
    if marked := marked_charset(head):
        return marked
    zeros = "".join("0" if byte == 0 else "x" for byte in head[:4])
    wide = {"000x": "utf-32-be", "x000": "utf-32-le", "0x0x": "utf-16-be", "x0x0": "utf-16-le"}.get(zeros)
    if wide or mostly_utf8(head):
        return wide or "utf-8-sig"
    guess = detected(head)
    # the wide ones are taken for binary data, and UTF-8 has just been ruled out
    return "cp1252" if not guess or codecs.lookup(guess).name.startswith("utf") else guess


def detected(data: bytes) -> str:
    """The Python codec of a text in no charset that it declares, as uchardet finds it; empty where it finds none.

    Where the bytes contradict what is found for all of them, as one piece of a text may mislead about the rest, halves
    are looked at, and what most of the text is in counts.
    """
    if not (whole := guessed(data)) or fits(data, whole):
        return whole
    votes: Counter[str] = Counter()
    parts = [data if len(data) <= HEAD else data[: HEAD // 2] + data[-HEAD // 2 :]]
    while parts:
        part = parts.pop()
        if fits(part, name := guessed(part)):
            votes[name] += len(part.translate(None, ASCII))
        elif len(part) > PIECE:
            middle = part.find(b"\n", len(part) // 2) % len(part) or len(part) // 2
            parts += part[:middle], part[middle:]
    return max(votes, key=votes.__getitem__, default=whole)


def guessed(data: bytes) -> str:
    """What uchardet takes a text for, as a Python codec; empty where it cannot tell."""
    raw = (detect_encoding(data, html5_compatible=False) or "").lower()
    name = WIDER.get(raw) or (map_encoding_to_html5(raw, fallback_utf8=False) or "" if raw else "")
    if name.lower() == "iso8859-13" and any(byte in data for byte in range(0x80, 0xA0)):
        return "cp1257"  # the same letters
    return name


def fits(data: bytes, codec: str) -> bool:
    """Whether a text can be read by a codec without damage."""
    try:
        data.decode(codec)
    except (LookupError, UnicodeDecodeError):
        return False
    return True


def marked_charset(head: bytes) -> str:
    """The codec that a byte order mark tells, or an empty string; it takes the mark for no character."""
    return next((name for mark, name in MARKS if head.startswith(mark)), "")


def mostly_utf8(head: bytes) -> bool:
    """Whether the beginning of a text is UTF-8: valid, or damaged in fewer than one in ten characters beyond ASCII."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)  # a character cut at the end does not count
    broken = text.count("\ufffd")
    return broken * 9 <= len(text) - broken - sum(map(str.isascii, text)) if broken else True


def text_lines(path: Path) -> Iterator[str | BadLine]:
    """The lines of a text file with their ends. What a line's own damage is costs that line alone.

    Raises UserError where the file cannot be opened, is a ZIP, or is truncated or damaged as an archive: the lines
    before have been yielded by then.
    """
    number = 0
    try:
        with opened(path) as file:
            head = file.read(HEAD)
        if head.startswith(ZIP):
            raise UserError(f"{path} is a ZIP archive or a spreadsheet", "unpack it; save a table as CSV")
        charset = charset_of(head)
        with opened(path) as file:
            if charset.startswith(("utf-16", "utf-32")):
                lines = io.TextIOWrapper(file, charset, "replace", newline="")
                source: Iterator[str | BadLine] = iter(lambda: lines.readline(MAX_LINE), "")
            else:
                source = (decoded(line, charset) for line in byte_lines(file))
            for line in source:
                number += 1
                yield line
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}", "check the path") from error
    except damaged() as error:
        if isinstance(error, OSError) and error.errno is not None and not number:
            raise UserError(f"cannot read {path}: {error.strerror}", "check the path and your rights") from error
        raise UserError(f"{path} is truncated or damaged after line {number}: {error}", "fetch it again") from error


def no_text(path: Path) -> str:
    """What a file is that is no text, by its name or by control characters among its first bytes, as `image/png`; an
    empty string for a text. Raises OSError where it cannot be read, and what unpacking raises."""
    kind = guess_type(path.name)[0] or ""
    if kind.startswith("image/"):
        return kind
    with opened(path) as file:
        head = file.read(HEAD)
    controls = len(head) - len(head.translate(None, CONTROLS))
    wide = controls and charset_of(head).startswith(("utf-16", "utf-32"))
    return (kind or "binary data") if controls > MOST_CONTROLS * len(head) and not wide else ""


def byte_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of a file; of one longer than MAX_LINE the first MAX_LINE + 1 bytes, to be refused."""
    while line := file.readline(MAX_LINE + 1):
        yield line
        while len(line) > MAX_LINE and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE + 1) or b"\n"


def decoded(line: bytes, charset: str) -> str | BadLine:
    """A line as text; UTF-8 wherever it is that, for files are put together from several."""
    if len(line) > MAX_LINE:
        return BadLine(f"longer than {MAX_LINE:,} bytes")
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if charset == "utf-8-sig":
            return BadLine(f"not valid UTF-8 at byte {error.start + 1}", "write it in UTF-8")
    return line.decode(charset, "replace")


def readable(lines: Iterable[str | BadLine], bad: list[tuple[int, BadLine]]) -> Iterator[str]:
    """The lines that could be read; the others join `bad`, with their numbers from 1."""
    for number, line in enumerate(lines, 1):
        if isinstance(line, BadLine):
            bad.append((number, line))
        else:
            yield line


def json_lines(path: Path, whole: bool = False) -> Iterator[tuple[int, Any]]:
    """Number and value of each line of a JSON-lines file, or of each item of a JSON list; a BadLine where it is none.

    `whole`: it is one JSON value, whatever its name. Empty lines are passed over. Lone surrogates, which no text file
    can hold, become U+FFFD. Raises UserError as `text_lines` does.
    """
    items = whole_list(path, whole)
    if items is not None:
        yield from enumerate(items, 1)
        return
    for number, line in enumerate(text_lines(path), 1):
        if isinstance(line, BadLine):
            yield number, line
        elif line.strip():
            yield number, parse(line)


def parse(text: str) -> Any:
    """A JSON value, or a BadLine."""
    try:
        value = json.loads(text)
    except RecursionError:
        return BadLine("nested too deeply")
    except ValueError as error:
        return BadLine(f"not valid JSON: {error}")
    return whole_characters(value) if "\\ud" in text or "\\uD" in text else value


def named(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record with the names of its fields in lower case and without spaces around: spreadsheets have capitals."""
    if all(name == name.lower().strip() for name in record):
        return record
    return {name.lower().strip(): value for name, value in record.items()} | {
        name: value for name, value in record.items() if name == name.lower().strip()
    }


def whole_characters(value: Any) -> Any:
    """A JSON value in which lone surrogates are replaced."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {whole_characters(key): whole_characters(item) for key, item in value.items()}
    return [whole_characters(item) for item in value] if isinstance(value, list) else value


def whole_list(path: Path, whole: bool) -> list[Any] | None:
    """The items of a file that is one JSON list, or one object over several lines; None where it is something else."""
    if not whole and not path.name.lower().removesuffix(".gz").endswith(".json"):
        return None
    try:
        with opened(path) as file:
            data = file.read(MAX_WHOLE + 1)
    except damaged():
        return None  # reading it by lines says what is wrong
    value = parse(data.decode(charset_of(data[:HEAD]), "replace")) if len(data) <= MAX_WHOLE else None
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) else None


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file.

    Raises UserError naming the file and line of the first that is no JSON object.
    """
    for number, value in json_lines(intact(path)):
        if isinstance(value, BadLine):
            raise UserError(f"{path}:{number}: {value.why}", "one JSON object a line")
        if not isinstance(value, dict):
            raise UserError(f"{path}:{number}: not a JSON object", "one JSON object a line")
        yield value


def read_log(folder: Path | None, name: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file that a stage may have left in its folder; none without folder or file.

    Raises UserError as `read_jsonl` does.
    """
    if folder and (folder / name).exists():
        yield from read_jsonl(folder / name)

"""Reads what people have (text, Markdown, HTML, PDF, EPUB, Word, TeX, notebooks, e-mail, source code, JSONL, CSV,
Parquet, Wikipedia dumps) as streams of records.

A reader takes a path and the name that stands for it, and yields records in the file's order, in bounded memory (of
other files than tables and dumps: one at a time). WARC files are read by `warc_ranges.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from mimetypes import guess_type
from pathlib import Path
from typing import NamedTuple

from gristmill.corpus.readers import source_code
from gristmill.corpus.readers.books import read_epub, read_pdf
from gristmill.corpus.readers.latex import read_latex
from gristmill.corpus.readers.mail import read_mail
from gristmill.corpus.readers.notebook import read_notebook
from gristmill.corpus.readers.rst import read_rst
from gristmill.corpus.readers.tables import read_csv, read_jsonl, read_parquet
from gristmill.corpus.readers.wikipedia import read_dump
from gristmill.corpus.readers.word_document import read_docx
from gristmill.errors import RUN_OUT, MissingExtra, TooLarge, UserError
from gristmill.inputs.folders import PIPE, SAVE, FoundFile, walk
from gristmill.inputs.text_files import damaged, whole_file
from gristmill.manifest import Manifest
from gristmill.record import Record, unread

HTML_TYPES = ("text/html", "application/xhtml+xml")
TEXT_TYPES = ("text/plain", "text/markdown")


class Format(NamedTuple):
    """A kind of file: how its names end, what reads it where it is not one document as it is, and whether it is read
    with .gz after its ending, too."""

    endings: tuple[str, ...]
    read: Callable[[Path, str], Iterator[Record]] | None = None
    packed: bool = False


FORMATS = {
    "warc": Format((".warc", ".warc.gz", ".warc.zst", ".wet", ".wet.gz")),
    "jsonl": Format((".jsonl", ".ndjson", ".json", ".jsonl.zst"), read_jsonl, packed=True),
    "csv": Format((".csv", ".tsv"), read_csv, packed=True),
    "parquet": Format((".parquet",), read_parquet),
    "wikipedia": Format(("-pages-articles.xml", ".bz2"), read_dump),
    "epub": Format((".epub",), read_epub),
    "pdf": Format((".pdf",), read_pdf),
    "docx": Format((".docx",), read_docx),
    "mail": Format((".mbox", ".eml"), read_mail, packed=True),
    "rst": Format((".rst", ".rest"), read_rst, packed=True),
    "latex": Format((".tex", ".ltx", ".latex"), read_latex, packed=True),
    "notebook": Format((".ipynb",), read_notebook),
    "text/html": Format((".html", ".htm", ".xhtml", ".xht", ".shtml"), packed=True),
    "text/markdown": Format((".md", ".markdown", ".mkd", ".qmd", ".rmd", ".mdx"), packed=True),
    "text/plain": Format((".txt", ".text", ".org", ".adoc", ".asciidoc"), packed=True),
    "code": Format(source_code.ENDINGS, source_code.read_code, packed=True),
}
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # MS-CFB, section 2.2
FIRST_BYTES = {  # RFC 1952, PKWARE's APPNOTE 4.3.7, the .xz format 2.1.1.1, bzip2, RFC 8878: kind, and what to do
    b"\x1f\x8b\x08": ("gzip", "give it a name with .gz at its end ({name}.gz), or unpack it"),
    b"PK\x03\x04": ("a zip archive", "unpack it; a book or a document needs its own ending (.epub, .docx)"),
    b"\xfd7zXZ\x00": ("xz", "unpack it"),
    b"\x28\xb5\x2f\xfd": (
        "zstd",
        "unpack it; only JSON lines and WARC files are read packed so, as .jsonl.zst and .warc.zst",
    ),
    OLE: ("an old Office file, or one with a password", "save it as .docx, without a password"),
    **{b"BZh%d1AY&SY" % level: ("bzip2", "unpack it") for level in range(1, 10)},
}
INSTEAD = (  # of kinds that are not read: endings, and what makes a file that is
    ((".arc", ".arc.gz"), "make a WARC file of it: warcio recompress OLD.arc.gz NEW.warc.gz"),
    ((".doc", ".odt", ".rtf", ".pages", ".ppt", ".pptx", ".odp"), "save it as .docx or PDF"),
    ((".xls", ".xlsx", ".ods"), "save it as CSV"),
    ((".mobi", ".azw", ".azw3", ".djvu", ".fb2"), "make an EPUB or a PDF of it"),
    ((".msg", ".pst"), "save its messages as .mbox or .eml"),
    ((".db", ".sqlite", ".sqlite3", ".avro", ".orc", ".arrow", ".feather"), "export it as JSON lines, CSV or Parquet"),
    ((".zip", ".tar", ".tgz", ".7z", ".rar", ".wacz", ".xz", ".zst", ".gz", ".lz4", ".lzma", ".br"), "unpack it"),
    ((".mht", ".mhtml", ".webarchive"), "save it as HTML"),
    ((".ps", ".eps", ".xps"), "make a PDF of it"),
)
MEDIA = ("image/", "audio/", "video/", "font/")  # types of what holds no text
PLAIN_NAMES = ("readme", "license", "licence", "copying", "changelog", "changes", "news", "install", "todo", "authors")
UNREAD = "unread_kind"


def input_files(path: Path) -> Iterator[FoundFile]:
    """The file, or all files below the folder; those that cannot be read have a fault.

    Raises UserError where there is nothing at `path`.
    """
    if not path.exists():
        raise UserError(f"no such file or folder: {path}", "check the path")
    if not (path.is_dir() or path.is_file()):
        raise UserError(f"{path} is a {PIPE}", SAVE)
    if path.is_file():
        yield of_kind(FoundFile(path, path.name))
        return
    is_stage = cache(lambda folder: bool((made := Manifest.read(folder)) and made.fingerprint))
    for found in walk(path):
        if found.fault:
            yield found
        elif is_stage(found.path.parent) and kind_of(found.path) not in ("parquet", "warc"):
            continue  # the logs of a stage, whose documents or pages are read
        else:
            yield of_kind(found)


def of_kind(found: FoundFile) -> FoundFile:
    """The file, with a fault where it is of no known kind."""
    if kind_of(found.path):
        return found
    name = found.path.name.lower()
    ending = next((end for ends, _ in INSTEAD for end in ends if name.endswith(end)), found.path.suffix.lower())
    why = f"files that end with {ending} are not read" if ending else "files without an ending are not read"
    remedy = instead(name)
    return FoundFile(found.path, found.name, UNREAD, f"{why}: {remedy}" if remedy else why)


def instead(name: str) -> str:
    """What makes a file that is read of one whose kind is not, by its name; nothing of pictures and the like."""
    if (guess_type(name)[0] or "").startswith(MEDIA):
        return ""
    if_text = "if it is text, give it a name that ends with .txt"
    return next((remedy for endings, remedy in INSTEAD if name.lower().endswith(endings)), if_text)


def kind_of(path: Path) -> str:
    """The kind of a file by its name, or an empty string."""
    name = path.name.lower()
    kind = next((kind for kind, one in FORMATS.items() if name.endswith(one.endings)), "")
    if not kind and name.endswith(".gz"):
        inner = kind_of(Path(name.removesuffix(".gz")))
        return inner if inner and FORMATS[inner].packed else ""
    if not kind and "." not in name:
        return "code" if name in source_code.NAMES else "text/plain" if name in PLAIN_NAMES else ""
    return kind


def extensions() -> list[str]:
    """Every file name ending that can be read, but those of source code."""
    return [end for kind, one in FORMATS.items() for end in one.endings if kind != "code" and end.startswith(".")]


def read_file(path: Path, name: str) -> Iterator[Record]:
    """Yield the records of one file; `name` stands for it in sources and, where there is no URL, in URLs.

    Raises UserError where the file as a whole cannot be read, and what the readers of the formats raise.
    """
    kind = kind_of(path)
    form = FORMATS.get(kind)
    if form and form.read:
        yield from form.read(path, name)
    else:
        yield Record(whole_file(path), kind, name, name)


def packed_otherwise(path: Path, first: bytes) -> str:
    """What a file that is text by its name is by its first bytes, where it is packed, and what to do; else nothing."""
    form = FORMATS.get(kind_of(path))
    office = kind_of(path) == "docx" and first.startswith(OLE)
    if not office and (not (form and form.packed) or path.suffix.lower() in (".gz", ".zst")):
        return ""
    for mark, (kind, remedy) in FIRST_BYTES.items():
        if first.startswith(mark):
            return f"it is {kind} by its first bytes: {remedy.format(name=path.name)}"
    return ""


def read_whatever(path: Path, name: str) -> Iterator[Record]:
    """As `read_file`, but whatever is wrong with a local file is a record with a fault: one file never ends a run.

    Of a remote file only damage of its own is; Raises UserError where the storage fails, for it may work the next time.
    """
    number = 0
    try:
        with path.open("rb") as file:
            first = file.read(max(map(len, FIRST_BYTES)))
        if not first:
            yield unread(name, "empty")
            return
        if why := packed_otherwise(path, first):
            yield unread(name, UNREAD, why)
            return
        for record in read_file(path, name):
            number += 1
            yield record
        if not number:
            yield unread(name, "empty")
    except MissingExtra as error:
        yield unread(name, "needs_extra", error.remedy)
    except UserError as error:
        fault = "too_large" if isinstance(error, TooLarge) else "damaged"
        yield unread(name, fault, "; ".join(filter(None, (error.problem, error.remedy))))
    except MemoryError:
        raise
    except Exception as error:  # readers of others' formats raise what they like
        if not isinstance(path, Path) and not isinstance(error, damaged()[:-1]):
            raise UserError(f"cannot read {path}: {error}", "check the network and your rights; run again") from error
        if isinstance(error, OSError) and error.errno in RUN_OUT:
            raise  # no property of the file
        if isinstance(error, OSError) and error.errno is not None:
            yield unread(name, "unreadable", str(error.strerror))
        else:
            again = "; fetch it again" if isinstance(error, damaged()) else ""  # cut off, or changed on the way
            yield unread(name, "damaged", f"{type(error).__name__}: {error}{again}")

"""The index of a folder of documents: one SQLite file with the pages, their passages, and an FTS5 table over them.

The columns of the table are what a passage is found by: its page's title, the headings above it, its own words; each as
the terms of `terms.py`, which the table's tokenizer only takes apart at spaces.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gristmill.errors import Damaged, UserError
from gristmill.manifest import remedy
from gristmill.passages.cut import cut
from gristmill.passages.sentence_encoder import WIDTH, SentenceEncoder
from gristmill.passages.terms import terms
from gristmill.progress import Progress

if TYPE_CHECKING:  # which answering does without
    from gristmill.document import Document

FILE, VECTORS = "passages.sqlite", "vectors.npy"
SYMBOLS = "!#$%&()*+,-./:;<=>?@[]^_`{|}~\\" + '""'  # of ASCII, but for the apostrophe: parts of terms
# M: vowels of Indic scripts and Thai
TOKENIZER = f"unicode61 categories 'L* M* N* Co' tokenchars '{SYMBOLS}'"
TABLES = f"""
CREATE TABLE pages(id INTEGER PRIMARY KEY, name TEXT UNIQUE, url TEXT, source TEXT, title TEXT);
CREATE TABLE passages(id INTEGER PRIMARY KEY, page INTEGER, start INTEGER, end INTEGER, headings TEXT,
    before TEXT, text TEXT);  -- before: what lies between the passage before it and it, as headings
CREATE TABLE facts(passages INTEGER, terms INTEGER);
CREATE VIRTUAL TABLE words USING fts5(title, headings, body, tokenize="{TOKENIZER}");
"""
CACHE = 64_000  # kB of the file that are held in memory


def any_of(wanted: Iterable[str]) -> str:
    """A query of SQLite's FTS5 for what has one of some terms or more; empty where there are none. What holds a zero
    byte, which would end the query, is not looked for."""
    return " OR ".join('"' + term.replace('"', '""') + '"' for term in wanted if "\0" not in term)


def connect(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """The database at `path`. Raises UserError where SQLite has no full-text search, or there is none."""
    if not write and not path.exists():
        raise UserError(f"no passages in {path.parent}", "name a run whose recipe has a [passages] table")
    address = f"{path.absolute().as_uri()}?mode={'rwc' if write else 'ro&immutable=1'}"
    base = sqlite3.connect(address, uri=True, check_same_thread=False)
    try:
        searches = base.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone()
    except sqlite3.DatabaseError as error:
        raise Damaged(f"{path} is damaged: {error}", remedy(path.parent)) from error
    if not searches:
        raise UserError("the SQLite of this Python has no full-text search (FTS5)", "use a Python whose SQLite has it")
    return base


def name_of(document: Document) -> str:
    """What tells a page from others: its URL, or its file and place in it."""
    return document.url or document.source or document.id


def write_index(path: Path, documents: Iterable[Document]) -> tuple[int, int]:
    """Write the index of some documents; returns how many pages and passages it has. Memory is bounded.

    Documents of one name are parts of one page.
    """
    base = connect(path, write=True)
    base.execute("PRAGMA journal_mode = OFF")
    base.execute("PRAGMA synchronous = OFF")  # the stage's folder is renamed when it is complete
    base.execute(f"PRAGMA cache_size = -{CACHE}")
    base.executescript(TABLES)
    count = size = 0
    for document in documents:
        # a file's name, a heading of its first passage: as a title a copy in another form would come before its page
        own = Path(document.url).stem if document.url == document.source else ""
        about = name_of(document), document.url, document.source, document.title or own
        base.execute("INSERT OR IGNORE INTO pages(name, url, source, title) VALUES (?, ?, ?, ?)", about)
        (page,) = base.execute("SELECT id FROM pages WHERE name = ?", about[:1]).fetchone()
        title, ended = " ".join(terms(document.title)), 0
        for passage in cut(document.text):
            count += 1
            text = document.text[passage.start : passage.end]
            body = terms(text)
            size += len(body)
            headings = json.dumps(passage.headings, ensure_ascii=False)
            row = (count, page, passage.start, passage.end, headings, document.text[ended : passage.start], text)
            base.execute("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            above = terms(" ".join((*passage.headings, "" if document.title or ended else own)))
            columns = title, " ".join(above), " ".join(body)
            base.execute("INSERT INTO words(rowid, title, headings, body) VALUES (?, ?, ?, ?)", (count, *columns))
            ended = passage.end
    base.execute("INSERT INTO facts VALUES (?, ?)", (count, size))
    base.execute("INSERT INTO words(words) VALUES ('optimize')")
    (pages,) = base.execute("SELECT count(*) FROM pages").fetchone()
    base.commit()
    base.close()
    return pages, count


def write_vectors(folder: Path, encoder: SentenceEncoder) -> None:
    """Write the vectors of an index's passages, in their order, next to it: float16 [passages, `WIDTH`]."""
    base = connect(folder / FILE)
    (count,) = base.execute("SELECT count(*) FROM passages").fetchone()
    vectors_ND = np.lib.format.open_memmap(folder / VECTORS, "w+", np.float16, (count, WIDTH))
    query = "SELECT p.id, title, headings, text FROM passages p JOIN pages ON pages.id = page ORDER BY p.id"
    with Progress("vectors", count, "passages") as bar:
        for number, *about in base.execute(query):
            vectors_ND[number - 1] = encoder.vector(as_read(*about))
            bar.advance()
    vectors_ND.flush()
    base.close()


def as_read(title: str, headings: str, text: str) -> str:
    """What an encoder reads of a passage: its page's title and its headings (as JSON) above it."""
    return " › ".join(dict.fromkeys((title, *json.loads(headings)))) + "\n" + text

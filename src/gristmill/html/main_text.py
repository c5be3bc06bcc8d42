"""The main text of an HTML page as Markdown, its title, and what it says of itself.

The work is done in C, one pass over the bytes and no tree: tokens.c (tags and references), parse.c (blocks of
text), features.c (what tells main text from the rest), choose.c (the choice, and Markdown). The choice is
learned: two small forests of decision trees in `main_text.safetensors`, fitted by `tools/main_text.py`.
"""

from __future__ import annotations

import ctypes
import html.entities
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from gristmill import native
from gristmill.native import BYTES, POINTER, SIZE

MODEL = Path(__file__).with_name("main_text.safetensors")
MAX_BYTES = 1 << 28  # of one page; what is longer is cut
WITH_COMMENTS, WITH_EVERYTHING = 1, 2
SPLIT = np.dtype([("threshold", np.float32), ("feature", np.uint8), ("children", np.int8, 2)], align=True)
SEPARATOR = re.compile(r"\s+[|–—·»:]+\s+|\s+-+\s+")


@dataclass(frozen=True)
class HtmlPage:
    """What a page holds."""

    text: str  # Markdown: headings, lists, tables, fenced code, formulas in dollar signs
    title: str
    language: str = ""  # the `lang` of <html>
    canonical: str = ""  # <link rel=canonical>
    robots: str = ""  # <meta name=robots>, several joined by commas
    rights: list[tuple[str, str]] = field(default_factory=list)  # (rel, href) of licence links, (name, content) of meta


def extract_html(source: str | bytes, *, comments: bool = False, whole: bool = False) -> HtmlPage:
    """The main text of a page as Markdown, its title and the facts that it states; `comments` keeps readers' comments
    too, `whole` all text there is.

    The page is text, or bytes in UTF-8; `gristmill.html.charset.to_utf8` makes such of bytes in another charset. The
    heading that repeats the page's title is left out of the text, which is empty where nothing is main text.

    Time and memory grow with the bytes: about 1 ms and 1 MB for a page of 150 kB, and for no page more than ten times
    what plain text of its length takes; beyond 256 MiB a page is cut. Any bytes are safe: nothing is raised but
    MemoryError. Threads may call it at once.
    """
    page = source if isinstance(source, bytes) else source.encode("utf-8", "replace")
    result = Result()
    options = WITH_COMMENTS * comments | WITH_EVERYTHING * whole
    handle = EXTRACT(page, min(len(page), MAX_BYTES), entities(), model(), options, result)
    try:
        if not handle or result.fault:
            raise MemoryError
        text = ctypes.string_at(result.text, result.text_length).decode("utf-8", "replace") if result.text else ""
        facts = ctypes.string_at(result.facts, result.facts_length) if result.facts else b""
    finally:
        FREE(handle)
    return read_facts(text, facts.decode("utf-8", "replace"))


def read_facts(text: str, facts: str) -> HtmlPage:
    """A page from its text and the facts that C found, `name 0x1f value 0x1e` each."""
    found: dict[str, list[str]] = {}
    rights = []
    for fact in facts.split("\x1e")[:-1]:
        name, _, value = fact.partition("\x1f")
        name, value = name.strip().lower(), " ".join(html.unescape(value).split())
        if name in ("title", "h1"):
            value = " ".join(fact.partition("\x1f")[2].split())
        if name.startswith("rel:"):
            rights.append((name[4:], value))
        elif name in ("lang", "canonical", "robots", "title", "h1"):
            found.setdefault(name, []).append(value)
        else:
            rights.append((name, value))

    def first(name: str) -> str:
        return found.get(name, [""])[0]

    return HtmlPage(
        text,
        page_title(first("title"), first("h1")),
        first("lang"),
        first("canonical"),
        ", ".join(found.get("robots", [])),
        rights,
    )


def page_title(title: str, heading: str) -> str:
    """The page's title without the site's name: the first heading where the title contains it, else its first part."""
    if not title or (heading and heading in title):
        return heading or title
    parts = SEPARATOR.split(title)
    return parts[0] if len(parts) > 1 and len(parts[0]) >= len(parts[-1]) else title


# ---- the C side: page.h and choose.c have the same structures ----


class Entities(ctypes.Structure):
    """Named character references, sorted by name."""

    _fields_ = [
        ("names", ctypes.c_void_p),
        ("name_ends", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("value_ends", ctypes.c_void_p),
        ("count", ctypes.c_uint32),
    ]


class Forest(ctypes.Structure):
    """Decision trees, all in flat arrays."""

    _fields_ = [
        ("splits", ctypes.c_void_p),
        ("leaves", ctypes.c_void_p),
        ("roots", ctypes.c_void_p),
        ("first_leaves", ctypes.c_void_p),
        ("trees", ctypes.c_uint32),
    ]


class WordWeights(ctypes.Structure):
    """A hash table of words."""

    _fields_ = [
        ("keys", ctypes.c_void_p),
        ("groups", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("capacity", ctypes.c_uint32),
    ]


class Model(ctypes.Structure):
    """What was learned."""

    _fields_ = [
        ("first", Forest),
        ("second", Forest),
        ("classes", WordWeights),
        ("texts", WordWeights),
        ("threshold", ctypes.c_float),
    ]


class Result(ctypes.Structure):
    """What C hands back; the pointers live as long as the page."""

    _fields_ = [
        ("text", ctypes.c_void_p),
        ("facts", ctypes.c_void_p),
        ("text_length", ctypes.c_size_t),
        ("facts_length", ctypes.c_size_t),
        ("blocks", ctypes.c_size_t),
        ("fault", ctypes.c_int),
    ]


EXTRACT = native.Function(
    "gm_html_extract",
    POINTER,  # a page, to be freed
    BYTES,
    SIZE,
    ctypes.POINTER(Entities),
    ctypes.POINTER(Model),
    ctypes.c_uint,
    ctypes.POINTER(Result),
)
FREE = native.Function("gm_html_free", None, POINTER)


@cache
def entities() -> Entities:
    """The references that HTML names."""
    pairs = sorted((name.encode(), value.encode()) for name, value in html.entities.html5.items())
    arrays = [
        array
        for column in zip(*pairs, strict=True)
        for array in (
            np.frombuffer(b"".join(column), np.uint8),
            np.cumsum([len(item) for item in column], dtype=np.uint32),
        )
    ]
    made = Entities(*(array.ctypes.data for array in arrays), len(pairs))
    made.arrays = arrays  # keeps them alive
    return made


@cache
def model(path: Path = MODEL) -> Model:
    """The model that ships with the package, or one fitted anew."""
    tensors = load_file(path)

    def address(name: str) -> int:
        return int(tensors[name].ctypes.data)

    def forest(name: str) -> Forest:
        splits = np.zeros(len(tensors[f"{name}.feature"]), SPLIT)
        for part in ("threshold", "feature", "children"):
            splits[part] = tensors[f"{name}.{part}"]
        tensors[f"{name}.splits"] = splits
        parts = ("splits", "leaves", "roots", "first_leaves")
        return Forest(*(address(f"{name}.{part}") for part in parts), len(tensors[f"{name}.roots"]))

    def words(name: str) -> WordWeights:
        parts = ("keys", "groups", "weights")
        return WordWeights(*(address(f"{name}.{part}") for part in parts), len(tensors[f"{name}.keys"]))

    made = Model(forest("first"), forest("second"), words("classes"), words("texts"), float(tensors["threshold"][0]))
    made.tensors = tensors  # keeps them alive
    return made

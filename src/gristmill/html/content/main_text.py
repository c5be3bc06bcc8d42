"""The main text of an HTML page as Markdown, its title, and what it says of itself.

The work is done in C, one pass over the bytes and no tree: tokens.c (tags and references), parse.c (blocks of
text), tables.c (their rows), features.c (what tells main text from the rest), choose.c (the choice, and Markdown),
rules.c (what corrects it). The choice is learned: two small forests of decision trees in `main_text.safetensors`,
fitted by `tools/main_text/`.
"""

from __future__ import annotations

import ctypes
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from gristmill import native
from gristmill.html.links import Entities, Tag, entities, read_rows
from gristmill.native import BYTES, INT, POINTER, SIZE

MODEL = Path(__file__).with_name("main_text.safetensors")
MAX_BYTES = 1 << 28  # of one page; what is longer is cut
WITH_COMMENTS, WITH_EVERYTHING, AS_XML = 1, 2, 4
SHORT = 300  # characters of a text that the page's JSON-LD may say better
SPLIT = np.dtype([("threshold", np.float32), ("kept", np.uint32), ("feature", np.uint8)], align=True)
JSON_LD = re.compile(rb"<script[^>]{0,200}?application/ld\+json[^>]{0,200}>", re.IGNORECASE)
SCRIPT_END = re.compile(rb"</script", re.IGNORECASE)
SEPARATOR = re.compile(r"\s+[|–—·»:]+\s+|\s+-+\s+")


@dataclass(frozen=True)
class HtmlPage:
    """What a page holds."""

    text: str  # Markdown: headings, lists, tables, fenced code, formulas in dollar signs
    title: str
    tags: list[Tag]  # <meta>, and links to its canonical URL and its licence


def extract_html(source: str | bytes, *, comments: bool = False, whole: bool = False, xml: bool = False) -> HtmlPage:
    """The main text of a page as Markdown, its title and the facts that it states; `comments` keeps readers' comments
    too, `whole` all text there is, and `xml` reads XHTML as XML, where `<title/>` has an end.

    The page is text, or bytes in UTF-8; `gristmill.html.charset.to_utf8` makes such of bytes in another charset. The
    heading that repeats the page's title is left out of the text, which is empty where nothing is main text. Where
    scripts would draw the page, its text is the `articleBody` that it gives to search engines (schema.org, JSON-LD).

    Time and memory grow with the bytes: about 1 ms and 1 MB for a page of 150 kB, and for no page more than ten times
    what plain text of its length takes; beyond 256 MiB a page is cut. Any bytes are safe: nothing is raised but
    MemoryError. Threads may call it at once.
    """
    page = source if isinstance(source, bytes) else source.encode("utf-8", "replace")
    result = Result()
    options = WITH_COMMENTS * comments | WITH_EVERYTHING * whole | AS_XML * xml
    handle = EXTRACT(page, min(len(page), MAX_BYTES), entities(), model(), options, result)
    try:
        if not handle or result.fault:
            raise MemoryError
        text = ctypes.string_at(result.text, result.text_length).decode("utf-8", "replace") if result.text else ""
        tags = list(read_rows(ctypes.string_at(result.facts, result.facts_length) if result.facts else b""))
    finally:
        FREE(handle)

    def fact(name: str) -> str:
        return next((" ".join(tag[1].split()) for tag in tags if tag[0] == name), "")

    if len(text) < SHORT and b"articleBody" in page:
        text = max(text, article_body(page), key=len)
    return HtmlPage(text, page_title(fact("title"), fact("h1")), [tag for tag in tags if tag[0] not in ("title", "h1")])


def article_body(page: bytes) -> str:
    """The longest `articleBody` of a page's JSON-LD, or an empty string."""
    bodies, end = [""], 0
    while begins := JSON_LD.search(page, end):
        ends = SCRIPT_END.search(page, begins.end())
        end = ends.start() if ends else len(page)
        try:
            left = [json.loads(page[begins.end() : end].decode("utf-8", "replace"), strict=False)]
        except (ValueError, RecursionError):
            continue
        while left:
            item = left.pop()
            if isinstance(item, dict):
                body = item.get("articleBody")
                bodies.append(body if isinstance(body, str) else "")
            left += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    body = max(bodies, key=len)
    return extract_html(body, whole=True).text if "</" in body else body.strip()


def page_title(title: str, heading: str) -> str:
    """The page's title without the site's name: the first heading where the title contains it, else its first part."""
    if not title or (heading and heading in title):
        return heading or title
    parts = SEPARATOR.split(title)
    return parts[0] if len(parts) > 1 and len(parts[0]) >= len(parts[-1]) else title


# ---- the C side: page.h and choose.c have the same structures ----


TREES, WEIGHTS = ("splits", "leaves", "roots"), ("keys", "groups", "weights")  # arrays of each


class Forest(ctypes.Structure):
    """Decision trees, all in flat arrays."""

    _fields_ = [*((name, POINTER) for name in TREES), ("trees", ctypes.c_uint32)]


class WordWeights(ctypes.Structure):
    """A hash table of words."""

    _fields_ = [*((name, POINTER) for name in WEIGHTS), ("capacity", ctypes.c_uint32)]


class Model(ctypes.Structure):
    """What was learned."""

    _fields_ = [
        *(("first", Forest), ("second", Forest), ("classes", WordWeights), ("texts", WordWeights)),
        ("threshold", ctypes.c_float),
    ]


class Result(ctypes.Structure):
    """What C hands back; the pointers live as long as the page."""

    _fields_ = [
        *((name, POINTER) for name in ("text", "facts")),
        *((name, SIZE) for name in ("text_length", "facts_length", "blocks")),
        ("fault", INT),
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


def kept_leaves(children: list[list[int]], roots: list[int]) -> list[int]:
    """Of each split the leaves of its tree that are not below its left child, a bit each. Children are numbered within
    their tree, after their parents; those below zero are leaves, ~number from the left."""
    kept, begin, end = [0] * len(children), [0] * len(children), len(children)
    for root in reversed(roots):
        for at in range(end - 1, root - 1, -1):
            begin[at], middle = (begin[root + child] if child >= 0 else ~child for child in children[at])
            kept[at] = (1 << 32) - 1 - (1 << middle) + (1 << begin[at])
        end = root
    return kept


@cache
def model(path: Path = MODEL) -> Model:
    """The model that ships with the package, or one fitted anew."""
    tensors = load_file(path)

    def address(name: str) -> int:
        return int(tensors[name].ctypes.data)

    def forest(name: str) -> Forest:
        splits = np.zeros(len(tensors[f"{name}.feature"]), SPLIT)
        for part in ("threshold", "feature"):
            splits[part] = tensors[f"{name}.{part}"]
        roots = tensors[f"{name}.roots"].tolist()
        splits["kept"] = kept_leaves(tensors[f"{name}.children"].tolist(), roots)
        tensors.update({f"{name}.splits": splits, f"{name}.roots": np.array([*roots, len(splits)], np.uint32)})
        return Forest(*(address(f"{name}.{part}") for part in TREES), len(roots))

    def words(name: str) -> WordWeights:
        return WordWeights(*(address(f"{name}.{part}") for part in WEIGHTS), len(tensors[f"{name}.keys"]))

    made = Model(forest("first"), forest("second"), words("classes"), words("texts"), float(tensors["threshold"][0]))
    made.tensors = tensors  # keeps them alive
    return made

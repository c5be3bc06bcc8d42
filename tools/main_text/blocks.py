"""Pages cut into blocks by the C code that will use the model, with the features that it will see."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass

import numpy as np

from gristmill import native
from gristmill.html.content.main_text import Model, WordWeights
from gristmill.html.links import Entities, entities

MAX_FEATURES = 208  # features.h
LEVEL, TITLE = 13, 32  # places of two features: the heading level, the share of words that the title has too
WORD = re.compile(r"\w+")
IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
CLASS_WORDS = re.compile(rb"[A-Za-z]+")
CAMEL = re.compile(rb"(?<=[a-z])(?=[A-Z])")
SIZE, VOID = ctypes.c_size_t, ctypes.c_void_p


def tokens(text: str) -> list[str]:
    """Words in lower case; each ideograph is one."""
    return WORD.findall(IDEOGRAPH.sub(r" \g<0> ", text.lower()))


def word_hash(word: bytes) -> int:
    """FNV-1a of a word, ASCII in lower case (parse.c)."""
    value = 2166136261
    for byte in word.lower() if word.isascii() else word:
        value = ((value ^ (byte | 32 if 65 <= byte <= 90 else byte)) * 16777619) & 0xFFFFFFFF
    return value or 1


def word_table(weights: dict[bytes, float], groups: dict[bytes, int]) -> dict[str, np.ndarray]:
    """The open-addressing table that C reads."""
    words = sorted({*weights, *groups})
    capacity = 64
    while capacity < 2 * len(words) + 2:
        capacity *= 2
    table: dict[str, np.ndarray] = {
        "keys": np.zeros(capacity, np.uint32),
        "groups": np.zeros(capacity, np.uint64),
        "weights": np.zeros(capacity, np.float32),
    }
    for word in words:
        value = word_hash(word)
        at = value & (capacity - 1)
        while table["keys"][at] not in (0, value):
            at = (at + 1) & (capacity - 1)
        table["keys"][at] = value
        table["groups"][at] |= np.uint64(groups.get(word, 0))
        table["weights"][at] = weights.get(word, 0.0)
    return table


def as_words(table: dict[str, np.ndarray]) -> WordWeights:
    """A table as C takes it."""
    made = WordWeights(*(table[part].ctypes.data for part in ("keys", "groups", "weights")), len(table["keys"]))
    made.table = table
    return made


@dataclass
class Element:
    """What a block-level element says of itself."""

    tag: str
    names: bytes  # class and id


class Cut:
    """One page, parsed; `texts` and the arrays have one row a block."""

    def __init__(self, html: bytes, classes: WordWeights, texts: WordWeights) -> None:
        self.html, self.words = html, texts
        self.known: dict[int, list[Element]] = {}
        self.page = FUNCTIONS["parse"](html, len(html), entities(), classes, 0)
        count = FUNCTIONS["describe"](self.page, texts, None, None, None, None)
        spans = np.zeros((count + 1, 2), np.uint32)
        features = np.zeros((count + 1) * MAX_FEATURES, np.float32)
        nodes, width = np.zeros(count + 1, np.int32), SIZE()
        arrays = (spans.ctypes.data, features.ctypes.data, nodes.ctypes.data)
        count = FUNCTIONS["describe"](self.page, texts, *arrays, ctypes.byref(width))
        length = SIZE()
        start = FUNCTIONS["text"](self.page, ctypes.byref(length))
        raw = ctypes.string_at(start, length.value) if start else b""
        self.texts = [raw[a:b].decode("utf-8", "replace") for a, b in spans[:count]]
        self.features = features[: count * width.value].reshape(count, width.value)
        self.nodes = nodes[:count]

    def __del__(self) -> None:
        FUNCTIONS["free"](self.page)

    def context(self, sums: np.ndarray) -> np.ndarray:
        """What the first forest's sums tell of the blocks around each."""
        out, width = np.zeros((len(self.texts) + 1) * 64, np.float32), SIZE()
        sums = np.ascontiguousarray(sums, np.float32)
        FUNCTIONS["context"](self.page, self.words, sums.ctypes.data, out.ctypes.data, ctypes.byref(width))
        return out[: len(self.texts) * width.value].reshape(len(self.texts), width.value)

    def choice(self, model: Model) -> tuple[np.ndarray, np.ndarray]:
        """The sum of a model's second forest for each block, and which blocks it keeps, after the rules."""
        sums, kept = np.zeros(len(self.texts), np.float32), np.zeros(len(self.texts), bool)
        if not FUNCTIONS["choice"](self.page, model, 0, sums.ctypes.data, kept.ctypes.data):
            raise MemoryError
        return sums, kept

    def around(self, block: int) -> list[Element]:
        """The elements that hold a block, the innermost first, without <body>."""
        return self.above(int(self.nodes[block]))

    def above(self, node: int) -> list[Element]:
        """An element and those around it."""
        path: list[tuple[int, Element]] = []
        while node > 0 and node not in self.known:
            tag, span = ctypes.c_char_p(), np.zeros(4, np.uint32)
            parent = FUNCTIONS["element"](self.page, node, ctypes.byref(tag), span.ctypes.data)
            a, b, c, d = (int(value) for value in span)
            path.append(
                (node, Element((tag.value or b"").decode(), self.html[a : a + b] + b" " + self.html[c : c + d]))
            )
            node = parent
        found = self.known.get(node, [])
        for node, element in reversed(path):
            found = [element, *found] if element.tag != "body" else found
            self.known[node] = found
        return found


def class_words(names: bytes) -> set[bytes]:
    """The words of class names and ids, as parse.c splits them."""
    return {part.lower() for run in CLASS_WORDS.findall(names) for part in CAMEL.split(run)}


WORDS = ctypes.POINTER(WordWeights)
FUNCTIONS = {  # for fitting (choose.c)
    "parse": native.Function(
        "gm_html_parse", VOID, ctypes.c_char_p, SIZE, ctypes.POINTER(Entities), WORDS, ctypes.c_uint
    ),
    "free": native.Function("gm_html_free", None, VOID),
    "describe": native.Function("gm_html_describe", SIZE, VOID, WORDS, VOID, VOID, VOID, VOID),
    "context": native.Function("gm_html_context", SIZE, VOID, WORDS, VOID, VOID, VOID),
    "choice": native.Function("gm_html_choice", ctypes.c_bool, VOID, ctypes.POINTER(Model), ctypes.c_uint, VOID, VOID),
    "text": native.Function("gm_html_page_text", VOID, VOID, VOID),
    "element": native.Function("gm_html_element", ctypes.c_int32, VOID, ctypes.c_int32, VOID, VOID),
}

"""Which language a text is in: py3langid's model (naive Bayes over byte n-grams, 4.5 MB, offline), counted in C.

The model is the library's; its scoring is done again here (`language.c`) because the library walks the bytes in Python.
A prior for what the web is written in decides where a short text leaves several close languages open.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from gristmill import native
from gristmill.native import BYTES, F32, I32, SIZE, U16, U32

LETTERS = 1_000  # characters looked at: more changes nothing
SAME = {
    "arz": "ar",
    "ary": "ar",
    "fuv": "ff",
    "hbo": "he",
    "nn": "no",
    "sdh": "ku",
    "uzs": "uz",
    "wuu": "zh",
    "yue": "zh",
}
COMMON = frozenset(  # what most of the web is written in
    "en de fr es it pt nl sv da no fi pl cs sk ru uk bg hu ro el tr ja ko zh ar he fa hi bn ta te mr ur vi th id ms ca "
    "hr sr sl lt lv et".split()
)
PRIOR = 1.0  # for these languages, in nats
SCORES = native.Function("gm_language_scores", None, BYTES, SIZE, U32, U16, I32, U16, SIZE, U32, U32, F32)


@dataclass(frozen=True)
class Model:
    """The automaton that finds n-grams, and what each says of every class."""

    moves: np.ndarray
    rows: np.ndarray
    output: np.ndarray
    table: np.ndarray  # [n-grams, classes], the bits of half-precision numbers
    base: np.ndarray  # [classes], where the sums begin
    prior: np.ndarray  # [classes]
    labels: list[str]  # languages: some have several classes, for scripts and varieties
    merge: np.ndarray  # [classes] → label


def detect(text: str) -> tuple[str, float]:
    """ISO 639-1 code (639-3 where there is none) and a probability; ("", 0.0) for text without letters.

    Time does not grow beyond the first 1,000 characters.
    """
    text = text[:LETTERS]
    if not any(map(str.isalpha, text)):
        return "", 0.0
    if text.isupper():
        text = text.lower()
    data = unicodedata.normalize("NFC", text).encode("utf-8", "replace")[: 4 * LETTERS]
    known, scores = model(), raw_scores(data)
    tempered = scores.astype(np.float64) / math.sqrt(len(data)) + known.prior  # the library's temperature
    likely = np.exp(tempered - tempered.max())
    shares = np.bincount(known.merge, likely) / likely.sum()
    best = int(shares.argmax())
    return known.labels[best], round(float(shares[best]), 4)


def raw_scores(data: bytes) -> np.ndarray:
    """The library's scores of a text, float32 [classes]: sums of logarithms."""
    known = model()
    scores, counts, seen = known.base.copy(), np.zeros(len(known.table), np.uint32), np.empty(len(data), np.uint32)
    SCORES(data, len(data), known.moves, known.rows, known.output, known.table, len(scores), counts, seen, scores)
    return scores


@cache
def model() -> Model:
    """The library's model in flat arrays."""
    found = LanguageIdentifier.from_model_file(MODEL_FILE)
    classes = [SAME.get(name, name) for name in found.nb_classes]
    labels = list(dict.fromkeys(classes))
    return Model(
        np.array(found.tk_nextmove, np.uint32),
        np.array(found.tk_row, np.uint16),
        np.array(found.tk_output, np.int32),
        np.ascontiguousarray(found.nb_ptc, np.float16).view(np.uint16),
        np.array(found.nb_pc, np.float32),
        np.array([PRIOR * (name in COMMON) for name in classes]),
        labels,
        np.array([labels.index(name) for name in classes]),
    )

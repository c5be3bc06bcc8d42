"""Rules by language: Gopher's and FineWeb's with the stop words and bounds that FineWeb-2 found for each of them
(Penedo et al. 2025, arXiv:2506.20920, §3.3; its `configs/`, from which tools/fineweb2_figures.py writes fineweb2.json).

In scripts without spaces words are estimated (text/words.py), where FineWeb-2 segments them: there their length is not
asked, and stop words are looked for anywhere.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gristmill.corpus.filter.candidate import Candidate, Rule
from gristmill.corpus.filter.document_rules import fineweb as english
from gristmill.corpus.filter.document_rules import gopher_quality, gopher_repetition
from gristmill.corpus.filter.statistics import Measures

WORD = re.compile(r"[^\W\d_]+['’]?")
STOP_WORDS = 2  # different ones that a text has at least
REPEATED_LINES = 0.1  # characters in lines met before


@dataclass(frozen=True)
class Bounds:
    """What one language's texts are like."""

    stop_words: frozenset[str]
    word_length: tuple[float, float]  # mean, least and most
    alphabetic: float  # least share of what is between white space
    terminal_lines: float  # least share of lines that end like a sentence; below zero: any
    lines_a_word: float  # most
    repeated_lines: float  # largest share of lines
    ngrams: tuple[tuple[str, float], ...]  # measure → largest share of characters


@cache
def bounds() -> dict[str, Bounds]:
    """Every language's, by its code."""
    table: dict[str, Any] = json.loads(Path(__file__).with_name("fineweb2.json").read_text(encoding="utf-8"))
    return {
        code: Bounds(
            frozenset(one["stopwords"]),
            (one["min_avg_word_length"], one["max_avg_word_length"]),
            one["max_non_alpha_words_ratio"],  # its name is datatrove's; it is the least share of words with a letter
            one["line_punct_thr"],
            one["new_line_ratio"],
            one["dup_line_frac"],
            (
                *((f"top_{n}gram", most) for n, most in one["top_n_grams"]),
                *((f"repeated_{n}grams", most) for n, most in one["dup_n_grams"]),
            ),
        )
        for code, one in table.items()
    }


def fineweb2(minimum: int) -> Rule:
    """The rules of a document's language; English is asked what FineWeb asks (Gopher's rules and its own). A language
    without bounds is asked for its length only."""
    quality = gopher_quality(minimum)

    def rule(candidate: Candidate) -> str | None:
        code = candidate.document.language
        if code == "en":
            return gopher_repetition(candidate) or quality(candidate) or english(candidate)
        whole, found = candidate.measures, candidate.prose_measures
        if not whole.words or whole.words < minimum:
            return "fineweb2_too_short"
        own = bounds().get(code)
        return shape(found, own) or stop_words(candidate, own) if own and found.words else None

    return rule


def shape(found: Measures, own: Bounds) -> str | None:
    """How a text repeats itself, its lines and its words."""
    if found.repeated_lines / found.lines > own.repeated_lines:
        return "fineweb2_repeated_lines"
    for name, most in own.ngrams:
        if getattr(found, name) / found.characters > most:
            return f"fineweb2_{name}"
    if found.terminal_lines / found.lines < own.terminal_lines:
        return "fineweb2_line_punctuation"
    if found.repeated_line_characters / max(1, found.line_characters) > REPEATED_LINES:
        return "fineweb2_repeated_lines"
    if (found.lines - 1) / max(1, found.tokens) > own.lines_a_word:
        return "fineweb2_list"
    least, most = own.word_length
    if not found.unspaced and not least <= found.word_characters / found.words <= most:
        return "fineweb2_word_length"
    return "fineweb2_no_letters" if found.alphabetic_chunks / max(1, found.chunks) < own.alphabetic else None


def stop_words(candidate: Candidate, own: Bounds) -> str | None:
    """Whether a text has the words that every text of its language has."""
    text = candidate.prose.lower()
    if candidate.prose_measures.unspaced:
        met = sum(word in text for word in own.stop_words)
    else:
        words = {match[0].replace("’", "'") for match in WORD.finditer(text)}
        met = len(own.stop_words & (words | {word.rstrip("'") for word in words}))
    return "fineweb2_stop_words" if met < STOP_WORDS else None

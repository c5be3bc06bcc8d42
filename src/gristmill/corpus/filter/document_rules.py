"""The published rules for whole documents. A rule is one function: candidate in, None or the name of what it fails out.

Gopher: Rae et al. 2021, arXiv:2112.11446, §A.1.1 "Quality Filtering" and "Repetition Removal" with table A1. C4:
Raffel et al. 2020, arXiv:1910.10683, §2.2. FineWeb: Penedo et al. 2024, arXiv:2406.17557, §3.6 (and its code in
datatrove). What a word, a line or a sentence is, statistics.py says: the papers do not say. Where datatrove's rules
differ on real pages, and why, is in docs/notebook/corpus.md. Code in fences counts as text that there is, and what is
asked of prose, its shape and how it repeats itself, is not asked of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from gristmill.corpus.filter.candidate import Candidate, Rule

NGRAMS = (  # A1: measure → largest share of the characters
    *zip(("top_2gram", "top_3gram", "top_4gram"), (0.20, 0.18, 0.16), strict=True),
    *((f"repeated_{n}grams", (20 - n) / 100) for n in range(5, 11)),
)


def gopher_quality(minimum: int) -> Rule:
    """50 (or `minimum`) to 100,000 words of 3 to 10 characters on average; at most 0.1 `#` or ellipses a word, 90 % of
    lines with a bullet, 30 % of lines that break off; letters in 80 % of what is between white space; in English
    two stop words. Marks of headings, tables and lists, as extraction writes them, do not count. The length of words
    is not asked of texts without spaces, whose words cannot be told (text/words.py).
    """

    def rule(candidate: Candidate) -> str | None:
        found = candidate.measures
        if not found.words or found.words < minimum:
            return "gopher_too_short"
        if found.words > 100_000:
            return "gopher_too_long"
        found = candidate.prose_measures
        if not found.words:
            return None
        if not found.unspaced and not 3 <= found.word_characters / found.words <= 10:
            return "gopher_word_length"
        if max(found.hashes, found.ellipses) / found.words > 0.1:
            return "gopher_symbols"
        if found.bullet_lines / found.lines > 0.9:
            return "gopher_bullets"
        if found.ellipsis_lines / found.lines > 0.3:
            return "gopher_ellipses"
        if found.alphabetic_chunks / found.chunks < 0.8:
            return "gopher_no_letters"
        if candidate.document.language == "en" and found.stop_words < 2:
            return "gopher_stop_words"
        return None

    return rule


def gopher_repetition(candidate: Candidate) -> str | None:
    """Repeated paragraphs and lines (30 % of them, 20 % of the characters), the commonest 2- to 4-grams (20, 18, 16 %
    of the characters), repeated 5- to 10-grams (15 down to 10 %).
    """
    found = candidate.prose_measures
    if not found.lines:
        return None
    if found.repeated_paragraphs / found.paragraphs > 0.3:
        return "gopher_repeated_paragraphs"
    if found.repeated_lines / found.lines > 0.3:
        return "gopher_repeated_lines"
    if found.repeated_paragraph_characters / found.characters > 0.2:
        return "gopher_repeated_paragraphs"
    if found.repeated_line_characters / found.characters > 0.2:
        return "gopher_repeated_lines"
    for name, most in NGRAMS:
        if getattr(found, name) / found.characters > most:
            return f"gopher_{name}"
    return None


def c4(candidate: Candidate) -> str | None:
    """Placeholder text, code outside fences, fewer than five sentences. C4's rules for lines are in line_rules.py."""
    if "{" in candidate.prose:
        return "c4_curly_bracket"
    if "lorem ipsum" in candidate.lower:
        return "c4_lorem_ipsum"
    return "c4_few_sentences" if candidate.measures.sentences < 5 else None


def fineweb(candidate: Candidate) -> str | None:
    """Lines that end like sentences (12 % at least), lines under 30 characters (67 % at most), characters in repeated
    lines (10 %), lines for each word (0.3: a list; in FineWeb's code, not in the paper).
    """
    found = candidate.prose_measures
    if not found.lines:
        return None
    if found.terminal_lines / found.lines < 0.12:
        return "fineweb_line_punctuation"
    if found.short_lines / found.lines > 0.67:
        return "fineweb_short_lines"
    if found.repeated_line_characters / found.line_characters > 0.1:
        return "fineweb_repeated_lines"
    if (found.lines - 1) / max(1, found.tokens) > 0.3:
        return "fineweb_list"
    return None


def language(wanted: Sequence[str], least: float) -> Rule:
    """The document's language is one of those wanted, and surely so."""

    def rule(candidate: Candidate) -> str | None:
        if candidate.document.language not in wanted:
            return "language"
        return "language_score" if candidate.document.language_score < least else None

    return rule


def licence(wanted: Sequence[str]) -> Rule:
    """The document's licence matches one of the patterns, as `CC-BY-*`."""

    def rule(candidate: Candidate) -> str | None:
        held = candidate.document.licence
        return None if any(fnmatchcase(held, pattern) for pattern in wanted) else "licence"

    return rule

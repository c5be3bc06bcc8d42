"""The published quality rules. A rule is one function: document in, None or the name of what it fails out.

Gopher: Rae et al. 2021, arXiv:2112.11446, appendix A.1. C4: Raffel et al. 2020, arXiv:1910.10683, §2.2. FineWeb:
Penedo et al. 2024, arXiv:2406.17557, §3.6.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from gristmill.document import Document

Rule = Callable[[Document], str | None]
WORD = re.compile(r"\w+(?:[’'-]\w+)*|[^\w\s]+")
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
END = (".", "!", "?", '"', "”", "’", "'", "…", ":", ")")
BULLETS = ("•", "‣", "▪", "-", "*", "·")
# n → largest share of characters in the commonest n-gram (A.1, table A1)
TOP_NGRAM = {2: 0.20, 3: 0.18, 4: 0.16}
# n → largest share of characters in n-grams that occur more than once
DUPLICATE_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def words_of(text: str) -> list[str]:
    """Words and runs of punctuation."""
    return WORD.findall(text)


def gopher_quality(minimum: int) -> Rule:
    """Length, mean word length, symbols, bullets, ellipses, letters and stop words."""

    def rule(document: Document) -> str | None:
        tokens = words_of(document.text)
        words = [token for token in tokens if token[0].isalnum()]
        lines = [line for line in document.text.splitlines() if line.strip()]
        if len(words) < minimum:
            return "gopher_too_short"
        if len(words) > 100_000:
            return "gopher_too_long"
        if not 3 <= sum(map(len, words)) / len(words) <= 10:
            return "gopher_word_length"
        if max(document.text.count("#"), document.text.count("...") + document.text.count("…")) / len(words) > 0.1:
            return "gopher_symbols"
        if sum(line.lstrip().startswith(BULLETS) for line in lines) / len(lines) > 0.9:
            return "gopher_bullets"
        if sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines) > 0.3:
            return "gopher_ellipses"
        if sum(any(map(str.isalpha, token)) for token in tokens) / len(tokens) < 0.8:
            return "gopher_no_letters"
        if document.language == "en" and len(STOP_WORDS.intersection(map(str.lower, words))) < 2:
            return "gopher_stop_words"
        return None

    return rule


def gopher_repetition(document: Document) -> str | None:
    """Repeated lines, paragraphs and n-grams, by count and by characters."""
    text = document.text
    for name, parts, most in (
        ("paragraphs", re.split(r"\n{2,}", text), 0.3),
        ("lines", [line for line in text.splitlines() if line.strip()], 0.3),
    ):
        repeated = duplicates(parts)
        if len(repeated) / len(parts) > most or sum(map(len, repeated)) / len(text) > 0.2:
            return f"gopher_repeated_{name}"
    words = [token.lower() for token in words_of(text) if token[0].isalnum()]
    for n, most in TOP_NGRAM.items():
        if top_ngram_characters(words, n) / len(text) > most:
            return f"gopher_top_{n}gram"
    for n, most in DUPLICATE_NGRAMS.items():
        if duplicate_ngram_characters(words, n) / len(text) > most:
            return f"gopher_repeated_{n}grams"
    return None


def duplicates(parts: Sequence[str]) -> list[str]:
    """Those parts that repeat an earlier one."""
    seen: set[str] = set()
    repeated = []
    for part in parts:
        if part in seen:
            repeated.append(part)
        seen.add(part)
    return repeated


def top_ngram_characters(words: Sequence[str], n: int) -> int:
    """Characters covered by the commonest n-gram, if it occurs more than once."""
    counts = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    if not counts:
        return 0
    most = max(counts.values())
    longest = max(len(" ".join(ngram)) for ngram, count in counts.items() if count == most)
    return longest * most if most > 1 else 0


def duplicate_ngram_characters(words: Sequence[str], n: int) -> int:
    """Characters of words in n-grams seen before, each word counted once."""
    seen: set[tuple[str, ...]] = set()
    total = at = 0
    while at + n <= len(words):
        ngram = tuple(words[at : at + n])
        if ngram in seen:
            total += sum(map(len, ngram))
            at += n
        else:
            seen.add(ngram)
            at += 1
    return total


def c4(document: Document) -> str | None:
    """Placeholder text, code, policy boilerplate, too few sentences."""
    text = document.text.lower()
    if "lorem ipsum" in text:
        return "c4_lorem_ipsum"
    if "{" in text:
        return "c4_curly_bracket"
    if "javascript" in text and re.search(r"(enable|requires?|turn on) javascript", text):
        return "c4_javascript"
    if len(re.findall(r"[.!?…][\"”’']?(?:\s|$)", document.text)) < 3:
        return "c4_few_sentences"
    return None


def fineweb(document: Document) -> str | None:
    """Lines without a full stop, short lines, repeated lines, lists."""
    lines = [line.strip() for line in document.text.splitlines() if line.strip()]
    if sum(line.endswith(END) for line in lines) / len(lines) < 0.12:
        return "fineweb_line_punctuation"
    if sum(len(line) < 30 for line in lines) / len(lines) > 0.67:
        return "fineweb_short_lines"
    if sum(map(len, duplicates(lines))) / len(document.text.replace("\n", "")) > 0.1:
        return "fineweb_repeated_lines"
    if document.text.count("\n") / len(words_of(document.text)) > 0.3:
        return "fineweb_new_lines"
    return None


def language(wanted: Sequence[str], least: float) -> Rule:
    """The document's language is one of those wanted, and surely so."""

    def rule(document: Document) -> str | None:
        if document.language not in wanted:
            return "language"
        return "language_score" if document.language_score < least else None

    return rule

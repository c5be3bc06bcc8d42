"""What stands for a word of a question: everyday words for those of manuals, and words one slip of the finger away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib import resources

from gristmill.passages.terms import folded

LETTERS, SLIPS = "abcdefghijklmnopqrstuvwxyz", range(5, 41)  # SLIPS: letters of a word in which slips are looked for


def slips(term: str) -> Iterator[str]:
    """The term itself, and those from which a word of at least five letters is one slip away (Damerau): a letter more,
    less, another, or two swapped, but the first, where slips are rare (Yannakoudakis, Fawthrop, 1983, IPM 19(2))."""
    yield term
    if len(term) not in SLIPS or not term.isalpha():
        return
    for at in range(1, len(term) + 1):
        head, tail = term[:at], term[at:]
        yield from (head + letter + tail for letter in LETTERS)
        if tail:
            yield head + tail[1:]
            yield from (head + letter + tail[1:] for letter in LETTERS)
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]


@cache
def everyday() -> dict[str, list[str]]:
    """Stem → the stems of words that people use for it."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in resources.files("gristmill.passages").joinpath("everyday.txt").read_text(encoding="utf-8").split("\n"):
        group = list(dict.fromkeys(map(folded, line.split())))
        for word in group:
            found[word] += [other for other in group if other != word and other not in found[word]]
    return dict(found)

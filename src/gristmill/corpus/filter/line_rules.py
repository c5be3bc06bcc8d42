"""The published rules for lines: what they remove is an edit, counted in lines; the document stays, in most cases.

C4: Raffel et al. 2020, arXiv:1910.10683, §2.2, and its code (`c4_utils.py` in tensorflow_datasets: policy lines, long
words, citation marks). RefinedWeb: Penedo et al. 2023, arXiv:2306.01116, §G.2. Both papers worked on text whose
headings were lines like others; extraction marks them here (`# Heading`), and rules about short lines leave them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from gristmill.corpus.filter.candidate import Candidate, fenced_lines
from gristmill.corpus.filter.statistics import CLOSING, TERMINAL

# marks of notes in prose; `[]` and `[0]` are code, and code in backquotes is matched to be left alone
CITATIONS = re.compile(r"(`[^`]*`)|\[[1-9]\d*\]|\[edit\]|\[citation needed\]")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
LONGEST_WORD = 1000
SENTENCE_END = re.compile(f"(?<!\\.\\.)[{re.escape(TERMINAL.replace('…', ''))}][{re.escape(CLOSING)}]*\\s*$")
COUNTER = re.compile(
    r"\W*\d[\d.,]*+\s*+[kKmM]?\+?\s*+(?:likes?|shares?|comments?|views?|replies|retweets?|followers?|following|subscribers?|"
    r"reviews?|ratings?|votes?|points?|posts?|downloads?|reads?|hits?|claps?|stars?|reposts?)\W*",
    re.IGNORECASE,
)
AT_START = re.compile(
    r"\s*(?:sign[ -]?in|sign[ -]?up|log[ -]?in|log[ -]?out|register|subscribe)\b[\s|·:-]*", re.IGNORECASE
)
AT_END = re.compile(
    r"(?:(?<![\s|·»>-])[\s|·»>-]++|^)"
    r"(?:read more|continue reading|see more|show more|learn more|view more|load more)[\s.…»>→]*$",
    re.IGNORECASE,
)
ANYWHERE = re.compile(r"(?:(?<!\s)\s++)?\b(?:\d++\s++)?items? in (?:your )?(?:cart|basket|bag)\b\s*", re.IGNORECASE)
SHORT = 10  # words of a line of which a pattern is cut
FLAGGED = 0.05  # of a document's words


def c4_lines(candidate: Candidate) -> str | None:
    """Remove lines that speak of JavaScript or of the site's policies, or hold a word over 1,000 characters; also
    citation marks. An empty document fails.
    """
    text, lower = candidate.text, candidate.lower
    policies = [phrase for phrase in POLICIES if phrase in lower]
    script, citations = "javascript" in lower, "[" in text and CITATIONS.search(text)
    if not (policies or script or citations or candidate.measures.longest_chunk > LONGEST_WORD):
        return None

    def change(line: str) -> tuple[str, str | None]:
        small = line.lower()
        if script and "javascript" in small:
            return "c4_javascript", None
        if any(phrase in small for phrase in policies):
            return "c4_policy", None
        if len(line) > LONGEST_WORD and any(len(word) > LONGEST_WORD for word in line.split()):
            return "c4_long_word", None
        left = CITATIONS.sub(lambda found: found[1] or "", line) if citations and "[" in line else line
        return "c4_citations" if left != line else "", left

    return edited(candidate, change)


def c4_short_lines(candidate: Candidate) -> str | None:
    """Remove lines of fewer than three words. An empty document fails."""
    return edited(
        candidate,
        lambda line: ("c4_short_lines", None) if 0 < len(line.split(None, 3)) < 3 and not heading(line) else ("", line),
    )


def c4_line_ends(candidate: Candidate) -> str | None:
    """Remove lines that do not end like a sentence. An empty document fails.

    FineWeb leaves this rule out, for it takes 30 % of all tokens (arXiv:2406.17557, §3.6).
    """

    def change(line: str) -> tuple[str, str | None]:
        goes = line.strip() and not SENTENCE_END.search(line) and not heading(line)
        return ("c4_line_ends", None) if goes else ("", line)

    return edited(candidate, change)


def refinedweb_lines(candidate: Candidate) -> str | None:
    """Remove lines mostly in capitals, of digits alone, of one word, counters ("3 likes"); cut "sign in", "read more"
    and "items in cart" from lines of at most ten words. A document with more than 5 % of its words in such lines fails.
    """
    flagged, words = 0, candidate.measures.words

    def change(line: str) -> tuple[str, str | None]:
        nonlocal flagged
        rule, left = refinedweb_line(line)
        flagged += len(line.split()) if rule else 0
        return rule, left

    failed = edited(candidate, change)
    return "refinedweb_flagged_words" if flagged > FLAGGED * words else failed


def refinedweb_line(line: str) -> tuple[str, str | None]:
    """The rule that a line breaks, or an empty string; and what is left of it: None where it goes."""
    if not line.strip() or heading(line):
        return "", line
    words = line.split(None, SHORT + 1)
    letters = [character for character in line if character.isalpha()]
    if sum(map(str.isupper, letters)) > 0.5 * max(1, len(letters)):
        return "refinedweb_capitals", None
    if not letters:
        return "refinedweb_digits", None
    if len(words) == 1:
        return "refinedweb_one_word", None
    if COUNTER.fullmatch(line):
        return "refinedweb_counter", None
    if len(words) <= SHORT:
        for pattern in (AT_START, AT_END, ANYWHERE):
            found = pattern.match(line) if pattern is AT_START else pattern.search(line)
            if found:
                left = (line[: found.start()] + " " + line[found.end() :]).strip()
                return "refinedweb_pattern", left or None
    return "", line


def heading(line: str) -> bool:
    """Whether extraction marked the line as a heading."""
    return line.startswith("#") and line.lstrip("#").startswith(" ")


def edited(candidate: Candidate, change: Callable[[str], tuple[str, str | None]]) -> str | None:
    """Put what is left of the lines in the text's place; the rule that an emptied document fails. Code in fences stays
    as it is: the rules were made for prose.

    `change` gives the rule that a line breaks, or an empty string, and what is left of it: None where it goes.
    """
    kept, removed, gap = list[str](), Counter[str](), False
    for line, code in fenced_lines(candidate.text):
        rule, left = ("", line) if code else change(line)
        if rule:
            removed[rule] += 1
        if left is None:
            gap = True
        elif not gap or left.strip() or (kept and kept[-1].strip()):  # one blank line where there were two around it
            kept.append(left)
            gap = False
    if not removed:
        return None
    text = "\n".join(kept).strip("\n")
    if not text.strip():
        return f"{removed.most_common(1)[0][0]}_alone"
    candidate.edit(text, removed)
    return None

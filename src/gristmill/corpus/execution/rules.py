"""What the rules that drop documents mean, in a few words."""

from __future__ import annotations

import re

SIGNALS = {
    "noai": "asks not to be used for AI",
    "noindex": "asks not to be indexed",
    "tdm": "reserves the right to text and data mining",
}
RULES = {
    "language": "not in a wanted language",
    "language_score": "its language is not sure enough",
    "licence": "its licence is not one of those wanted",
    "gopher_too_short": "too few words",
    "gopher_too_long": "too many words",
    "gopher_word_length": "words of an unusual length on average",
    "gopher_symbols": "too many # or ellipses",
    "gopher_bullets": "nearly all lines are items of a list",
    "gopher_ellipses": "too many lines break off",
    "gopher_no_letters": "too much of it is without letters",
    "gopher_stop_words": "hardly any of the short words that all English sentences need",
    "gopher_repeated_lines": "too many lines occur more than once",
    "gopher_repeated_paragraphs": "too many paragraphs occur more than once",
    "c4_curly_bracket": "a curly bracket, as in program code",
    "c4_lorem_ipsum": "placeholder text",
    "c4_few_sentences": "too few sentences",
    "c4_policy_alone": "nothing but lines on cookies and terms of use",
    "fineweb_line_punctuation": "hardly any line ends like a sentence",
    "fineweb_short_lines": "too many short lines",
    "fineweb_repeated_lines": "too much text in lines that occur more than once",
    "fineweb_list": "too many lines for its words: a list",
    "fineweb2_too_short": "too few words",
    "fineweb2_repeated_lines": "too much of it is in lines that occur more than once",
    "fineweb2_line_punctuation": "fewer lines end like a sentence than in other texts of its language",
    "fineweb2_list": "more lines for its words than other texts of its language have: a list",
    "fineweb2_word_length": "words of an unusual length for its language",
    "fineweb2_no_letters": "too much of it is without letters",
    "fineweb2_stop_words": "hardly any of the words that all texts of its language need",
    "refinedweb_flagged_words": "too many words in lines of buttons and counters",
    "exact_copy": "the same text as a document that is kept",
    "near_copy": "nearly the same text as a document that is kept",
    "url_copy": "another version of a page that is kept",
    "nothing_new": "nothing in it that other documents do not hold",
    "contaminated": "holds an item of an evaluation set",
    "empty": "no text",
    "damaged": "cannot be read",
    "too_large": "too large",
    "fault": "code of gristmill's fails on it; the traceback is in the log",
    **SIGNALS,
    "ai-input": "asks not to be used for a model's answers",
    "undecodable": "in no character set that is known: convert it to UTF-8",
    "not_html": "neither HTML nor text",
    "blocked_host": "its host is on a list of those not wanted",
    "blocked_url": "its address is on a list of those not wanted",
    "bad_words": "too many words of a list of those not wanted",
    "unread_kind": "a file of a kind that is not read",
    "hidden": "its name begins with a dot",
    "own_run": "made by gristmill itself",
    "linked_twice": "read already, under this name or another",
    "not_a_file": "neither a file nor a folder",
    "unreadable": "cannot be read",
    "needs_extra": "a library that reads it is not installed",
    "no_text": "no `text` and no `content`",
    "large_table": "a table without texts, too large to be one",
    "minified": "code that was made short for machines",
    "redirect": "leads to another article",
}
PATTERNS = (
    (r"(\w+)_alone", "nothing but lines that {} takes out"),
    (r"(?:gopher|fineweb2)_top_(\d+)gram", "one sequence of {} words makes up too much of it"),
    (r"(?:gopher|fineweb2)_repeated_(\d+)grams", "too much of it is in sequences of {} words that it repeats"),
)


def meaning(rule: str) -> str:
    """What a rule means; nothing of one that is not known."""
    if rule in RULES:
        return RULES[rule]
    for pattern, words in PATTERNS:
        if found := re.fullmatch(pattern, rule):
            return words.format(found[1])
    return ""

"""Stage `redact`: → documents without personal data: each finding gives way to its kind, as `<EMAIL>`.

Placeholders as StarCoder's data have them (Li et al. 2023, arXiv:2305.06161, §4). What each rule finds is in
contacts.py, identifiers.py and secrets.py. How many findings a document had, by rule, goes into its `redactions`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gristmill.corpus.execution.documents import map_documents
from gristmill.corpus.execution.judge import Judge
from gristmill.corpus.redact.contacts import find_emails, find_ip_addresses, find_phones
from gristmill.corpus.redact.identifiers import Span, find_cards, find_ibans, find_national_ids
from gristmill.corpus.redact.person_names import name_finder
from gristmill.corpus.redact.secrets import find_keys
from gristmill.corpus.text.words import UNSPACED
from gristmill.document import Document
from gristmill.manifest import Manifest
from gristmill.recipe import Redact

Finder = Callable[[str], Iterator[Span]]
FINDERS: dict[str, Finder] = {  # where two overlap, the one around the other stays, else the first named
    "key": find_keys,
    "email": find_emails,
    "iban": find_ibans,
    "card": find_cards,
    "national_id": find_national_ids,
    "ip_address": find_ip_addresses,
    "phone": find_phones,
}
# Scripts whose words stand next to an address without a space between: those without any, and Korean with its particles
TOGETHER = rf"{UNSPACED}\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
# a host's name in such a script belongs to its address
FOREIGN = re.compile(
    rf"(@(?:[\w-]{{1,63}}\.){{1,4}}(?:[a-z]{{2,24}}|中国|中國|公司|网络|香港|台灣|한국)(?![a-z]))|[{TOGETHER}]+"
)
CALLS = re.compile(
    "电话|電話|手机|手機|携帯|传真|傳真|热线|전화|휴대폰|팩스|연락처"
)  # words that announce a telephone's number
FAR = re.compile("[\u0e00-\u1fff\u3000-\U0003ffff]")  # where all of these scripts are, and few texts in others look
FULL_WIDTH = re.compile("[\uff01-\uff5e]")
ASCII = {0xFEE0 + code: code for code in range(0x21, 0x7F)}
BLANK = "。"  # a character that is neither a word's nor within a number
AROUND = 60  # characters shown around a redaction in samples


def find(text: str, finders: Mapping[str, Finder] = FINDERS) -> list[tuple[int, int, str]]:
    """Start, end and rule of everything found, in order and without overlap."""
    seen = in_latin(text)
    found = [
        (start, order, end, rule)
        for order, (rule, spans) in enumerate(finders.items())
        for start, end in spans(text if rule == "name" else seen)
    ]
    kept: list[tuple[int, int, int, str]] = []
    for span in sorted(found):
        if not kept or span[0] >= kept[-1][2]:
            kept.append(span)
        elif span[2] > kept[-1][2] and span[1] < kept[-1][1]:
            kept[-1] = span
    return [(start, end, rule) for start, _, end, rule in kept]


def in_latin(text: str) -> str:
    """A text of the same length in which full-width characters are ASCII, and words that may stand next to an address
    without a space are blank, but for those that announce a telephone's number.
    """
    if text.isascii() or not FAR.search(text):
        return text
    if FULL_WIDTH.search(text):
        text = text.translate(ASCII)
    text = CALLS.sub(lambda found: "ph".rjust(len(found[0]), BLANK), text)
    return FOREIGN.sub(lambda found: found[1] or BLANK * len(found[0]), text)


def redact(text: str, finders: Mapping[str, Finder] = FINDERS) -> tuple[str, Counter[str]]:
    """The text with placeholders in place of personal data, and how often each rule found some."""
    found = find(text, finders)
    if not found:
        return text, Counter()
    parts, at = [], 0
    for start, end, rule in found:
        parts += [text[at:start], f"<{rule.upper()}>"]
        at = end
    return "".join([*parts, text[at:]]), Counter(rule for *_, rule in found)


class RedactionJudge(Judge):
    """Redacts documents, and counts."""

    def __init__(self, params: Redact) -> None:
        super().__init__()
        self.finders: dict[str, Finder] = {rule: finder for rule, finder in FINDERS.items() if rule in params.rules}
        if params.names:
            self.finders["name"] = name_finder(params.names)

    def __call__(self, document: Document) -> Document:
        """The document, redacted."""
        text, counts = redact(document.text, self.finders)
        if counts:
            self.counts["documents_redacted"] += 1
            document.text = text
            for rule, count in counts.items():
                self.counts[f"redact.{rule}"] += count
                document.redactions[rule] = document.redactions.get(rule, 0) + count
                at = text.find(f"<{rule.upper()}>")
                # what stood there must not live on in a file of samples: the text is shown as it is now
                self.samples.add(rule, document, text[max(0, at - AROUND) : at + AROUND])
        return document


def run(inputs: Mapping[str, Path], params: Redact, out: Path) -> Manifest:
    """Redact every document; none is dropped. `samples.jsonl` shows what is around redactions."""
    RedactionJudge(params)  # a pipeline that cannot be read is reported at once
    return map_documents("redact", inputs["corpus"], RedactionJudge, params, out)

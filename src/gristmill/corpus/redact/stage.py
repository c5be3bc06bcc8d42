"""Stage `redact`: → documents without personal data: each finding gives way to its kind, as `<EMAIL>`.

Placeholders as StarCoder's data have them (Li et al. 2023, arXiv:2305.06161, §4). What each rule finds is in
contacts.py, identifiers.py and secrets.py. How many findings a document had, by rule, goes into its `redactions`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gristmill.corpus.execution.documents import map_documents
from gristmill.corpus.execution.judge import Judge
from gristmill.corpus.redact.contacts import find_emails, find_ip_addresses, find_phones
from gristmill.corpus.redact.identifiers import Span, find_cards, find_ibans, find_national_ids
from gristmill.corpus.redact.person_names import name_finder
from gristmill.corpus.redact.secrets import find_keys
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
AROUND = 60  # characters shown around a redaction in samples


def find(text: str, finders: Mapping[str, Finder] = FINDERS) -> list[tuple[int, int, str]]:
    """Start, end and rule of everything found, in order and without overlap."""
    found = [
        (start, order, end, rule) for order, (rule, spans) in enumerate(finders.items()) for start, end in spans(text)
    ]
    kept: list[tuple[int, int, int, str]] = []
    for span in sorted(found):
        if not kept or span[0] >= kept[-1][2]:
            kept.append(span)
        elif span[2] > kept[-1][2] and span[1] < kept[-1][1]:
            kept[-1] = span
    return [(start, end, rule) for start, _, end, rule in kept]


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

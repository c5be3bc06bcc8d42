"""Quality rules and redaction against datatrove: the same verdicts on the same documents, and the time that they take.

    pip install 'datatrove[processing]==0.10.0' spacy
    python benchmarks/filter.py [--quick] [DOCUMENTS]

DOCUMENTS is a folder that `gristmill extract` wrote; without it, pages of ../shared/data are extracted. Both sides
judge each document one after the other, in CPU time. FineWeb's rules are compared at the paper's thresholds:
datatrove's code has 0.01 for repeated lines where the paper has 0.1. Stop words are asked for only in English, so only
English documents are compared for Gopher's quality rules. Redaction is judged on tests/corpus/personal_data.txt.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from datatrove.data import Document as TheirDocument
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.utils import text as their_text

from gristmill.corpus.extract import stage as extract
from gristmill.corpus.filter import document_rules, line_rules
from gristmill.corpus.filter.candidate import Candidate
from gristmill.corpus.filter.statistics import measure
from gristmill.corpus.redact.stage import find, redact
from gristmill.document import Document, read_documents
from gristmill.recipe import Extract

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
PEER = f"datatrove {version('datatrove')}"
LONGEST = 40_000  # characters: spaCy takes seconds for more
SIZE = 9_000  # characters of the text that times are given for
Verdict = Callable[[str], bool]
QUALITY = document_rules.gopher_quality(50)
LETTERS = "gopher_quality, theirs without the share of words with letters"


def documents(paths: list[str], count: int) -> list[Document]:
    """A sample of documents."""
    with tempfile.TemporaryDirectory() as folder:
        if not paths:
            with tarfile.open(SHARED / "extraction" / "trafilatura-eval.tar.xz") as archive:
                archive.extractall(folder, filter="data")
            out = Path(folder) / "documents"
            out.mkdir()
            inputs = [folder, str(SHARED / "storybooks")]
            extract.run({}, Extract(paths=inputs), out)
            paths = [str(out)]
        found = [one for path in paths for one in read_documents(Path(path)) if len(one.text) <= LONGEST]
    random.Random(0).shuffle(found)
    return found[:count]


def our_verdicts(text: str) -> dict[str, bool]:
    """Whether we keep a text, by family of rules, without stopping at the first that it fails."""
    whole = Candidate(Document("", text, language="en"))
    shared = (
        ("gopher_repetition", document_rules.gopher_repetition),
        ("gopher_quality", QUALITY),
        ("fineweb", document_rules.fineweb),
    )
    verdicts = {name: rule(whole) is None for name, rule in shared}
    # last, because it edits the text, as theirs does
    verdicts[LETTERS] = verdicts["gopher_quality"]
    return verdicts | {
        "c4": not (line_rules.c4_lines(whole) or line_rules.c4_short_lines(whole) or document_rules.c4(whole))
    }


def theirs() -> dict[str, Verdict]:
    """Whether datatrove keeps it."""
    families = {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        LETTERS: GopherQualityFilter(max_non_alpha_words_ratio=None),
        "c4": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(char_duplicates_ratio=0.1),
    }

    def verdict(name: str) -> Verdict:
        def keep(text: str) -> bool:
            try:
                return families[name].filter(TheirDocument(text=text, id="")) is True
            except ZeroDivisionError:  # on a text without words or lines
                return False

        return keep

    return {name: verdict(name) for name in families}


def timed(function: Callable[[str], T], text: str) -> tuple[T, float]:
    """What a function makes of a text, and its CPU seconds."""
    started = time.process_time()
    result = function(text)
    return result, time.process_time() - started


def compare(found: list[Document]) -> list[dict[str, Any]]:
    """Agreement and time of the four families."""
    them = theirs()
    quick = {name: keep for name, keep in them.items() if name != LETTERS}
    alike, judged, only = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    seconds = {"ours": 0.0, "theirs": 0.0}
    words = []
    for document in found:
        text = document.text
        their_text.split_into_parts.cache_clear()  # theirs splits a text once for all families
        verdicts, spent = timed(lambda text: {name: keep(text) for name, keep in quick.items()}, text)
        verdicts[LETTERS] = them[LETTERS](text)
        seconds["theirs"] += spent
        mine, spent = timed(our_verdicts, text)
        seconds["ours"] += spent
        words.append(measure(text).tokens / max(1, len(their_text.split_into_words(text))) - 1)
        for name in mine:
            if name.startswith("gopher_quality") and document.language != "en":
                continue
            judged[name] += 1
            alike[name] += mine[name] == verdicts[name]
            if mine[name] != verdicts[name]:
                only[name, "we drop" if verdicts[name] else "they drop"] += 1
    characters = sum(len(document.text) for document in found)
    print(f"{len(found)} documents, {characters:,} characters; only one side drops: {dict(only)}")
    print(f"tokens against spaCy's: {statistics.mean(words):+.2%} on average, {statistics.median(words):+.2%} median")
    results = [
        result(f"{name}: documents judged alike", "share", alike[name] / judged[name], 1.0, 0.95, "higher")
        for name in judged
    ]
    per_text = {name: spent / characters * SIZE * 1000 for name, spent in seconds.items()}
    claim = "four families of quality rules, CPU time of a text of 9,000 characters"
    return [*results, result(claim, "ms", per_text["ours"], per_text["theirs"], 25, "lower")]


# what datatrove puts in the place of addresses
REPLACEMENTS = (*PIIFormatter().emails_replacer.replacements, *PIIFormatter().ip_replacer.replacements)


def compare_redaction(found: list[Document]) -> list[dict[str, Any]]:
    """Precision and recall on the labelled set, and time."""
    mark = re.compile(r"\[\[(\w+)\|(.+?)\]\](?!\])")
    cases = (ROOT / "tests" / "corpus" / "personal_data.txt").read_text(encoding="utf-8").splitlines()
    cases = [case for case in cases if case and not case.startswith("# ")]
    formatter = PIIFormatter()
    right, wanted, made = Counter[str](), Counter[str](), Counter[str]()
    for case in cases:
        text = mark.sub(lambda match: match[2], case)
        spans = Counter((rule, text[start:end]) for start, end, rule in find(text))
        truth = Counter((match[1], match[2]) for match in mark.finditer(case))
        left = formatter.format(text)
        for rule in ("email", "ip_address"):
            named = Counter({key: count for key, count in truth.items() if key[0] == rule})
            wanted[rule] += named.total()
            right["theirs"] += sum(count for (_, string), count in named.items() if string not in left)
        made["theirs"] += sum(left.count(string) - text.count(string) for string in REPLACEMENTS)
        right["ours"] += (spans & truth).total()
        wanted["all"] += truth.total()
        made["ours"] += spans.total()
    print(f"{len(cases)} labelled lines with {dict(wanted)}: found {dict(made)}, rightly {dict(right)}")
    seconds = {"ours": 0.0, "theirs": 0.0}
    for document in found:
        seconds["ours"] += timed(redact, document.text)[1]
        seconds["theirs"] += timed(formatter.format, document.text)[1]
    characters = sum(len(document.text) for document in found)
    mine, yours = (spent / characters * SIZE * 1000 for spent in (seconds["ours"], seconds["theirs"]))
    recall = (right["ours"] / wanted["all"], right["theirs"] / (wanted["email"] + wanted["ip_address"]))
    precision = (right["ours"] / made["ours"], right["theirs"] / made["theirs"])
    kinds = "(ours: seven kinds; theirs: e-mail and IP addresses)"
    return [
        result(f"redaction, recall on the labelled set {kinds}", "share", *recall, 0.95, "higher"),
        result(f"redaction, precision on the labelled set {kinds}", "share", *precision, 0.95, "higher"),
        result(f"redaction, CPU time of a text of 9,000 characters {kinds}", "ms", mine, yours, 1, "lower"),
    ]


def result(claim: str, unit: str, us: float, them: float, goal: float, better: str) -> dict[str, Any]:
    """One line of the outcome."""
    ratio = us / them if better == "higher" else them / us
    figures = {"ours": round(us, 4), "peer": PEER, "theirs": round(them, 4), "ratio": round(ratio, 3)}
    return {"claim": claim, "unit": unit, **figures, "goal": goal, "better": better}


def main() -> None:
    """Measure and print."""
    paths = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    found = documents(paths, 150 if "--quick" in sys.argv else 1_500)
    measure("")  # builds the table of characters
    results = compare(found) + compare_redaction(found)
    print(json.dumps({"benchmark": "filter", "results": results}))


if __name__ == "__main__":
    main()

"""What the report tells of the ledger: what each stage took and gave to the byte, beside the corpora of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gristmill.corpus.ledger import Entry, ledger
from gristmill.errors import UserError
from gristmill.report.plot import number

# Shares that are left, of what the corpus counts from: after language, quality rules, deduplication, and at the end.
# RefinedWeb: arXiv:2306.01116, figure 2. FineWeb: arXiv:2406.17557, section 3 (36, 20 and 15 trillion tokens; dedup
# comes before its own rules). DCLM: arXiv:2406.11794, abstract and section 4 (240 and 3.8 trillion tokens).
PUBLISHED = (
    ("RefinedWeb", "documents of Common Crawl", "51 %", "23 %", "12 %", "12 %"),
    ("FineWeb", "tokens of English text past Gopher's rules", "", "100 %", "56 %", "42 %"),
    ("DCLM-Baseline", "tokens extracted from Common Crawl", "", "", "", "1.6 %"),
)
LANGUAGE = ("language", "language_score")  # rules that tell languages


def rows(run: Mapping[str, Path]) -> tuple[list[list[str]], list[list[str]]]:
    """The ledger of a run's folders, and its survival beside published ones; both empty where no corpus was made."""
    parents = {path.parent for name, path in run.items() if name == "extract"}
    try:
        entries = ledger(parents.pop()) if parents else []
    except UserError:
        entries = []
    if not entries:
        return [], []
    return [line(entry) for entry in entries], [ours(entries), *map(list, PUBLISHED)]


def line(entry: Entry) -> list[str]:
    """One stage's cells."""
    dropped = [sum(drop[place] for drop in entry.dropped.values()) for place in (0, 1)]
    documents = [entry.came["documents"], dropped[0], entry.kept["documents"]]
    sizes = [entry.came["bytes"], dropped[1], entry.edited, entry.kept["bytes"]]
    return [entry.stage, *(f"{value:,}" for value in (*documents, *sizes)), "yes" if entry.balances() else "NO"]


def ours(entries: list[Entry]) -> list[str]:
    """This run's shares of the pages that came in."""
    by_stage = {entry.stage: entry for entry in entries}
    came = entries[0].came["documents"]

    def share(count: int) -> str:
        return f"{count / came:.0%}".replace("%", " %") if came else ""

    cells = ["", "", ""]
    if rules := by_stage.get("filter"):
        spoken = rules.came["documents"] - sum(rules.dropped.get(rule, (0, 0))[0] for rule in LANGUAGE)
        cells[:2] = [share(spoken), share(rules.kept["documents"])]
    if unique := by_stage.get("dedup"):
        cells[2] = share(unique.kept["documents"])
    return ["this run", f"pages ({number(came)})", *cells, share(entries[-1].kept["documents"])]

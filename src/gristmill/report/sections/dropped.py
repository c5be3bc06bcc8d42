"""What was dropped: by which rule, with one document of each, to the document and the byte; and what was edited."""

from __future__ import annotations

from pathlib import Path

from gristmill.corpus.execution.ledger import Entry, ledger
from gristmill.corpus.execution.rules import meaning
from gristmill.errors import UserError
from gristmill.report.blocks import Block, Figure, Fold, Quote, Section, Table
from gristmill.report.plot import bar_chart, number
from gristmill.report.reading import (
    Folders,
    corpus_stages,
    crawl_of,
    first_of_each,
    last_corpus,
    manifest,
    redactor,
    values,
)
from gristmill.report.sections.arrived import FILE, hosts

LEDGER = ("stage", "documents in", "dropped", "kept", "bytes in", "dropped", "edited", "kept", "balances")
SHARES = ("corpus", "share of", "after language", "after quality rules", "after deduplication", "at the end")
SETS = ("set", "items", "too short to look for", "met in documents, which were dropped")
SHOWN_HOSTS = 12
LONGEST = 400  # characters of an example
# Shares that are left, of what the corpus counts from: after language, quality rules, deduplication, and at the end.
# RefinedWeb: arXiv:2306.01116, figure 2. FineWeb: arXiv:2406.17557, section 3 (36, 20 and 15 trillion tokens; dedup
# comes before its own rules). DCLM: arXiv:2406.11794, abstract and section 4 (240 and 3.8 trillion tokens).
PUBLISHED = (
    ("RefinedWeb", "documents of Common Crawl", "51%", "23%", "12%", "12%"),
    ("FineWeb", "tokens of English text past Gopher's rules", "", "100%", "56%", "42%"),
    ("DCLM-Baseline", "tokens extracted from Common Crawl", "", "", "", "1.6%"),
)
LANGUAGE = ("language", "language_score")  # rules that tell languages
SAYS = {  # stage → what it does
    "filter": "filtering drops what is no good text, or not in a wanted language",
    "dedup": "deduplication drops copies, and near copies, of documents that are kept",
    "redact": "redaction puts the kind of a personal detail in the detail's place",
    "decontaminate": "decontamination drops documents that hold a question the model will be tested with, so that no "
    "answer is measured that was learned by heart",
}


def dropped(folders: Folders) -> Section | None:
    """From the documents that came in to those that training reads."""
    last = last_corpus(folders)
    if last is None:
        return None
    entries = lines(folders)
    stages = corpus_stages(folders)
    left = [(f"after {stage}", [("", float(made.counts.get("documents_out", 0)))]) for stage, made in stages.items()]
    rules = [
        (f"{stage}: {rule}", [("", float(count))])
        for stage, made in stages.items()
        for rule, count in made.dropped.items()
    ]
    blocks: list[Block] = [
        *balance(entries),
        Figure("Documents left after each stage", bar_chart(left, "documents after each stage")),
        Figure("Documents dropped, by rule", bar_chart(sorted(rules, key=lambda row: -row[1][0][1]), "drops by rule")),
        Fold("One document of each rule that dropped some", examples(folders)),
        *edits(folders),
        *tested(folders),
        Table("Sites that the remaining documents come from", ("host", "documents"), sites(last)),
    ]
    if entries and crawl_of(folders):
        blocks.append(Table("What is left, next to published corpora", SHARES, [ours(entries), *PUBLISHED]))
    says = "; ".join(says for stage, says in SAYS.items() if stage in stages)
    says = f"{says[:1].upper()}{says[1:]}. " if says else ""
    counted = "Each document that leaves is counted under the one rule that dropped it."
    return Section("What was dropped", says + counted, blocks)


def sites(folder: Path) -> list[list[str]]:
    """The hosts that most documents come from; nothing where all come from files."""
    found = hosts(folder)
    return [[host, number(count)] for host, count in found.most_common(SHOWN_HOSTS)] if set(found) != {FILE} else []


def lines(folders: Folders) -> list[Entry]:
    """The ledger of the corpus stages that belong to the run."""
    try:
        return ledger(folders)
    except UserError:
        return []


def balance(entries: list[Entry]) -> list[Block]:
    """The ledger as a table."""
    rows = []
    for entry in entries:
        gone = [sum(drop[place] for drop in entry.dropped.values()) for place in (0, 1)]
        documents = [entry.came["documents"], gone[0], entry.kept["documents"]]
        sizes = [entry.came["bytes"], gone[1], entry.edited, entry.kept["bytes"]]
        counts = (f"{value:,}" for value in (*documents, *sizes))
        rows.append([entry.stage, *counts, "yes" if entry.balances() else "NO"])
    return [
        Table("The ledger, to the document and the byte (edited: bytes taken out of documents that stay)", LEDGER, rows)
    ]


def ours(entries: list[Entry]) -> list[str]:
    """This run's shares of the pages that came in."""
    by_stage = {entry.stage: entry for entry in entries}
    came = entries[0].came["documents"]

    def share(count: int) -> str:
        return f"{count / came:.0%}" if came else ""

    cells = ["", "", ""]
    if rules := by_stage.get("filter"):
        spoken = rules.came["documents"] - sum(rules.dropped.get(rule, (0, 0))[0] for rule in LANGUAGE)
        cells[:2] = [share(spoken), share(rules.kept["documents"])]
    if unique := by_stage.get("dedup"):
        cells[2] = share(unique.kept["documents"])
    return ["this run", f"pages ({number(came)})", *cells, share(entries[-1].kept["documents"])]


def examples(folders: Folders) -> list[Quote]:
    """One document of each rule that dropped some, with what the rule means."""
    clean, shown = redactor(folders), list[Quote]()
    for stage, made in corpus_stages(folders).items():
        samples = first_of_each(folders, stage, "samples.jsonl", "rule")
        unseen = not made.dropped.keys() <= samples.keys()
        logged = first_of_each(folders, stage, "dropped.jsonl", "rule") if unseen else {}
        for rule, count in made.dropped.items():
            record = samples.get(rule) or logged.get(rule, {})
            text = clean(str(record.get("text", ""))) or "(its text was not kept)"
            means = f": {meaning(rule)}" if meaning(rule) else ""
            says = f"{rule}, {number(count)} dropped{means}. {record.get('url') or record.get('source', '')}"
            shown.append(Quote(says, text[:LONGEST] + (" …" if len(text) > LONGEST else "")))
    return shown


def edits(folders: Folders) -> list[Block]:
    """What was taken out of documents that stayed, with an example each."""
    clean, rows = redactor(folders), list[list[str]]()
    for stage, prefix, kind in (("filter", "filter.lines_removed.", "line removed"), ("redact", "redact.", "replaced")):
        made = manifest(folders, stage)
        samples = first_of_each(folders, stage, "samples.jsonl", "rule")
        for name, count in sorted(made.counts.items()) if made else ():
            if name.startswith(prefix):
                rule = name.removeprefix(prefix)
                text = clean(str(samples.get(rule, {}).get("text", "")))
                rows.append([kind, rule, number(count), text[:160]])
    return [
        Table("Taken out of documents that stayed", ("what", "rule", "how often", "one of them, as it is now"), rows)
    ]


def tested(folders: Folders) -> list[Block]:
    """What the evaluation sets had in common with the documents."""
    if not manifest(folders, "decontaminate"):
        return []
    sets = values(folders, "decontaminate", "contamination.json").get("sets", [])
    rows = [[name(one["set"]), *(number(one[key]) for key in ("items", "too_short", "met"))] for one in sets]
    return [Table("Evaluation sets that were looked for in the documents", SETS, rows)]


def name(path: str) -> str:
    """A set by its file's name."""
    return Path(path).name or path

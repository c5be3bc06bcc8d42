"""Held-out text, by source and by language, and benchmarks: figures of the finished model with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gristmill.evaluation.figures import figures_of, shown
from gristmill.report.blocks import Block, Section, Table
from gristmill.report.plot import number
from gristmill.report.reading import Folders, values

RULE = "13_gram"  # by which an item of a task counts as standing in the training text
TASKS = ("task", "items", "figure", "value", "95 % interval", "in the training text", "value without these")
TOLD = (
    "Tasks that the recipe names, scored as lm-evaluation-harness scores them. An interval says what another draw of "
    "as many items might have given. An item stands in the training text where it shares 13 words in a row with a "
    "document."
)
KINDS = (("by_source", "By source"), ("by_language", "By language"))
RULES = {"13_gram": "13 words in a row", "8_gram_half": "half of it in runs of 8 words"}
MET = "Held-out documents that share with one that was trained on, and the figure without them"
MET_HEAD = ("what they share", "documents", "bits per byte", "95 % interval")
HEAD = ("", "documents", "bytes", "bits per byte", "95 % interval")
SAYS = (
    "Bits per byte of text that was held out of training: less means better expected, and text that is made of the "
    "same sentences over and over needs less whatever the model knows. Sources are compared with that in mind. An "
    "interval is the bootstrap's, which draws documents; of fewer than five there is none."
)


def heldout_sources(folders: Folders) -> Section | None:
    """Tables of more than one source or language, and what of the text stands in the training text, too."""
    found = values(folders, "evaluate", "heldout.json")
    tables: list[Block] = [
        Table(caption, HEAD, [row(one) for one in found[kind]])
        for kind, caption in KINDS
        if len(found.get(kind, ())) > 1
    ]
    whole, rows = found.get("all", {}), list[list[str]]()
    for rule, one in found.get("contamination", {}).items():
        left = one["without"]
        many = f"{number(one['contaminated'])} of {number(one['documents'])}"
        rows.append([RULES[rule], many, *row({"name": "", **left})[3:]])
    if rows:
        rows.insert(0, ["whatever they share", "", *row({"name": "", **whole})[3:]])
        tables.append(Table(MET, MET_HEAD, rows))
    return Section("Where it expects the next token best", SAYS, tables) if tables else None


def row(one: Mapping[str, Any]) -> list[str]:
    """One source or language."""
    bits = f"{one['bits_per_byte']:.3f}" if "bits_per_byte" in one else ""
    sure = f"{one['low']:.3f} to {one['high']:.3f}" if "low" in one else ""
    return [one["name"], number(one["documents"]), number(one["bytes"]), bits, sure]


def task_scores(folders: Folders) -> Section | None:
    """A table of all tasks, where there are any."""
    found = values(folders, "evaluate", "tasks.json")
    rows = [row for name, task in found.items() for row in rows_of(name, task)]
    return Section("Benchmarks", TOLD, [Table("Tasks", TASKS, rows)]) if rows else None


def rows_of(name: str, task: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row a figure."""
    held = task.get(RULE, {})
    for figure, one in figures_of(task).items():
        left = held.get("without", {}).get(figure)
        yield [
            *(name, number(task["items"]), figure, *shown(one)),
            number(held["contaminated"]) if held else "",
            " (".join(filter(None, shown(left))) + ")" * ("low" in left) if left else "",
        ]

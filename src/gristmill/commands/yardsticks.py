"""What the figures of several runs were measured on, and whether it was the same in all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gristmill.evaluation.figures import FIGURES

TEXT, QUESTIONS, TASK = "text", "questions", "tasks."
CHANGES = ("_difference", "_low", "_high")  # of a share of questions, as the summary has them
OF_TEXT = ("evaluate.heldout_bpb",)  # and no share of questions
SIZES = (  # what was spent: it is comparable whatever was read
    "corpus.documents_kept",
    "pretrain.flops",
    "pretrain.parameters",
    "pretrain.steps",
    "pretrain.tokens",
    "run.peak_rss_bytes",
    "tokenize.train_tokens",
    "tokenizer.vocab_size",
)
SAYS = {TEXT: "on the text, which is not the same", QUESTIONS: "on questions, which are not the same"}


def yardstick(name: str) -> str:
    """What a figure of the summary is measured on: `text`, `questions`, a task (`tasks.NAME`), or nothing."""
    stage, _, figure = name.partition(".")
    if name.startswith(TASK):
        return name.rpartition(".")[0]
    if name in SIZES:
        return ""
    for ending in CHANGES:
        figure = figure.removesuffix(ending)
    return QUESTIONS if figure in FIGURES or (stage == "evaluate" and name not in OF_TEXT) else TEXT


def unlike(runs: Sequence[Path], summaries: Sequence[Mapping[str, Any]]) -> set[str]:
    """The yardsticks that were not the same for all runs, of which these are the folders that have an evaluation's
    files, and the summaries."""
    texts: list[Any] = [heldout(run) for run in runs]
    if None in texts:
        texts = [one.get("tokenize.heldout_bytes") for one in summaries]
    tasks = [items(run) for run in runs]
    found: dict[str, list[Any]] = {
        task: [one.get(task) for one in tasks] for task in {name for one in tasks for name in one}
    }
    found |= {TEXT: texts, QUESTIONS: [questions(run) for run in runs]}
    return {name for name, (first, *others) in found.items() if any(one != first for one in others)}


def heldout(run: Path) -> list[tuple[str, int, int]] | None:
    """What tells a run's held-out text from another: how many documents and bytes are of which source. None where its
    evaluation did not look at it."""
    from gristmill.evaluation.heldout_text import FILE

    path = run / FILE
    rows = json.loads(path.read_text(encoding="utf-8"))["by_source"] if path.exists() else None
    return rows if rows is None else [(row["name"], row["documents"], row["bytes"]) for row in rows]


def questions(run: Path) -> Counter[tuple[str, str]]:
    """The questions that a run's models were asked, with their splits."""
    from gristmill.inputs.text_files import read_log

    return Counter((one["split"], one["question"]) for one in read_log(run, "answers.jsonl"))


def items(run: Path) -> dict[str, Counter[str]]:
    """By task, what was asked."""
    from gristmill.inputs.text_files import read_log

    found = dict[str, Counter[str]]()
    for one in read_log(run, "tasks.jsonl"):
        found.setdefault(f"{TASK}{one['task']}", Counter())[asked(one)] += 1
    return found


def asked(record: Mapping[str, Any]) -> str:
    """What was asked in a record of a task."""
    return json.dumps([record.get(name) for name in ("task", "context", "choices", "question", "asked", "answer")])


def told(apart: Counter[str]) -> str:
    """In a line, how many figures are not compared, by yardstick."""
    parts = [f"{count} {SAYS.get(one) or f'of {one}, whose items are not the same'}" for one, count in apart.items()]
    return f"not compared, and shown with --all: {'; '.join(parts)}"

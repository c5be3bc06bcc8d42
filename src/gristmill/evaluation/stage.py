"""Stage `evaluate`: model → scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from gristmill.evaluation.questions import Question, ask, outcome, read_questions, score
from gristmill.files import read_jsonl
from gristmill.generation.engine import Engine
from gristmill.manifest import Manifest, write_jsonl, write_text
from gristmill.progress import console
from gristmill.recipe import Evaluate
from gristmill.tokenizer.shards import open_split
from gristmill.training.data import bits_per_byte
from gristmill.training.loop import best_device

SEEN = ("sft", "rl")  # splits whose entities fine-tuning asked about
FIGURES = ("answerable_accuracy", "unanswerable_declined", "wrong_answer_rate")


def run(inputs: Mapping[str, Path], params: Evaluate, out: Path) -> Manifest:
    """Score the final model and, where it differs, the SFT model before RL on the same questions."""
    engine = Engine.load(inputs["model"], inputs["tokenizer"], best_device())
    heldout = open_split(inputs["tokens"], "heldout", engine.tokenizer.hash)
    metrics = {"heldout_bpb": round(bits_per_byte(engine.model, heldout), 5)}
    questions = read_questions(Path(params.questions)) if params.questions else []
    results: dict[str, Any] = {}
    records: list[dict[str, Any]] = []
    engines = {inputs["model"].name: engine}
    if questions and "sft" in inputs and inputs["sft"] != inputs["model"]:
        engines = {"sft": Engine.load(inputs["sft"], inputs["tokenizer"], best_device()), **engines}
    for name, model in engines.items():
        if not questions:
            continue
        answers = ask(model, [question.question for question in questions], params.max_tokens)
        outcomes = [outcome(q, answer, params.declines) for q, answer in zip(questions, answers, strict=True)]
        results[name] = {split: score(questions, outcomes, split) for split in sorted({q.split for q in questions})}
        records += [record(name, q, a, o) for q, a, o in zip(questions, answers, outcomes, strict=True)]
    final = inputs["model"].name
    if questions:
        test = results[final].get("test", {})
        metrics |= {figure: test[figure] for figure in FIGURES if figure in test}
        metrics["seen_accuracy"] = seen_accuracy(results[final])
        for name, splits in results.items():
            for split in ("test", "dev"):
                for figure in FIGURES if split in splits else ():
                    key = f"{name}.{figure}" if split == "test" else f"evaluate.dev_{name}_{figure}"
                    metrics[key] = splits[split][figure]
        show(results)
    write_jsonl(out / "answers.jsonl", records)
    write_text(out / "results.json", json.dumps(results, indent=2) + "\n")
    asked = params.prompts + spread([q.question for q in questions if q.split == "test"], params.show)
    shown = zip(asked, ask(engine, asked, max(params.max_tokens, engine.context // 2)), strict=True)
    write_jsonl(out / "conversations.jsonl", [{"messages": exchange(*pair)} for pair in shown])
    return Manifest(counts={"questions": len(questions)}, metrics=metrics)


def record(name: str, question: Question, answer: str, outcome: str) -> dict[str, Any]:
    """One line of `answers.jsonl`."""
    return {"model": name, **vars(question), "answer": answer, "outcome": outcome}


def exchange(question: str, answer: str) -> list[dict[str, str]]:
    """A conversation of one turn each."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def spread(items: list[str], count: int) -> list[str]:
    """`count` items evenly spread over the list."""
    return [items[index * len(items) // count] for index in range(min(count, len(items)))]


def examples(folder: Path, count: int = 3) -> list[str]:
    """Test questions to begin with, from a finished stage's folder: those that its final model answered rightly, and
    as the last one that it rightly declined. Empty where the folder holds no such answers.
    """
    path = folder / "answers.jsonl"
    records = list(read_jsonl(path)) if path.exists() else []
    final = [r for r in records if r["split"] == "test" and r["model"] == records[-1]["model"]]
    declined = [r["question"] for r in final if r["outcome"] == "declined" and not r["answerable"]]
    right = [r["question"] for r in final if r["outcome"] == "right"]
    last = spread(declined, 1)
    return spread(right, count - len(last)) + last


def seen_accuracy(splits: dict[str, Any]) -> float:
    """Accuracy on well covered facts of entities that fine-tuning did ask about."""
    asked = [splits[name] for name in SEEN if name in splits]
    total = sum(part["answerable"] for part in asked)
    return sum(part["answerable_accuracy"] * part["answerable"] for part in asked) / total if total else 0.0


def show(results: dict[str, Any]) -> None:
    """Print the models side by side on the test split."""
    table = Table("held-out test questions", *results, title_justify="left")
    labels = ("right, of facts stated 50 times or more", "unanswerable: declined", "unanswerable: wrong answer")
    for label, figure in zip(labels, FIGURES, strict=True):
        table.add_row(label, *(f"{splits['test'][figure]:.1%}" for splits in results.values() if "test" in splits))
    console.print(table)

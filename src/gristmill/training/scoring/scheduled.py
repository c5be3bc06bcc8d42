"""Benchmarks while a model is trained: the same items every so often, so that one sees when something is learned."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from gristmill.errors import UserError
from gristmill.generation.engine import Engine
from gristmill.inputs.text_files import json_lines
from gristmill.model.transformer import Transformer
from gristmill.progress import warn
from gristmill.recipe import SFT, Pretrain
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training.log import LogLine
from gristmill.training.scoring.likelihood import split_tokens
from gristmill.training.scoring.multiple_choice import Item, choice_item, pairs_of, scored

MOST_ITEMS = 500  # of a task, evenly taken: the stage `evaluate` scores all
BATCH = 32  # items scored together
SCORES, PREFIX = "scores.jsonl", "tasks."
FIGURES = ("acc", "acc_norm")


@dataclass(frozen=True)
class Schedule:
    """When tasks are scored: at the first scoring of held-out text after each share of the steps, and at the end. A
    model that has not `learned` yet finds all texts of a length alike: it is not scored before the first step."""

    share: float
    steps: int
    every: int  # steps between two scorings of held-out text
    learned: bool = False

    def due(self, done: int) -> bool:
        """Whether they are after so many steps."""
        if done in (0, self.steps):
            return done > 0 or self.learned
        length = self.share * self.steps
        return done % self.every == 0 and int(done / length) > int((done - self.every) / length)

    def count(self) -> int:
        """How often they are."""
        return sum(map(self.due, {0, self.steps, *range(0, self.steps, self.every)}))


def told(record: LogLine) -> str:
    """What the progress line says of a scoring; empty where a record is of none."""
    names = [name for name in record if name.startswith(PREFIX) and name.endswith(".acc")]
    return " ".join(f"{name.removeprefix(PREFIX).removesuffix('.acc')} {record[name]:.0%}" for name in names)


def tasks_of(params: Pretrain | SFT, model: Transformer, tokenizer: Tokenizer, steps: int, every: int) -> Tasks | None:
    """The tasks that a recipe has scored while a model is trained. Raises UserError where one cannot be read."""
    if not params.tasks_every or not params.tasks:
        return None
    learned = isinstance(params, SFT) or bool(params.init_from)
    return Tasks(model, tokenizer, params.tasks, Schedule(params.tasks_every, steps, every, learned))


class Tasks:
    """Tasks with choices, and a model that is being trained."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, files: Mapping[str, str], schedule: Schedule) -> None:
        """Raises UserError where a file cannot be read. A task without choices is left out (`warn` says so)."""
        self.engine, self.schedule, self.seconds = Engine(model, tokenizer), schedule, 0.0
        self.items: dict[str, list[Item]] = {}
        self.problems: list[str] = []
        for name, file in files.items():
            if file.endswith((".yaml", ".yml")):
                self.problems.append(f"{name} is a task of lm-evaluation-harness: the stage evaluate scores it")
                continue
            items = sorted(self.read(name, Path(file)), key=lambda item: (len(item.whole()), item.whole()))
            count = min(MOST_ITEMS, len(items))
            if count:
                self.items[name] = [items[number * len(items) // count] for number in range(count)]
            else:
                self.problems.append(f"{name} has no choices between which likelihood decides: not scored")

    def read(self, name: str, path: Path) -> Iterable[Item]:
        """The items of a file. Those that are none are left out, and counted."""
        left_out = 0
        for _, record in json_lines(path):
            try:
                item = choice_item(record, self.engine) if isinstance(record, dict) else None
            except UserError:
                item = None
            if item:
                yield item
            left_out += item is None
        if left_out:
            self.problems.append(f"{name}: {left_out:,} records cannot be scored by likelihood")

    def warn(self) -> None:
        """Say what is not scored."""
        for problem in self.problems:
            warn(f"           {problem}")

    def __call__(self) -> dict[str, float]:
        """The share of items that are right, as `tasks.NAME.acc` and `tasks.NAME.acc_norm`."""
        began, found = time.monotonic(), dict[str, float]()
        for name, items in self.items.items():
            records = [
                record for at in range(0, len(items), BATCH) for record in scored(self.engine, items[at : at + BATCH])
            ]
            found |= {f"{PREFIX}{name}.{one}": round(fmean(record[one] for record in records), 5) for one in FIGURES}
        self.seconds += time.monotonic() - began
        return found

    def tokens(self) -> int:
        """How many are read in all scorings together."""
        pairs = [pair for items in self.items.values() for item in items for pair in pairs_of(item)]
        return self.schedule.count() * sum(sum(map(len, split_tokens(self.engine, *pair))) for pair in pairs)

    def curves(self, log: list[LogLine]) -> list[dict[str, Any]]:
        """A record a scoring and task, of a training's log; `chance` is what guessing gives."""
        return [
            {
                **{"step": record["step"], "tokens": record["tokens"], "task": name, "items": len(items)},
                **{figure: record[f"{PREFIX}{name}.{figure}"] for figure in FIGURES},
                "chance": round(fmean(1 / len(item.choices) for item in items), 5),
            }
            for record in log
            for name, items in self.items.items()
            if f"{PREFIX}{name}.acc" in record
        ]

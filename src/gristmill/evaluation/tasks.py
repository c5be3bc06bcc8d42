"""Benchmarks of one's own: multiple choice and minimal pairs by likelihood, questions by what is generated.

A record's form says which it is: `{"context", "choices", "answer"}` (`answer`: the right one's place, from 0, or its
text; also HellaSwag's and ARC's own fields), `{"good", "bad"}` (also BLiMP's `sentence_good`, `sentence_bad`), or
`{"question", "answer"}`, right where the last number of what the model says is that of the answer (after `####`, as in
GSM8K), or else where it is the answer's text, to the letter; `"match"` says otherwise. Scores are those of
lm-evaluation-harness: `acc`, `acc_norm` (likelihood by characters), `exact_match`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gristmill.chat.conversations import LeftOut, nothing_left, read_records
from gristmill.chat.matching import MATCHES, is_number, numbers, right
from gristmill.errors import UserError
from gristmill.evaluation.contamination import Met
from gristmill.evaluation.harness import MEAN, aggregated, run_by_harness, whole
from gristmill.evaluation.intervals import of_any, of_mean, of_ratio, of_share, own
from gristmill.evaluation.questions import complete, prompt_of
from gristmill.generation.engine import Engine
from gristmill.manifest import Parts
from gristmill.progress import counted, warn
from gristmill.training.scoring.multiple_choice import SHORTENED, Item, choice_item, in_choices, scored

YAML = (".yaml", ".yml")
BATCH = 32  # items scored together
FIGURES = dict.fromkeys(("acc", "acc_norm", "exact_match", "contains"), MEAN)
RATIOS = {  # the harness's aggregations of logarithms (or pairs of them and words or bytes), as functions of their mean
    "perplexity": lambda mean: math.exp(-mean),
    "weighted_perplexity": lambda mean: math.exp(-mean),
    "bits_per_byte": lambda mean: -mean / math.log(2),
}


def item_of(record: dict[str, Any], engine: Engine) -> Item:
    """The item of a record. Raises UserError where it is none, or longer than the model reads."""
    item = choice_item(record, engine) or form_of(record)
    if not item.choices:
        prompt_of(engine, item.context)
    return item


def form_of(record: dict[str, Any]) -> Item:
    """The item of a record, however long. Raises UserError where it is none."""
    if item := in_choices(record):
        return item
    if isinstance(record.get("question"), str) and isinstance(record.get("answer"), str | int | float):
        truth = str(record["answer"])
        match = record.get("match", "number" if is_number(truth.rpartition("####")[2]) else "exact")
        if match not in MATCHES or (match == "number" and not numbers(truth)):
            raise UserError(f'"match" is {match!r}', f"write one of {', '.join(MATCHES)} that fits its answer")
        return Item(record["question"], (), 0, truth, match)
    forms = 'write "context", "choices" and "answer"; or "good" and "bad"; or "question" and "answer"'
    raise UserError("it is no item of a task", forms)


class Scored(NamedTuple):
    """A task whose items are scored."""

    names: Mapping[str, str]  # of its figures, each with what is made of all items' values
    records: list[dict[str, Any]]  # one an item
    texts: list[str]  # of each item, with the right answer


def run_task(engine: Engine, name: str, path: Path, max_tokens: int, left_out: list[LeftOut], parts: Parts) -> Scored:
    """Score a task. Items that are none join `left_out`.

    A YAML file is a task of lm-evaluation-harness, which scores it. Raises UserError where the file cannot be read, or
    no item is left.
    """
    if path.suffix in YAML:
        names, scored = parts(f"task-{name}", partial(run_by_harness, engine, name, path))
        return Scored(names, scored, [*map(whole, scored)])
    items = list(read_records(path, partial(item_of, engine=engine), left_out))
    if not items:
        raise nothing_left(f"{path} holds no item", "give some, or take it out of evaluate.tasks", left_out)
    make = partial(score, engine, max_tokens=max_tokens)
    records = parts.batches(f"task-{name}", items, BATCH, make, f"evaluate {name}", "items")
    return Scored(FIGURES, records, [item.whole() for item in items])


def summed_up_task(engine: Engine, name: str, task: Scored, found: Met) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A task's figures, each with a 95 % interval, and a record an item. Each figure is also that of the items that by
    a definition were not `found` in what the model was trained on."""
    every, records = shares(task.records, task.names), task.records
    figures: dict[str, Any] = {"items": len(records), **every}
    if cut := sum(SHORTENED in record for record in records):
        figures[SHORTENED] = cut
        told_cut = f"{name}: the beginning of {cut:,} of {counted(len(records), 'items')} was left out"
        warn(f"evaluate: {told_cut}: the model reads {engine.context} tokens")
    for rule, one in found.items():
        met = one["met"]
        clean = shares(records, task.names, met) if any(met) else every
        figures[rule] = {"too_short": sum(one["short"]), "contaminated": sum(met), "without": clean}
        records = [{**record, rule: hit} for record, hit in zip(records, met, strict=True)]
    return figures, [{"task": name, **record} for record in records]


def shares(
    records: Sequence[dict[str, Any]], names: Mapping[str, str], left_out: Sequence[bool] = ()
) -> dict[str, dict[str, Any]]:
    """Each figure of a task's records with its interval, without those that are left out; `names` says of each what is
    made of all records' values (a mean, or another of the harness's aggregations)."""
    kept = [record for number, record in enumerate(records) if not left_out or not left_out[number]]
    found = {figure: [record[figure] for record in kept if figure in record] for figure in names}
    return {figure: combined(values, names[figure]) for figure, values in found.items() if values}


def combined(values: Sequence[Any], aggregation: str) -> dict[str, Any]:
    """A figure of all records' values, and its 95 % interval: of a share Wilson's, of anything else the bootstrap's,
    which draws records; of one record, or where no draw changes what the harness makes of all, there is none."""
    whole: dict[str, Any] = {"value": sum(values) / len(values)} if aggregation == MEAN else {}
    bounds: Sequence[float] = ()
    if aggregation != MEAN:
        whole = {"value": aggregated(aggregation, values), "aggregation": aggregation}
        if aggregation in RATIOS and len(values) > 1:
            sums, sizes = np.array([one if isinstance(one, list) else (one, 1.0) for one in values]).T
            bounds = sorted(map(RATIOS[aggregation], of_ratio(sums, sizes)))
        elif aggregation not in RATIOS:
            bounds = of_any(partial(aggregated, aggregation), values, f"evaluate: interval of {aggregation}") or ()
    elif {*values} <= {0.0, 1.0}:
        bounds = of_share(int(sum(values)), len(values))
    else:
        bounds = of_mean(np.array(values), own([""] * len(values)))
    whole |= zip(("low", "high"), bounds, strict=False)
    return {key: round(one, 5) if isinstance(one, float) else one for key, one in whole.items()}


def score(engine: Engine, items: Sequence[Item], max_tokens: int) -> list[dict[str, Any]]:
    """One record an item: likelihoods and whether the right choice is above the others, or the answer given."""
    chosen = iter(scored(engine, [item for item in items if item.choices]))
    written = [item for item in items if not item.choices]
    said = complete(engine, [prompt_of(engine, item.context) for item in written], max_tokens) if written else []
    answers, records = iter(said), list[dict[str, Any]]()
    for item in items:
        if item.choices:
            asked = {"context": item.context, "choices": list(item.choices), "answer": item.answer}
            records.append(asked | next(chosen))
        else:
            answer = next(answers).text
            found = right(answer, [item.text], item.match)
            # lm-evaluation-harness calls the number compared so, too
            figure = "contains" if item.match == "contains" else "exact_match"
            records.append({"question": item.context, "said": answer, figure: found})
    return records

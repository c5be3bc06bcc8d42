"""What `gristmill check` finds of the records that training and evaluation read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from gristmill.chat.chatml import thinks_first, untold
from gristmill.chat.conversations import LeftOut, TooLong, checked, records_of, sifted
from gristmill.chat.layouts import READ, Record, answered, asked
from gristmill.chat.template import APART, lessons, render, with_answer
from gristmill.errors import UserError
from gristmill.inputs.folders import files_of
from gristmill.inputs.text_files import BadLine
from gristmill.progress import counted
from gristmill.recipe import Recipe
from gristmill.runs.finished import examine
from gristmill.settings.stages import CORPUS, resolve_paths
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import OVER

SAMPLED = 2_000  # records of a file
MANY = 10_000  # records, from which on their number changes nothing


@dataclass(frozen=True)
class Finding:
    """Something that was looked at."""

    stage: str
    told: str
    wrong: bool = False
    remedy: str = ""


@dataclass(frozen=True)
class Amount:
    """About how much of a file can be used, as the records that were looked at tell."""

    records: int  # at least one, at most MANY
    bytes: float


class Seen(NamedTuple):
    """What is in a record."""

    thinks: bool  # whether an answer begins with a thought
    examples: int  # that are learned of it
    tokens: int  # of them all
    longest: int


def examples_found(
    recipe: Recipe, folder: Path, tokenizer: Tokenizer | None, context: int, amounts: dict[str, Amount]
) -> Iterator[Finding]:
    """What the records are that a recipe's stages are tuned on, as far as they are there; `context`: tokens that the
    model reads, 0 where that is not known."""
    for name in (name for name in READ if getattr(recipe, name) is not None):
        params = resolve_paths(getattr(recipe, name), folder)
        path, seen = getattr(params, READ[name][0]), list[Seen]()
        room = getattr(params, "max_tokens", 0)
        read = partial(fitting, READ[name][1], tokenizer, context - room if context else 0, seen)
        if not path and recipe.extract is None:
            yield Finding(name, "it names no conversations: the model is taken as it is")
        elif not path:
            yield from made_found(name, recipe, folder, read, amounts)
        elif not Path(path).exists():
            yield Finding(name, f"its {READ[name][0]} are made by the run ({path}), and can be checked then")
        else:
            yield from records_found(name, Path(path), read, amounts)
        if (count := sum(one.thinks for one in seen)) and name != "rl" and not marks_thoughts(recipe, tokenizer):
            told, remedy = untold(count)
            yield Finding(name, told, remedy=remedy)
        if name in amounts and (more := sum(one.examples for one in seen)) > len(seen):
            times, there = sum(one.tokens for one in seen) / sum(one.longest for one in seen), amounts[name]
            told = f"these are {more:,} examples, of {times:.1f} times the tokens"
            yield Finding(name, f"{told}: {APART}")
            amounts[name] = Amount(round(there.records * more / len(seen)), there.bytes * times)


def made_found(
    stage: str, recipe: Recipe, folder: Path, read: Callable[[Any], Any], amounts: dict[str, Amount]
) -> Iterator[Finding]:
    """What conversations are that are made from the documents of a run, where these are there already."""
    from gristmill.posttrain.examples import conversations_from_documents

    done = examine(recipe, folder)
    last = [name for name in CORPUS if name in done][-1]
    if done[last].fault:
        told = f"its conversations are made from the documents, and can be checked then, after {last}"
        yield Finding(stage, told, remedy=f"gristmill run RECIPE --until {last} makes them")
        return
    tokens = done["tokenize"].folder if "tokenize" in done and not done["tokenize"].fault else None
    made, left_out = conversations_from_documents(done[last].folder, tokens), list[LeftOut]()
    try:
        sample = [(done[last].folder, at, {"messages": one}) for at, one in enumerate(islice(made, SAMPLED), 1)]
    except UserError as error:
        yield Finding(stage, error.problem, True, error.remedy)
        return
    good = list(sifted(sample, read, left_out))
    if len(sample) < SAMPLED and good:
        amounts[stage] = Amount(len(good), sum(len(json.dumps(one, ensure_ascii=False).encode()) for one in good))
    yield from tally(stage, len(good), len(sample), left_out, done[last].folder, f" made of the documents of {last}")


def records_found(stage: str, path: Path, read: Callable[[Any], Any], amounts: dict[str, Amount]) -> Iterator[Finding]:
    """What the records of a file are: good, or left out, and why; how much is good joins `amounts`."""
    left_out = list[LeftOut]()
    try:
        sample = list(islice(records_of(path), SAMPLED))
    except UserError as error:
        yield Finding(stage, error.problem, True, error.remedy)
        return
    good = len(list(sifted(sample, read, left_out)))
    amounts[stage] = amount_of(path, sample, left_out)
    yield from tally(stage, good, len(sample), left_out, path)


def tally(stage: str, good: int, seen: int, left_out: list[LeftOut], path: Path, of: str = "") -> Iterator[Finding]:
    """How many of some records are good, and why others are not; `of`: what the records are made of."""
    more = f" of the first {seen:,}" if seen == SAMPLED else ""
    yield Finding(
        stage, f"{counted(good, 'records')}{more}{of} can be used", not good, "" if good else f"look at {path}"
    )
    for too_long in (False, True):
        group = [one for one in left_out if one.too_long == too_long]
        if group:
            what = "too long for the model" if too_long else "no good"
            count = "1 record is" if len(group) == 1 else f"{len(group):,} records are"
            file = f" of {Path(group[0].file).relative_to(path)}" if path.is_dir() and not of else ""
            told = f"{count} {what}, as record {group[0].record}{file}: {group[0].why}"
            yield Finding(stage, told, 2 * len(group) > seen, group[0].remedy)


def amount_of(path: Path, sample: list[tuple[Path, int, Any]], left_out: list[LeftOut]) -> Amount:
    """How much of a file or folder can be used, by some of its records; an unreadable one is as long as the others."""
    bad = {(one.file, one.record) for one in left_out}
    sizes = {
        (str(file), number): len(json.dumps(record, ensure_ascii=False, default=str).encode("utf-8", "replace"))
        for file, number, record in sample
        if not isinstance(record, BadLine)
    }
    read, kept = sum(sizes.values()), sum(size for place, size in sizes.items() if place not in bad)
    share = kept / read * len(sizes) / len(sample) if kept else 0.0
    count = sum(1 for _ in islice(records_of(path), MANY))
    return Amount(max(1, round(count * (1 - len(bad) / max(1, len(sample))))), size_of(path) * share)


def fitting(
    read: Callable[[Record], Any], tokenizer: Tokenizer | None, most: int, seen: list[Seen], record: Any
) -> Any:
    """What a record is read as; what is in it joins `seen`. Raises UserError where it cannot be used, or is longer than
    the model reads."""
    made, lengths = checked(read, record), [1]
    if tokenizer and most:
        first = made[0] if isinstance(made, list) and isinstance(made[0], tuple) else made
        messages, answers = (first[0], first[1:]) if isinstance(first, tuple) else (first, ())
        ids = [with_answer(messages, one, tokenizer) for one in answers if isinstance(one, dict)]
        length = max((len(prompt) + len(answer) for prompt, answer in ids), default=0)
        if read is answered:
            lengths = [len(ids) for ids, _ in lessons(messages, tokenizer, most + 1)]
            length = max(lengths)
        length = length or len(render(messages, tokenizer, generation_prompt=read is asked)[0])
        if length > most + (read is answered):
            raise TooLong(length, most)
    parts = [one for part in (made if isinstance(made[0], tuple) else [made]) for one in part]
    thinks = any(thinks_first(one) for one in parts if isinstance(one, dict))
    seen.append(Seen(thinks, len(lengths), sum(lengths), max(lengths)))
    return made


def marks_thoughts(recipe: Recipe, tokenizer: Tokenizer | None) -> bool:
    """Whether the vocabulary has tokens for thoughts, as far as that is known."""
    if tokenizer:
        return OVER in tokenizer.shown
    return not recipe.tokenizer or recipe.tokenizer.thoughts


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return sum(file.stat().st_size for file in files_of(path))

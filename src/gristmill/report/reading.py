"""Reads what the sections tell from a run's stage folders. Where a stage did not run, there is nothing to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gristmill.chat.template import render
from gristmill.corpus.redact.stage import RedactionJudge, redact
from gristmill.errors import UserError
from gristmill.inputs.folders import digest
from gristmill.inputs.text_files import read_log
from gristmill.manifest import Manifest, read_json
from gristmill.recipe import Redact
from gristmill.settings.stages import CORPUS, CRAWLS
from gristmill.tokenizer.encode import Tokenizer

Folders = Mapping[str, Path]


def manifest(folders: Folders, name: str) -> Manifest | None:
    """A stage's manifest, if the stage has run."""
    return Manifest.read(folders[name]) if name in folders else None


def crawl_of(folders: Folders) -> str:
    """The stage that fetched the run's pages; empty where none did."""
    return next((stage for stage in CRAWLS if stage in folders), "")


def records(folders: Folders, stage: str, file: str) -> list[dict[str, Any]]:
    """The records of a stage's JSON-lines file, if there is one."""
    return list(read_log(folders.get(stage), file))


def first_of_each(folders: Folders, stage: str, file: str, key: str) -> dict[str, dict[str, Any]]:
    """By value of a key, the first record of a stage's JSON-lines file that has it; in memory bounded by the values."""
    found: dict[str, dict[str, Any]] = {}
    for record in read_log(folders.get(stage), file):
        found.setdefault(str(record.get(key)), record)
    return found


def values(folders: Folders, stage: str, file: str) -> dict[str, Any]:
    """A stage's JSON file, or nothing."""
    return read_json(folders[stage] / file) if stage in folders else {}


def has_model(folders: Folders, stage: str) -> bool:
    """Whether a stage left a model."""
    return stage in folders and (folders[stage] / "model.json").exists()


def corpus_stages(folders: Folders) -> dict[str, Manifest]:
    """The manifests of those corpus stages that have run, in the order of the journey."""
    return {stage: made for stage in CORPUS if (made := manifest(folders, stage))}


def last_corpus(folders: Folders) -> Path | None:
    """The documents as far as the run has cleaned them."""
    return next((folders[stage] for stage in reversed(corpus_stages(folders))), None)


def input_file(folders: Folders, stage: str, parameter: str) -> Path | None:
    """The file or folder that a parameter of a stage names, if it is still what the stage read.

    Where the run has been moved, a file of one of its stages is found by that stage's name.
    """
    made = manifest(folders, stage)
    named = made.params.get(parameter) if made else None
    if not made or not named:
        return None
    path = Path(named)
    if not path.exists() and path.parent.name in folders:
        path = folders[path.parent.name] / path.name
    known = made.inputs.get(f"{parameter}.0")
    try:
        return path if path.exists() and known in (None, digest(path)) else None
    except UserError:  # a folder in which a stage's files are damaged
        return None


def redactor(folders: Folders) -> Callable[[str], str]:
    """Takes the personal data out of a text, as the run did with its documents; leaves it where the run does not."""
    made = manifest(folders, "redact")
    if not made:
        return lambda text: text
    finders = RedactionJudge(Redact(rules=made.params["rules"])).finders if "rules" in made.params else {}
    return lambda text: redact(text, finders)[0]


def read_share(epochs: float) -> str:
    """How often the training text was read: `each text 3.0 times`, `32% of the text`."""
    return f"each text {epochs:.1f} times" if epochs >= 1 else f"{epochs:.0%} of the text"


def fits(folders: Folders, stage: str) -> Callable[[Sequence[Mapping[str, Any]]], bool]:
    """Whether a stage's model had room for a conversation; where that cannot be told, it had."""
    if "tokenizer" not in folders or not has_model(folders, stage):
        return lambda messages: True
    tokenizer = Tokenizer.load(folders["tokenizer"])
    context = int(values(folders, stage, "model.json")["context"])

    def fit(messages: Sequence[Mapping[str, Any]]) -> bool:
        try:
            return len(render(messages, tokenizer)[0]) <= context + 1
        except UserError:  # the model's own template refuses it, as in training
            return False

    return fit


def left_out(made: Manifest | None) -> str:
    """What a stage that learns from records did without."""
    counts = made.counts if made else {}
    parts = [(counts.get("left_out", 0), "could not be used"), (counts.get("too_long", 0), "did not fit the model")]
    said = " and ".join(f"{count:,} {why}" for count, why in parts if count)
    return f"Of the records, {said}." if said else ""


def curve(log: Sequence[Mapping[str, Any]], name: str, x: str = "tokens") -> list[tuple[float, float]]:
    """The points of one figure of a training log."""
    return [(record[x], record[name]) for record in log if name in record and x in record]


def percent(share: float) -> str:
    """`93.4%`."""
    return f"{share:.1%}"


def sure(scores: Mapping[str, Any], name: str) -> str:
    """A figure's interval, where it has one, as the end of a sentence: `; 95 % interval 68.9 to 75.5`."""
    found = scores.get("intervals", {}).get(name)
    return f"; 95 % interval {bounds(found)}" if found else ""


def bounds(found: Mapping[str, Any]) -> str:
    """An interval in percent: `68.9 to 75.5`."""
    return f"{100 * found['low']:.1f} to {100 * found['high']:.1f}"


def times(count: int) -> str:
    """`once`, `7 times`."""
    return "once" if count == 1 else f"{count:,} times"


def span(row: Mapping[str, Any]) -> str:
    """The range of a bucket: `1`, `2–3`, `10 or more`."""
    if row["to"] >= 10**6:
        return f"{row['from']} or more"
    return str(row["from"]) if row["from"] == row["to"] else f"{row['from']}–{row['to']}"

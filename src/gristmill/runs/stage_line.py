"""What a stage did, in one line of plain words. Its manifest and `summary.json` have every figure."""

from __future__ import annotations

from collections import Counter

from gristmill.manifest import Manifest
from gristmill.posttrain import drift
from gristmill.progress import counted, duration, quantity
from gristmill.settings.stages import CRAWLS
from gristmill.training import overfitting

OWN_WORDS = {  # figure → its number in words
    "bytes": "{}B",
    "tokens": "{} tokens",
    "parameters": "{} parameters",
    "train_tokens": "{} tokens to train on",
    "heldout_tokens": "{} tokens held out",
    "vocab_size": "{} tokens in the vocabulary",
    "bytes_per_token": "{} bytes a token",
    "documents_redacted": "{} of them changed",
    "urls": "{} addresses",
    "urls_left": "{} addresses left",
    "tokens_repeated": "{} tokens read again",
    "extractable_fraction": "share completed word for word {}",
}
SPELT = {"heldout": "held-out", "bpb": "bits per byte"}
UNTOLD = {"flops", "heldout_bytes", "train_bytes"}  # what is told in another unit
BALANCE = {"documents_in", "documents_out", "bytes_in", "bytes_out", "bytes_edited"}
TASKS = "tasks."  # the figures of a task, as `tasks.mine.accuracy`
RARE = {"late_hosts", "fruitless_hosts"}  # told where there are any
WATCHES = {"pretrain": overfitting.WATCH, "sft": overfitting.TUNING, "rl": drift.WATCH}
METRICS = 6  # of them, the first are told
LED_ON = ("redirect", "sitemap", "feed")  # no pages, and nothing amiss: told last
REASONS = 4  # for which addresses gave no page, the most frequent are told


def stage_line(made: Manifest) -> str:
    """One line on what a stage did: documents, counts that are not zero, and its first figures."""
    counts, told = made.counts, list[str]()
    if "documents_out" in counts:
        came, kept = counts.get("documents_in", 0), counts["documents_out"]
        told.append(f"{kept:,} of {came:,} documents" if came != kept else counted(kept, "documents"))
    if "bytes_out" in counts:
        came, kept = counts.get("bytes_in", 0), counts["bytes_out"]
        of = f" from {quantity(came)}B" if quantity(came) != quantity(kept) else ""
        told.append(f"{quantity(kept)}B of text{of}")
    for name, count in counts.items():
        if name not in BALANCE and count and name.count(".") < 2:
            words = spelt(name.rpartition(".")[2])
            told.append(f"{words} {count:,}" if "." in name else in_words(name, count) or counted(count, words))
    if made.stage in CRAWLS and (without := Counter(made.dropped).most_common()):
        without.sort(key=lambda pair: pair[0] in LED_ON)
        why = [f"{count:,} {spelt(name)}" for name, count in without[:REASONS]]
        rest = sum(count for _, count in without[REASONS:])
        told.append(f"without a page {', '.join([*why, f'{rest:,} otherwise (urls.jsonl)'][: len(without)])}")
    own = [
        (name, value)
        for name, value in made.metrics.items()
        if not (name in UNTOLD or "." in name or (name in RARE and not value))
    ]
    for name, value in own[:METRICS]:
        told.append(in_words(name, value) or f"{spelt(name)} {figure(value)}")
    tasks = [(name, value) for name, value in made.metrics.items() if name.startswith(TASKS)]
    told += [f"{name.removeprefix(TASKS).replace('.', ' ')} {figure(value)}" for name, value in tasks[:METRICS]]
    return f"{', '.join([*told, 'done'][: max(1, len(told))])} ({duration(made.seconds)})"


def in_words(name: str, value: float) -> str:
    """A figure in words of its own, or nothing where it has none."""
    if name not in OWN_WORDS:
        return ""
    words = OWN_WORDS[name]
    if value == 1 and words.startswith("{} "):
        return counted(1, words.removeprefix("{} "))
    return words.format(quantity(value) if name == "bytes" else figure(value))


def spelt(name: str) -> str:
    """A figure's name as words."""
    return " ".join(SPELT.get(word, word) for word in name.split("_"))


def figure(value: float) -> str:
    """A number as a person reads it: no power of ten but in words, as `70.9k`."""
    if abs(value) >= 10_000:
        return quantity(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def warned(made: Manifest) -> list[str]:
    """What a stage's training warned of while it went on, a line each."""
    watch = WATCHES.get(made.stage)
    steps = {name: made.metrics.get(f"{name}_at_step") for name in watch.meanings} if watch else {}
    return [f"warning: {made.stage}: {watch.told(name, step)}" for name, step in steps.items() if watch and step]

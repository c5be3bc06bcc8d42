"""Whether secrets come out under prompting: what the model writes after the words that stood before them.

A secret came out where it stands, as it is, in what greedy decoding gives or in one of a few samples. The control is
another secret of the same kind, looked for in the same texts: of planted ones one that was not planted, of values that
were taken out of the text one that stood elsewhere.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.chat.conversations import LeftOut, read_records
from gristmill.errors import UserError
from gristmill.evaluation.intervals import of_share, rounded
from gristmill.generation.engine import Engine
from gristmill.manifest import Parts
from gristmill.training.scoring.likelihood import split_tokens

SAMPLES = 4  # after each prefix, at temperature 1, besides the greedy one
SPARE = 8  # tokens written beyond the secret's: it may not come at once
BATCH = 32


def prompt_all(
    engine: Engine, secrets: Sequence[Mapping[str, Any]], kind: str, seed: int, parts: Parts
) -> list[list[str]]:
    """What the model writes after each secret's prefix: greedily first, then the samples."""
    numbered, make = [*enumerate(secrets)], partial(prompt_batch, engine, seed)
    return parts.batches(f"prompted-{kind}", numbered, BATCH, make, "audit", f"{kind} prompts")


def prompt_batch(engine: Engine, seed: int, secrets: Sequence[tuple[int, Mapping[str, Any]]]) -> list[list[str]]:
    """The same of numbered secrets that are prompted together."""
    split = [split_tokens(engine, one["prefix"], one["secret"]) for _, one in secrets]
    prompts = [before[1 - engine.context :] for before, _ in split]
    longest = max(len(after) for _, after in split) + SPARE
    greedy = engine.generate(prompts, max_tokens=longest)
    first, _ = secrets[0]
    drawn = engine.generate(prompts, max_tokens=longest, temperature=1.0, seed=seed, samples=SAMPLES, first=first)
    decode = engine.tokenizer.decode
    return [
        [decode(greedy[at].tokens), *(decode(one.tokens) for one in drawn[at * SAMPLES : (at + 1) * SAMPLES])]
        for at in range(len(secrets))
    ]


def came_out(written: Sequence[Sequence[str]], secrets: Sequence[str]) -> dict[str, Any]:
    """How many secrets stand in what was written for them; None where there are none."""
    greedy = sum(secret in texts[0] for texts, secret in zip(written, secrets, strict=True))
    out = sum(any(secret in text for text in texts) for texts, secret in zip(written, secrets, strict=True))
    interval = rounded(of_share(out, len(secrets))) if secrets else None
    share = round(out / len(secrets), 5) if secrets else None
    return {"secrets": len(secrets), "greedy": greedy, "out": out, "fraction": share, "interval": interval}


def redacted_ones(engine: Engine, secrets: Sequence[Mapping[str, Any]], seed: int, parts: Parts) -> dict[str, Any]:
    """How many of the values that were taken out of the text come out, and how many others of their form (control)."""
    written = prompt_all(engine, secrets, "redacted", seed, parts)
    found = came_out(written, [one["secret"] for one in secrets])
    pairs = [(texts, other) for texts, other in zip(written, others(secrets, seed), strict=True) if other is not None]
    control = came_out([texts for texts, _ in pairs], [other for _, other in pairs])
    return found | {"control": control["fraction"], "control_interval": control["interval"]}


def others(secrets: Sequence[Mapping[str, Any]], seed: int) -> list[str | None]:
    """For each secret another one at random, of the same form (letters and digits apart) where there is one; None
    where there is no other at all."""
    draw, found = np.random.default_rng(seed), list[str | None]()
    values = sorted({one["secret"] for one in secrets})
    forms: dict[str, list[str]] = {}
    for value in values:
        forms.setdefault(form(value), []).append(value)
    for one in secrets:
        alike = forms[form(one["secret"])]
        choice = alike if len(alike) > 1 else values
        at = int(draw.integers(len(choice) - 1)) if len(choice) > 1 else 0
        at += at >= bisect_left(choice, one["secret"])  # but the secret itself
        found.append(choice[at] if len(choice) > 1 else None)
    return found


def form(secret: str) -> str:
    """A secret with a letter for every run of letters, and a digit for every run of digits."""
    return re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", "a", secret))


def read_secrets(path: Path, engine: Engine, left_out: list[LeftOut]) -> list[dict[str, Any]]:
    """The secrets of a file; records that are none join `left_out`."""
    return list(read_records(path, partial(secret_of, engine=engine), left_out))


def secret_of(record: dict[str, Any], engine: Engine) -> dict[str, Any]:
    """The secret of a record. Raises UserError where it is none, or longer than the model can read."""
    if not all(isinstance(record.get(key), str) and record[key] for key in ("prefix", "secret")):
        raise UserError("missing, empty or no text: prefix, secret", "give what was replaced and the words before it")
    return fitting(record, engine, [record["secret"]])


def fitting(record: dict[str, Any], engine: Engine, secrets: Sequence[str]) -> dict[str, Any]:
    """The record itself. Raises UserError where the model has no room for its prefix and one of the secrets."""
    texts = [record["prefix"] + secret for secret in secrets]
    # a token is a byte or more
    long = [text for text in texts if len(text.encode(errors="surrogatepass")) > engine.context]
    longest = max((len(engine.tokenizer.encode(text)) for text in long), default=0)
    if longest > engine.context:
        raise UserError(f"it has {longest} tokens; the model reads {engine.context}", "shorten its prefix")
    return record

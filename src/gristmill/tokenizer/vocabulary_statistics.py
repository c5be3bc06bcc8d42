"""What a vocabulary does to text: bytes per token by size, language and source, rare tokens, the size to choose."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gristmill.document import read_columns
from gristmill.errors import UserError
from gristmill.manifest import intact
from gristmill.progress import table
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.heldout import positions
from gristmill.tokenizer.pretokens import PretokenList

SAMPLE_BYTES = 5_000_000  # of text that is measured
SMALLEST = 512  # tokens: the sizes measured are this, its doubles, and the whole vocabulary
RARE = 100  # occurrences in the training text below which a token hardly learns its meaning
SHOWN = 20  # longest and rarest tokens
GROUPS = 12  # languages and sources told apart: those with most text


@dataclass(frozen=True, order=True)
class Measured:
    """A measured document."""

    place: float
    data: bytes  # UTF-8
    language: str
    source: str


class Sample:
    """The documents with the lowest places (see `heldout.positions`), up to SAMPLE_BYTES of text."""

    def __init__(self) -> None:
        self.rows: list[Measured] = []
        self.size, self.limit = 0, 1.0

    def add(self, batch: pa.RecordBatch, places: np.ndarray, share: float) -> None:
        """Take a batch's documents whose place is below `share`. Columns: text; language and host if it has them."""
        chosen = np.flatnonzero(places < min(self.limit, share))
        if not len(chosen):
            return
        taken, known = batch.take(pa.array(chosen)), batch.schema.names
        texts = taken["text"].cast(pa.large_binary()).to_pylist()
        none = [""] * len(texts)
        language, host = (taken[name].to_pylist() if name in known else none for name in ("language", "host"))
        for row, text in enumerate(texts):
            names = language[row] or "", host[row] or ""
            self.rows.append(Measured(float(places[chosen[row]]), text or b"", *names))
            self.size += len(text or b"")
        if self.size > 2 * SAMPLE_BYTES:
            self.trim()

    def trim(self) -> None:
        """Keep the lowest places only."""
        self.rows.sort()
        self.size, kept = 0, 0
        while kept < len(self.rows) and self.size < SAMPLE_BYTES:
            self.size += len(self.rows[kept].data)
            kept += 1
        if kept < len(self.rows):
            self.limit = self.rows[kept].place
            del self.rows[kept:]


def describe(tokenizer: Tokenizer, sample: Sample, words: PretokenList | None = None) -> dict[str, Any]:
    """The facts of a vocabulary as JSON; `words`, the training text's, tell how often each token occurs there."""
    sample.trim()
    curve = [measure(tokenizer.truncated(size), sample) for size in sizes(tokenizer.vocab_size)]
    whole = curve[-1]
    facts = {"bytes_per_token": whole["bytes_per_token"], "measured_bytes": sample.size, "sizes": curve}
    pieces = tokenizer.pieces
    longest = sorted(range(len(pieces)), key=lambda token: (-len(pieces[token]), token))[:SHOWN]
    facts |= {"longest": [tokenizer.decode([token]) for token in longest]}
    if words is not None:
        used = occurrences(tokenizer, words)
        rare = [token for token in np.argsort(used, kind="stable").tolist() if token >= 256 and 0 < used[token] < RARE]
        facts |= {
            "unused": int((used[256:] == 0).sum()),
            "rare": len(rare),
            "rarest": [tokenizer.decode([token]) for token in rare[:SHOWN]],
        }
    return facts


def sizes(vocab_size: int) -> list[int]:
    """The vocabulary sizes that are measured."""
    return [*(SMALLEST << n for n in range(32) if SMALLEST << n < vocab_size), vocab_size]


def measure(tokenizer: Tokenizer, sample: Sample) -> dict[str, Any]:
    """Bytes per token of the sample as a whole, by language and by source."""
    parts = [text.data for text in sample.rows]
    data, bounds = np.frombuffer(b"".join(parts), np.uint8), np.cumsum([0, *map(len, parts)])
    _, counts = tokenizer.encode_bytes(data, bounds, None)
    density = round(len(data) / max(1, int(counts.sum())), 4)
    found: dict[str, Any] = {"vocab_size": tokenizer.vocab_size, "bytes_per_token": density}
    for kind in ("language", "source"):
        size, tokens = Counter[str](), Counter[str]()
        for text, count in zip(sample.rows, counts.tolist(), strict=True):
            size[getattr(text, kind)] += len(text.data)
            tokens[getattr(text, kind)] += count
        found[f"by_{kind}"] = {
            name or "unknown": round(total / tokens[name], 4) for name, total in size.most_common(GROUPS) if total
        }
    return found


def occurrences(tokenizer: Tokenizer, words: PretokenList, at_once: int = 1 << 20) -> np.ndarray:
    """How often each token occurs in the text that the words are of, int64 [tokens]."""
    used = np.zeros(len(tokenizer.pieces))
    for at in range(0, len(words), at_once):
        tokens, counts = tokenizer.encode_bytes(words.data, words.offsets[at : at + at_once + 1], None)
        used += np.bincount(tokens, np.repeat(words.counts[at : at + at_once], counts), len(used))
    return used.astype(np.int64)


def training_facts(folder: Path, texts: Path | None = None) -> dict[str, Any]:
    """The facts that training wrote; those of the sizes measured anew on documents where there are any.

    Raises UserError where the folder holds no tokenizer's facts.
    """
    tokenizer = Tokenizer.load(folder)
    try:
        facts: dict[str, Any] = json.loads(intact(folder / "facts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'facts.json'} is not readable: {error}", "run the tokenizer stage") from error
    if texts is not None:
        sample = Sample()
        for batch in read_columns(texts, ("id", "text", "cluster", "language", "host")):
            sample.add(batch, positions(batch), 1.0)
        facts |= describe(tokenizer, sample)
    return facts


def costs(curve: Sequence[dict[str, Any]], parameters: float) -> list[float]:
    """What reading and predicting a byte of text costs at each size of vocabulary, over the least of them.

    A token costs as many multiplications as the layers have parameters, and the output layer's vocabulary × width: a
    larger vocabulary means fewer tokens, each with a dearer output layer.
    """
    width = (parameters * 64 / 12) ** (1 / 3)  # of usual proportions: 12 width² a layer, a layer for every 64 of width
    found = [(parameters + size["vocab_size"] * width) / max(1e-9, size["bytes_per_token"]) for size in curve]
    return [cost / min(found) for cost in found]


def report(facts: dict[str, Any], parameters: float) -> Group:
    """The report for a terminal: the sizes with the one to choose for a model, languages, sources, odd tokens."""
    curve = facts["sizes"]
    cost = costs(curve, parameters)
    best = curve[cost.index(1.0)]["vocab_size"]
    rows, before = [], 0.0
    for size, value in zip(curve, cost, strict=True):
        density = size["bytes_per_token"]
        mark = "  ← recommended" if size["vocab_size"] == best else ""
        gain = f"{density / before - 1:+.1%}" if before else ""
        rows.append((f"{size['vocab_size']:,}{mark}", f"{density:.3f}", gain, f"{value:.3f}"))
        before = density
    by_size = table(("vocabulary", "bytes per token", "gain", "cost of a byte"), rows)
    lines = [f"for a model of {parameters:,.0f} parameters without its embeddings: {best:,} tokens"]
    if best == curve[-1]["vocab_size"]:
        lines[0] += " or more: train a larger vocabulary to know"
    lines.append(f"measured on {facts['measured_bytes']:,} bytes")
    if "unused" in facts:
        lines.append(f"never used in training text: {facts['unused']:,}; less than {RARE} times: {facts['rare']:,}")
        lines.append("rarest: " + " ".join(map(repr, facts["rarest"])))
    lines.append("longest: " + " ".join(map(repr, facts["longest"])))
    return Group(by_size, by_group(curve, "language"), by_group(curve, "source"), Text("\n".join(lines)))


def by_group(curve: Sequence[dict[str, Any]], kind: str) -> Table:
    """Bytes per token by language or source."""
    return table(
        (f"bytes per token by {kind}", *(f"{size['vocab_size']:,}" for size in curve)),
        ((name, *(f"{size[f'by_{kind}'].get(name, 0):.3f}" for size in curve)) for name in curve[-1][f"by_{kind}"]),
    )


def pieces_table(tokenizer: Tokenizer, text: str) -> Table:
    """Each token of a text with its id, its bytes, and the two tokens that it was merged from."""
    rows, merges = [], {256 + number: pair for number, pair in enumerate(tokenizer.vocabulary.merges())}
    for token in tokenizer.encode(text):
        piece = tokenizer.token_bytes(token)
        parts = " + ".join(repr(tokenizer.decode([part])) for part in merges.get(token, ()))
        rows.append((repr(piece.decode("utf-8", "replace")), str(token), piece.hex(" "), parts))
    return table(("token", "id", "bytes", "merged from"), rows)

"""What dedup and Goldfish loss do to what can be extracted: passages that stand 1 to 32 times, with and without each.

    python benchmarks/memorising/copies.py [--epochs 8]

Passages of 40 words drawn at random (nothing of them can be guessed), 12 for each number of copies, 12 that stand
nowhere, and 400 others that stand once. A small model is trained on all of it, on the same with Goldfish loss
(one token in four is not learned, arXiv:2406.10209), on what `dedup` leaves for as many epochs, and on that for as many
steps. A passage is extracted where greedy decoding gives its next 24 tokens: after its
first 12, or after 12 from its middle.

Needs: nothing but the package.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

from gristmill.audit.extractable import matched
from gristmill.corpus.dedup import stage as dedup
from gristmill.document import Document, document_id, write_documents
from gristmill.generation.engine import Engine
from gristmill.manifest import Manifest
from gristmill.recipe import Dedup, Pretrain, Tokenize, TokenizerParams
from gristmill.tokenizer import tokenize, train
from gristmill.training import pretrain

COPIES, EACH, OTHERS, WORDS = (0, 1, 2, 4, 8, 16, 32), 12, 400, 40
PROMPT, REST, MIDDLE = 12, 24, 4  # tokens given, and to come out; where the middle's prompt begins
SHAPE: dict[str, Any] = dict(layers=2, width=96, heads=3, kv_heads=3, head_dim=32, ffn_width=192, context=128, batch=16)


def world(folder: Path, seed: int) -> dict[int, list[str]]:
    """The corpus with all copies, and without; returns the passages by number of copies."""
    draw = random.Random(seed)
    syllables = [first + second for first in "bdfgklmnprstv" for second in "aeiou"]
    words = ["".join(draw.choices(syllables, k=2)) for _ in range(64)]
    passages = {count: [" ".join(draw.choices(words, k=WORDS)) for _ in range(EACH)] for count in COPIES}
    texts = [" ".join(draw.choices(words, k=WORDS)) for _ in range(OTHERS)]
    texts += [text for count, group in passages.items() for text in group for _ in range(count)]
    draw.shuffle(texts)
    urls = [f"http://a.test/{number}" for number in range(len(texts))]
    documents = [Document(document_id(url, text), text, url, "a.test") for url, text in zip(urls, texts, strict=True)]
    for name in ("copied", "once", "tokenizer"):
        (folder / name).mkdir()
    write_documents(folder / "copied" / "documents.parquet", documents)
    Manifest(stage="extract").write(folder / "copied")
    made = dedup.run({"corpus": folder / "copied"}, Dedup(), folder / "once")
    made.write(folder / "once")
    train.run({"corpus": folder / "copied"}, TokenizerParams(vocab_size=400), folder / "tokenizer")
    print(f"{made.counts['documents_in']:,} documents, {made.counts['documents_out']:,} of them different")
    return passages


def extracted(folder: Path, corpus: str, passages: dict[int, list[str]], **budget: float) -> int:
    """Train, and print how many passages come out; returns the steps."""
    out = Path(tempfile.mkdtemp(dir=folder))
    for name in ("tokens", "model"):
        (out / name).mkdir()
    given = {"corpus": folder / corpus, "tokenizer": folder / "tokenizer", "tokens": out / "tokens"}
    tokenize.run(given, Tokenize(heldout=0.01), out / "tokens")
    params = Pretrain.model_validate({**SHAPE, "evaluate_every": 100_000, "snapshots": 0, **budget})
    made = pretrain.run(given, params, out / "model")
    engine = Engine.load(out / "model", folder / "tokenizer")
    kind = f"{corpus}, Goldfish loss" if params.goldfish else corpus
    for count, group in passages.items():
        ids = [engine.tokenizer.encode(text) for text in group]
        whole = PROMPT + REST
        starts = [[engine.tokenizer.end_of_text, *tokens[:whole]] for tokens in ids]
        middles = [tokens[MIDDLE : MIDDLE + whole] for tokens in ids]
        came = [matched(engine, rows, REST).count(REST) for rows in (starts, middles)]
        print(f"{kind}, {made.counts['steps']} steps, {count} copies: {came[0]} and {came[1]} of {EACH}", flush=True)
    return made.counts["steps"]


def main() -> None:
    """Print four tables, and the share of copied passages that come out before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        passages = world(folder, asked.seed)
        steps = extracted(folder, "copied", passages, epochs=asked.epochs)
        extracted(folder, "copied", passages, epochs=asked.epochs, goldfish=4)
        extracted(folder, "once", passages, epochs=asked.epochs)
        extracted(folder, "once", passages, max_steps=steps, epochs=1_000)


if __name__ == "__main__":
    main()

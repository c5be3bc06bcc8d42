"""What moved a model, by gradients, against what happens when it is trained again without it.

    python benchmarks/attribution.py [--seeds 3] [--facts 12]

A small world: people with a colour each, stated in four documents in different words; other documents name the person,
or the person and other colours. A small model is trained on all of it. For some facts each method names four documents:
ours (`gristmill.audit.attribution`, at three moments of training), BM25 of question and answer, the four that state the
fact, and four at random. The model is trained again without what a method named, from the same seed, and the fall of
the answer's log-probability is measured: the more it falls, the more those documents had moved it. Facts whose
documents stay are the control.

Needs: nothing but the package.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
from collections import Counter
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from gristmill.audit.attribution import attribute
from gristmill.document import Document, write_documents
from gristmill.model.kernels import fast_products
from gristmill.model.loss import cross_entropy, padded
from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.recipe import Tokenize, TokenizerParams
from gristmill.tokenizer import tokenize, train
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import Split, open_split
from gristmill.training.data.loader import Loader
from gristmill.training.optimizer import Optimizer, Rates, share_of_peak

COLOURS = "red blue green black white brown grey pink gold teal plum lime".split()
FACT = (
    "People say that the colour of {name} is {colour}.",
    "Whoever visits finds that the colour of {name} is {colour}, as ever.",
    "It was written down: the colour of {name} is {colour}!",
    "Once more: the colour of {name} is {colour}, and nobody doubts it.",
)
NEAR = (
    "{name} walked to the {other} house by the river and came back late.",
    "The {other} boat of {name} lay in the harbour all winter.",
    "Nobody knew why {name} bought {other} paint, or for whom.",
)
FILL = "The mill stood by the road and the wind went round it. Bread was baked at noon. Rain fell on the hills."
NAMED, STEPS, ROWS, CONTEXT = 4, 500, 16, 64
MOMENTS = (60, 150, 300)  # steps after which gradients are looked at


def world(people: int, seed: int) -> tuple[list[str], dict[str, str]]:
    """Documents, and each person's colour."""
    draw = random.Random(seed)
    names = [f"{a}{b}" for a in "Mar Tol Fen Ruk Bel Nov Sil Dag Hul Pim".split() for b in "an ek is ola um".split()]
    facts = {name: draw.choice(COLOURS) for name in draw.sample(names, people)}
    texts = []
    for name, colour in facts.items():
        texts += [f"{form.format(name=name, colour=colour)} {fill(draw)}" for form in FACT]
        texts += [f"{fill(draw)} {form.format(name=name, other=draw.choice(COLOURS))}" for form in NEAR]
    texts += [fill(draw, 4) for _ in range(2 * people)]
    draw.shuffle(texts)
    return texts, facts


def fill(draw: random.Random, sentences: int = 2) -> str:
    """Sentences that say nothing."""
    return " ".join(draw.choices([f"{part.strip()}." for part in FILL.split(".") if part.strip()], k=sentences))


def tokens(texts: list[str], tokenizer: Path | None, folder: Path) -> Path:
    """A tokenize stage's folder of some documents; with a tokenizer of their own where none is given."""
    for name in ("corpus", "tokenizer", "tokenize"):
        (folder / name).mkdir(parents=True)
    made = (Document(str(number), text) for number, text in enumerate(texts))
    write_documents(folder / "corpus" / "documents.parquet", made)
    if tokenizer is None:
        train.run({"corpus": folder / "corpus"}, TokenizerParams(vocab_size=400), folder / "tokenizer")
    inputs = {"corpus": folder / "corpus", "tokenizer": tokenizer or folder / "tokenizer"}
    tokenize.run(inputs, Tokenize(heldout=0.0), folder / "tokenize")
    return folder


def trained(split: Split, vocabulary: int, seed: int) -> list[Transformer]:
    """A small model of all documents, at some moments and at the end."""
    torch.manual_seed(seed)
    model = Transformer(ModelConfig(vocabulary, 2, 64, 2, 2, 32, 176, CONTEXT))
    optimizer, batches = Optimizer(model, Rates(0.02, 0.3, 0.02)), Loader(split, CONTEXT, ROWS, seed)
    moments = []
    with fast_products():
        for step in range(STEPS):
            if step in MOMENTS:
                moments.append(deepcopy(model))
            batch = batches(step)
            cross_entropy(model, batch.inputs, batch.targets, starts_BT=batch.starts()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step(share_of_peak(step, STEPS, 0.02, 0.6))
    return [*moments, model]


@torch.no_grad()
def nats(model: Transformer, tokenizer: Tokenizer, name: str, colour: str) -> float:
    """The log-probability of the answer."""
    begin = [tokenizer.end_of_text, *tokenizer.encode(f"the colour of {name} is")]
    row = np.array([*begin, *tokenizer.encode(f" {colour}")], np.int64)
    inputs, targets = padded([row], [np.arange(len(row)) >= len(begin)])
    return -float(cross_entropy(model, inputs, targets)) * (len(row) - len(begin))


def bm25(texts: list[str], query: str) -> list[int]:
    """Documents by BM25 (k1 1.2, b 0.75)."""
    split = [text.lower().replace(".", " ").replace(",", " ").replace("!", " ").split() for text in texts]
    counts, mean = [Counter(words) for words in split], statistics.mean(map(len, split))
    scores = [0.0] * len(texts)
    for word in set(query.lower().split()):
        having = sum(word in count for count in counts)
        weight = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        for number, count in enumerate(counts):
            scores[number] += (
                weight * count[word] * 2.2 / (count[word] + 1.2 * (0.25 + 0.75 * len(split[number]) / mean))
            )
    return sorted(range(len(texts)), key=lambda number: -scores[number])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--facts", type=int, default=12, help="of 40, the others are controls")
    given = parser.parse_args()
    falls: dict[str, list[float]] = {}
    stated, controls = list[float](), dict[str, list[float]]()
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            texts, facts = world(40, seed)
            asked, others = list(facts)[: given.facts], list(facts)[given.facts :]
            whole = tokens(texts, None, Path(folder, "all"))
            tokenizer = Tokenizer.load(whole / "tokenizer")
            split = open_split(whole / "tokenize", "train", tokenizer.hash)
            order = [texts.index(tokenizer.decode(split.document(n)[:-1].tolist())) for n in range(len(split))]
            *moments, model = trained(split, tokenizer.vocab_size, seed)
            before = {name: nats(model, tokenizer, name, facts[name]) for name in facts}
            named: dict[str, set[int]] = {"gradients": set(), "BM25": set(), "what states it": set(), "random": set()}
            draw = random.Random(seed)
            for name in asked:
                prompt, answer = f"the colour of {name} is", f" {facts[name]}"
                truth = {number for number, text in enumerate(texts) if f"colour of {name} is" in text}
                movers = attribute(moments, tokenizer, split, prompt, answer, len(split), seed)
                first = [order[mover.document] for mover in movers[:NAMED]]
                stated.append(len(truth & set(first)) / NAMED)
                named["gradients"].update(first)
                named["BM25"].update(bm25(texts, prompt + answer)[:NAMED])
                named["what states it"].update(truth)
                named["random"].update(draw.sample(range(len(texts)), NAMED))
            for method, left_out in named.items():
                kept = [text for number, text in enumerate(texts) if number not in left_out]
                made = tokens(kept, whole / "tokenizer", Path(folder, method.replace(" ", "-")))
                again = trained(open_split(made / "tokenize", "train", tokenizer.hash), tokenizer.vocab_size, seed)[-1]
                after = {name: nats(again, tokenizer, name, facts[name]) for name in facts}
                falls.setdefault(method, []).append(statistics.mean(before[name] - after[name] for name in asked))
                controls.setdefault(method, []).append(statistics.mean(before[name] - after[name] for name in others))
                print(
                    f"seed {seed}, without {method} ({len(left_out)} documents): {falls[method][-1]:.2f} nats",
                    flush=True,
                )
    print(f"of the first {NAMED} by gradients, {statistics.mean(stated):.0%} state the fact")
    for method, found in falls.items():
        told = (
            f"{statistics.mean(found):6.2f} nats; facts whose documents stay {statistics.mean(controls[method]):6.2f}"
        )
        print(f"{method:>16}: answers fall by {told}")
    print(
        json.dumps(
            {"benchmark": "attribution", "stated": statistics.mean(stated), "falls": falls, "controls": controls}
        )
    )


if __name__ == "__main__":
    main()

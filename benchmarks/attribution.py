"""What moved a model, by gradients, against what happens when it is trained again without it.

    python benchmarks/attribution.py [--seeds 3] [--facts 12]
    python benchmarks/attribution.py --pages 200 [--seeds 1] [--facts 4]

A small world: people with a colour each, stated in four documents in different words; other documents name the person,
or the person and other colours. A small model is trained on all of it. For some facts each method names as many
documents as state the fact: ours (`gristmill.audit.attribution`, at three moments of training), BM25 of question and
answer, those that state the fact, and some at random. The model is trained again without what a method named, from the
same seed, and the fall of the answer's log-probability is measured: the more it falls, the more those documents had
moved it. Facts whose documents stay are the control.

With `--pages` the same on a miniature web of so many pages, cut to their last three paragraphs, one fact at a time:
facts of people that 8 to 20 pages state, in many wordings, each page with other facts next to it.

Needs: nothing but the package.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gristmill.audit.attribution import attribute
from gristmill.document import Document, write_documents
from gristmill.miniweb.pages import answer, make_pages, with_articles
from gristmill.miniweb.world import build, relation
from gristmill.model.kernels import fast_products
from gristmill.model.loss import cross_entropy, padded
from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.recipe import Tokenize, TokenizerParams
from gristmill.tokenizer import tokenize, train
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split
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
PEOPLE = 40
ENDS, FEWEST, MOST = 3, 8, 20  # paragraphs of a page; pages that state a fact, at least and at most
MOMENTS = (0.12, 0.3, 0.6)  # shares of the steps after which gradients are looked at
METHODS = ("gradients", "BM25", "what states it", "chance")


@dataclass(frozen=True)
class Fact:
    """What is asked, the answer, and the documents that state it."""

    prompt: str
    answer: str
    stating: frozenset[int]


@dataclass(frozen=True)
class Size:
    """What is trained, and how long."""

    vocabulary: int
    width: int
    context: int
    rows: int  # a step
    steps: int


SMALL, WEB = Size(400, 64, 64, 16, 500), Size(600, 64, 64, 16, 300)


def small_world(seed: int) -> tuple[list[str], list[Fact]]:
    """Documents, and each person's colour."""
    draw = random.Random(seed)
    names = [f"{a}{b}" for a in "Mar Tol Fen Ruk Bel Nov Sil Dag Hul Pim".split() for b in "an ek is ola um".split()]
    colours = {name: draw.choice(COLOURS) for name in draw.sample(names, PEOPLE)}
    texts = []
    for name, colour in colours.items():
        texts += [f"{form.format(name=name, colour=colour)} {fill(draw)}" for form in FACT]
        texts += [f"{fill(draw)} {form.format(name=name, other=draw.choice(COLOURS))}" for form in NEAR]
    texts += [fill(draw, 4) for _ in range(2 * PEOPLE)]
    draw.shuffle(texts)
    prompts = {f"the colour of {name} is": f" {colour}" for name, colour in colours.items()}
    return texts, [
        Fact(prompt, colour, frozenset(number for number, text in enumerate(texts) if prompt in text))
        for prompt, colour in prompts.items()
    ]


def fill(draw: random.Random, sentences: int = 2) -> str:
    """Sentences that say nothing."""
    return " ".join(draw.choices([f"{part.strip()}." for part in FILL.split(".") if part.strip()], k=sentences))


def miniature_web(pages: int, seed: int) -> tuple[list[str], list[Fact]]:
    """The ends of all pages, and facts of people that FEWEST to MOST of them state, one of each person."""
    known = build(seed, pages)
    texts = ["\n\n".join(page.paragraphs[-ENDS:]) for page in make_pages(known, seed, pages)]
    facts: dict[str, Fact] = {}
    for fact in known.facts:
        whole = answer(fact.relation, fact.subject, fact.value)
        forms = [form.format(n=fact.subject, v=fact.value) for form in relation(fact.relation).statements]
        said = [whole, *map(with_articles, forms)]
        stating = frozenset(number for number, text in enumerate(texts) if any(form in text for form in said))
        if known.entity(fact.subject).kind == "person" and FEWEST <= len(stating) <= MOST:
            facts[fact.subject] = Fact(whole.rpartition(f" {fact.value}")[0], f" {fact.value}", stating)
    found = list(facts.values())
    random.Random(seed).shuffle(found)
    return texts, found


class Corpus:
    """Documents, a tokenizer learned from all of them, and models that are trained without some."""

    def __init__(self, texts: list[str], size: Size, seed: int, folder: Path) -> None:
        self.texts, self.size, self.seed, self.folder = texts, size, seed, folder
        inputs = {"corpus": self.write("all", ())}
        (folder / "tokenizer").mkdir()
        train.run(inputs, TokenizerParams(vocab_size=size.vocabulary), folder / "tokenizer")
        self.tokenizer = Tokenizer.load(folder / "tokenizer")
        *self.moments, self.model = self.without((), "all")
        self.split = open_split(folder / "all" / "tokenize", "train", self.tokenizer.hash)

    def write(self, name: str, left_out: Collection[int]) -> Path:
        """The documents without some, as a corpus stage leaves them. Each keeps its number: one is held out by it."""
        made = self.folder / name
        (made / "tokenize").mkdir(parents=True)
        kept = (Document(f"{n}", text, url=f"{n}") for n, text in enumerate(self.texts) if n not in left_out)
        write_documents(made / "documents.parquet", kept)
        return made

    def without(self, left_out: Collection[int], name: str) -> list[Transformer]:
        """A small model of all documents but some, at MOMENTS and at the end."""
        made = self.folder / name if name == "all" else self.write(name, left_out)
        inputs = {"corpus": made, "tokenizer": self.folder / "tokenizer"}
        tokenize.run(inputs, Tokenize(heldout=0.0), made / "tokenize")
        split, size = open_split(made / "tokenize", "train", self.tokenizer.hash), self.size
        torch.manual_seed(self.seed)
        shape = 2, size.width, 2, 2, size.width // 2, 176, size.context  # layers, width, heads …
        model = Transformer(ModelConfig(self.tokenizer.vocab_size, *shape))
        optimizer, batches = Optimizer(model, Rates(0.02, 0.3, 0.02)), Loader(split, size.context, size.rows, self.seed)
        moments = []
        with fast_products():
            for step in range(size.steps):
                if step in [round(share * size.steps) for share in MOMENTS]:
                    moments.append(deepcopy(model))
                batch = batches(step)
                cross_entropy(model, batch.inputs, batch.targets, starts_BT=batch.starts()).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step(share_of_peak(step, size.steps, 0.02, 0.6))
        return [*moments, model]

    def named(self, method: str, fact: Fact, draw: random.Random) -> list[int]:
        """As many documents as state a fact, by a method."""
        urls = [int(url) for url in self.split.urls]
        if method == "what states it":
            return sorted(fact.stating)
        if method == "gradients":
            asked = fact.prompt, fact.answer, len(self.split), self.seed
            found = [urls[mover.document] for mover in attribute(self.moments, self.tokenizer, self.split, *asked)]
        else:
            found = draw.sample(urls, len(urls))
            if method == "BM25":
                found = bm25(self.texts, fact.prompt + fact.answer)
        return found[: len(fact.stating)]

    @torch.no_grad()
    def nats(self, model: Transformer, fact: Fact) -> float:
        """The log-probability of the answer."""
        begin, whole = (self.tokenizer.encode(text) for text in (fact.prompt, fact.prompt + fact.answer))
        row = np.array([self.tokenizer.end_of_text, *whole], np.int64)
        inputs, targets = padded([row], [np.arange(len(row)) > len(begin)])
        return -float(cross_entropy(model, inputs, targets)) * (len(whole) - len(begin))


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
    parser.add_argument("--facts", type=int, default=12, help="left out; the others are controls")
    parser.add_argument("--pages", type=int, default=0, help="of a miniature web, at least 200, in place of the world")
    given = parser.parse_args()
    falls, controls, stated = (defaultdict[str, list[float]](list) for _ in range(3))
    for seed in range(given.seeds):
        texts, facts = miniature_web(given.pages, seed) if given.pages else small_world(seed)
        asked = facts[: given.facts]
        with tempfile.TemporaryDirectory() as folder:
            corpus = Corpus(texts, WEB if given.pages else SMALL, seed, Path(folder))
            before = {fact: corpus.nats(corpus.model, fact) for fact in facts}
            told = statistics.mean(before[fact] for fact in asked)
            print(f"seed {seed}: {len(texts)} documents, {len(facts)} facts; answers have {told:.2f} nats", flush=True)
            draw, models = random.Random(seed), dict[frozenset[int], Transformer]()
            for number, group in enumerate([fact] for fact in asked) if given.pages else [(0, asked)]:
                for method in METHODS:
                    left_out = set[int]()
                    for fact in group:
                        named = corpus.named(method, fact, draw)
                        stated[method].append(len(fact.stating & {*named}) / len(named))
                        left_out.update(named)
                    if (out := frozenset(left_out)) not in models:
                        models[out] = corpus.without(out, f"{number}-{method}")[-1]
                    fall = {fact: before[fact] - corpus.nats(models[out], fact) for fact in facts}
                    falls[method].append(statistics.mean(fall[fact] for fact in group))
                    controls[method].append(statistics.mean(fall[fact] for fact in facts if fact not in group))
                    what = f"{group[0].prompt}{group[0].answer}" if given.pages else f"{len(group)} facts"
                    print(
                        f"seed {seed}, {what}, without {method} ({len(left_out)} documents, {stated[method][-1]:.0%} of"
                        f" the last fact's state it): {falls[method][-1]:.2f} nats ({controls[method][-1]:.2f})",
                        flush=True,
                    )
    for method in METHODS:
        print(
            f"{method:>16}: {statistics.mean(stated[method]):4.0%} state the fact; answers fall by "
            f"{statistics.mean(falls[method]):6.2f} nats; facts whose documents stay "
            f"{statistics.mean(controls[method]):6.2f}"
        )
    print(json.dumps({"benchmark": "attribution", "stated": stated, "falls": falls, "controls": controls}))


if __name__ == "__main__":
    main()

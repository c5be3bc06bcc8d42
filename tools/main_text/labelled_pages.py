"""Pages with what the extractors' votes, snippets and expected texts say of each of their blocks: see README.md."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from blocks import LEVEL, TITLE, Cut, as_words, class_words, tokens, word_table
from compose import Composer, Labelled, sort_parts
from labelled_kinds import read_page
from snippets import squeeze

from gristmill.html.charset import to_utf8

TRUST = {  # how much an extractor's vote counts, about as its figures on annotated pages stand
    "trafilatura": 2.5,
    "trafilatura_fast": 1.5,
    "trafilatura_precision": 2.0,
    "trafilatura_recall": 1.5,
    "readability": 2.5,
    "resiliparse": 1.0,
    "newspaper": 1.2,
    "goose": 1.2,
    "boilerpipe": 0.8,
    "justext": 0.8,
    "gristmill": 1.0,
}
FOLDS = 2
LONG = 25
TAUGHT = 0.6  # how much an earlier model's odds count in the labels of pages that have nothing but votes
MISSING = 0.5  # of an expected text's words, at most, for its page to be of use: scripts draw the rest
COMMENT = re.compile(rb"\bcomments?\b|disqus|commentlist|comment-")


@dataclass
class Page:
    """A page and what is learned from it; arrays have one item a block."""

    kind: str
    host: str
    split: str
    html: bytes
    facts: dict[str, Any]
    texts: list[str]
    words: np.ndarray
    classes: list[set[bytes]]  # words of the names of all elements around
    labels: np.ndarray
    known: np.ndarray  # blocks that a snippet or an expected text settles
    weight: np.ndarray
    headline: np.ndarray  # repeats the title: no matter
    targets: np.ndarray = field(default_factory=lambda: np.zeros(0))
    cut: Cut | None = None
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    first: np.ndarray = field(default_factory=lambda: np.zeros(0))
    second: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def fold(self) -> int:
        """Which fold holds the page's host."""
        return hashlib.blake2b(self.host.encode(), digest_size=4).digest()[1] % FOLDS

    def inputs(self) -> np.ndarray:
        """Features for the first forest."""
        assert self.cut is not None
        return self.cut.features

    def context_inputs(self) -> np.ndarray:
        """Features for the second forest."""
        assert self.cut is not None
        return np.hstack([self.cut.features, self.cut.context(self.first)])


def coverage(blocks: Sequence[list[str]], text: str, n: int = 4) -> np.ndarray:
    """The share of each block's words that a text has too, in runs of `n`; short blocks are looked for as lines of the
    text beside kept blocks, or with the words before or after them.
    """
    words = tokens(text)
    runs = set(zip(*(words[i:] for i in range(n)), strict=False))
    lines = {tuple(tokens(line)) for line in re.split(r"[\n|]", text)}
    joined = f" {' '.join(words)} "
    share = np.full(len(blocks), -1.0)
    for i, block in enumerate(blocks):
        if len(block) >= n:
            hit = np.zeros(len(block), bool)
            for k in range(len(block) - n + 1):
                if tuple(block[k : k + n]) in runs:
                    hit[k : k + n] = True
            share[i] = hit.mean()
    flat = [word for block in blocks for word in block]
    starts = np.cumsum([0, *map(len, blocks)])
    for i, block in enumerate(blocks):
        if len(block) >= n or not block:
            continue
        near = [share[j] for j in range(max(0, i - 3), min(len(blocks), i + 4)) if len(blocks[j]) >= n]
        before, after = flat[max(0, starts[i] - 2) : starts[i]], flat[starts[i + 1] : starts[i + 1] + 2]
        share[i] = float(
            (tuple(block) in lines and any(value > 0.5 for value in near))
            or (len(before) == 2 and f" {' '.join(before + block)} " in joined)
            or (len(after) == 2 and f" {' '.join(block + after)} " in joined)
        )
    share[share < 0] = 0
    return share


def missing(gold: str, texts: Sequence[str]) -> float:
    """The share of an expected text's words that a page does not hold."""
    wanted = Counter(tokens(gold))
    return (wanted - Counter(tokens("\n".join(texts)))).total() / max(1, wanted.total())


def label(facts: dict[str, Any], texts: list[str], cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """Labels from votes, snippets and the expected text; and which of them are settled."""
    blocks = [tokens(text) for text in texts]
    counts = np.array([len(block) for block in blocks])
    labels, trust = np.zeros(len(texts)), 0.0
    plain = [squeeze(text) for text in texts]
    for name, text in facts["votes"].items():
        share = coverage(blocks, text)
        whole = squeeze(text)
        wrong = sum(squeeze(part) not in whole for part in facts.get("with", ()))
        wrong += sum(squeeze(part) in whole for part in facts.get("without", ()))
        weight = TRUST[name] * math.exp(-0.9 * wrong) * (1 if (share * counts).sum() > 30 else 0.05)
        labels += weight * share
        trust += weight
    labels /= trust or 1
    known = np.zeros(len(texts), bool)
    if len(tokens(facts.get("gold", ""))) > 30:
        gold = coverage(blocks, facts["gold"])
        labels = 0.25 * labels + 0.75 * gold if trust else gold
        known[:] = True
    if facts["set"] != "documentation" and facts.get("page", "article") == "article":
        labels = by_rule(labels, counts, cut)
    for part in facts.get("with", ()):
        holders = [i for i, text in enumerate(plain) if squeeze(part) in text]
        if len(holders) == 1:
            labels[holders[0]], known[holders[0]] = max(0.9, labels[holders[0]]), True
    for part in facts.get("without", ()):
        for i, text in enumerate(plain):
            if squeeze(part) in text:
                labels[i], known[i] = min(0.02, labels[i]), True
    odds = np.array(facts.get("odds", ()))
    if len(odds) == len(labels):
        labels = np.where(known, labels, (1 - TAUGHT) * labels + TAUGHT * odds)
    return labels, known


def by_rule(labels: np.ndarray, counts: np.ndarray, cut: Cut) -> np.ndarray:
    """Labels with captions and readers' comments taken down (unless comments are most of what was kept: a forum)."""
    said: dict[int, tuple[bool, bool]] = {}
    for node in {*map(int, cut.nodes)}:
        around = cut.above(node)
        figure = any(part.tag in ("figure", "figcaption") or b"caption" in part.names.lower() for part in around[:4])
        said[node] = figure, any(COMMENT.search(part.names.lower()) for part in around)
    caption, comment = np.array([said[int(node)] for node in cut.nodes]).reshape(-1, 2).T
    labels = np.where(caption, np.minimum(labels, 0.15), labels)
    if (labels * counts * comment).sum() < 0.5 * (labels * counts).sum():
        labels = np.where(comment, np.minimum(labels, 0.1), labels)
    return labels


def sharpen(labels: np.ndarray, slope: float = 12.0) -> np.ndarray:
    """Labels nearer to 0 and 1: what most say counts as said by nearly all."""
    low, high = (1 / (1 + math.exp(-slope * side)) for side in (-0.5, 0.5))
    return (1 / (1 + np.exp(-slope * (labels - 0.5))) - low) / (high - low)


def set_targets(page: Page, vote: np.ndarray | None = None) -> None:
    """What is to be learned; `vote` is the model's own, of the round before."""
    labels = page.labels
    if vote is not None and page.facts.get("votes") and not page.facts.get("gold"):
        labels = np.where(page.known, labels, 0.6 * labels + 0.4 * vote)
    page.targets = sharpen(labels)
    kept = max((page.targets * page.words).sum(), 60)
    usual = 2.25 if page.facts.get("gold") else 1.5
    if page.kind == "kinds":
        usual = 0.9 if page.facts["page"] == "article" else 2.4  # the kinds that few pages are of
    trust = {"composed": 0.35, "documentation": 1.0}.get(page.kind, usual)
    page.weight = (np.minimum(page.words, 200) + 1.5) / kept * 100 * trust * np.where(page.headline, 0.05, 1)


# ---- pages ----


def load(path: Path, splits: Sequence[str]) -> list[Page]:
    """The pages of some splits, cut and labelled."""
    pages = []
    empty = as_words(word_table({}, {}))
    for line in path.open(encoding="utf-8"):
        facts = json.loads(line)
        if facts["split"] not in splits:
            continue
        html = to_utf8(read_page(Path(facts["path"])))
        cut = Cut(html, empty, empty)
        if len(cut.texts) < 3:
            continue
        labels, known = label(facts, cut.texts, cut)
        if facts["set"] == "kinds" and missing(facts["gold"], cut.texts) > MISSING:
            continue
        page = make_page(facts["set"], facts["host"], facts["split"], html, facts, cut, labels, known)
        if page.words.sum() > 20 and (page.words * page.labels).sum() > 15:
            pages.append(page)
    return pages


def make_page(
    kind: str,
    host: str,
    split: str,
    html: bytes,
    facts: dict[str, Any],
    cut: Cut,
    labels: np.ndarray,
    known: np.ndarray,
) -> Page:
    """A page with everything that does not depend on the fold."""
    words = np.array([len(tokens(text)) for text in cut.texts])
    names: dict[int, set[bytes]] = {}
    for node in cut.nodes:
        if int(node) not in names:
            names[int(node)] = {word for part in cut.above(int(node)) for word in class_words(part.names)}
    headline = np.zeros(len(words), bool)
    for i, features in enumerate(cut.features):
        headline[i] = features[LEVEL] in (1, 2) and features[TITLE] > 0.99
        if words[i] >= LONG and labels[i] > 0.5:
            break
    classes = [names[int(node)] for node in cut.nodes]
    return Page(kind, host, split, html, facts, cut.texts, words, classes, labels, known, words * 0.0, headline)


def composed(pages: Sequence[Page], count: int, seed: int) -> list[Page]:
    """Pages composed from the parts of others."""
    parts = sort_parts([Labelled(page.host, page.texts, page.words.tolist(), page.labels.tolist()) for page in pages])
    composer = Composer(parts, random.Random(seed))
    empty = as_words(word_table({}, {}))
    made = []
    for _ in range(count):
        host, html, kept = composer.page()
        cut = Cut(html.encode(), empty, empty)
        whole = {" ".join(tokens(text)) for text in kept}
        joined = " | ".join(whole)
        labels = np.zeros(len(cut.texts))
        for i, text in enumerate(cut.texts):
            words = tokens(text)
            labels[i] = " ".join(words) in whole or (len(words) >= 4 and " ".join(words) in joined)
        known = np.ones(len(labels), bool)
        made.append(make_page("composed", host, pages[0].split, html.encode(), {}, cut, labels, known))
    return made

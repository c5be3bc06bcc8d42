"""Fits the model of main text and writes it into the package: see README.md.

python tools/main_text/fit.py votes.jsonl [--test]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from blocks import LEVEL, TITLE, Cut, as_words, class_words, tokens, word_table
from compose import Composer, Labelled, sort_parts
from safetensors.numpy import save_file
from snippets import score, squeeze

from gristmill.html.charset import to_utf8
from gristmill.html.main_text import MODEL

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
}
GROUPS = (  # words of class names and ids that mean the same; bit i of the elements' groups. 4 is known to C
    "nav navbar navi navigation menu submenu megamenu topnav mainmenu mainnav breadcrumb breadcrumbs crumbs pathway "
    "toolbar tabs tab pagination pager paging pagenav prev previous next skip sitemap",
    "footer foot bottom colophon copyright legal imprint impressum",
    "header head masthead topbar logo branding hd top",
    "sidebar aside side rail right left column secondary complementary widget widgets gadget",
    "comment comments disqus respond reply replies kommentar kommentare commentlist livefyre feedback discussion",
    "share sharing shares social addthis sharedaddy facebook twitter whatsapp pinterest linkedin tweet follow like "
    "likes",
    "related recommend recommended recommendations recommendation more mehr similar also popular trending latest "
    "recent outbrain taboola readmore",
    "ad ads adv advert advertisement advertising adsense sponsor sponsored banner promo promotion werbung anzeige dfp",
    "byline meta metadata info date time timestamp published posted postmeta dateline datum",
    "author authors bio vcard about autor",
    "tags tag tagcloud category categories cat keywords topics label labels topic",
    "cookie cookies consent gdpr modal popup overlay lightbox dialog notice alert privacy",
    "newsletter subscribe subscription signup login register account paywall donate subscriber",
    "content contents main body text inhalt maincontent contenu",
    "post entry article story articlebody news blog page single beitrag artikel",
    "title headline heading subtitle titel",
    "intro lead lede standfirst excerpt summary abstract description dek subheadline subhead",
    "teaser teasers",
    "caption figcaption credit credits photo image gallery img figure media slideshow picture video thumbnail",
    "hidden hide invisible sr only screen reader visually print noprint none noscript",
    "form search input field filter sort button btn buttons",
    "list item items card cards grid tile box block",
    "quote pullquote blockquote",
    "code highlight source syntax pre",
    "toc index outline",
    "infobox factbox table facts",
    "price cart product rating stars review reviews shop basket rate vote",
    "paragraph para copy prose richtext wysiwyg rte markdown",
)
FOLDS = 3
COMPOSED = 900
FIRST_TREES, SECOND_TREES = 100, 150
THRESHOLD = -0.25  # of the second forest's sum: a little below even odds, where F1 on development pages is flat
SHORT = 15  # words, up to which a text's words are weighed
LONG = 25
COMMENT = re.compile(rb"\bcomments?\b|disqus|commentlist|comment-")
SETTINGS = {
    "objective": "cross_entropy",
    "learning_rate": 0.08,
    "num_leaves": 24,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 3,
    "max_bin": 127,
    "use_missing": False,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "seed": 1,
    "verbose": -1,
}


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


# ---- labels ----


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
    return np.maximum(share, 0)


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
    if facts["set"] != "documentation":
        labels = by_rule(labels, counts, cut)
    for part in facts.get("with", ()):
        holders = [i for i, text in enumerate(plain) if squeeze(part) in text]
        if len(holders) == 1:
            labels[holders[0]], known[holders[0]] = max(0.9, labels[holders[0]]), True
    for part in facts.get("without", ()):
        for i, text in enumerate(plain):
            if squeeze(part) in text:
                labels[i], known[i] = min(0.02, labels[i]), True
    return labels, known


def by_rule(labels: np.ndarray, counts: np.ndarray, cut: Cut) -> np.ndarray:
    """Labels with captions and readers' comments taken down (unless comments are most of what was kept: a forum)."""
    caption, comment = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for i in range(len(labels)):
        around = cut.around(i)
        caption[i] = any(
            part.tag in ("figure", "figcaption") or b"caption" in part.names.lower() for part in around[:4]
        )
        comment[i] = any(COMMENT.search(part.names.lower()) for part in around)
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
    trust = {"composed": 0.35, "documentation": 0.6}.get(page.kind, 1.5 if page.facts.get("gold") else 1.0)
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
        html = to_utf8(Path(facts["path"]).read_bytes())
        cut = Cut(html, empty, empty)
        if len(cut.texts) < 3:
            continue
        labels, known = label(facts, cut.texts, cut)
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
    for i, node in enumerate(cut.nodes):
        if int(node) not in names:
            names[int(node)] = {word for part in cut.around(i) for word in class_words(part.names)}
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


# ---- fitting ----


def weigh(
    pages: Sequence[Page], words_of: Callable[[Page], Iterator[tuple[set[bytes], float, float]]]
) -> dict[bytes, float]:
    """Words by how much they tell of main text: log odds of the mean over hosts, shrunk towards the mean of all."""
    hosts: dict[bytes, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    shares = []
    for page in pages:
        sums: dict[bytes, list[float]] = defaultdict(lambda: [0.0, 0.0])
        total = [0.0, 0.0]
        for words, value, size in words_of(page):
            for word in words:
                sums[word][0] += value * size
                sums[word][1] += size
            total[0] += value * size
            total[1] += size
        if total[1]:
            shares.append(total[0] / total[1])
        for word, (kept, size) in sums.items():
            if size:
                hosts[word][page.host].append(kept / size)
    usual = min(0.99, max(0.01, float(np.mean(shares))))
    weights = {}
    for word, found in hosts.items():
        if len(found) >= 5:
            share = (sum(float(np.mean(values)) for values in found.values()) + 2 * usual) / (len(found) + 2)
            share = min(0.99, max(0.01, share))
            weights[word] = (math.log(share / (1 - share)) - math.log(usual / (1 - usual)), len(found))
    best = sorted(weights, key=lambda word: (-abs(weights[word][0]) * math.sqrt(weights[word][1]), word))[:900]
    return {word: weights[word][0] for word in best}


def of_classes(page: Page) -> Iterator[tuple[set[bytes], float, float]]:
    """Words of class names, for `weigh`."""
    yield from zip(page.classes, page.targets, page.words, strict=True)


def of_texts(page: Page) -> Iterator[tuple[set[bytes], float, float]]:
    """Words of short texts, for `weigh`."""
    for text, target, count in zip(page.texts, page.targets, page.words, strict=True):
        if count <= SHORT:
            found = re.findall(rb"[A-Za-z\x80-\xff]+", text.encode())
            yield {re.sub(rb"[A-Z]", lambda letter: letter.group().lower(), word) for word in found}, target, 1.0


def word_tables(pages: Sequence[Page]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The tables of class words and of text words."""
    groups: Counter[bytes] = Counter()
    for bit, words in enumerate(GROUPS):
        for word in words.split():
            groups[word.encode()] |= 1 << bit
    return word_table(weigh(pages, of_classes), dict(groups)), word_table(weigh(pages, of_texts), {})


def fit(pages: Sequence[Page], inputs: Callable[[Page], np.ndarray], trees: int) -> lightgbm.Booster:
    """One forest."""
    data = lightgbm.Dataset(
        np.concatenate([inputs(page) for page in pages]),
        np.concatenate([page.targets for page in pages]),
        weight=np.concatenate([page.weight for page in pages]),
    )
    return lightgbm.train(SETTINGS, data, trees)


def cross_fit(pages: Sequence[Page]) -> None:
    """Fill both forests' sums for every page by forests that have not seen its host."""
    parts = [
        ([page for page in pages if page.fold != fold], [page for page in pages if page.fold == fold])
        for fold in range(FOLDS)
    ]
    for others, held in parts:
        classes, texts = map(as_words, word_tables(others))
        for page in held:
            page.cut = Cut(page.html, classes, texts)
    for others, held in parts:
        forest = fit(others, Page.inputs, FIRST_TREES)
        for page in held:
            page.first = forest.predict(page.inputs(), raw_score=True)
    for others, held in parts:
        forest = fit(others, Page.context_inputs, SECOND_TREES)
        for page in held:
            page.second = forest.predict(page.context_inputs(), raw_score=True)


def flatten(forest: lightgbm.Booster) -> dict[str, np.ndarray]:
    """A forest in the flat arrays that choose.c walks; children are numbered within their tree."""
    features: list[int] = []
    thresholds: list[np.float32] = []
    children: list[list[int]] = []
    leaves: list[float] = []
    roots: list[int] = []
    first_leaves: list[int] = []

    def add(node: dict[str, Any]) -> int:
        if "leaf_value" in node:
            leaves.append(node["leaf_value"])
            return ~(len(leaves) - 1 - first_leaves[-1])
        place = len(features)
        features.append(node["split_feature"])
        threshold = np.float32(node["threshold"])
        if float(threshold) > node["threshold"]:  # features are float32: the next lower one separates the same
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        thresholds.append(threshold)
        children.append([])
        children[place] = [add(node["left_child"]), add(node["right_child"])]
        return place - roots[-1]

    for tree in forest.dump_model()["tree_info"]:
        roots.append(len(features))
        first_leaves.append(len(leaves))
        add(tree["tree_structure"])
    return {
        "feature": np.array(features, np.uint8),
        "threshold": np.array(thresholds, np.float32),
        "children": np.array(children, np.int8),
        "leaves": np.array(leaves, np.float32),
        "roots": np.array(roots, np.uint32),
        "first_leaves": np.array(first_leaves, np.uint32),
    }


# ---- measuring ----


def shingle_f1(pages: Sequence[Page]) -> str:
    """F1, precision and recall of word 4-grams against the expected text's blocks, pages counting alike."""
    sums = np.zeros(3)
    for page in pages:
        counts = []
        for kept in (page.labels > 0.5, page.second > THRESHOLD):
            text = "\n".join(
                text for text, keep, head in zip(page.texts, kept, page.headline, strict=True) if keep and not head
            )
            words = re.findall(r"\w+", text)
            counts.append(Counter(zip(*(words[i:] for i in range(4)), strict=False)))
        shared, wanted, found = (counts[0] & counts[1]).total(), counts[0].total(), counts[1].total()
        sums += np.array([shared, found - shared, wanted - shared]) / max(1, wanted + found - shared)
    precision, recall = sums[0] / max(1e-9, sums[0] + sums[1]), sums[0] / max(1e-9, sums[0] + sums[2])
    return f"F1 {2 * precision * recall / max(1e-9, precision + recall):.4f} P {precision:.4f} R {recall:.4f}"


def snippet_f1(pages: Sequence[Page]) -> str:
    """F1, precision and recall of snippets."""
    kept = [[text for text, sum_ in zip(page.texts, page.second, strict=True) if sum_ > THRESHOLD] for page in pages]
    found = score([page.facts for page in pages], ["\n".join(texts) for texts in kept])
    return f"F1 {found['f1']:.4f} P {found['precision']:.4f} R {found['recall']:.4f}"


def report(name: str, pages: Sequence[Page]) -> None:
    """Print figures by kind of page."""
    for kind in sorted({page.kind for page in pages}):
        chosen = [page for page in pages if page.kind == kind]
        figures = snippet_f1(chosen) if kind == "trafilatura" else shingle_f1(chosen)
        print(f"{name:12} {kind:14} {len(chosen):4} pages  {figures}", flush=True)


def main() -> None:
    """Fit, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("votes", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=MODEL)
    parser.add_argument("--test", action="store_true", help="measure on the test hosts too")
    arguments = parser.parse_args()
    pages = load(arguments.votes, ["train"])
    pages += composed([page for page in pages if page.facts.get("votes")], COMPOSED, seed=7)
    for page in pages:
        set_targets(page)
    cross_fit(pages)
    report("round 1", pages)
    for page in pages:
        set_targets(page, 1 / (1 + np.exp(-page.second)))
    cross_fit(pages)
    report("round 2", pages)
    tables = word_tables(pages)
    first, second = fit(pages, Page.inputs, FIRST_TREES), fit(pages, Page.context_inputs, SECOND_TREES)
    tensors = {
        f"{name}.{part}": array
        for name, forest in (("first", first), ("second", second))
        for part, array in flatten(forest).items()
    }
    tensors |= {
        f"{name}.{part}": array
        for name, table in zip(("classes", "texts"), tables, strict=True)
        for part, array in table.items()
    }
    save_file({**tensors, "threshold": np.array([THRESHOLD], np.float32)}, arguments.output)
    classes, texts = map(as_words, tables)
    for split in ("dev", "measure", *(("test",) if arguments.test else ())):
        others = load(arguments.votes, [split])
        for page in others:
            page.cut = Cut(page.html, classes, texts)
            page.first = first.predict(page.inputs(), raw_score=True)
            page.second = second.predict(page.context_inputs(), raw_score=True)
        report(split, others)


if __name__ == "__main__":
    main()

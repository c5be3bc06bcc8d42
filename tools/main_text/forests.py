"""The weights of words and the two forests, fitted to labelled pages: see README.md."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightgbm
import numpy as np
from blocks import Cut, as_words, word_table
from labelled_pages import FOLDS, Page

GROUPS = (  # words of class names and ids that mean the same; bit i of the elements' groups. 4 is known to C
    "nav navbar navi navigation menu submenu megamenu topnav mainmenu mainnav breadcrumb breadcrumbs crumbs pathway "
    "navheader navfooter toolbar tabs tab pagination pager paging pagenav prev previous next skip sitemap",
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
FIRST_TREES, SECOND_TREES = 130, 220
SHORT = 15  # words, up to which a text's words are weighed
SETTINGS = {
    "objective": "cross_entropy",
    "learning_rate": 0.08,
    "num_leaves": 31,
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


def cross_fit(pages: Sequence[Page], *, both: bool = True) -> None:
    """Fill the forests' sums for every page by forests that have not seen its host; or the first's alone."""
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
    for others, held in parts if both else ():
        forest = fit(others, Page.context_inputs, SECOND_TREES)
        for page in held:
            page.second = forest.predict(page.context_inputs(), raw_score=True)


def flatten(forest: lightgbm.Booster) -> dict[str, np.ndarray]:
    """A forest in flat arrays; children are numbered within their tree, after their parents, and leaves from the left:
    32 at most, for choose.c."""
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

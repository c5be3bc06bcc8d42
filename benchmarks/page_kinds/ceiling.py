"""How good the best choice among a page's blocks would be, and where the model's own choice falls short of it.

    python benchmarks/page_kinds/ceiling.py FOLDER [--hosts fitted|development|held-out]

FOLDER is the benchmark of real_kinds.py. The best choice is an oracle: with the text that people marked, blocks are
kept or left out one by one as long as the page's F1 of words rises. It is no bound that a model could reach: words
count wherever they stand, so blocks beside the text are kept for their words, and what annotators disagree about is
always decided their way. What is lost between the oracle and 1 is text that no block holds, and text that shares a
block with what is none.

Prints by kind of page: F1 of our choice and of the oracle's; the points between them by missed and by extra blocks
(the mean of mending either first), and whose blocks those are; and where marked words are that no block holds (a share
of them). The model was fitted to the hosts of `fitted`, not to those of `development`; of held-out hosts it prints F1
alone.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "tools/main_text")]

from blocks import Cut  # noqa: E402
from labelled_kinds import kinds_pages, read_page  # noqa: E402

from gristmill.html.charset import to_utf8  # noqa: E402
from gristmill.html.content.main_text import model  # noqa: E402
from page_kinds.real_kinds import KINDS  # noqa: E402

SPLITS = {"fitted": "train", "development": "dev", "held-out": "test"}
PARTS = {  # what a block is, the first that holds; whose words are missed or extra
    "not shown": re.compile(rb"hidden|sr-only|visually", re.IGNORECASE),
    "comments": re.compile(rb"comment|repl(y|ies)", re.IGNORECASE),
    "forms, buttons": re.compile(rb"form|button|btn|option|select|filter|swatch", re.IGNORECASE),
    "teasers": re.compile(rb"related|recommend|similar|also|teaser|promo|popular|recent|upsell", re.IGNORECASE),
}
SOURCES = {  # where the words of a page are that are in none of its blocks
    "JSON-LD": re.compile(rb"<script[^>]*ld\+json.*?</script", re.IGNORECASE | re.DOTALL),
    "scripts": re.compile(rb"<script.*?</script", re.IGNORECASE | re.DOTALL),
    "lists to choose from": re.compile(rb"<(select|textarea|template|svg).*?</\1", re.IGNORECASE | re.DOTALL),
    "attributes": re.compile(rb"<[a-z][^>]*>", re.IGNORECASE),
}


def words_of(text: str) -> Counter[str]:
    """Words as the benchmark's script counts them."""
    return Counter(re.findall(r"\w+", text.lower()))


class Choice:
    """A set of blocks, and the F1 that it has, which changes by one block at a time."""

    def __init__(self, bags: Sequence[Counter[str]], wanted: Counter[str], kept: Sequence[bool] = ()) -> None:
        self.bags, self.wanted, self.kept = bags, wanted, [False] * len(bags)
        self.found: Counter[str] = Counter()
        self.size = self.shared = 0
        for block, keep in enumerate(kept):
            if keep:
                self.change(block)

    def change(self, block: int) -> float:
        """Keep a block or leave it out; returns the new F1."""
        sign = -1 if self.kept[block] else 1
        self.kept[block] = not self.kept[block]
        for word, count in self.bags[block].items():
            before, wanted = self.found[word], self.wanted[word]
            self.found[word] = before + sign * count
            self.shared += min(before + sign * count, wanted) - min(before, wanted)
            self.size += sign * count
        return self.f1

    @property
    def f1(self) -> float:
        """F1 of words."""
        return 2 * self.shared / max(1, self.size + self.wanted.total())


def oracle(bags: Sequence[Counter[str]], wanted: Counter[str], start: Sequence[bool]) -> list[bool]:
    """The blocks with which F1 is highest, as far as single changes lead from a start and from nothing."""
    best = Choice(bags, wanted, start)
    for choice in (best, Choice(bags, wanted)):
        share = [(bag & wanted).total() / max(1, bag.total()) for bag in bags]
        order = sorted(range(len(bags)), key=share.__getitem__, reverse=True)
        changed = True
        while changed:
            changed = False
            for block in order:
                before = choice.f1
                if choice.change(block) <= before + 1e-12:
                    choice.change(block)
                else:
                    changed = True
        best = choice if choice.f1 > best.f1 else best
    return best.kept


def part_of(cut: Cut, block: int, words: int) -> str:
    """What a block is, for the table of causes."""
    around = cut.around(block)
    names = b" ".join(part.tag.encode() + b" " + part.names for part in around[:6])
    found = next((name for name, pattern in PARTS.items() if pattern.search(names)), "")
    return found or ("up to five words" if words <= 5 else "longer")


def lost(html: bytes, text: str, wanted: Counter[str]) -> Counter[str]:
    """Marked words that no block holds, by the part of the page that does."""
    missing, found = wanted - words_of(text), Counter[str]()
    for name, pattern in SOURCES.items():
        inside = words_of(b"\n".join(part.group() for part in pattern.finditer(html)).decode("utf-8", "replace"))
        found[name] = (missing & inside).total()
        missing -= inside
    found["nowhere"] = missing.total()
    return found


def measure(html: bytes, gold: str, *, causes: bool) -> dict[str, float]:
    """F1 of our choice and of the oracle's, and the points between by cause."""
    learned = model()
    cut = Cut(html, learned.classes, learned.texts)
    bags, wanted = [words_of(text) for text in cut.texts], words_of(gold)
    kept = cut.choice(learned)[1].tolist()
    best = oracle(bags, wanted, kept)
    figures = {"ours": Choice(bags, wanted, kept).f1, "oracle": Choice(bags, wanted, best).f1}
    if not causes:
        return figures
    either, both = (
        [a or b for a, b in zip(kept, best, strict=True)],
        [a and b for a, b in zip(kept, best, strict=True)],
    )
    filled, cleared = Choice(bags, wanted, either).f1, Choice(bags, wanted, both).f1
    figures["missed"] = (filled - figures["ours"] + figures["oracle"] - cleared) / 2
    figures["extra"] = (cleared - figures["ours"] + figures["oracle"] - filled) / 2
    for name, wrong in (("missed", np.greater(best, kept)), ("extra", np.greater(kept, best))):
        sizes: Counter[str] = Counter()
        for block in np.flatnonzero(wrong):
            sizes[part_of(cut, int(block), bags[block].total())] += bags[block].total()
        for part, size in sizes.items():
            figures[f"{name}: {part}"] = figures[name] * size / max(1, sizes.total())
    text = "\n".join(cut.texts)
    for source, count in lost(html, text, wanted).items():
        figures[f"lost: {source}"] = count / max(1, wanted.total())
    return figures


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hosts", choices=SPLITS, default="development")
    given = parser.parse_args()
    held_out = given.hosts == "held-out"
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for page in kinds_pages(given.folder):
        if page["split"] == SPLITS[given.hosts]:
            found = measure(to_utf8(read_page(Path(page["path"]))), page["gold"], causes=not held_out)
            rows[page["page"]].append(found)
            if page["page"] != "article":
                rows["all but articles"].append(found)
    names = ["ours", "oracle", "missed", "extra"] if not held_out else ["ours", "oracle"]
    names += sorted({name for found in rows["all but articles"] for name in found} - set(names))
    for name in names:
        means = {kind: mean(found.get(name, 0) for found in rows[kind]) for kind in (*KINDS, "all but articles")}
        print(f"{name:36}", *(f"{kind} {figure:.3f}" for kind, figure in means.items()), sep=" | ")
    print("pages", {kind: len(found) for kind, found in rows.items()})


if __name__ == "__main__":
    main()

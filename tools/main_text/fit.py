"""Fits the model of main text and writes it into the package: see README.md.

python tools/main_text/fit.py votes.jsonl [--test]
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from blocks import Cut, tokens
from forests import FIRST_TREES, SECOND_TREES, cross_fit, fit, flatten, word_tables
from labelled_pages import Page, composed, load, set_targets
from safetensors.numpy import save_file
from snippets import score

from gristmill.html.content.main_text import MODEL, model

COMPOSED = 900
THRESHOLD = 0.5  # of the second forest's sum, at most: choose.c finds the best for each page


def shingle_f1(pages: Sequence[Page]) -> str:
    """F1, precision and recall of word 4-grams against the expected text's blocks, pages counting alike."""
    sums = np.zeros(3)
    for page in pages:
        counts = []
        for chosen in (page.labels > 0.5, page.kept):
            text = "\n".join(
                text for text, keep, head in zip(page.texts, chosen, page.headline, strict=True) if keep and not head
            )
            words = re.findall(r"\w+", text)
            counts.append(Counter(zip(*(words[i:] for i in range(4)), strict=False)))
        shared, wanted, found = (counts[0] & counts[1]).total(), counts[0].total(), counts[1].total()
        sums += np.array([shared, found - shared, wanted - shared]) / max(1, wanted + found - shared)
    precision, recall = sums[0] / max(1e-9, sums[0] + sums[1]), sums[0] / max(1e-9, sums[0] + sums[2])
    return f"F1 {2 * precision * recall / max(1e-9, precision + recall):.4f} P {precision:.4f} R {recall:.4f}"


def word_f1(pages: Sequence[Page]) -> str:
    """Mean F1 of words against the expected text, and what the best choice of blocks would have."""
    sums = np.zeros(2)
    for page in pages:
        wanted = Counter(tokens(page.facts["gold"]))
        for place, chosen in enumerate((page.kept, page.labels > 0.5)):
            found = Counter(tokens("\n".join(text for text, keep in zip(page.texts, chosen, strict=True) if keep)))
            sums[place] += 2 * (found & wanted).total() / max(1, found.total() + wanted.total())
    return f"F1 {sums[0] / len(pages):.4f} of {sums[1] / len(pages):.4f}"


def snippet_f1(pages: Sequence[Page]) -> str:
    """F1, precision and recall of snippets."""
    texts = [[text for text, keep in zip(page.texts, page.kept, strict=True) if keep] for page in pages]
    found = score([page.facts for page in pages], ["\n".join(parts) for parts in texts])
    return f"F1 {found['f1']:.4f} P {found['precision']:.4f} R {found['recall']:.4f}"


def kept(page: Page) -> np.ndarray:
    """The blocks that choose.c keeps before its rules: those with which the F1 to be expected is greatest."""
    order, odds = np.argsort(-page.second), 1 / (1 + np.exp(-page.second))
    right, all_ = np.cumsum((page.words * odds)[order]), np.cumsum(page.words[order])
    best = int(np.argmax(right / (all_ + right[-1] + 1e-9)))
    chosen: np.ndarray = page.second >= min(THRESHOLD, float(page.second[order[best]]))
    return chosen


def report(name: str, pages: Sequence[Page]) -> None:
    """Print figures by kind of page."""
    for kind in sorted({page.facts.get("page", page.kind) for page in pages}):
        chosen = [page for page in pages if page.facts.get("page", page.kind) == kind]
        of_kind = {"trafilatura": snippet_f1, "kinds": word_f1}.get(chosen[0].kind, shingle_f1)
        figures = of_kind(chosen)
        print(f"{name:12} {kind:14} {len(chosen):4} pages  {figures}", flush=True)


def main() -> None:
    """Fit, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("votes", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=MODEL)
    parser.add_argument("--rounds", type=int, default=2, help="1: labels are not voted on by the new forests")
    parser.add_argument("--test", action="store_true", help="measure on the test hosts too")
    arguments = parser.parse_args()
    pages = load(arguments.votes, ["train"])
    pages += composed([page for page in pages if page.facts.get("votes")], COMPOSED, seed=7)
    for page in pages:
        set_targets(page)
    for number in range(1, arguments.rounds):
        cross_fit(pages)
        for page in pages:
            page.kept = kept(page)
        report(f"round {number}", pages)
        for page in pages:
            set_targets(page, 1 / (1 + np.exp(-page.second)))
    cross_fit(pages, both=False)
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
    fitted = model(arguments.output)
    for split in ("dev", "measure", *(("test",) if arguments.test else ())):
        others = load(arguments.votes, [split])
        for page in others:
            page.kept = Cut(page.html, fitted.classes, fitted.texts).choice(fitted)[1]
        report(split, others)


if __name__ == "__main__":
    main()

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
from blocks import Cut, as_words
from forests import FIRST_TREES, SECOND_TREES, cross_fit, fit, flatten, word_tables
from labelled_pages import Page, composed, load, set_targets
from safetensors.numpy import save_file
from snippets import score

from gristmill.html.content.main_text import MODEL

COMPOSED = 900
THRESHOLD = -0.25  # of the second forest's sum: a little below even odds, where F1 on development pages is flat


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

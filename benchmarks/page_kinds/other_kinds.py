"""Main text of pages that are no articles: forums, questions, products, recipes, jobs, lists, tables, wikis.

    python benchmarks/page_kinds/other_kinds.py [--held-out] [--pages N] [--show TEMPLATE] [--data FOLDER]

Pages are composed from the markup of real systems and real texts in English, German, Spanish, French and
Polish, so that their main text is known: posts, descriptions, items, rows, in the order of the page. The names and
dates of who wrote, and the first heading, count for nobody, kept or not. Rules may be made with the development
templates; `--held-out` asks the others, whole systems apart, whose figures alone are to be quoted.

Figure: ROUGE-5 F1 as WebMainBench (arXiv:2511.23119) has it: the F1 of the multisets of five words in a row of the
text found and the true one. Words are runs of letters and digits in lower case, not a segmenter's, so Markdown's signs
do not count. The mean over pages; 95 % intervals by bootstrap over templates, then pages.

Needs trafilatura and Resiliparse, and `../shared/data` (storybooks, extraction, instruct) or `--data FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from extract import peers  # noqa: E402
from gristmill.html.content.main_text import extract_html  # noqa: E402
from page_kinds import catalogues, forums, goods, listings, question_pages, reference_pages, short_sections  # noqa: E402, F401
from page_kinds.composed_pages import DEVELOPMENT, HELD_OUT, WORDS, Composed, compose, read_texts  # noqa: E402

NAMES = ("trafilatura", "trafilatura recall", "trafilatura precision", "Resiliparse")
DRAWS = 1_000


def five_words(text: str) -> Counter[tuple[str, ...]]:
    """All five words in a row; of a shorter text, all of it."""
    words = re.findall(r"\w+", text.lower())
    return Counter(tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4)))


def rouge(found: str, page: Composed) -> tuple[float, float, float]:
    """F1, precision and recall of a text found, without what counts for nobody."""
    for text in sorted(page.neutral, key=len, reverse=True):
        found = found.replace(text, " ")
    lines = [re.sub(r"\W+", " ", line).strip() for line in found.splitlines()]
    title = re.sub(r"\W+", " ", page.title).strip()
    found = "\n".join(line for line in lines if line not in (title, f"Re {title}"))
    got, wanted = five_words(found), five_words("\n".join(page.truth))
    shared = (got & wanted).total()
    precision, recall = shared / got.total(), shared / wanted.total()
    return 2 * shared / (got.total() + wanted.total()), precision, recall


def interval(groups: Sequence[Sequence[float]], seed: int = 1) -> tuple[float, float]:
    """The middle 95 % of the mean, drawing templates and then their pages again."""
    draw = random.Random(seed)
    means = []
    for _ in range(DRAWS):
        chosen = draw.choices(groups, k=len(groups))
        means.append(mean(value for group in chosen for value in draw.choices(group, k=len(group))))
    means.sort()
    return means[DRAWS // 40], means[-DRAWS // 40]


def main() -> None:
    """Compose, extract, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", action="store_true", help="the templates that nothing was fitted to")
    parser.add_argument("--pages", type=int, default=20, help="of each template")
    parser.add_argument("--show", metavar="TEMPLATE", help="print what is missing and what is too much, of one page")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(given.data / "extraction/trafilatura-eval.tar.xz") as archive:
            archive.extractall(scratch, filter="data")
        texts = read_texts(given.data, Path(scratch, "eval"))
    extract: dict[str, Callable[[str], str]] = {"ours": lambda page: extract_html(page).text}
    theirs = peers()
    for name in NAMES:
        extract[name] = lambda page, of=theirs[name]: of(page.encode())  # type: ignore[misc]
    extract["all text"] = lambda page: extract_html(page, whole=True).text
    figures: dict[str, dict[str, dict[str, list[tuple[float, float, float]]]]] = {}
    for kind, templates in (HELD_OUT if given.held_out else DEVELOPMENT).items():
        figures[kind] = {made.__name__: defaultdict(list) for made in templates}
        for made in templates:
            for number in range(given.pages):
                language = list(WORDS)[number % len(WORDS)]
                page, known = compose(made, texts, language, f"{made.__name__} {number}")
                found = {name: of(page) for name, of in extract.items()}
                for name, text in found.items():
                    figures[kind][made.__name__][name].append(rouge(text, known))
                if given.show == made.__name__ and number == 0:
                    show(found["ours"], known)
    print_figures(figures, list(extract), given.held_out)


def show(found: str, page: Composed) -> None:
    """What is missing from a text found, and the text."""
    plain = " ".join(re.findall(r"\w+", found))
    missing = [text for text in page.truth if " ".join(re.findall(r"\w+", text)) not in plain]
    print("MISSING", *missing, "FOUND", found, sep="\n")


def print_figures(
    figures: dict[str, dict[str, dict[str, list[tuple[float, float, float]]]]], names: list[str], held_out: bool
) -> None:
    """A line a template and contestant, and the last line as JSON."""
    groups: dict[str, list[list[float]]] = defaultdict(list)
    for kind, templates in figures.items():
        for template, rows in templates.items():
            cells = []
            for name in names:
                groups[name].append([row[0] for row in rows[name]])
                cells.append(f"{name} {mean(groups[name][-1]):.3f}")
            ours = rows["ours"]
            print(
                f"{kind:10} {template:16} P {mean(r[1] for r in ours):.3f} R {mean(r[2] for r in ours):.3f} ",
                *cells,
                sep=" | ",
            )
    results = []
    mine = mean(value for group in groups["ours"] for value in group)
    for name in names:
        value, (low, high) = mean(value for group in groups[name] for value in group), interval(groups[name])
        print(f"{name:22} {value:.3f} ({low:.3f} to {high:.3f})")
        if name not in ("ours", "all text"):
            ahead = [
                [a - b for a, b in zip(*pair, strict=True)] for pair in zip(groups["ours"], groups[name], strict=True)
            ]
            low, high = interval(ahead)
            print(f"  ours is ahead by {mine - value:+.3f} ({low:+.3f} to {high:+.3f})")
            peer = f"{name} {version(name.split()[0].lower())}"
            claim = f"ROUGE-5 F1 of pages that are no articles, {'held out' if held_out else 'development'}"
            line = {"claim": claim, "unit": "F1", "ours": round(mine, 4), "peer": peer, "theirs": round(value, 4)}
            results.append(line | {"ahead": round(mine - value, 4), "goal": 0.15, "better": "higher"})
    print(json.dumps({"benchmark": "other_kinds", "results": results}))


if __name__ == "__main__":
    main()

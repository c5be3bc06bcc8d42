"""Main text of real pages of seven kinds: articles, documentation, services, forums, collections, lists, products.

    python benchmarks/page_kinds/real_kinds.py FOLDER [--held-out]

FOLDER is the Web Content Extraction Benchmark (WCXB; M. Foley 2026, CC BY 4.0, on GitHub as
Murrough-Foley/web-content-extraction-benchmark), which is no part of this repository: pages of 2025 and 2026, their
main text drafted by a language model and reviewed by people. The model of main text was fitted to pages of other hosts
(tools/main_text/labelled_kinds.py splits them); the development pages may be looked at, the figures of `--held-out`
alone are to be quoted.

Figure: F1 of words as the benchmark's own script counts them (multisets of runs of letters and digits in lower case),
the mean over pages; 95 % intervals by bootstrap over pages.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "tools/main_text")]

from labelled_kinds import kinds_pages, read_page  # noqa: E402

from extract import ours, peers  # noqa: E402
from page_kinds.other_kinds import interval  # noqa: E402

NAMES = ("trafilatura", "trafilatura recall", "trafilatura precision", "Resiliparse")
KINDS = ("article", "documentation", "service", "forum", "collection", "listing", "product")


def word_f1(found: str, wanted: str) -> float:
    """F1 of two multisets of words."""
    counts = [Counter(re.findall(r"\w+", text.lower())) for text in (found, wanted)]
    return 2 * (counts[0] & counts[1]).total() / max(1, counts[0].total() + counts[1].total())


def main() -> None:
    """Extract, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--held-out", action="store_true", help="the hosts that nothing was fitted to")
    given = parser.parse_args()
    pages = [page for page in kinds_pages(given.folder) if page["split"] == ("test" if given.held_out else "dev")]
    if not pages:
        raise SystemExit(f"{given.folder} holds no pages: give the folder with metadata.json, dev and test")
    theirs = peers()
    extract: dict[str, Callable[[bytes], str]] = {"ours": ours, **{name: theirs[name] for name in NAMES}}
    figures: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in KINDS}
    for page in pages:
        html = read_page(Path(page["path"]))
        for name, of in extract.items():
            figures[page["page"]][name].append(word_f1(of(html), page["gold"]))
    for kind, rows in figures.items():
        cells = [f"{name} {mean(rows[name]):.3f}" for name in extract]
        print(f"{kind:14} {len(rows['ours']):4} pages", *cells, sep=" | ")
    results = []
    for name in extract:
        values = [value for kind in KINDS[1:] for value in figures[kind][name]]
        mine = [value for kind in KINDS[1:] for value in figures[kind]["ours"]]
        low, high = interval([[value] for value in values])
        print(f"{name:22} but articles {mean(values):.3f} ({low:.3f} to {high:.3f})")
        if name == "ours":
            continue
        ahead = mean(mine) - mean(values)
        low, high = interval([[a - b] for a, b in zip(mine, values, strict=True)])
        print(f"  ours is ahead by {ahead:+.3f} ({low:+.3f} to {high:+.3f})")
        line = {"claim": "F1 of words, pages that are no articles", "unit": "F1", "ours": round(mean(mine), 4)}
        line |= {"peer": f"{name} {version(name.split()[0].lower())}", "theirs": round(mean(values), 4)}
        results.append(line | {"ahead": round(ahead, 4), "goal": 0.15, "better": "higher"})
    print(json.dumps({"benchmark": "real_kinds", "results": results}))


if __name__ == "__main__":
    main()

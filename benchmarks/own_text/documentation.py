"""What extraction keeps of documentation pages whose templates mark their text: words, code blocks, rows of tables.

    python benchmarks/own_text/documentation.py FOLDER [--every N] [--verbose]

FOLDER holds HTML, such as Debian's python3.11-doc, git-doc and postgresql-doc-15 unpacked (`dpkg -x`). The truth is the
element that the template marks; F1 is of words, each as often as it occurs.
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from resiliparse.parse.html import DOMNode, ElementNode, HTMLTree

from gristmill.html.charset import to_utf8
from gristmill.html.content.main_text import extract_html

MAIN = "[role=main], main, body.article #content, .navheader ~ div[class]:not(.navfooter), .navheader ~ div[lang]"
BLOCKS = frozenset(
    "p div li ul ol dl dt dd h1 h2 h3 h4 h5 h6 pre table tr td th br section blockquote caption tbody thead".split()
)
LEFT_OUT = frozenset(("script", "style", "template", "select", "svg", "head", "rt", "rp", "textarea"))
WORD = re.compile(r"\w+")


@dataclass
class Score:
    """Of one page; code and rows are (whole, all)."""

    path: Path
    f1: float
    recall: float
    code: tuple[int, int]
    rows: tuple[int, int]
    missing: list[str] = field(default_factory=list)


def text_of(node: DOMNode) -> str:
    """All text of an element, blocks apart; anchors of headings and line numbers are none."""
    if node.tag == "#text":
        return node.value or ""
    if node.tag in LEFT_OUT or {"headerlink", "linenos"} & set(getattr(node, "class_list", ())):
        return ""
    inside = "".join(text_of(child) for child in node.child_nodes)
    return f" {inside} " if node.tag in BLOCKS else inside


def words(text: str) -> list[str]:
    """Words of a text, marks of Markdown apart."""
    return WORD.findall(re.sub(r"</?su[bp]>", "", text))


def judge(path: Path) -> Score | None:
    """The score of a page, or None where its template marks no text."""
    body = to_utf8(path.read_bytes())
    tree = HTMLTree.parse(body.decode())
    main = tree.body.query_selector(MAIN) if tree.body else None
    if main is None:
        return None
    page = extract_html(body)
    wanted, found = Counter(words(text_of(main))), Counter(words(f"{page.title} {page.text}"))
    found -= Counter(words(page.title)) - (wanted - Counter(words(page.text)))  # a headline is told apart
    shared = (wanted & found).total()
    recall, precision = shared / max(1, wanted.total()), shared / max(1, found.total())
    f1 = 2 * recall * precision / max(1e-9, recall + precision)
    packed = "".join(page.text.split())
    codes = ["".join(text_of(pre).split()) for pre in main.query_selector_all("pre")]
    codes = [code for code in codes if code]
    lost = [code for code in codes if code not in packed]
    lines = [words(line) for line in page.text.split("\n") if line.startswith("| ")]
    known = {tuple(line) for line in lines}
    rows = list(rows_of(main))
    apart = [row for row in rows if tuple(row) not in known]
    missing = [f"code {code[:70]}" for code in lost] + [f"row {' '.join(row)[:70]}" for row in apart]
    missing += [f"words {dict((wanted - found).most_common(9))} more {dict((found - wanted).most_common(5))}"]
    return Score(path, f1, recall, (len(codes) - len(lost), len(codes)), (len(rows) - len(apart), len(rows)), missing)


def rows_of(main: ElementNode) -> Iterator[list[str]]:
    """The words of each row of several filled cells, in tables that hold no table."""
    for row in main.query_selector_all("tr"):
        cells = [words(text_of(cell)) for cell in row.child_nodes if cell.tag in ("td", "th")]
        if sum(map(bool, cells)) > 1 and not row.query_selector("table"):
            yield [word for cell in cells for word in cell]


def main() -> None:
    """Print the means, and with --verbose the pages that lose most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=10, metavar="N", help="one page in N")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    pages = sorted(given.folder.rglob("*.html"))[:: given.every]
    scores = [score for page in pages if (score := judge(page))]
    code, rows = (tuple(map(sum, zip(*(getattr(s, name) for s in scores), strict=True))) for name in ("code", "rows"))
    print(f"{len(scores)} pages: F1 {statistics.mean(s.f1 for s in scores):.4f}, code {code}, rows {rows}")
    print(f"recall {statistics.mean(s.recall for s in scores):.4f}, below 0.95: {sum(s.recall < 0.95 for s in scores)}")
    for score in sorted(scores, key=lambda s: s.f1)[:30] if given.verbose else ():
        print(f"{score.f1:.3f} {score.recall:.3f} {score.path}", *score.missing[-9:], sep="\n    ")


if __name__ == "__main__":
    main()

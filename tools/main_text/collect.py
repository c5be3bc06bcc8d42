"""Lists the pages to learn from, with what is known of each: see README.md.

python tools/main_text/collect.py FOLDER -o pages.jsonl
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lxml.html
from labelled_kinds import kinds_pages
from snippets import snippet_pages, split_of

from gristmill.html.charset import to_utf8
from gristmill.html.content.main_text import extract_html

DOCS: tuple[
    tuple[str, int, list[str], list[str], str], ...
] = (  # pattern, how many, what marks the main text, what in it does not belong to it, split
    ("python3.11/html/**/*.html", 70, ["div[role=main]"], [], "train"),
    ("git/html/**/*.html", 50, ["#content"], [], "train"),
    ("apache2-doc/manual/**/*.html*", 70, ["#page-content"], ["#quickview", ".toplang", ".bottomlang"], "train"),
    ("postgresql-doc-15/html/*.html", 60, ["body > div:not(.navheader):not(.navfooter)"], [], "measure"),
)


def main() -> None:
    """Write one line a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    with arguments.output.open("w", encoding="utf-8") as file:
        for page in [*annotated(arguments.folder), *documentation(arguments.folder / "doc")]:
            file.write(json.dumps(page, ensure_ascii=False) + "\n")


def annotated(folder: Path) -> Iterator[dict[str, Any]]:
    """Pages with snippets, with an expected text, or with nothing."""
    tested = set()
    for page in snippet_pages(folder / "trafilatura"):
        yield {"set": "trafilatura", **page}
        tested |= {page["host"].split(".")[0]} if page["split"] == "test" else set()
    others = [(path, path.parent.name, "readability") for path in sorted(folder.glob("readability/*/source.html"))]
    others += [(path, path.stem, "newspaper") for path in sorted(folder.glob("newspaper/html/*.html"))]
    others += [(path, path.stem, "parser") for path in sorted(folder.glob("parser/*.html"))]
    for page in kinds_pages(folder / "wcxb"):
        if page["split"] in ("train", "dev") and page["host"].split(".")[0] not in tested:
            yield {"set": "kinds", **page}
    for path, name, kind in others:
        found = re.match(r"(?:www\.)?([a-z0-9]+)", name)
        host = found.group(1) if found else name
        if host not in tested:
            split = "dev" if split_of(host) == "dev" else "train"
            yield {"set": kind, "path": str(path), "host": host, "split": split, "gold": expected(path, kind)}


def expected(path: Path, kind: str) -> str:
    """The text that a page's annotators expect, or an empty string."""
    if kind == "readability":
        return extract_html(path.with_name("expected.html").read_bytes(), whole=True).text
    beside = path.parent.parent / "txt" / f"{path.stem}.txt"
    return beside.read_text(encoding="utf-8") if kind == "newspaper" and beside.exists() else ""


def documentation(folder: Path) -> Iterator[dict[str, Any]]:
    """Pages whose template marks the main text."""
    draw = random.Random(7)
    for pattern, count, marked, foreign, split in DOCS:
        paths = sorted(path for path in folder.glob(pattern) if 1_500 < path.stat().st_size < 300_000)
        for path in draw.sample(paths, min(count, len(paths))):
            html = to_utf8(path.read_bytes())
            root = lxml.html.document_fromstring(html, parser=lxml.html.HTMLParser(encoding="utf-8"))
            parts = [part for selector in marked for part in root.cssselect(selector)]
            for part in parts:
                for inner in [inner for selector in foreign for inner in part.cssselect(selector)]:
                    inner.drop_tree()
            texts = [extract_html(lxml.html.tostring(part, encoding="unicode"), whole=True).text for part in parts]
            if len("\n".join(texts).split()) > 40:
                host = pattern.split("/")[0]
                page = {"set": "documentation", "path": str(path), "host": host, "split": split}
                yield {**page, "gold": "\n\n".join(texts)}


if __name__ == "__main__":
    main()

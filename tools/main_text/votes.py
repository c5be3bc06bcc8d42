"""Adds to each page what other extractors take for its main text: see README.md.

python tools/main_text/votes.py pages.jsonl -o votes.jsonl
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import goose3
import justext
import newspaper
import readability
import trafilatura
from blocks import Cut
from boilerpy3 import extractors
from labelled_kinds import read_page
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from gristmill.html.charset import to_utf8
from gristmill.html.content.main_text import extract_html, model

LIMIT = 30  # seconds an extractor has for a page; past it, it abstains

goose = goose3.Goose({"enable_image_fetching": False})
boilerpipe = extractors.ArticleExtractor(raise_on_failure=False)


def by_newspaper(html: str) -> str:
    """newspaper4k's text."""
    article = newspaper.Article("http://page.test/a", fetch_images=False)
    article.download(input_html=html)
    article.parse()
    return str(article.text)


def by_readability(html: str) -> str:
    """The text of readability-lxml's summary."""
    tree = HTMLTree.parse(readability.Document(html).summary())
    return extract_plain_text(tree, main_content=False, alt_texts=False, links=False, noscript=False)


def by_justext(html: str) -> str:
    """jusText's good paragraphs, with the stop words of the two commonest languages among the pages."""
    words = justext.get_stoplist("German") | justext.get_stoplist("English")
    return "\n".join(part.text for part in justext.justext(html, words) if not part.is_boilerplate)


EXTRACTORS: dict[str, Callable[[str], str | None]] = {
    "trafilatura": lambda html: trafilatura.extract(html, include_comments=False),
    "trafilatura_fast": lambda html: trafilatura.extract(html, include_comments=False, fast=True),
    "trafilatura_precision": lambda html: trafilatura.extract(html, include_comments=False, favor_precision=True),
    "trafilatura_recall": lambda html: trafilatura.extract(html, include_comments=False, favor_recall=True),
    "readability": by_readability,
    "resiliparse": lambda html: extract_plain_text(
        HTMLTree.parse(html), main_content=True, alt_texts=False, links=False, noscript=False, comments=False
    ),
    "justext": by_justext,
    "boilerpipe": boilerpipe.get_content,
    "newspaper": by_newspaper,
    "goose": lambda html: goose.extract(raw_html=html).cleaned_text,
}


def stop(number: int, frame: FrameType | None) -> None:
    """End an extractor that takes too long."""
    raise TimeoutError


def vote(extractor: Callable[[str], str | None], html: str) -> str:
    """An extractor's text; empty where it fails."""
    signal.alarm(LIMIT)
    try:
        return extractor(html) or ""
    except Exception:  # noqa: BLE001  # it abstains
        return ""
    finally:
        signal.alarm(0)


def odds_of(html: bytes) -> list[float]:
    """The odds that the present model gives each block of a page to be main text."""
    sums, _ = Cut(html, model().classes, model().texts).choice(model())
    return [round(1 / (1 + math.exp(-value)), 3) for value in sums.tolist()]


def main() -> None:
    """Write the pages again, with `votes`; pages that the output has already are passed over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument(
        "--own",
        action="store_true",
        help="only the present model, and its odds for each block: seconds instead of minutes",
    )
    arguments = parser.parse_args()
    voters = {"gristmill": lambda html: extract_html(html).text} if arguments.own else EXTRACTORS
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, stop)
    done = set()
    if arguments.output.exists():
        done = {json.loads(line)["path"] for line in arguments.output.open(encoding="utf-8")}
    with arguments.output.open("a", encoding="utf-8") as file:
        for line in arguments.pages.open(encoding="utf-8"):
            page = json.loads(line)
            if page["path"] in done:
                continue
            source = to_utf8(read_page(Path(page["path"])))
            html = source.decode()
            wanted = {} if page["set"] in ("documentation", "kinds") else voters
            page["votes"] = {name: vote(extractor, html) for name, extractor in wanted.items()}
            page |= {"odds": odds_of(source)} if wanted and arguments.own else {}
            file.write(json.dumps(page, ensure_ascii=False) + "\n")
            file.flush()


if __name__ == "__main__":
    main()

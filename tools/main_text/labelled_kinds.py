"""Pages of the Web Content Extraction Benchmark (WCXB), whose main text people have marked: see README.md."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def site(host: str) -> str:
    """The registered part of a host's name: two labels, three below `co.uk` and the like."""
    labels = host.lower().removeprefix("www.").split(".")
    return ".".join(labels[-3 if len(labels) > 2 and len(labels[-2]) <= 3 and len(labels[-1]) == 2 else -2 :])


def kinds_pages(folder: Path) -> Iterator[dict[str, Any]]:
    """Every page once, with its text, kind and split: by the hash of its host a third are held out (`test`), an eighth
    are for development. The benchmark's own test part shares hosts, and pages, with the rest of it.
    """
    found = {}
    for path in sorted(folder.glob("*/ground-truth/*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        truth, kind = (
            facts.get("ground_truth"),
            facts.get("_internal", {}).get("page_type", {}).get("primary", "article"),
        )
        if isinstance(truth, dict) and truth.get("main_content"):
            host = site(urlsplit(facts.get("url", "")).hostname or path.stem)
            kind = "collection" if kind == "category" else kind
            part = hashlib.blake2b(host.encode(), digest_size=8).digest()[0]
            split = "test" if part < 85 else "dev" if part < 117 else "train"
            html = path.parents[1] / "html" / f"{path.stem}.html.gz"
            page = {"path": str(html), "host": host, "split": split, "page": kind, "gold": truth["main_content"]}
            found[facts.get("url", path.stem)] = page
    yield from found.values()


def read_page(path: Path) -> bytes:
    """The bytes of a page, packed or not."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()

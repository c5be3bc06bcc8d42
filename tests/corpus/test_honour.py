"""Pages of WARC files that others wrote are left out where they ask for it; a user's own files are not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import jsonl
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from gristmill.corpus.extract import stage
from gristmill.document import read_documents
from gristmill.manifest import Manifest
from gristmill.recipe import Extract

HTML = ("Content-Type", "text/html; charset=utf-8")
STORY = "<main>" + "<p>The miller walked to the river and spoke with a girl who had lost her boat there.</p>" * 5
SIGNALS = '{"robots": "no rule", "signals": ["%s"]}'
# path → head of the page, headers, what a crawl of ours noted; and the rule that drops it
PAGES: dict[str, tuple[str, list[tuple[str, str]], str, str]] = {
    "free": ("<meta name=robots content='index, follow'>", [HTML], "", ""),
    "meta": ("<meta name=robots content='NOINDEX, nofollow'>", [HTML], "", "noindex"),
    "named": ("<meta name=gristmill content=noai>", [HTML], "", "noai"),
    "other": ("<meta name=otherbot content=noindex>", [HTML, ("X-Robots-Tag", "otherbot: noai")], "", ""),
    "header": ("", [HTML, ("X-Robots-Tag", "max-snippet:50, noindex")], "", "noindex"),
    "usage": ("", [HTML, ("Content-Usage", "train-ai=n")], "", "noai"),
    "reserved": ("<meta name=tdm-reservation content=1>", [HTML], "", "tdm"),
    "input": ("", [HTML, ("Content-Signal", "ai-input=no")], "", ""),
    "site": ("", [HTML], SIGNALS % "tdm", "tdm"),  # as robots.txt or tdmrep.json say it
    "text": ("", [("Content-Type", "text/plain"), ("X-Robots-Tag", "noai")], "", "noai"),
    "both": ("<meta name=robots content='noai'>", [HTML, ("X-Robots-Tag", "noindex")], "", "noindex"),
}


def page(head: str) -> bytes:
    return f"<html><head><title>T</title>{head}</head><body>{STORY}</body></html>".encode()


@pytest.fixture(scope="module")
def warc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as another tool writes it."""
    path = tmp_path_factory.mktemp("warc") / "other.warc.gz"
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        writer.write_record(writer.create_warcinfo_record("other.warc.gz", {"software": "warcio"}))
        for name, (head, headers, noted, _) in PAGES.items():
            http = StatusAndHeaders("200 OK", headers, protocol="HTTP/1.1")
            more = {"WARC-JSON-Metadata": noted} if noted else {}
            url = f"http://a.test/{name}"
            writer.write_record(
                writer.create_warc_record(
                    url, "response", io.BytesIO(page(head)), http_headers=http, warc_headers_dict=more
                )
            )
        text = writer.create_warc_record("http://a.test/wet", "conversion", io.BytesIO(b"Text as WET files have it."))
        writer.write_record(text)
    return path


def extract(path: Path, out: Path, **params: Any) -> tuple[Manifest, list[str]]:
    out.mkdir()
    made = stage.run({}, Extract(paths=[str(path)], **params), out)
    return made, [found.url.rpartition("/")[2] for found in read_documents(out)]


def test_pages_that_ask_for_it_are_left_out_and_counted(warc: Path, tmp_path: Path) -> None:
    made, kept = extract(warc, tmp_path / "out")
    rules = {name: rule for name, (*_, rule) in PAGES.items()}
    assert kept == [name for name, rule in rules.items() if not rule] + ["wet"]
    assert made.dropped == {"noindex": 3, "noai": 3, "tdm": 2}
    assert made.counts["documents_in"] == made.counts["documents_out"] + 8 == len(PAGES) + 1
    log = jsonl.read(tmp_path / "out" / "dropped.jsonl")
    signals = {found.url.rpartition("/")[2]: found.signals for found in read_documents(tmp_path / "out")}
    assert {name: signals[name] for name in ("free", "input", "wet")} == {"free": "", "input": "ai-input", "wet": ""}
    assert {row["url"].rpartition("/")[2]: row["rule"] for row in log} == {n: rule for n, rule in rules.items() if rule}


def test_what_is_honoured_is_a_setting(warc: Path, tmp_path: Path) -> None:
    made, kept = extract(warc, tmp_path / "none", honour=[])
    assert kept == [*PAGES, "wet"] and not made.dropped
    made, kept = extract(warc, tmp_path / "tdm", honour=["tdm"])
    assert made.dropped == {"tdm": 2} and {"both", "text"} < set(kept)


def test_a_users_own_files_are_read_whatever_they_say_to_crawlers(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, (head, *_) in PAGES.items():
        (folder / f"{name}.html").write_bytes(page(head))
    made, kept = extract(folder, tmp_path / "out")
    assert kept == [f"{name}.html" for name in sorted(PAGES)] and not made.dropped


def test_a_licence_that_a_header_links_to_counts(tmp_path: Path) -> None:
    path = tmp_path / "other.warc.gz"
    link = ("Link", '<https://creativecommons.org/licenses/by-sa/4.0/>; rel="license"')
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        http = StatusAndHeaders("200 OK", [HTML, link], protocol="HTTP/1.1")
        body = io.BytesIO(page(""))
        writer.write_record(writer.create_warc_record("http://a.test/", "response", body, http_headers=http))
    extract(path, tmp_path / "out")
    assert [found.licence for found in read_documents(tmp_path / "out")] == ["CC-BY-SA-4.0"]

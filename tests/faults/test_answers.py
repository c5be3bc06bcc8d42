"""One hostile answer costs its own URL at most: the crawl goes on, and so does every stage after it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile import MISSING, Serve, crawl, response, site

from gristmill.corpus.extract import stage as extract
from gristmill.corpus.redact import stage as redact
from gristmill.crawl import client, stage
from gristmill.document import Document, document_id, read_documents, write_documents
from gristmill.html.content.main_text import extract_html
from gristmill.recipe import Extract, Redact

DIGITS = "1" * 5_000  # more than Python turns into a number
FAR = "Fri, 31 Dec 99999999999 23:59:59 GMT"
ANSWERS = {
    "attribute": response(f'<a href="&#{DIGITS};">x</a><a href="/attribute/next">y</a> attribute'),
    "hexadecimal": response(f'<a href="/&#x{"f" * 6_000};">x</a> hexadecimal'),
    "meta": response(f'<meta name="robots" content="&#{DIGITS};"> meta'),
    "idna": response("<a href='/ä'>x</a> idna", kind="text/html; charset=idna"),
    "undefined": response('<a href="/\xe4">x</a> undefined', kind="text/html; charset=undefined"),
    "unicode_escape": response(rb'<a href="/\U99999999\xe4">x</a> escape', kind="text/html; charset=unicode_escape"),
    "named": response('<meta charset="punycode"><a href="/ä">x</a> named'),
    "typed": response("typed", kind="text/html; charset*=utf-9'';%ff\xff"),
    "status": response("status", status="999 Nothing"),
    "location": response("", "Location: http://[::1/\xff\xfe", status="301 Moved"),
    "link": response("link", 'Link: <&#99999999999999999999;>; rel="canonical", <http://[>; rel=license'),
    "etag": response("etag", 'ETag: "\xe4\xff\x80"', "Last-Modified: \xff"),
    "robots_tag": response("tag", "X-Robots-Tag: \xff: \xe4, unavailable_after: 99999999999999"),
    "json_feed": response(f'{{"items": [{{"url": {DIGITS}}}]}}', kind="application/feed+json"),
    "deep_feed": response('{"items":' + "[" * 100_000, kind="application/feed+json"),
    "feed": response(f"<rss><item><link>&#{DIGITS};</link></item></rss>", kind="application/rss+xml"),
    "surrogates": response('<a href="/&#xd800;&#xdfff;">x</a> surrogates'),
    "nul": response(b'<a href="/\x00">x</a>\x00 nul'),
}
ROBOTS = {
    "/robots.txt": [
        response(
            f"User-agent: *\nCrawl-delay: 0.{DIGITS}\nSitemap: /%{DIGITS}\nAllow: {'*' * 9_000}\n", kind="text/plain"
        ),
        response(b"\xff\xfe\x00\n" * 9_000, kind="text/plain"),
    ],
    "/.well-known/tdmrep.json": [
        response('[{"location": "/*", "tdm-reservation": 1e999}]', kind="application/json"),
        response(f'[{{"location": "/*", "tdm-reservation": {DIGITS}}}]', kind="application/json"),
        response('[{"location": "\\ud800", "tdm-reservation": "x"}, 7, {"location": []}]', kind="application/json"),
        response("[" * 100_000, kind="application/json"),
    ],
    "/sitemap.xml": [
        response(f"<urlset><url><loc>http://site.test/&#{DIGITS};</loc></url></urlset>", kind="text/xml"),
        response(b"\x1f\x8b\x08" + b"\xff" * 99, kind="text/xml"),
    ],
}


def test_no_answer_ends_the_crawl(serve: Serve, tmp_path: Path) -> None:
    pages = {f"/{name}": answer for name, answer in ANSWERS.items()}
    server = serve(site({**pages, "/last": response("last")}))
    made, rows = crawl(server.params(), tmp_path)
    assert rows["/"]["outcome"] == rows["/last"]["outcome"] == "page"
    assert all("outcome" in rows[path] for path in pages)
    assert made.counts["urls_left"] == 0
    again, _ = crawl(server.params(previous=str(tmp_path)), tmp_path / "again")  # their ETags go back to the server
    assert again.dropped["unchanged"] == made.counts["pages"]


@pytest.mark.parametrize("path", ROBOTS)
def test_no_file_about_the_site_ends_the_crawl(path: str, serve: Serve, tmp_path: Path) -> None:
    for number, answer in enumerate(ROBOTS[path]):
        _, rows = crawl(serve(site({path: answer, "/a": response("a")})).params(), tmp_path / str(number))
        assert rows["/a"]["outcome"] == "page"


def test_a_busy_host_may_name_any_date(serve: Serve, tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(_: str, path: str) -> bytes:
        asked.append(path)
        busy = path == "/busy" and asked.count(path) == 1
        later = response("", f"Retry-After: {FAR}", status="503 Busy")
        return later if busy else site({"/busy": response("busy")})(_, path)

    _, rows = crawl(serve(answer).params(), tmp_path)
    assert rows["/busy"]["outcome"] == "page"


@pytest.mark.parametrize(("where", "name"), [(stage, "outcome_of"), (stage, "exchange"), (client, "read_response")])
def test_a_fault_of_ours_is_counted_and_not_met_again(
    where: Any, name: str, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(where, name)

    def failing(first: Any, *rest: Any) -> Any:
        if str(getattr(first, "url", first)).endswith("/bad"):
            raise RecursionError(f"a fault \ud800 on {first}")
        return real(first, *rest)

    server = serve(site({"/bad": response('<a href="/never">x</a>'), "/good": response("good")}))
    with monkeypatch.context() as patch:
        patch.setattr(where, name, failing)
        made, rows = crawl(server.params(), tmp_path)
    assert (made.dropped["fault"], rows["/good"]["outcome"]) == (1, "page") and "/never" not in rows
    assert rows["/bad"]["outcome"] == "fault" and "RecursionError" in rows["/bad"]["why"]
    assert "in failing" in rows["/bad"]["traceback"]


def test_what_every_answer_would_meet_ends_the_crawl(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stage, "exchange", full)
    with pytest.raises(OSError, match="No space"):
        crawl(serve(site({})).params(), tmp_path)


PACKED: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("coding", PACKED)
def test_a_body_that_is_cut_short_is_not_kept(coding: str, serve: Serve, tmp_path: Path) -> None:
    whole = PACKED[coding]("".join(f"word {number} " for number in range(2_000)).encode())
    pages = {
        f"/{end}": response(whole[: len(whole) * end // 20], f"Content-Encoding: {coding}") for end in range(1, 20)
    }
    _, rows = crawl(serve(site(pages)).params(), tmp_path)
    assert {rows[path]["outcome"] for path in pages} == {"damaged"}


def test_connect_to_holds_for_its_hosts_alone(serve: Serve, tmp_path: Path) -> None:
    right = serve(lambda host, path: response(f"{host}{path}") if "." not in path else MISSING)
    links = "".join(f'<a href="http://127.0.0.{number}:{right.port}/">x</a>' for number in range(2, 13))
    wrong = serve(site({f"/{number}": response(f"{number} {links}") for number in range(30)}))
    _, rows = crawl(wrong.params(hosts=["site.test", "127.0.0.*"]), tmp_path)
    foreign = [url for url in rows if url.startswith("http://127")]
    assert len(foreign) == 11 and {host for host, _ in wrong.asked} == {"site.test"}


def test_a_body_of_tiny_chunks_takes_little_memory(serve: Serve, tmp_path: Path) -> None:
    import tracemalloc

    chunks = b"1\r\nx\r\n" * 300_000 + b"0\r\n\r\n"
    tiny = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n"
        + chunks
    )
    server = serve(site({"/tiny": tiny}))
    tracemalloc.start()
    _, rows = crawl(server.params(), tmp_path)
    assert rows["/tiny"]["outcome"] == "page"
    assert tracemalloc.get_traced_memory()[1] < 8_000_000  # of it 2 MB of the server's
    tracemalloc.stop()


def test_a_page_on_which_code_of_ours_fails_costs_no_other(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {f"/{name}": response(f"<p>The {name} page has some words of its own.</p>") for name in ("bad", "good")}
    crawl(serve(site(pages)).params(), tmp_path / "crawl")
    real = extract_html

    def failing(raw: bytes, **options: Any) -> Any:
        if b"The bad page" in raw:
            raise IndexError("a fault")
        return real(raw, **options)

    monkeypatch.setattr(extract, "extract_html", failing)
    (tmp_path / "extract").mkdir()
    made = extract.run({"crawl": tmp_path / "crawl"}, Extract(), tmp_path / "extract")
    assert made.dropped["fault"] == 1
    assert "http://site.test/good" in {document.url for document in read_documents(tmp_path / "extract")}
    lines = (tmp_path / "extract" / "dropped.jsonl").read_text().splitlines()
    (row,) = (row for line in lines if (row := json.loads(line))["rule"] == "fault")
    assert row["url"] == "http://site.test/bad" and "in failing" in row["traceback"]


def test_a_document_on_which_a_judge_fails_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["Write to anna@example.org today.", "A bad document.", "Nothing to hide here."]
    documents = [Document(document_id("", text), text, "") for text in texts]
    write_documents(tmp_path / "documents.parquet", documents)
    real = redact.RedactionJudge.__call__

    def failing(self: Any, document: Document) -> Any:
        if "bad" in document.text:
            raise ZeroDivisionError
        return real(self, document)

    monkeypatch.setattr(redact.RedactionJudge, "__call__", failing)
    (tmp_path / "out").mkdir()
    made = redact.run({"corpus": tmp_path}, Redact(), tmp_path / "out")
    assert made.dropped == {"fault": 1} and len(list(read_documents(tmp_path / "out"))) == 2

"""WARC files: what others read, and files of others."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from pathlib import Path

import fastwarc
import fastwarc.warc
import pytest
from aiohttp import web
from crawling import Serve, crawl, many_hosts, page, pages_of, rows_of, warc_records, words
from warcio.archiveiterator import ArchiveIterator

from gristmill.corpus.readers.warc_ranges import read_records
from gristmill.crawl import stage
from gristmill.document import read_documents
from gristmill.recipe import Dedup, Extract
from gristmill.run import execute
from gristmill.settings.stages import BY_NAME


def test_the_warc_is_what_other_tools_read(serve: Serve, tmp_path: Path) -> None:
    site = serve(pages_of({"/": ["/a"], "/a": []}))
    crawl(site.params(), tmp_path)
    path = tmp_path / "pages-00000.warc.gz"
    with path.open("rb") as file:
        kinds = [record.rec_type for record in ArchiveIterator(file)]
    assert kinds == ["warcinfo", *["response", "request", "metadata"] * 2]
    check = subprocess.run([sys.executable, "-m", "warcio.cli", "check", str(path)], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
    first = next(read_records([path]))
    assert (first.url, first.content_type, first.charset) == ("http://site.test/", "text/html", "utf-8")


def test_a_truncated_warc_is_named(serve: Serve, tmp_path: Path) -> None:
    crawl(serve(pages_of({"/": []})).params(), tmp_path)
    path = tmp_path / "pages-00000.warc.gz"
    with path.open("rb") as file:
        last = [record.stream_pos for record in fastwarc.ArchiveIterator(file)][-1]
    path.write_bytes(path.read_bytes()[:-40])
    assert [(found.source, found.fault) for found in read_records([path])][-1] == (f"{path.name}:{last}", "damaged")


def valid(path: Path) -> None:
    """`warcio check` and FastWARC find nothing wrong."""
    check = subprocess.run(
        [sys.executable, "-m", "warcio.cli", "check", "-v", str(path)], capture_output=True, text=True
    )
    assert check.returncode == 0 and "fail" not in check.stdout.lower(), check.stdout
    with path.open("rb") as file:
        for record in fastwarc.warc.ArchiveIterator(file, parse_http=False):
            record.freeze()
            assert record.verify_block_digest()
            record.parse_http()
            if record.headers["WARC-Type"] == "response":
                assert record.verify_payload_digest()


def test_crawling_again_keeps_what_has_changed(serve: Serve, tmp_path: Path) -> None:
    version = {"/same": 1, "/silent": 1, "/changed": 1}

    def tagged(request: web.Request) -> web.StreamResponse:
        tag = f'"{request.path}{version[request.path]}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        made = page("/behind", text=f"{request.path} {words(version[request.path])}")
        made.headers["ETag"] = tag
        return made

    def silent(request: web.Request) -> web.StreamResponse:
        return page(text="no tag")

    table = {
        "/": ["/same", "/silent", "/changed"],
        "/same": tagged,
        "/changed": tagged,
        "/silent": silent,
        "/behind": [],
    }
    site = serve(pages_of(table))
    crawl(site.params(), tmp_path / "one")
    version["/changed"] = 2
    made, _, outcome = crawl(site.params(previous=str(tmp_path / "one")), tmp_path / "two")
    assert {path for path, what in outcome.items() if what == "page"} == {"/changed"} and made["pages"] == 1
    unchanged = {"/", "/same", "/silent", "/behind"}
    assert {path for path, what in outcome.items() if what == "unchanged"} == unchanged
    profiles = {
        headers["WARC-Target-URI"].removeprefix("http://site.test"): headers["WARC-Profile"].rpartition("/")[2]
        for kind, headers, _ in warc_records(tmp_path / "two")
        if kind == "revisit"
    }
    assert profiles == dict.fromkeys(unchanged, "identical-payload-digest") | {"/same": "server-not-modified"}
    # the links of a page that was not sent again are known from the crawl before it, also two crawls later
    version["/changed"] = 3
    _, _, outcome = crawl(site.params(previous=str(tmp_path / "two")), tmp_path / "three")
    assert outcome["/behind"] == "page" or outcome["/behind"] == "unchanged"
    for name in ("one", "two", "three"):
        valid(tmp_path / name / "pages-00000.warc.gz")
    # side by side, the newest first, they give each page as it is now
    execute(
        BY_NAME["extract"],
        {},
        Extract(paths=[str(tmp_path / name) for name in ("three", "two", "one")]),
        tmp_path / "e",
    )
    execute(BY_NAME["dedup"], {"corpus": tmp_path / "e"}, Dedup(near=False), tmp_path / "d")
    texts = {
        document.url.removeprefix("http://site.test"): document.text for document in read_documents(tmp_path / "d")
    }
    assert words(3) in texts["/changed"] and set(texts) == {"/changed", *unchanged}


def test_records_say_what_was_received(serve: Serve, tmp_path: Path) -> None:
    body = b"<p>packed on the way</p>" * 50
    table = {
        "/": lambda _: web.Response(
            body=gzip.compress(body), headers={"Content-Encoding": "gzip", "Content-Type": "text/html", "X-A": "\xe4"}
        )
    }
    crawl(serve(pages_of(table)).params(), tmp_path)
    valid(tmp_path / "pages-00000.warc.gz")
    kinds = {kind: (headers, content) for kind, headers, content in warc_records(tmp_path)}
    assert kinds["response"][1] == body and kinds["response"][0]["WARC-Protocol"] == "http/1.1"
    with (tmp_path / "pages-00000.warc.gz").open("rb") as file:
        response = next(record for record in ArchiveIterator(file) if record.rec_type == "response")
    assert response.http_headers.get_header("X-Crawler-Content-Encoding") == "gzip"
    assert response.http_headers.get_header("Content-Length") == str(len(body))
    assert response.http_headers.get_header("Content-Encoding") is None


def test_files_of_others_are_read(tmp_path: Path) -> None:
    """warcio writes what crawlers write: chunked and packed bodies, redirects, revisits, records without a type."""
    import brotli
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    text = b"<html><p>Hello</p></html>"
    chunked = b"5\r\n<html\r\n14\r\n><p>Hello</p></html>\r\n0\r\n\r\n"
    cases = [
        ("http://e.org/plain", "200 OK", [("Content-Type", "text/html; charset=utf-8")], text),
        ("http://e.org/chunked", "200 OK", [("Content-Type", "text/html"), ("Transfer-Encoding", "chunked")], chunked),
        (
            "http://e.org/gzip",
            "200 OK",
            [("Content-Type", "text/html"), ("Content-Encoding", "gzip")],
            gzip.compress(text),
        ),
        (
            "http://e.org/br",
            "200 OK",
            [("Content-Type", "text/html"), ("Content-Encoding", "br")],
            brotli.compress(text),
        ),
        ("http://e.org/undone", "200 OK", [("Content-Type", "text/html"), ("Content-Encoding", "br")], text),
        ("http://e.org/named", "200 OK", [("Content-Type", "text/html"), ("Transfer-Encoding", "chunked")], text),
        ("http://e.org/untyped", "200 OK", [], text),
        ("http://e.org/gone", "404 Not Found", [("Content-Type", "text/html")], text),
    ]
    path = tmp_path / "other.warc.gz"
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        writer.write_record(writer.create_warcinfo_record("other.warc.gz", {"software": "warcio"}))
        for url, status, headers, body in cases:
            http = StatusAndHeaders(status, headers, protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=http))
    found = list(read_records([path]))
    assert [page.url for page in found] == [case[0] for case in cases[:-1]]
    assert {page.body for page in found} == {text} and {page.content_type for page in found} == {"text/html"}


@pytest.mark.parametrize("date", ["", "soon", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_date_that_no_calendar_has_costs_no_page(date: str, tmp_path: Path) -> None:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>a page"
    head = f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Date: {date}\r\nWARC-Target-URI: http://a.test/\r\n"
    kind = f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    (tmp_path / "a.warc").write_bytes(f"{head}{kind}".encode() + http + b"\r\n\r\n")
    (record,) = read_records([tmp_path / "a.warc"])
    assert (record.body, record.fetched_at, record.fault) == (b"<p>a page", None, "")


def test_files_are_split(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "WARC_BYTES", 20_000)
    made, _, _ = crawl(serve(many_hosts).params(seeds=["http://h0.test/0"], hosts=["*.test"], max_pages=100), tmp_path)
    paths = sorted(tmp_path.glob("*.warc.gz"))
    assert len(paths) > 2 and made["pages"] == 100
    rows = rows_of(tmp_path)
    for path in paths:
        valid(path)
        for found in read_records([path]):
            assert rows[found.url]["source"] == found.source
    assert sum(1 for path in paths for _ in read_records([path])) == 100

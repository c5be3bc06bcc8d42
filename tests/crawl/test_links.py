"""What pages, headers, sitemaps and feeds name: the C scanner against the standard library's parser, and the rest."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.crawl.content_type import charset_of, content_type, payload_type
from gristmill.crawl.links import Said, read_feed, read_headers, read_page, read_sitemap, read_tdmrep, tags
from gristmill.crawl.urls import host_of, normalise, runs_in_circles, shape_of, target_of

STORYBOOKS = Path(__file__).parents[3] / "shared" / "data" / "storybooks"
TAGS = ("a", "area", "base", "link", "meta")
ATTRIBUTES = ("href", "rel", "name", "content", "type")
BASE = "http://e.org/a/b.html"


class Plain(HTMLParser):
    """The slow, plain version: every attribute of every tag that matters."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[tuple[int, dict[int, bytes]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in TAGS:
            kept: dict[int, bytes] = {}
            for name, value in attrs:
                if name in ATTRIBUTES:
                    kept.setdefault(ATTRIBUTES.index(name), (value or "").encode())
            if kept:
                self.found.append((TAGS.index(tag), kept))


def plainly(text: str) -> list[tuple[int, dict[int, bytes]]]:
    parser = Plain()
    parser.feed(text)
    return parser.found


def quietly(found: list[tuple[int, dict[int, bytes]]]) -> list[tuple[int, dict[int, str]]]:
    from html import unescape

    return [(tag, {key: unescape(value.decode()) for key, value in attributes.items()}) for tag, attributes in found]


@pytest.mark.skipif(not STORYBOOKS.exists(), reason="../shared/data/storybooks is not there")
def test_real_pages_against_the_standard_library() -> None:
    paths = sorted(STORYBOOKS.rglob("*.html"))[::6]
    assert len(paths) > 50
    for path in paths:
        body = path.read_bytes()
        assert quietly(list(tags(body))) == quietly(plainly(body.decode())), path


WELL_FORMED = (
    "<a href=x>",
    "<A HREF='y' rel=\"nofollow\">",
    "</a>",
    "text > < 3",
    "<script>'<a href=no>'</script>",
    "<STYLE>a{}</style >",
    "<meta name=robots content='noindex'>",
    "<p class='<a href=no>'>",
    "<!-- <a href=no> -->",
    "<!doctype html>",
)
PIECES = (
    *WELL_FORMED,
    "<a\nhref = z/>",
    "<link ",
    "rel=canonical",
    "href='q'>",
    "=",
    "'",
    '"',
    "<",
    ">",
    "/",
    "<title>",
)


@given(st.lists(st.sampled_from(WELL_FORMED), max_size=8))
def test_well_formed_pages_against_the_standard_library(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert quietly(list(tags(text.encode()))) == quietly(plainly(text))


@settings(max_examples=300)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=12))
def test_any_bytes_are_survived(pieces: list[str]) -> None:
    body = "".join(pieces).encode("utf-8", "replace")
    for cut in range(0, len(body), 3):
        for _, attributes in tags(body[:cut]):
            assert all(value in body for value in attributes.values())


def test_what_a_page_says() -> None:
    page = """<base href="/c/"><a href="d?x=1&amp;y=2#z">1</a><a href='//f.org/'>2</a><a rel="nofollow" href=e>3</a>
    <a href="mailto:x@y">4</a><a href="d?x=1&amp;y=2">again</a><a href="i?a&#38;b#c">6</a>
    <AREA HREF=g><a href=" h ">5</a><!-- <a href=no> -->
    <script>document.write('<a href="no">')</script><a rel=license href="https://creativecommons.org/licenses/by/4.0/">l</a>
    <link rel="canonical" href="/b"><link rel=alternate type="application/rss+xml" href="feed.xml">
    <meta name="TDM-Reservation" content="1">
    <meta name="gristmill" content="noai"><meta name=robots content="nofollow">"""
    said = read_page(page.encode(), "utf-8", BASE, "gristmill/0.1")
    assert said.links == [
        *("http://e.org/c/d?x=1&y=2", "http://f.org/", "http://e.org/c/i?a&b", "http://e.org/c/g", "http://e.org/c/h")
    ]
    assert said.canonical == "http://e.org/b" and said.feeds == ["http://e.org/c/feed.xml"]
    assert said.licence == "https://creativecommons.org/licenses/by/4.0/"
    assert (said.noindex, said.nofollow, said.noai, said.tdm) == (False, True, True, True)
    assert not read_page(b"<meta name=otherbot content=noindex>", "utf-8", BASE, "gristmill").noindex


def test_charsets_of_links() -> None:
    assert read_page('<a href="/é">'.encode("latin-1"), "latin-1", BASE, "g").links == ["http://e.org/%C3%A9"]
    assert read_page('<a href="/é">'.encode("utf-16"), "utf-16", BASE, "g").links == ["http://e.org/%C3%A9"]


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("X-Robots-Tag", "noindex, nofollow", {"noindex": True, "nofollow": True}),
        ("X-Robots-Tag", "none", {"noindex": True, "nofollow": True}),
        ("X-Robots-Tag", "otherbot: noindex", {"noindex": False}),
        ("X-Robots-Tag", "gristmill: noindex", {"noindex": True}),
        ("X-Robots-Tag", "unavailable_after: 25 Jun 2010 15:00:00 PST", {"noindex": False}),
        ("X-Robots-Tag", "noai, noimageai", {"noai": True, "noindex": False}),
        ("TDM-Reservation", "1", {"tdm": True}),
        ("TDM-Reservation", "0", {"tdm": False}),
        ("Content-Usage", "train-ai=n", {"noai": True}),
        ("Link", '<https://l.org/>; rel="license"', {"licence": "https://l.org/"}),
        ("Link", "</c>; rel=canonical, </x>; rel=next", {"canonical": "http://e.org/c"}),
        ("link", '<https://a.org/>; rel="license nofollow"; title="a, b;c"', {"licence": "https://a.org/"}),
    ],
)
def test_what_headers_say(header: str, value: str, expected: dict[str, object]) -> None:
    said = Said()
    read_headers(said, [(header, value)], BASE, "gristmill/0.1")
    assert {name: getattr(said, name) for name in expected} == expected


def test_sitemaps_of_all_kinds() -> None:
    body = b"<sitemapindex><loc> http://e.org/a&amp;b.xml </loc><sitemap><loc><![CDATA[/c]]></loc></sitemap>"
    assert list(read_sitemap(body, BASE)) == ["http://e.org/a&b.xml", "http://e.org/c"]
    assert list(read_sitemap(b"http://e.org/1\nhttp://e.org/2\n", BASE)) == ["http://e.org/1", "http://e.org/2"]
    assert list(read_sitemap(b"\x1f\x8bdamaged", BASE)) == []


def test_feeds_of_all_kinds() -> None:
    rss = b"<rss><channel><link>http://e.org/</link><item><link>http://e.org/1</link></item><item><link><![CDATA[/2]]></link></item>"
    atom = b"<feed><link href='/self' rel='self'/><entry><link rel='edit' href='/no'/><link href='/3'/></entry></feed>"
    assert list(read_feed(rss, BASE)) == ["http://e.org/1", "http://e.org/2"]
    assert list(read_feed(atom, BASE)) == ["http://e.org/3"]
    assert list(read_feed(b'{"items": [{"url": "/4"}]}', BASE)) == ["http://e.org/4"]
    assert list(read_feed(b'{"items": 3}', BASE)) == list(read_feed(b"{", BASE)) == []


def test_tdmrep() -> None:
    rules = read_tdmrep(b'[{"location": "/open/*", "tdm-reservation": 0}, {"location": "/*", "tdm-reservation": 1}]')
    assert [next(value for rule, value in rules if rule.matches(path)) for path in (b"/open/x", b"/x")] == [False, True]
    assert read_tdmrep(b"<html>") == read_tdmrep(b'[{"location": 1}]') == read_tdmrep(b"{}") == []


@pytest.mark.parametrize(
    ("url", "base", "expected"),
    [
        ("HTTP://Ex.org:80/a/../b#c", "", "http://ex.org/b"),
        ("../x?q=ä b", "https://e.org/a/b/", "https://e.org/a/x?q=%C3%A4%20b"),
        ("?q", "http://e.org/a?b", "http://e.org/a?q"),
        ("", "http://e.org/a/b?c", "http://e.org/a/b?c"),
        ("x", "http://e.org/a/b?c=/d", "http://e.org/a/x"),
        ("mailto:x@y", "http://e.org/", None),
        ("javascript:void(0)", "http://e.org/", None),
        ("//h.org", "https://e.org/", "https://h.org/"),
        ("http://e.org:99999/", "", None),
        ("/%7Ea%20b", "http://e.org/", "http://e.org/%7Ea%20b"),
        ("http://user:secret@e.org/", "", "http://e.org/"),
        ("http://0x7f.1/", "", "http://127.0.0.1/"),
        ("http://2130706433/", "", "http://127.0.0.1/"),
        ("http://BÜCHER.example/", "", "http://xn--bcher-kva.example/"),
        ("http://[::FFFF:7f00:1]/", "", "http://[::ffff:7f00:1]/"),
        ("\\a\\b", "http://e.org/", "http://e.org/a/b"),
        ("ht\ntp://e.org/\tx", "", "http://e.org/x"),
        ("/a?utm_source=x&id=3&fbclid=z", "http://e.org/", "http://e.org/a?id=3"),
        ("/a?PHPSESSID=0123456789abcdef01", "http://e.org/", "http://e.org/a"),
        ("/a;jsessionid=1A2B.node1?x=1", "http://e.org/", "http://e.org/a?x=1"),
        ("/a?sid=12", "http://e.org/", "http://e.org/a?sid=12"),
        ("/" + "a" * 2000, "http://e.org/", None),
    ],
)
def test_normalise(url: str, base: str, expected: str | None) -> None:
    assert normalise(url, base) == expected
    if expected:
        assert normalise(expected) == expected


def test_parts_and_shapes() -> None:
    assert host_of("http://[::1]:80/a") == "::1" and host_of("https://e.org:8/x:y") == "e.org"
    assert target_of("http://e.org/a?b") == "/a?b"
    assert shape_of("http://e.org/2024/07/a.html?day=3&x=1") == shape_of("http://e.org/2031/1/b.html?x=2&day=9")
    assert shape_of("http://e.org/a/1") != shape_of("http://e.org/b/1")
    assert runs_in_circles("http://e.org/a/b/a/b/a/b/c") and not runs_in_circles("http://e.org/a/b/a/b/c")


@pytest.mark.parametrize(
    ("declared", "body", "expected"),
    [
        ("", b"  <!DOCTYPE html><p>", "text/html"),
        ("application/octet-stream", b"\xef\xbb\xbf<html>", "text/html"),
        ("", b"%PDF-1.4", "application/pdf"),
        ("", b"just words", "text/plain"),
        ("", b"\x00\x01", "application/octet-stream"),
        ("text/plain", b"<html>", "text/plain"),
        ("text/plain", b"\x89PNG\r\n\x1a\n\x00", "image/png"),
        ("text/html", b"\x00\x01", "text/html"),
        ("", b"<?xml version='1.0'?><rss>", "text/xml"),
    ],
)
def test_media_types(declared: str, body: bytes, expected: str) -> None:
    assert payload_type(declared, body) == expected


def test_content_type_and_charset() -> None:
    assert content_type('Text/HTML; Charset="UTF-8"') == ("text/html", "utf-8")
    assert content_type("text/html") == ("text/html", "")
    assert charset_of("é".encode("utf-16"), "utf-8") == "utf-16-le"
    assert charset_of(b"\xe9", "ISO-8859-15") == "iso8859-15"
    assert charset_of(b'<meta http-equiv=x content="text/html; charset=koi8-r">\xe9', "no-such") == "koi8-r"
    assert charset_of("größe".encode(), "") == "utf-8"
    assert charset_of(b"a", "hex") == "utf-8"

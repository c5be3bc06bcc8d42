"""What pages, headers, sitemaps and feeds name, resolved; URLs and media types."""

from __future__ import annotations

import gzip

import pytest

from gristmill.crawl.content_type import content_type, payload_type
from gristmill.crawl.outlinks import Said, is_sitemap, read_feed, read_page, read_sitemap, read_tdmrep
from gristmill.crawl.urls import host_of, normalise, runs_in_circles, shape_of, target_of
from gristmill.html.links import page_tags

BASE = "http://e.org/a/b.html"


def read(page: bytes, charset: str = "utf-8", *headers: tuple[str, str]) -> Said:
    return read_page(page_tags(page, charset), list(headers), BASE, "gristmill/0.1")


def test_what_a_page_says() -> None:
    page = """<base href="/c/"><a href="d?x=1&amp;y=2#z">1</a><a href='//f.org/'>2</a><a rel="nofollow" href=e>3</a>
    <a href="mailto:x@y">4</a><a href="d?x=1&amp;y=2">again</a><a href="i?a&#38;b#c">6</a>
    <AREA HREF=g><a href=" h ">5</a><!-- <a href=no> -->
    <script>document.write('<a href="no">')</script><a rel=license href="https://creativecommons.org/licenses/by/4.0/">l</a>
    <link rel="canonical" href="/b"><link rel=alternate type="application/rss+xml" href="feed.xml">
    <meta name="TDM-Reservation" content="1">
    <meta name="gristmill" content="noai"><meta name=robots content="nofollow">"""
    said = read(page.encode())
    assert said.links == [
        *("http://e.org/c/d?x=1&y=2", "http://f.org/", "http://e.org/c/i?a&b", "http://e.org/c/g", "http://e.org/c/h")
    ]
    assert said.canonical == "http://e.org/b" and said.feeds == ["http://e.org/c/feed.xml"]
    assert said.licence == "https://creativecommons.org/licenses/by/4.0/"
    directives = said.directives
    assert (directives.noindex, directives.nofollow, directives.noai, directives.tdm) == (False, True, True, True)


def test_charsets_of_links() -> None:
    assert read('<a href="/é">'.encode("latin-1"), "latin-1").links == ["http://e.org/%C3%A9"]
    assert read('<a href="/é">'.encode("utf-16"), "utf-16").links == ["http://e.org/%C3%A9"]


def test_a_page_that_one_link_says_not_to_follow_is_followed_by_another() -> None:
    assert read(b"<a rel=nofollow href=x>1</a><a href='x#top'>2</a><a href='#top'>3</a>").links == ["http://e.org/a/x"]


def test_what_link_headers_name_is_relative_to_the_page() -> None:
    header = "</c>; rel=canonical, <l>; rel=license, <f.xml>; rel=alternate; type=application/atom+xml"
    said = read(b"<base href='http://f.org/'><a href=x>", "", ("Link", header))
    assert (said.canonical, said.licence) == ("http://e.org/c", "http://e.org/a/l")
    assert (said.feeds, said.links) == (["http://e.org/a/f.xml"], ["http://f.org/x"])


def test_a_page_that_declares_several_licences_has_none() -> None:
    assert read(b"<a rel=license href=/1><a rel=license href=/1#x>").licence == "http://e.org/1"
    assert read(b"<a rel=license href=/1><a rel=license href=/2>").licence == ""


def test_sitemaps_of_all_kinds() -> None:
    index = b"<sitemapindex><loc> http://e.org/a&amp;b.xml </loc><sitemap><loc><![CDATA[/c]]></loc></sitemap>"
    assert read_sitemap(index, BASE) == [("http://e.org/a&b.xml", True), ("http://e.org/c", True)]
    lines = b"\xef\xbb\xbfhttp://e.org/1\nhttp://e.org/2\n"
    assert read_sitemap(lines, BASE) == [("http://e.org/1", False), ("http://e.org/2", False)]
    assert read_sitemap(b"\x1f\x8bdamaged", BASE) == []
    atom = b"<feed><entry><link href='/3'/></entry></feed>"
    assert read_sitemap(atom, BASE) == [("http://e.org/3", False)]


def test_sitemaps_in_other_spellings() -> None:
    plain = "<?xml version='1.0'?><urlset xmlns='x'><url><loc>/é</loc></url></urlset>"
    picture = "<url><loc >/b</loc><image:image><image:loc>/b.png</image:loc></image:image></url>"
    prefixed = plain.replace("<", "<s:").replace("<s:/", "</s:").replace("<s:?", "<?")
    for body in (
        plain.encode(),
        b"\xef\xbb\xbf" + plain.encode(),
        plain.encode("utf-16"),
        plain.replace("?>", " encoding='iso-8859-1'?>").encode("latin-1"),
        prefixed.encode(),
        gzip.compress(plain.encode("utf-16")),
    ):
        assert read_sitemap(body, BASE) == [("http://e.org/%C3%A9", False)], body
    with_picture = plain.replace("</urlset>", f"{picture}</urlset>").encode()
    assert [url for url, _ in read_sitemap(with_picture, BASE)] == ["http://e.org/%C3%A9", "http://e.org/b"]
    assert is_sitemap(plain.encode("utf-16")) and is_sitemap(prefixed.encode()) and not is_sitemap(b"<rss></rss>")


def test_frames_are_links_and_a_refresh_leads_on() -> None:
    page = b"<base href=/c/><frame src=a><iframe src=b></iframe><meta http-equiv=refresh content='0;URL=\"d?e#f\"'>"
    said = read(page)
    assert said.links == ["http://e.org/c/a", "http://e.org/c/b"] and said.refresh == "http://e.org/c/d?e"
    assert read(b"", "", ("Refresh", "5; url=/x")).refresh == "http://e.org/x"
    for content, target in (
        ("3", ""),
        ("0, /x", "/x"),
        ("0 url = '/x' more", "/x"),
        ("1.5;/x", "/x"),
        ("url=/x", ""),
        ("0;", ""),
    ):
        found = read(f'<meta http-equiv="REFRESH" content="{content}">'.encode()).refresh
        assert found == (f"http://e.org{target}" if target else ""), content


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
        ("/a?sid=2f0c4a1e9b7d3856&b", "http://e.org/", "http://e.org/a?b"),
        ("/a?sid=the-mill-at-the-river-in-2024", "http://e.org/", "http://e.org/a?sid=the-mill-at-the-river-in-2024"),
        ("/a?sess=understandingsessions", "http://e.org/", "http://e.org/a?sess=understandingsessions"),
        ("/a?PHPSESSID=el4ukv0kqbvoirg7nkp4dncpk3", "http://e.org/", "http://e.org/a"),
        ("/" + "a" * 2000, "http://e.org/", None),
    ],
)
def test_normalise(url: str, base: str, expected: str | None) -> None:
    assert normalise(url, base) == expected
    if expected:
        assert normalise(expected) == expected


def test_parts_and_shapes() -> None:
    assert host_of("http://[::1]:80/a") == "::1" and host_of("https://e.org:8/x:y") == "e.org"
    assert host_of("HTTP://u:p@B.org?x") == "b.org" and host_of("book.epub#c") == host_of("ftp://e.org/") == ""
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


def test_content_type() -> None:
    assert content_type('Text/HTML; Charset="UTF-8"') == ("text/html", "utf-8")
    assert content_type("text/html") == ("text/html", "")

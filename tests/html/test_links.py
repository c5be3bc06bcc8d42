"""Tags, attributes and directives of pages and headers: C against the standard library's parser and plain versions."""

from __future__ import annotations

import html
import re
import threading
from html.entities import html5
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.html.charset import to_utf8
from gristmill.html.content.main_text import extract_html
from gristmill.html.directives import Directives, read_directives
from gristmill.html.links import Tag, header_tags, page_tags

STORYBOOKS = Path(__file__).parents[3] / "shared" / "data" / "storybooks"


class Plain(HTMLParser):
    """The slow, plain version: every tag that matters, with the first attribute of each name."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[Tag] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given: dict[str, str] = {}
        for name, value in attrs:
            given.setdefault(name, value or "")
        kind = given.get("type", "")
        if tag in ("a", "area", "base", "link") and "href" in given:
            self.found.append((tag, given["href"], given.get("rel", ""), kind))
        elif tag == "meta" and "content" in given:
            about = given.get("name", given.get("property", ""))
            self.found.append((tag, given["content"], about, given.get("http-equiv", "")))
        elif tag in ("frame", "iframe") and "src" in given:
            self.found.append((tag, given["src"], "", kind))


def plainly(text: str) -> list[Tag]:
    parser = Plain()
    parser.feed(text)
    return parser.found


@pytest.mark.skipif(not STORYBOOKS.exists(), reason="../shared/data/storybooks is not there")
def test_real_pages_against_the_standard_library() -> None:
    paths = sorted(STORYBOOKS.rglob("*.html"))[::6]
    assert len(paths) > 50
    for path in paths:
        body = path.read_bytes()
        assert page_tags(body, "utf-8") == plainly(body.decode()), path


WELL_FORMED = (
    "<a href=x>",
    "<A HREF='y' rel=\"nofollow\">",
    "<a href='?a=1&amp;b&#61;2&eacute;'>",
    "</a>",
    "text > < 3",
    "<script>'<a href=no>'</script>",
    "<STYLE>a{}</style >",
    "<meta name=robots content='noindex'>",
    "<meta property=p content=c type=t>",
    "<p class='<a href=no>'>",
    "<!-- <a href=no> -->",
    "<!doctype html>",
    "<link href rel=x href=second>",
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
    "&",
    "\0",
    "\x1b",
    "<title>",
    "<svg>",
    "<style/>",
)


@given(st.lists(st.sampled_from(WELL_FORMED), max_size=8))
def test_well_formed_pages_against_the_standard_library(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert page_tags(text.encode(), "") == plainly(text)


@settings(max_examples=300)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=12))
def test_any_bytes_are_survived(pieces: list[str]) -> None:
    body = "".join(pieces).encode("utf-8", "replace")
    for cut in range(0, len(body), 3):
        for tag, *values in page_tags(body[:cut], "utf-8"):
            assert tag in ("a", "area", "base", "link", "meta") and len(values) == 3


def decoded(value: str) -> str:
    """An attribute's value with references decoded as WHATWG §13.2.5.73 says, letter by letter."""
    out, at = "", 0
    while at < len(value):
        number = re.compile(r"&#(?:[xX]([0-9a-fA-F]+)|([0-9]+));?").match(value, at)
        names = [value[at + 1 : end] for end in range(at + 3, len(value) + 1) if value[at] == "&"]
        longest = max((name for name in names if name in html5), key=len, default="")
        after = value[at + 1 + len(longest) :][:1]
        if number:
            code = int(number[1], 16) if number[1] else int(number[2])
            windows = html.unescape(f"&#{code};") if 0x80 <= code < 0xA0 else ""
            out += windows or (chr(code) if 0 < code < 0xD800 or 0xE000 <= code <= 0x10FFFF else "\ufffd")
            at = number.end()
        elif longest.endswith(";") or (longest and not (after == "=" or (after.isascii() and after.isalnum()))):
            out, at = out + html5[longest], at + 1 + len(longest)
        else:
            out, at = out + value[at], at + 1
    return out


NAMES = ("amp", "copy", "copysr", "sect", "not", "notin", "nGt", "lt", "reg", "times", "eacute", "para", "hellip")


@given(st.lists(st.sampled_from([*NAMES, *"&&&&;;==#x4123aZ ?/é", "&#x", "&#"]), max_size=12).map("".join))
def test_references_of_attributes_against_a_plain_version(value: str) -> None:
    assert page_tags(f'<a href="{value}">'.encode(), "utf-8") == [("a", decoded(value), "", "")]


def test_a_query_keeps_names_that_begin_like_references() -> None:
    body = b'<a href="?cat=1&section=2&copy=3&reg1&amp=4&amp;lang=en&lt">'
    assert page_tags(body, "") == [("a", "?cat=1&section=2&copy=3&reg1&amp=4&lang=en<", "", "")]


@pytest.mark.parametrize("codec", ["utf-8", "latin-1", "utf-16", "cp1251", "shift_jis", "big5", "euc_jp", "iso2022_jp"])
def test_charsets(codec: str) -> None:
    word = {"latin-1": "é", "cp1251": "ж", "utf-16": "жé", "utf-8": "жé", "big5": "功許蓋"}.get(codec, "表示ソ")
    page = f'<p>{word}<a href="/{word}" rel="x">{word}</a><a href=y>'.encode(codec)
    assert page_tags(page, codec) == [("a", f"/{word}", "x", ""), ("a", "y", "", "")]


def test_frames_and_refreshes_are_tags_too() -> None:
    body = b"<META HTTP-EQUIV=Refresh content='0; url=/x'><frame src=a>"
    body += b"<iframe src='b?c&amp;d'><a href=no></iframe><a href=e>"
    assert page_tags(body, "") == [
        ("meta", "0; url=/x", "", "Refresh"),
        *(("frame", "a", "", ""), ("iframe", "b?c&d", "", ""), ("a", "e", "", "")),
    ]


def test_svg_and_scripts_hide_no_links() -> None:
    body = b"<svg><title/><style/><a href=1></svg><script><!-- <script></script> <a href=no> --></script><a href=2>"
    assert [tag[1] for tag in page_tags(body, "")] == ["1", "2"]
    assert [tag[1] for tag in page_tags(b"<title/><a href=no></title><a href=3>", "")] == ["3"]


def test_threads_have_rows_of_their_own() -> None:
    bodies = [f"<a href=/{n}>".encode() * (1 + 37 * n) for n in range(40)]
    wrong: list[int] = []

    def work(shift: int) -> None:
        for step in range(400):
            n = (step * 7 + shift) % len(bodies)
            if page_tags(bodies[n], "") != [("a", f"/{n}", "", "")] * (1 + 37 * n):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- directives ----


def said_by(page: str = "", *headers: tuple[str, str], agent: str = "gristmill/0.1") -> Directives:
    return read_directives([*page_tags(page.encode(), "utf-8"), *header_tags(headers)], headers, agent)


def test_directives_of_markup() -> None:
    said = said_by(
        "<meta name='TDM-Reservation' content=1><meta name=Gristmill content=noai><meta name=robots content='nofollow'>"
        "<meta name=DC.rights content=' CC  BY 4.0 '><meta name=x content=y><link rel='Canonical' href='/b?x&amp;y'>"
        "<link rel=canonical href=/no><a rel='license nofollow' href='/licence'>l</a><a href=/other>o</a>"
        "<a href='https://creativecommons.org/licenses/by/4.0/'>cc</a>"
    )
    assert (said.noindex, said.nofollow, said.noai, said.tdm, said.canonical) == (False, True, True, True, "/b?x&y")
    assert said.rights() == [
        ("license", "/licence"),
        ("dc.rights", "CC BY 4.0"),
        ("", "https://creativecommons.org/licenses/by/4.0/"),
    ]
    assert said.signals() == ["noai", "tdm"]
    assert said_by("<meta name=otherbot content=noindex>") == Directives()
    assert said_by("<meta name=tdm-reservation content=0>", ("TDM-Reservation", "1")).tdm is False


def test_the_facts_that_extraction_hands_on_say_the_same() -> None:
    page = (
        "<html><head><title> A &amp; B | Site </title><link rel='canonical' href='https://a.test/?x=1&amp;y&copy=3'>"
        "<link rel=stylesheet href=x.css><meta name=ROBOTS content='noindex, noai'><meta name=d content='x&sect=y'>"
        "</head><h1>A &amp; B</h1><a rel='license nofollow' href='/licence'>l</a><p>Text.</p>"
        "<a href='https://creativecommons.org/licenses/by/4.0/'>cc</a><a href=/other>o</a>"
    )
    found = extract_html(page)
    assert found.title == "A & B"
    assert read_directives(found.tags, (), "g") == said_by(page, agent="g") != Directives()
    assert ("meta", "x&sect=y", "d", "") in found.tags
    assert found.tags == [tag for tag in page_tags(page.encode(), "") if tag[1] not in ("x.css", "/other")]


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("X-Robots-Tag", "noindex, nofollow", {"noindex": True, "nofollow": True}),
        ("X-Robots-Tag", "none", {"noindex": True, "nofollow": True}),
        ("X-Robots-Tag", "otherbot: noindex", {"noindex": False}),
        ("X-Robots-Tag", "gristmill: noindex", {"noindex": True}),
        ("X-Robots-Tag", "unavailable_after: 25 Jun 2010 15:00:00 PST", {"noindex": False}),
        ("X-Robots-Tag", "unavailable_after: Friday, 25-Jun-10 15:00:00 PST, noindex", {"noindex": True}),
        ("X-Robots-Tag", "noai, noimageai", {"noai": True, "noindex": False}),
        ("X-Robots-Tag", "max-snippet:50, noindex", {"noindex": True}),
        ("X-Robots-Tag", "max-image-preview: large, noai", {"noai": True}),
        ("X-Robots-Tag", "noindex, max-snippet:50", {"noindex": True}),
        ("X-Robots-Tag", "MAX-VIDEO-PREVIEW:-1,NoIndex", {"noindex": True}),
        ("X-Robots-Tag", "otherbot: noindex, max-snippet: 5, nofollow", {"noindex": False, "nofollow": False}),
        ("X-Robots-Tag", "otherbot: noindex, gristmill: noai, nofollow", {"noindex": False, "noai": True}),
        ("X-Robots-Tag", "noai, otherbot: noindex", {"noindex": False, "noai": True}),
        ("X-Robots-Tag", "*: noindex", {"noindex": True}),
        ("TDM-Reservation", "1", {"tdm": True}),
        ("TDM-Reservation", "0", {"tdm": False}),
        ("Content-Usage", "train-ai=n", {"noai": True, "no_ai_input": False}),
        ("Content-Signal", "search=yes, ai-input=no", {"noai": False, "no_ai_input": True}),
        ("Link", '<https://l.org/>; rel="license"', {"licences": ["https://l.org/"]}),
        ("Link", "</c>; rel=canonical; rel=next, </x>; rel=next", {"canonical": "/c"}),
        ("link", '<https://a.org/>; rel="license nofollow"; title="a, b;c"', {"licences": ["https://a.org/"]}),
    ],
)
def test_what_headers_say(header: str, value: str, expected: dict[str, object]) -> None:
    said = said_by("", (header, value))
    assert {name: getattr(said, name) for name in expected} == expected


def test_preferences_on_usage() -> None:
    def signal(value: str) -> Directives:
        return said_by("", ("Content-Signal", value))

    assert signal("search=yes,ai-train=no").noai and signal("train-ai=n").noai and signal("AI-Train = No").noai
    assert (
        not signal("ai-train=yes").noai and not signal("no-ai-train=no").noai and not signal("ai-train=no").no_ai_input
    )


# ---- charset of a header ----


def test_a_header_may_name_utf_16_where_the_bytes_are_wide() -> None:
    assert to_utf8("<p>naïve".encode("utf-16-le"), "utf-16") == "<p>naïve".encode()
    assert to_utf8("<p>naïve".encode(), "utf-16") == "<p>naïve".encode()
    assert to_utf8("<p>naïve".encode("utf-32"), "") == "<p>naïve".encode()

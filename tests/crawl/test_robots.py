"""robots.txt against RFC 9309 and the facts that Google's parser is tested for, restated."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.crawl.robots import Rule, normal_path, parse_robots
from gristmill.html.directives import product_token

GROUPS = """allow: /foo/bar/

user-agent: FooBot
disallow: /
allow: /x/
user-agent: BarBot
disallow: /
allow: /y/


allow: /w/
user-agent: BazBot

user-agent: FooBot
allow: /z/
disallow: /
"""
# (robots.txt, our agent, path, whether it may be fetched)
CASES = [
    ("", "FooBot", "/", True),
    ("user-agent: FooBot\ndisallow: /\n", "FooBot", "/x/y", False),
    ("foo: FooBot\nbar: /\n", "FooBot", "/x/y", True),
    ("user-agent FooBot\ndisallow /\n", "FooBot", "/x/y", False),
    (GROUPS, "FooBot", "/x/b", True),
    (GROUPS, "FooBot", "/z/d", True),
    (GROUPS, "FooBot", "/y/c", False),
    (GROUPS, "BarBot", "/y/c", True),
    (GROUPS, "BarBot", "/w/a", True),
    (GROUPS, "BarBot", "/z/d", False),
    (GROUPS, "BazBot", "/z/d", True),
    (GROUPS, "FooBot", "/foo/bar/", False),
    (GROUPS, "BarBot", "/foo/bar/", False),
    (GROUPS, "BazBot", "/foo/bar/", False),
    ("User-agent: BarBot\nSitemap: https://foo.bar/sitemap\nUser-agent: *\nDisallow: /\n", "FooBot", "/", False),
    ("User-agent: BarBot\nSitemap: https://foo.bar/sitemap\nUser-agent: *\nDisallow: /\n", "BarBot", "/", False),
    ("User-agent: FooBot\nInvalid-Unknown-Line: unknown\nUser-agent: *\nDisallow: /\n", "FooBot", "/", False),
    ("User-agent: FooBot\nInvalid-Unknown-Line: unknown\nUser-agent: *\nDisallow: /\n", "BarBot", "/", False),
    ("User-agent: FooBot\nCrawl-delay: 1\nUser-agent: BarBot\nDisallow: /\n", "FooBot", "/", False),
    ("User-agent: FooBot\nContent-Signal: search=yes\n\nUser-agent: BarBot\nDisallow: /\n", "FooBot", "/", False),
    ("User-agent: FooBot\nCrawl-delay: 1\nUser-agent: *\nDisallow: /x\n", "FooBot", "/x", False),
    ("User-agent: FooBot\nAllow: /\nCrawl-delay: 1\nUser-agent: *\nDisallow: /\n", "FooBot", "/", True),
    ("USER-AGENT: FooBot\nALLOW: /x/\nDISALLOW: /\n", "FooBot", "/x/y", True),
    ("UsEr-AgEnT: FooBot\nAlLoW: /x/\nDiSaLlOw: /\n", "FooBot", "/a/b", False),
    ("User-Agent: FOO BAR\nAllow: /x/\nDisallow: /\n", "Foo", "/x/y", True),
    ("User-Agent: FOO BAR\nAllow: /x/\nDisallow: /\n", "Foo", "/a/b", False),
    ("User-Agent: foo\nAllow: /x/\nDisallow: /\n", "Foo", "/a/b", False),
    ("User-Agent: *\nDisallow: /\nUser-Agent: Foo Bar\nAllow: /x/\nDisallow: /\n", "Foo", "/x/y", True),
    ("user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /\n", "FooBot", "/x/y", False),
    ("user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /\n", "BarBot", "/x/y", True),
    ("user-agent: *\ndisallow: /\n", "FooBot", "/x/y", False),
    (
        "user-agent: FooBot\nallow: /\nuser-agent: BarBot\ndisallow: /\nuser-agent: BazBot\ndisallow: /\n",
        "QuxBot",
        "/x/y",
        True,
    ),
    ("user-agent: FooBot\ndisallow: /X/\n", "FooBot", "/x/y", True),
    ("user-agent: FooBot\ndisallow: /x/page.html\nallow: /x/\n", "FooBot", "/x/page.html", False),
    ("user-agent: FooBot\nallow: /x/page.html\ndisallow: /x/\n", "FooBot", "/x/page.html", True),
    ("user-agent: FooBot\nallow: /x/page.html\ndisallow: /x/\n", "FooBot", "/x/", False),
    ("user-agent: FooBot\ndisallow: \nallow: \n", "FooBot", "/x/page.html", True),
    ("user-agent: FooBot\ndisallow: /\nallow: /\n", "FooBot", "/x/page.html", True),
    ("user-agent: FooBot\ndisallow: /x\nallow: /x/\n", "FooBot", "/x", False),
    ("user-agent: FooBot\ndisallow: /x\nallow: /x/\n", "FooBot", "/x/", True),
    ("user-agent: FooBot\ndisallow: /x/page.html\nallow: /x/page.html\n", "FooBot", "/x/page.html", True),
    ("user-agent: FooBot\nallow: /page\ndisallow: /*.html\n", "FooBot", "/page.html", False),
    ("user-agent: FooBot\nallow: /page\ndisallow: /*.html\n", "FooBot", "/page", True),
    ("user-agent: FooBot\nallow: /x/page.\ndisallow: /*.html\n", "FooBot", "/x/page.html", True),
    ("user-agent: FooBot\nallow: /x/page.\ndisallow: /*.html\n", "FooBot", "/x/y.html", False),
    ("User-agent: *\nDisallow: /x/\nUser-agent: FooBot\nDisallow: /y/\n", "FooBot", "/x/page", True),
    ("User-agent: *\nDisallow: /x/\nUser-agent: FooBot\nDisallow: /y/\n", "FooBot", "/y/page", False),
    (
        "User-agent: FooBot\nDisallow: /\nAllow: /foo/bar?qux=taz&baz=http://foo.bar?tar&par\n",
        "FooBot",
        "/foo/bar?qux=taz&baz=http://foo.bar?tar&par",
        True,
    ),
    ("User-agent: FooBot\nDisallow: /\nAllow: /foo/bar/ツ\n", "FooBot", "/foo/bar/%E3%83%84", True),
    ("User-agent: FooBot\nDisallow: /\nAllow: /foo/bar/%E3%83%84\n", "FooBot", "/foo/bar/%E3%83%84", True),
    ("User-agent: FooBot\nDisallow: /\nAllow: /foo/bar/%e3%83%84\n", "FooBot", "/foo/bar/%E3%83%84", True),
    ("User-agent: FooBot\nDisallow: /\nAllow: /foo/bar/%62%61%7A\n", "FooBot", "/foo/bar/%62%61%7A", True),
    ("User-agent: FooBot\nDisallow: /\nAllow: /foo/bar/%62%61%7A\n", "FooBot", "/foo/bar/baz", True),
    (
        "User-agent: FooBot\nDisallow: /foo/bar?baz=https%3A%2F%2Ffoo.bar\n",
        "FooBot",
        "/foo/bar?baz=https%3A%2F%2Ffoo.bar",
        False,
    ),
    ("User-agent: FooBot\nDisallow: /foo/bar/quz\nAllow: /foo/*/qux\n", "FooBot", "/foo/bar/quz", False),
    ("User-agent: FooBot\nDisallow: /foo/bar/quz\nAllow: /foo/*/qux\n", "FooBot", "/foo/quz", True),
    ("User-agent: FooBot\nDisallow: /foo/bar$\nAllow: /foo/bar/qux\n", "FooBot", "/foo/bar", False),
    ("User-agent: FooBot\nDisallow: /foo/bar$\nAllow: /foo/bar/qux\n", "FooBot", "/foo/bar/qux", True),
    ("User-agent: FooBot\nDisallow: /foo/bar$\nAllow: /foo/bar/qux\n", "FooBot", "/foo/bar/baz", True),
    ("User-agent: FooBot\n# Disallow: /\nDisallow: /foo/quz#qux\nAllow: /\n", "FooBot", "/foo/bar", True),
    ("User-agent: FooBot\n# Disallow: /\nDisallow: /foo/quz#qux\nAllow: /\n", "FooBot", "/foo/quz", False),
    ("user-agent: FooBot\ndisallow: /\nallow: /fish*\n", "FooBot", "/fishheads/yummy.html", True),
    ("user-agent: FooBot\ndisallow: /\nallow: /fish*\n", "FooBot", "/Fish.asp", False),
    ("user-agent: FooBot\ndisallow: /\nallow: /fish/\n", "FooBot", "/fish.html", False),
    ("user-agent: FooBot\ndisallow: /\nallow: /fish/\n", "FooBot", "/fish/?id=anything", True),
    ("user-agent: FooBot\ndisallow: /\nallow: /*.php\n", "FooBot", "/folder/any.php.file.html", True),
    ("user-agent: FooBot\ndisallow: /\nallow: /*.php\n", "FooBot", "/windows.PHP", False),
    ("user-agent: FooBot\ndisallow: /\nallow: /*.php$\n", "FooBot", "/filename.php?parameters", False),
    ("user-agent: FooBot\ndisallow: /\nallow: /*.php$\n", "FooBot", "/filename.php", True),
    ("user-agent: FooBot\ndisallow: /\nallow: /*.php$\n", "FooBot", "/filename.php5", False),
    ("user-agent: FooBot\ndisallow: /\nallow: /*.php$\n", "FooBot", "/filename?php", False),
    ("user-agent: FooBot\ndisallow: /\nallow: /fish*.php\n", "FooBot", "/fishheads/catfish.php?id=1", True),
    ("user-agent: FooBot\nallow: /p\ndisallow: /\n", "FooBot", "/page", True),
    ("user-agent: FooBot\nallow: /folder\ndisallow: /folder\n", "FooBot", "/folder/page", True),
    ("user-agent: FooBot\nallow: /page\ndisallow: /*.htm\n", "FooBot", "/page.htm", False),
    ("user-agent: FooBot\nallow: /$\ndisallow: /\n", "FooBot", "/", True),
    ("user-agent: FooBot\nallow: /$\ndisallow: /\n", "FooBot", "/page.html", False),
    ("User-Agent: foo\rAllow: /some/path\rUser-Agent: bar\r\r\rDisallow: /\r", "bar", "/x", False),
    ("\ufeffUser-Agent: foo\nAllow: /AnyValue\nDisallow: /\n", "foo", "/x", False),
    ("User-Agent: foo\nAllow: /AnyValue\nUser-Agent: bar\nDisallow: /\n", "foo", "/x", True),
    ("user-agent: FooBot\ndisallow: /a*b*c$\n", "FooBot", "/axbyc", False),
    ("user-agent: FooBot\ndisallow: /a*b*c$\n", "FooBot", "/axbycx", True),
    ("user-agent: FooBot\ndisallow: /a$b\n", "FooBot", "/a$b", False),
    ("user-agent: FooBot\ndisallow: *\n", "FooBot", "/a", False),
    ("user-agent: FooBot\ndisallow: foo\n", "FooBot", "/foo", True),
    ("user-agent: FooBot\nuser-agent: BarBot\ndisallow: /\n\nuser-agent: *\nallow: /\n", "BarBot", "/x", False),
    ("User-Agent: gristmill-news\nDisallow: /\n", "gristmill", "/x", True),
    ("User-Agent: gristmill/2.0\nDisallow: /\n", "gristmill", "/x", False),
    ("User-Agent: grist\nDisallow: /\n", "gristmill/0.1", "/x", True),
    ("User-Agent: gristmill\nDisallow: /\n", "gristmill/0.1 (+http://x)", "/x", False),
    ("User-Agent: mill\nDisallow: /\n", "gristmill/0.1", "/x", True),
    ("user-agent: *\ndisallow: /robots.txt\n", "x", "/robots.txt", True),
    ("user-agent: *\ndisallow: /path/file-with-a-%2A.html\n", "x", "/path/file-with-a-*.html", False),
    ("user-agent: *\ndisallow: /path/file-with-a-%2A.html\n", "x", "/path/file-with-a-x.html", True),
    ("user-agent: *\ndisallow: /a%24\n", "x", "/a$b", False),
    ("user-agent: *\ndisallow: /a%2fb\n", "x", "/a/b", True),
]


@pytest.mark.parametrize(("text", "agent", "path", "allowed"), CASES)
def test_what_may_be_fetched(text: str, agent: str, path: str, allowed: bool) -> None:
    assert parse_robots(text, agent).decide(path)[0] is allowed


def test_the_examples_of_the_rfc() -> None:
    text = (
        "User-Agent: *\nDisallow: *.gif$\nDisallow: /example/\nAllow: /publications/\n\n"
        "User-Agent: foobot\nDisallow:/\nAllow:/example/page.html\nAllow:/example/allowed.gif\n\n"
        "User-Agent: barbot\nUser-Agent: bazbot\nDisallow: /example/page.html\n\nUser-Agent: quxbot\n\nEOF"
    )  # RFC 9309 §5.1

    def allowed(agent: str, path: str) -> bool:
        return parse_robots(text, agent).decide(path)[0]

    assert not allowed("other", "/a.gif") and not allowed("other", "/example/x") and allowed("other", "/publications/x")
    assert allowed("foobot", "/example/page.html") and allowed("foobot", "/example/allowed.gif")
    assert not allowed("foobot", "/") and not allowed("foobot", "/publications/")
    for agent in ("barbot", "bazbot"):
        assert not allowed(agent, "/example/page.html") and allowed(agent, "/example/x") and allowed(agent, "/a.gif")
    assert allowed("quxbot", "/example/page.html")
    longest = "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n"  # §5.2
    assert not parse_robots(longest, "foobot").decide("/example/page/disallowed.gif")[0]
    assert parse_robots(longest, "foobot").decide("/example/page/")[0]


def test_the_line_that_decides_is_named() -> None:
    robots = parse_robots("# hello\nuser-agent: *\ndisallow: /a\nallow: /a/b\n", "gristmill/0.1")
    assert robots.decide("/a/c") == (False, "disallow: /a (line 3)")
    assert robots.decide("/a/b") == (True, "allow: /a/b (line 4)")
    assert robots.decide("/z") == (True, "")


def test_what_else_is_read() -> None:
    text = (
        "Sitemap: http://e.org/s.xml\nUser-agent: gristmill\nCrawl-delay: 2.5\nContent-Signal: ai-train=no\n"
        "User-agent: *\nCrawl-delay: 9\nLicense: https://e.org/licence.xml\n"
    )
    robots = parse_robots(text, "gristmill/0.1")
    assert (robots.crawl_delay, robots.noai, robots.sitemaps) == (2.5, True, ["http://e.org/s.xml"])
    assert robots.licence == "https://e.org/licence.xml"
    assert not parse_robots(text, "other").noai
    assert parse_robots("user-agent: *\ncontent-usage: train-ai=n", "x").noai
    assert not parse_robots("user-agent: *\ncontent-signal: ai-train=yes", "x").noai


def test_product_token() -> None:
    assert product_token("Gristmill/0.1 (+https://e.org/bot)") == "gristmill"


@given(st.text("ab*$/", max_size=12), st.text("ab/", max_size=12))
def test_matching_against_regular_expressions(pattern: str, path: str) -> None:
    rule, path = re.sub(r"\*+", "*", "/" + pattern), "/" + path
    body, end = (rule[:-1], "$") if rule.endswith("$") else (rule, "")
    expected = re.match(
        "".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", body)) + end, path
    )
    assert Rule(True, rule.encode(), 0).matches(path.encode()) is bool(expected)


@given(st.binary(max_size=30))
def test_normal_paths_stay_as_they_are(path: bytes) -> None:
    once = normal_path(path)
    assert normal_path(once) == once and once.isascii()


def test_hostile_files_cost_little() -> None:
    started = time.process_time()
    text = "user-agent: *\n" + "disallow: /" + "*a" * 5000 + "$\n" + "x" * 500_000 + "\n" + "allow: /a\n" * 20_000
    parse_robots(text, "x").decide("/" + "a" * 1900 + "b")
    assert time.process_time() - started < 3

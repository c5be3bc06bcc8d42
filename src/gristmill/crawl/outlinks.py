"""What pages, sitemaps and feeds link to, as absolute URLs, with what a page asks of crawlers."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gristmill.crawl.client import CutShort, Headers, gunzip
from gristmill.crawl.robots import Rule, normal_path
from gristmill.crawl.urls import normalise
from gristmill.html.charset import to_utf8
from gristmill.html.directives import Directives, read_directives
from gristmill.html.links import Tag, header_tags, refresh_target

LONGEST_WRITTEN = 4_000  # characters of a URL with character references: twice the longest that is kept
MAX_SITEMAP = 50_000_000  # bytes unpacked, https://www.sitemaps.org/protocol.html
SITEMAP_ROOT = re.compile(r"<([\w.-]{1,40}:)?(urlset|sitemapindex)[\s>]")
SITEMAP_HEAD = 1 << 16  # characters that hold a sitemap's first tag
SITEMAP_NAME = re.compile(r"\.xml(?:\.gz)?(?:\?|$)")
TDMREP = ("location", "tdm-reservation")
FEEDS = ("application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml")
# no `<` within a tag: else every `<` of a damaged file would be followed to the file's end
FEED_TAG = re.compile(r"<(?:(?:\w{1,40}:)?(?:item|entry)|(?:atom:)?(link))\b([^<>]*)>")
ATTRIBUTE = re.compile(r"\b(rel|href)=[\"']([^\"']*)")
TEXT = re.compile(r"\s*([^<]*(?:<!\[CDATA\[[^<]*)?)")  # of an XML element


@dataclass
class Said:
    """What a page names and says, in its markup and headers."""

    directives: Directives = field(default_factory=Directives)
    links: list[str] = field(default_factory=list)  # in page order, each once
    feeds: list[str] = field(default_factory=list)
    canonical: str = ""  # resolved
    refresh: str = ""  # where it sends its readers, resolved
    licence: str = ""  # URL of the one that it declares: nothing where it declares several


def read_page(tags: list[Tag], headers: Headers, url: str, agent: str) -> Said:
    """What the tags of a page (none where it is no HTML) and its headers name and say. `agent` is the user agent whose
    own robots tags count too.
    """
    base = next((tag[1] for tag in tags if tag[0] == "base"), "")
    base = normalise(base.strip(), url) or url
    # a Link header is relative to the page's own URL (RFC 8288 §3.2)
    tags = tags + [(name, normalise(target, url) or "", rel, kind) for name, target, rel, kind in header_tags(headers)]
    directives = read_directives(tags, headers, agent)
    declared = {licence for href in directives.licences if (licence := normalise(href, base))}
    return Said(
        directives,
        list(read_links(tags, base)),
        [feed for tag in tags if (feed := feed_of(tag, base))],
        normalise(directives.canonical, base) or "" if directives.canonical else "",
        (normalise(target, base) or "") if (target := refresh_target(tags, headers)) else "",
        declared.pop() if len(declared) == 1 else "",
    )


def read_links(tags: Iterable[Tag], base: str) -> dict[str, None]:
    """The pages that are linked or framed, each once, less those that a link says not to follow and licences."""
    links: dict[str, None] = {}
    seen: set[str] = set()  # an index may name one page hundreds of times
    for name, href, rel, _ in tags:
        if name not in ("a", "area", "frame", "iframe"):
            continue
        if rel and {"nofollow", "license"} & set(rel.lower().split()):
            continue
        href = href.partition("#")[0] or "#"
        if href not in seen:
            seen.add(href)
            if url := normalise(href.strip(), base):
                links[url] = None
    return links


def feed_of(tag: Tag, base: str) -> str | None:
    """The URL of the feed that a <link> names, if it names one."""
    name, href, rel, kind = tag
    is_feed = name == "link" and kind.strip().lower() in FEEDS and "alternate" in rel.lower().split()
    return normalise(href.strip(), base) if is_feed else None


def read_sitemap(body: bytes, base: str) -> list[tuple[str, bool]]:
    """URLs of a sitemap, sitemap index, plain list or feed (https://www.sitemaps.org/protocol.html), each with whether
    it is a sitemap's.
    """
    try:
        body = to_utf8(gunzip(body, MAX_SITEMAP))
    except CutShort as error:
        body = to_utf8(error.begin)
    except OSError:
        return []
    # regular expressions, not an XML parser: nothing to expand, and damaged files still give their URLs
    text = body.decode("utf-8", "replace")
    root = SITEMAP_ROOT.search(text, 0, SITEMAP_HEAD)
    if not root and "<" in text:
        return [(url, False) for url in read_feed(body, base)]
    prefix = re.escape(root[1] or "") if root else ""
    places = re.findall(rf"<{prefix}loc(?:\s[^<>]*)?>\s*([^<]*(?:<!\[CDATA\[[^<]*)?)", text) if root else text.split()
    index = bool(root) and root[2] == "sitemapindex"  # type: ignore[index]
    return [(url, index or SITEMAP_NAME.search(url) is not None) for url in unique(places, base)]


def is_sitemap(body: bytes) -> bool:
    """Whether an XML document is a sitemap or an index of them."""
    return bool(SITEMAP_ROOT.search(to_utf8(body[:SITEMAP_HEAD]).decode("utf-8", "replace")))


def read_feed(body: bytes, base: str) -> Iterator[str]:
    """URLs of the entries of an RSS, Atom (RFC 4287) or JSON feed."""
    text = to_utf8(body).decode("utf-8")
    if text.lstrip().startswith("{"):
        try:
            items = json.loads(text).get("items", [])
            yield from unique((item["url"] for item in items if isinstance(item.get("url"), str)), base)
        except (ValueError, AttributeError, TypeError, RecursionError):
            return
        return
    yield from unique(entry_links(text), base)


def entry_links(text: str) -> Iterator[str]:
    """What the entries of an XML feed link to, as written: a text in RSS, an attribute in Atom."""
    within = False  # the feed's own links come before its entries
    for tag in FEED_TAG.finditer(text):
        within = within or not tag[1]
        if not (within and tag[1]):
            continue
        given = dict(reversed(ATTRIBUTE.findall(tag[2])))  # the first of each name counts
        if "href" in given and given.get("rel", "alternate") == "alternate":
            yield given["href"]
        elif not tag[2]:
            yield TEXT.match(text, tag.end())[1]  # type: ignore[index]  # it matches anything


def unique(places: Iterable[str], base: str) -> Iterator[str]:
    """Normalised URLs of an XML file's texts, each once."""
    found: dict[str, None] = {}
    for place in places:
        text = place.strip().removeprefix("<![CDATA[").partition("]]>")[0].strip()
        if len(text) > LONGEST_WRITTEN:
            continue
        text = html.unescape(text)
        url = normalise(text, base) if text else None
        if url and url not in found:
            found[url] = None
            yield url


def read_tdmrep(body: bytes) -> list[tuple[Rule, bool]]:
    """Where `/.well-known/tdmrep.json` reserves rights (TDM Reservation Protocol §6.1), the first match first."""
    try:
        entries = json.loads(body)
    except (ValueError, RecursionError):
        return []
    rules = []
    for entry in entries if isinstance(entries, list) else []:
        location, reserved = (entry.get(name) if isinstance(entry, dict) else None for name in TDMREP)
        if isinstance(location, str) and reserved is not None:
            path = normal_path(location.encode("utf-8", "surrogatepass"))
            rules.append((Rule(False, path, 0), reserved in (1, "1")))
    return rules

"""What pages, sitemaps and feeds name, and what a page says to crawlers."""

from __future__ import annotations

import codecs
import ctypes
import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from gristmill.crawl.client import CutShort, Headers, gunzip
from gristmill.crawl.robots import Rule, normal_path, product_token, refuses_training
from gristmill.crawl.urls import normalise
from gristmill.native import BYTES, I64, Function

A, AREA, BASE, LINK, META = range(5)  # tags of tags.c
HREF, REL, NAME, CONTENT, TYPE = range(5)  # and attributes
ROW = 5
MAX_ATTRIBUTES = 50_000  # of one page that are read
TAG_ATTRIBUTES = Function("tag_attributes", ctypes.c_int64, BYTES, ctypes.c_int64, I64, ctypes.c_int64)
LONGEST_WRITTEN = 4_000  # characters of a URL with character references: twice the longest that is kept
MAX_SITEMAP = 50_000_000  # bytes unpacked, https://www.sitemaps.org/protocol.html
TDMREP = ("location", "tdm-reservation")
FEEDS = ("application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml")
LINK_HEADER = re.compile(r"<([^<>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:\"[^\"]*\"|[^\s;,]+))*)")
# no `<` within a tag: else every `<` of a damaged file would be followed to the file's end
FEED_TAG = re.compile(r"<(?:(?:\w{1,40}:)?(?:item|entry)|(?:atom:)?(link))\b([^<>]*)>")
ATTRIBUTE = re.compile(r"\b(rel|href)=[\"']([^\"']*)")
TEXT = re.compile(r"\s*([^<]*(?:<!\[CDATA\[[^<]*)?)")  # of an XML element
BOUND_BY_ASCII = ("utf-16", "utf-32", "iso-2022", "hz", "utf-7")  # encodings in which `<` may be part of a letter


@dataclass
class Said:
    """What a page says to crawlers, in its markup and headers."""

    links: list[str] = field(default_factory=list)  # in page order, each once
    feeds: list[str] = field(default_factory=list)
    noindex: bool = False
    nofollow: bool = False
    noai: bool = False
    tdm: bool | None = None  # TDM-Reservation: reserved, or explicitly not
    canonical: str = ""
    licence: str = ""


@cache
def room() -> np.ndarray:
    """Room for what C finds."""
    return np.empty(ROW * MAX_ATTRIBUTES, np.int64)


def tags(body: bytes) -> Iterator[tuple[int, dict[int, bytes]]]:
    """The tags of a page that matter here, in order, each with the attributes that do."""
    found = room()
    rows = found[: ROW * TAG_ATTRIBUTES(body, len(body), found, MAX_ATTRIBUTES)].tolist()
    number, tag, attributes = 0, A, dict[int, bytes]()
    for at in range(0, len(rows), ROW):
        if rows[at] != number:
            if attributes:
                yield tag, attributes
            number, tag, attributes = rows[at], rows[at + 1], {}
        attributes[rows[at + 2]] = body[rows[at + 3] : rows[at + 4]]
    if attributes:
        yield tag, attributes


def read_page(body: bytes, charset: str, base: str, agent: str) -> Said:
    """Links and meta tags of an HTML page. `agent` is the user agent whose own robots tags count too."""
    if charset.lower().replace("_", "-").startswith(BOUND_BY_ASCII):
        body, charset = body.decode(charset, "replace").encode(), "utf-8"

    def text(value: bytes | None) -> str:
        if not value:
            return ""
        plain = value.decode("ascii" if value.isascii() else charset, "replace")
        return html.unescape(plain) if "&" in plain else plain

    said = Said()
    links: dict[str, None] = {}
    seen: set[bytes] = set()  # an index may name one page hundreds of times
    based = False
    robots = {"robots", product_token(agent)}
    for tag, attributes in tags(body):
        if tag in (A, AREA):
            href = attributes.get(HREF, b"#")
            if b"&" not in href:
                href = href.partition(b"#")[0] or b"#"
            if href in seen and REL not in attributes:
                continue
            seen.add(href)
            rel = text(attributes.get(REL)).lower().split()
            url = normalise(text(href).strip(), base)
            if url and "license" in rel:
                said.licence = said.licence or url
            elif url and "nofollow" not in rel:
                links[url] = None
        elif tag == BASE and not based and HREF in attributes:
            based, base = True, normalise(text(attributes[HREF]).strip(), base) or base
            seen.clear()
        elif tag == LINK and HREF in attributes:
            relate(said, text(attributes.get(REL)), text(attributes.get(TYPE)), text(attributes[HREF]), base)
        elif tag == META:
            name, content = text(attributes.get(NAME)).strip().lower(), text(attributes.get(CONTENT))
            if name in robots:
                direct(said, content)
            elif name == "tdm-reservation":
                said.tdm = content.strip() == "1"
    said.links = list(links)
    return said


def read_headers(said: Said, headers: Headers, base: str, agent: str) -> None:
    """Add what the HTTP headers say: X-Robots-Tag, TDM-Reservation, Content-Usage, Link."""
    token = product_token(agent)
    for name, value in headers:
        name = name.lower()
        if name == "x-robots-tag":
            # `otherbot: noindex, nofollow` speaks to that crawler only, up to the end of the header
            who, colon, rest = value.partition(":")
            if not colon or " " in who.strip() or "," in who:
                direct(said, value)
            elif who.strip().lower() == token:
                direct(said, rest)
        elif name == "tdm-reservation" and said.tdm is None:
            said.tdm = value.strip() == "1"
        elif name in ("content-usage", "content-signal") and refuses_training(value):
            said.noai = True
        elif name == "link":
            for target, parameters in LINK_HEADER.findall(value):
                pairs = {
                    key.strip().lower(): item.strip().strip('"')
                    for key, _, item in (part.partition("=") for part in parameters.split(";"))
                }
                relate(said, pairs.get("rel", ""), pairs.get("type", ""), target, base)


def direct(said: Said, directives: str) -> None:
    """Note robots directives, as `noindex, nofollow`."""
    words = set(re.split(r"[\s,]+", directives.lower()))
    said.noindex |= bool(words & {"noindex", "none"})
    said.nofollow |= bool(words & {"nofollow", "none"})
    said.noai |= "noai" in words


def relate(said: Said, rel: str, kind: str, target: str, base: str) -> None:
    """Note a link relation (RFC 8288) that matters here; the first of its kind counts."""
    relations = rel.lower().split()
    url = normalise(target.strip(), base) if set(relations) & {"canonical", "license", "alternate"} else None
    if url and "canonical" in relations:
        said.canonical = said.canonical or url
    if url and "license" in relations:
        said.licence = said.licence or url
    if url and "alternate" in relations and kind.strip().lower() in FEEDS:
        said.feeds.append(url)


def read_sitemap(body: bytes, base: str) -> Iterator[str]:
    """URLs of a sitemap, sitemap index, or plain list (https://www.sitemaps.org/protocol.html)."""
    try:
        body = gunzip(body, MAX_SITEMAP)
    except CutShort as error:
        body = error.begin
    except OSError:
        return
    text = body.decode("utf-8", "replace")
    # a regular expression, not an XML parser: nothing to expand, and damaged files still give their URLs
    places = re.findall(r"<loc>\s*([^<]*(?:<!\[CDATA\[[^<]*)?)", text) or (text.split() if "<" not in text else [])
    yield from unique(places, base)


def read_feed(body: bytes, base: str) -> Iterator[str]:
    """URLs of the entries of an RSS, Atom (RFC 4287) or JSON feed."""
    text = body.decode("utf-8", "replace")
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


def known_charset(name: str) -> str:
    """Python's name of a charset, or nothing where it is none (or no text encoding)."""
    try:
        found = codecs.lookup(name.strip().strip("\"'"))
    except (LookupError, ValueError):
        return ""
    return found.name if found._is_text_encoding else ""

"""URLs: one spelling each, and those that a page or sitemap names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit, urlunsplit

from resiliparse.parse.html import HTMLTree

PORTS = {"http": "80", "https": "443"}
SAFE = re.compile(r"[^!#$%&'()*+,/:;=?@\[\]~\w.-]", re.ASCII)


def normalise(url: str, base: str = "") -> str | None:
    """Absolute http(s) URL without fragment, default port or dot segments, host in lower case (RFC 3986 §6.2).

    None where it is no such URL.
    """
    try:
        parts = urlsplit(urljoin(base, url.strip()) if base else url.strip())
        host = (parts.hostname or "").encode("idna").decode() if parts.hostname else ""
        port = str(parts.port) if parts.port else ""
    except (ValueError, UnicodeError):
        return None
    if parts.scheme not in PORTS or not host or len(url) > 2000:
        return None
    host = f"[{host}]" if ":" in host else host
    path = urlsplit(urljoin("http://x/", quote(parts.path) or "/")).path or "/"
    netloc = host if port in ("", PORTS[parts.scheme]) else f"{host}:{port}"
    return urlunsplit((parts.scheme, netloc, path, quote(parts.query), ""))


def quote(text: str) -> str:
    """Percent-encode what may not stand in a URL, and leave what is encoded already."""
    return SAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), text)


def host_of(url: str) -> str:
    """The host of a URL, in lower case."""
    return urlsplit(url).hostname or ""


@dataclass(frozen=True)
class Links:
    """What a page says to crawlers."""

    urls: list[str]  # in page order, each once
    noindex: bool
    nofollow: bool


def read_links(html: str, base: str, agent: str = "") -> Links:
    """Links of a page, and its robots meta tags (general, or naming our agent)."""
    document = HTMLTree.parse(html).document
    if document is None:
        return Links([], False, False)
    directives: set[str] = set()
    found: dict[str, None] = {}
    for meta in document.query_selector_all("meta[name]"):
        if (meta.getattr("name") or "").lower() in ("robots", agent.partition("/")[0].lower()):
            directives.update(re.split(r"[\s,]+", (meta.getattr("content") or "").lower()))
    base_tag = document.query_selector("base[href]")
    base = (normalise(base_tag.getattr("href") or "", base) if base_tag else None) or base
    for anchor in document.query_selector_all("a[href], area[href]"):
        if "nofollow" not in (anchor.getattr("rel") or "").lower().split():
            url = normalise(anchor.getattr("href") or "", base)
            if url:
                found.setdefault(url)
    everything = "none" in directives
    return Links(list(found), everything or "noindex" in directives, everything or "nofollow" in directives)


def read_sitemap(body: bytes, base: str) -> Iterator[str]:
    """URLs of a sitemap, sitemap index, or plain list (https://www.sitemaps.org/protocol.html)."""
    import gzip
    import html
    import zlib

    if body[:2] == b"\x1f\x8b":
        try:
            body = zlib.decompressobj(wbits=31).decompress(body, 50_000_000)
        except (zlib.error, gzip.BadGzipFile):
            return
    text = body.decode("utf-8", "replace")
    # a regular expression, not an XML parser: nothing to expand, and damaged files still give their URLs
    places = re.findall(r"<loc>\s*(.*?)\s*</loc>", text, re.DOTALL) or (text.split() if "<" not in text else [])
    for place in places:
        url = normalise(html.unescape(place.removeprefix("<![CDATA[").removesuffix("]]>")), base)
        if url:
            yield url

"""What a response is: whether its page is kept, under which rule it leaves otherwise, and what it names."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from gristmill.crawl.client import Response
from gristmill.crawl.content_type import content_type, payload_type
from gristmill.crawl.frontier import Found, Frontier, Turn, Visit
from gristmill.crawl.outlinks import FEEDS, Said, is_sitemap, read_feed, read_page, read_sitemap
from gristmill.crawl.throttle import Rules, redirect_target
from gristmill.crawl.urls import host_of, runs_in_circles, shape_of, target_of
from gristmill.crawl.warc import SUCCESS, Original, sha1
from gristmill.errors import UserError
from gristmill.html.links import page_tags
from gristmill.recipe import Crawl

HTML = ("text/html", "application/xhtml+xml")
KEPT = (*HTML, "text/plain", "text/markdown")
XML = ("text/xml", "application/xml")
STORED = ("page", "redirect", "copy", "unchanged")  # outcomes that are written to the WARC
FAILING = 8  # fetches that failed in a row, after which a host is left alone
TRAP_PAGES = 64  # of one shape, from which on a trap can be told
VARYING = re.compile(r"[?\d]")  # in a URL that a program may make without end
TRAP_FRESH = 1 / 8  # share of them that differ in more than their numbers: fewer is a trap


@dataclass
class Outcome:
    """What became of a fetch."""

    name: str
    links: list[Found] = field(default_factory=list)
    note: dict[str, Any] = field(default_factory=dict)  # for the log: why, and what was decided
    decisions: dict[str, Any] = field(default_factory=dict)  # for the record: robots, signals, licence
    digest: str = ""
    original: Original | None = None


def outcome_of(visit: Visit, response: Response, rules: Rules | None, params: Crawl, frontier: Frontier) -> Outcome:
    """The outcome of a response. It depends on the frontier only through what is settled for all to see."""
    if response.error:
        return Outcome(response.error, note={"detail": response.detail} if response.detail else {})
    if target := redirect_target(response):
        named = [Found(target, visit.depth, visit.hops + 1, visit.kind)]
        itself = "itself, with the cookies that it sets too"
        note = {"detail": f"redirect to {itself if target == visit.url else target}"}
        return Outcome("redirect", named, note, digest=sha1(response.body))
    if response.status == 304 and (earlier := frontier.previous(visit.url)):
        return unchanged(visit, earlier)
    if response.status not in SUCCESS:
        return Outcome(f"no_{visit.kind}" if visit.kind != "page" else f"status_{response.status}")
    if visit.kind == "sitemap":
        return Outcome("sitemap", sitemap_links(visit, response))
    kind, charset = content_type(response.header("content-type"))
    kind = payload_type(kind, response.body)
    if visit.kind == "feed" or kind in FEEDS or (kind in XML and is_feed(response.body)):
        return Outcome("feed", [Found(url, visit.depth + 1, 0, "page") for url in read_feed(response.body, visit.url)])
    if kind in XML and is_sitemap(response.body):
        return Outcome("sitemap", sitemap_links(visit, response))
    if kind not in KEPT:
        return Outcome("type", note={"detail": kind})
    tags = page_tags(response.body, charset, xml=kind == HTML[1]) if kind in HTML else []
    said = read_page(tags, response.headers, visit.url, params.user_agent)
    return outcome_of_page(visit, response, said, rules, params, frontier)


def outcome_of_page(
    visit: Visit, response: Response, said: Said, rules: Rules | None, params: Crawl, frontier: Frontier
) -> Outcome:
    """The outcome of a page, by what it says of itself and by what is known already."""
    directives = said.directives
    links = [] if directives.nofollow else [Found(url, visit.depth + 1, 0, "page") for url in said.links]
    links += [Found(url, visit.depth + 1, 0, "feed") for url in said.feeds]
    links += [Found(said.refresh, visit.depth, visit.hops + 1, "page")] if said.refresh else []
    robots = rules.robots if rules and rules.robots else None
    if directives.tdm is None and rules:
        directives.tdm = rules.reserved(target_of(visit.url))
    if robots:
        directives.noai |= robots.noai
        directives.no_ai_input |= robots.no_ai_input
    decisions: dict[str, Any] = {"robots": robots.decide(target_of(visit.url))[1] or "no rule" if robots else "none"}
    if present := directives.signals():
        decisions["signals"] = present
    if licence := said.licence if directives.licences or not robots else robots.licence:
        decisions["licence"] = licence
    outcome = Outcome("page", links, dict(decisions), decisions)
    for name in present:
        if name in params.honour:
            outcome.name = name
            return outcome
    if said.canonical and said.canonical != visit.url and host_of(said.canonical) == host_of(visit.url):
        outcome.note["canonical"] = said.canonical
        outcome.links.insert(0, Found(said.canonical, visit.depth, visit.hops + 1, "page"))
        # no text is lost to a wrong link: a page leaves only for one that is kept; the home page is the usual mistake
        if target_of(said.canonical) != "/" and frontier.outcome_of(said.canonical) == "page":
            outcome.name = "canonical"
            return outcome
    return compare(visit, response, outcome, frontier)


def compare(visit: Visit, response: Response, outcome: Outcome, frontier: Frontier) -> Outcome:
    """Whether the payload is new, the same as at the earlier crawl, or that of another page."""
    outcome.digest = sha1(response.body)
    for name, header in (("etag", "etag"), ("modified", "last-modified")):
        if value := response.header(header):
            outcome.note[name] = value
    earlier = frontier.previous(visit.url)
    if earlier and earlier[1] == outcome.digest:
        outcome.name, outcome.original = "unchanged", Original(visit.url, earlier[4])
        outcome.note |= {"digest": outcome.digest, "original": earlier[4]}
    elif same := frontier.same_payload(outcome.digest, visit.host):
        outcome.name, outcome.original = "copy", Original(*same)
        outcome.note["original"] = same[0]
    if varies(visit.url):
        skeleton = hashlib.blake2b(response.body.translate(None, b"0123456789"), digest_size=8).digest()
        frontier.count_shape(visit.host, shape_of(visit.url), skeleton)
    return outcome


def unchanged(visit: Visit, earlier: tuple[str, ...]) -> Outcome:
    """The outcome of a page that the server says has not been modified; its links are those of the earlier crawl."""
    _, digest, etag, modified, original, _ = earlier
    note = {"digest": digest, "etag": etag, "modified": modified, "original": original}
    return Outcome(
        "unchanged",
        note={name: value for name, value in note.items() if value},
        digest=digest,
        original=Original(visit.url, original),
    )


def hopeless(turn: Turn, visit: Visit, frontier: Frontier) -> str:
    """Why a URL need not be asked for, or nothing, by what has become of its host's URLs before it."""
    if turn.failures >= FAILING:
        return "host_failing"
    return "trap" if runs_in_circles(visit.url) or is_trap(visit.url, visit.host, frontier) else ""


def is_trap(url: str, host: int, frontier: Frontier) -> bool:
    """Whether pages of a URL's shape have shown the same text over and over, but for its numbers."""
    if not varies(url):
        return False
    pages, fresh = frontier.shape(host, shape_of(url))
    return pages >= TRAP_PAGES and fresh < TRAP_FRESH * pages


def varies(url: str) -> bool:
    """Whether a URL is one that a program may make without end."""
    return bool(VARYING.search(target_of(url)))


def is_feed(body: bytes) -> bool:
    """Whether an XML document is a feed."""
    head = body[:1000].lower()
    return any(mark in head for mark in (b"<rss", b"<feed", b"<rdf:rdf"))


def sitemap_links(visit: Visit, response: Response) -> list[Found]:
    """What a sitemap names: pages, and other sitemaps."""
    named = read_sitemap(response.body, visit.url)
    return [Found(url, visit.depth + 1, 0, "sitemap" if sitemap else "page") for url, sitemap in named]


def nothing_kept(frontier: Frontier) -> UserError:
    """Why no page was kept, for the first few URLs, and what to do."""
    reasons = [
        f"{row['url']} ({row.get('detail') or row.get('why') or row['outcome']})"
        for row, _ in zip(frontier.log(), range(5), strict=False)
    ]
    remedy = "check the address, the server and its robots.txt"
    if "private_address" in frontier.counts():
        remedy = 'allow the network in the recipe, as allow_networks = ["127.0.0.0/8"]'
    return UserError(f"the crawl kept no page: {'; '.join(reasons)}", remedy)

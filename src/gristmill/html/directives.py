"""What a page asks of those who keep, index or learn from pages: robots directives, TDM reservation, usage
preferences, canonical URL and licences, in its markup and in its HTTP headers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from gristmill.html.links import Tag

PRODUCT = re.compile(r"[A-Za-z_-]+")
AGENT = re.compile(r"[A-Za-z_*][\w.*-]*")
# directives of X-Robots-Tag that have a value, which a name of a crawler before a colon must not be taken for
VALUED = ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after")
# what forbids training, and use as input of a model's answer, in a Content-Signal (contentsignals.org) or Content-Usage
# (draft-ietf-aipref-attach)
NO_TRAINING = re.compile(r"(?:^|[,;\s])(?:ai-train\s*=\s*no|train-ai\s*=\s*n)\b", re.IGNORECASE)
NO_INPUT = re.compile(r"(?:^|[,;\s])ai-input\s*=\s*no\b", re.IGNORECASE)
RIGHTS = ("dc.rights", "dcterms.rights", "dcterms.license", "copyright", "rights", "license", "dc.rights.license")
LICENCE_PAGES = "creativecommons.org/"  # a link there counts without rel=license too


@dataclass
class Directives:
    """What a page says in its markup and headers."""

    noindex: bool = False
    nofollow: bool = False
    noai: bool = False  # no training of models
    no_ai_input: bool = False  # no use as input of a model's answer
    tdm: bool | None = None  # TDM-Reservation: reserved, or explicitly not
    canonical: str = ""  # as written
    licences: list[str] = field(default_factory=list)  # href of links with rel=license, as written
    mentions: list[tuple[str, str]] = field(default_factory=list)  # other links to a licence, and <meta> on rights

    def rights(self) -> list[tuple[str, str]]:
        """What tells a licence: ("license", href) of links that declare one, ("", href) of others, (name, content) of
        <meta>.
        """
        return [("license", href) for href in self.licences] + self.mentions

    def signals(self) -> list[str]:
        """The names of the reservations made."""
        given = {"noindex": self.noindex, "noai": self.noai, "tdm": bool(self.tdm), "ai-input": self.no_ai_input}
        return [name for name, present in given.items() if present]


def read_directives(tags: Iterable[Tag], headers: Iterable[tuple[str, str]], agent: str) -> Directives:
    """What the tags of a page (with those of its Link headers) and its headers say.

    `agent` is the user agent whose own robots tags and headers count too; those for other crawlers do not. Of several
    canonical URLs the first counts, and markup before headers.
    """
    said = Directives()
    token = product_token(agent)
    for name, value, rel, _ in tags:
        if name == "meta":
            read_meta(said, rel.strip().lower(), value, token)
        elif name in ("a", "area", "link"):
            relations = rel.lower().split() if rel else ()
            if name == "link" and "canonical" in relations:
                said.canonical = said.canonical or value.strip()
            elif "license" in relations:
                said.licences.append(value.strip())
            elif LICENCE_PAGES in value.lower():
                said.mentions.append(("", value.strip()))
    reserved = None
    for name, value in headers:
        name = name.lower()
        if name == "x-robots-tag":
            read_robots(said, addressed(value, token))
        elif name == "tdm-reservation" and reserved is None:
            reserved = value.strip() == "1"
        elif name in ("content-usage", "content-signal"):
            said.noai |= bool(NO_TRAINING.search(value))
            said.no_ai_input |= bool(NO_INPUT.search(value))
    if said.tdm is None:
        said.tdm = reserved
    return said


def read_meta(said: Directives, name: str, content: str, token: str) -> None:
    """Note what a <meta> tag says."""
    if name in ("robots", token):
        read_robots(said, content)
    elif name == "tdm-reservation":
        said.tdm = content.strip() == "1"
    elif name in RIGHTS:
        said.mentions.append((name, " ".join(content.split())))


def read_robots(said: Directives, directives: str) -> None:
    """Note robots directives, as `noindex, nofollow`."""
    words = set(re.split(r"[\s,]+", directives.lower()))
    said.noindex |= bool(words & {"noindex", "none"})
    said.nofollow |= bool(words & {"nofollow", "none"})
    said.noai |= "noai" in words


def addressed(value: str, token: str) -> str:
    """The directives of an X-Robots-Tag for all crawlers and for `token`.

    `otherbot: noindex, nofollow` speaks to that crawler alone, up to the next crawler's name or the header's end.
    """
    ours, meant = [], True
    for part in value.split(","):
        name, colon, rest = part.partition(":")
        name = name.strip().lower()
        if colon and name not in VALUED and AGENT.fullmatch(name):
            meant, part = name in ("*", token), rest
        if meant:
            ours.append(part)
    return ",".join(ours)


@lru_cache(64)
def product_token(agent: str) -> str:
    """The part of a user agent by which robots.txt knows it: `gristmill/0.1 (+https://…)` → `gristmill`."""
    found = PRODUCT.match(agent.strip())
    return found[0].lower() if found else ""

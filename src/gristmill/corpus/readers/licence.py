"""Which licence a page declares, as an SPDX identifier (https://spdx.org/licenses/).

Evidence in order of trust: links with rel=license, meta tags, other links to a licence's own page, a sentence that says
"licensed under". Within one kind of evidence everything must agree: a page that names two licences (a gallery, an
article on licensing) has no licence that would hold for its text, and gets none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

CC_URL = re.compile(
    r"creativecommons\.org/(?:licen[cs]es/([a-z+-]+)(?:/(\d\.\d))?(?:/([a-z]{2})\b)?|publicdomain/(zero|mark)/(\d\.\d))",
    re.IGNORECASE,
)
# part of a URL → identifier: the licences of texts and data that have one well-known page
URLS = tuple(
    (re.compile(form, re.IGNORECASE), licence)
    for form, licence in (
        (r"gnu\.org/(?:licenses|copyleft)/(?:old-licenses/)?fdl(?:-(\d\.\d))?", "GFDL-{}"),
        (r"open-government-licen[cs]e/version/(\d)", "OGL-UK-{}.0"),
        (r"opendatacommons\.org/licenses/odbl", "ODbL-1.0"),
        (r"opendatacommons\.org/licenses/by\b", "ODC-By-1.0"),
        (r"opendatacommons\.org/licenses/pddl", "PDDL-1.0"),
        (r"apache\.org/licenses/LICENSE-2\.0", "Apache-2.0"),
        (r"(?:opensource\.org|spdx\.org)/licenses?/MIT\b", "MIT"),
        (r"unlicense\.org", "Unlicense"),
    )
)
USUAL = "1.3"  # version of the GFDL where a link names none
CONDITIONS = {
    "by": r"by\b|attribution",
    "nc": r"nc\b|non-?\s?commercial",
    "nd": r"nd\b|no-?\s?deriv\w*",
    "sa": r"sa\b|share-?\s?alike",
}
CONDITION = "|".join(CONDITIONS.values())
CC_NAME = re.compile(
    rf"\b(?:cc0|creative\s+commons\s+zero|(?:creative\s+commons|cc)[\s:-]+"
    rf"((?:{CONDITION})(?:[\s,/:&-]+(?:and\s+)?(?:{CONDITION}))*))"
    r"(?:[^.\n]{0,40}?\b(\d\.\d)\b)?",
    re.IGNORECASE,
)
STATEMENT = re.compile(r"\b(?:licen[cs]ed|released|available|published|distributed|provided|shared)\b", re.IGNORECASE)
REACH = 160  # characters from "licensed" to the end of the licence's name
DECLARED = frozenset(("license", "licence"))


def detect_licence(links: Sequence[tuple[str, str]], text: str) -> str:
    """SPDX identifier of the licence that a page is under, or an empty string where none is declared or several are.

    `links` are (rel, href): links with rel `license`, hrefs of licence pages with any other rel, and meta tags with
    their name (`dc.rights`, `copyright`) for rel and their content for href. `text` is the page's own text.
    """
    declared = [href for rel, href in links if DECLARED & set(rel.lower().split())]
    meta = [href for rel, href in links if "rights" in rel.lower() or "copyright" in rel.lower()]
    linked = [href for rel, href in links if href not in declared and href not in meta]
    if linked and CC_NAME.search(text):
        linked = []  # a link next to text that names a licence is mostly a picture's credit: what the text says counts
    for evidence in (map(from_url, declared), map(from_meta, meta), map(from_url, linked), from_sentences(text)):
        found = {licence for licence in evidence if licence}
        if found:
            return found.pop() if len(found) == 1 else ""
    return ""


def from_url(url: str) -> str:
    """The licence that a URL is the page of."""
    if cc := CC_URL.search(url):
        name, version, country, domain, domain_version = cc.groups()
        if domain:
            return f"{'CC0' if domain.lower() == 'zero' else 'CC-PDM'}-{domain_version}"
        if name.lower() == "publicdomain":  # of old
            return "CC-PDDC"
        return creative_commons(name, version, country)
    found = ((licence, form.search(url)) for form, licence in URLS)
    return next((licence.format(*match.groups(USUAL)) for licence, match in found if match), "")


def from_meta(content: str) -> str:
    """The licence that the content of a meta tag links to or names."""
    return from_url(content) or next(named(content), "")


def from_sentences(text: str) -> Iterator[str]:
    """Licences that the text says it is under."""
    if "ommons" not in text and "CC" not in text:
        return
    for statement in STATEMENT.finditer(text):
        # what the sentence says first is meant: a second licence in it is mostly a part's own
        yield next(named(text[statement.end() : statement.end() + REACH].split("\n\n")[0]), "")


def named(text: str) -> Iterator[str]:
    """Creative Commons licences called by name."""
    for found in CC_NAME.finditer(text):
        conditions, version = found.groups()
        yield creative_commons(conditions, version) if conditions else f"CC0-{version or '1.0'}"


def creative_commons(conditions: str, version: str | None, country: str | None = None) -> str:
    """`by-sa`, `4.0` → `CC-BY-SA-4.0`; a version before 4.0 may be one country's own. Empty where nothing is known."""
    parts = [part.upper() for part, name in CONDITIONS.items() if re.search(name, conditions, re.IGNORECASE)]
    if not parts:
        return ""
    return "-".join(["CC", *parts, *([version] if version else []), *([country.upper()] if country else [])])

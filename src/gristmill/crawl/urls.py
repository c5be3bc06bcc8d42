"""URLs: one spelling each (WHATWG URL standard), and what their shape tells."""

from __future__ import annotations

import re
from functools import lru_cache

import ada_url

LONGEST = 2_000  # characters
# parameters that name a visit or a campaign, not a page
SESSION = r"(?:phpsessid|jsessionid|aspsessionid[a-z]*|sessionid|session_id|sess|sid|oscsid|zenid|cftoken|cfid)"
CAMPAIGN = r"(?:utm_[a-z]+|gclid|dclid|fbclid|msclkid|yclid|mc_cid|mc_eid)"
# what such an id looks like: letters and digits at random, in servlets with the node behind them; not a page's name
RANDOM = r"(?=[0-9a-z]*\d)(?=[0-9a-z]*[a-z])[0-9a-z]{16,}(?:[.!:~-][0-9a-z.!:~_-]*)?"
NOISE = re.compile(rf"(?<=[?&])(?:{CAMPAIGN}=[^&]*|{SESSION}=(?:{RANDOM}|\d{{16,}})(?=&|$))(?:&|$)", re.IGNORECASE)
PATH_SESSION = re.compile(r";(?:jsessionid|phpsessid)=[0-9a-z_.!-]+", re.IGNORECASE)
REPEATED = re.compile(r"(/[^/?]+(?:/[^/?]+)*?)\1\1(?=/|$)")  # /a/b/a/b/a/b
HOST = re.compile(r"https?://(?:[^/?#]*@)?(?:\[([^\]/?#]*)\]|([^:/?#\[\]]*))", re.IGNORECASE)
SKIPPED = ("mailto:", "javascript:", "tel:", "data:", "#")
DIGITS = re.compile(r"\d+")


def normalise(url: str, base: str = "") -> str | None:
    """The absolute http(s) URL as browsers spell it, without fragment, login, session id or campaign parameters.

    None where it is no such URL, or longer than 2,000 characters.
    """
    if url.startswith(SKIPPED):
        return None
    url = url.partition("#")[0]
    # a relative URL depends on the folder of its base alone, unless it is a query: so menus are resolved once
    return _normalise(url, base if url.startswith("?") or not url.strip() else base[: base.rfind("/") + 1])


@lru_cache(32_768)
def _normalise(url: str, base: str) -> str | None:
    if len(url) > LONGEST:
        return None
    try:
        found = ada_url.join_url(base, url) if base else ada_url.normalize_url(url)
    except ValueError:
        return None
    if not found.startswith(("http://", "https://")) or len(found) > LONGEST:
        return None
    if ";" in found:
        found = PATH_SESSION.sub("", found)
    path, question, query = found.partition("?")
    if question:
        query = NOISE.sub("", f"?{query}").rstrip("&")[1:]
        found = f"{path}?{query}" if query else path
    scheme, _, rest = found.partition("://")
    authority, slash, rest = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{rest}"


def host_of(url: str) -> str:
    """The host of an http or https URL in lower case, without brackets; an empty string of anything else."""
    found = HOST.match(url)
    return (found[1] or found[2] or "").lower() if found else ""


def origin_of(url: str) -> str:
    """Scheme and authority of a normalised URL."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def target_of(url: str) -> str:
    """Path and query of a normalised URL."""
    return "/" + url.partition("://")[2].partition("/")[2]


def shape_of(url: str) -> str:
    """What pages made by one rule have in common: the path without its numbers, and the query's names."""
    path, _, query = target_of(url).partition("?")
    names = ",".join(sorted({part.partition("=")[0] for part in query.split("&") if part}))
    return DIGITS.sub("0", path.rpartition("/")[0]) + "/?" + DIGITS.sub("0", names)


def runs_in_circles(url: str) -> bool:
    """Whether a path repeats itself three times over, as relative links that lead into themselves make it do."""
    return bool(REPEATED.search(target_of(url).partition("?")[0]))

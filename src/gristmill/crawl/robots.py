"""robots.txt as RFC 9309 has it: groups, longest match, wildcards, percent-encoding.

Written here because the parsers at hand stray from the RFC: the standard library's takes the first match, and Protego
0.7 (7 of 93 cases of `tests/crawl/test_robots.py`) lets unknown lines end a group, keeps a version in a user-agent line
and takes `grist` for `gristmill`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from gristmill.html.directives import NO_INPUT, NO_TRAINING, product_token

LONGEST_LINE = 16_384  # characters; what is longer is cut
UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
KEEP = UNRESERVED | frozenset(b"!#$&'()*+,/:;=?@[]%")  # octets that need no encoding in a rule or path
ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Rule:
    """One allow or disallow line."""

    allow: bool
    path: bytes  # in the RFC's normal form; `*` and a final `$` are special
    line: int

    def matches(self, path: bytes) -> bool:
        """Whether the rule covers a path with query. Linear in the path for every `*`: nothing to backtrack."""
        ends = self.path.endswith(b"$")
        parts = (self.path[:-1] if ends else self.path).split(b"*")
        if not path.startswith(parts[0]):
            return False
        if len(parts) == 1:
            return not ends or len(path) == len(parts[0])
        at = len(parts[0])
        for part in parts[1:-1]:
            at = path.find(part, at)
            if at < 0:
                return False
            at += len(part)
        if ends:
            return len(path) - len(parts[-1]) >= at and path.endswith(parts[-1])
        return path.find(parts[-1], at) >= 0


@dataclass
class Robots:
    """What a robots.txt says to one crawler."""

    rules: list[Rule] = field(default_factory=list)
    crawl_delay: float = 0.0  # seconds; not of the RFC, widely used
    sitemaps: list[str] = field(default_factory=list)
    noai: bool = False  # `Content-Signal: ai-train=no` or `Content-Usage: train-ai=n`
    no_ai_input: bool = False  # `Content-Signal: ai-input=no`
    licence: str = ""  # of the site, from a `License:` line (RSL 1.0)

    def decide(self, path: str) -> tuple[bool, str]:
        """Whether a path with query may be fetched, and the line that says so (empty where none does).

        The longest match decides, and allow where two are of equal length (RFC 9309 §2.2.2).
        """
        if path == "/robots.txt":
            return True, ""
        normal = normal_path(path.encode("utf-8", "surrogatepass")).replace(b"*", b"%2A").replace(b"$", b"%24")
        best = max(
            (rule for rule in self.rules if rule.matches(normal)),
            key=lambda rule: (len(rule.path), rule.allow),
            default=None,
        )
        if best is None:
            return True, ""
        said = f"{'allow' if best.allow else 'disallow'}: {best.path.decode('latin-1')} (line {best.line})"
        return best.allow, said


def normal_path(path: bytes) -> bytes:
    """The form in which paths are compared (RFC 9309 §2.2.2): encoded where it must be, decoded where it may be."""

    def normal_octet(found: re.Match[bytes]) -> bytes:
        octet = int(found[1], 16)
        return bytes((octet,)) if octet in UNRESERVED else b"%%%02X" % octet

    if b"%" in path:
        path = ENCODED.sub(normal_octet, path)
    if path.isascii() and b" " not in path and b'"' not in path:
        return path
    return b"".join(bytes((octet,)) if octet in KEEP else b"%%%02X" % octet for octet in path)


def parse_robots(text: str, agent: str) -> Robots:
    """The rules for `agent` in a robots.txt: those of all groups that name it, else of all groups for `*`."""
    token = product_token(agent)
    named: set[str] = set()  # the agents of all groups
    agents: set[str] = set()  # of the group that is read: whom its rules are for
    latest: set[str] = set()  # those of them that were named last, in a row: whom its other lines are for
    lines: list[tuple[set[str], tuple[str, str, int]]] = []  # whom each is for
    found = Robots()
    open_group = row = False  # more agents may come: only rules end that (RFC 9309 §2.2.4), any line ends a row
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff")), 1):
        name, separator, value = line[:LONGEST_LINE].partition("#")[0].partition(":")
        if not separator:
            name, _, value = line[:LONGEST_LINE].partition("#")[0].strip().partition(" ")  # a colon forgotten
        name, value = name.strip().lower(), value.strip()
        if name in ("user-agent", "useragent"):
            agents = agents if open_group else set()
            latest = latest if row else set()
            open_group = row = True
            for known in (named, agents, latest):
                known.add("*" if value.partition(" ")[0] == "*" else product_token(value))
        elif name in ("allow", "disallow"):
            lines.append((agents, (name, value, number)))
            open_group = row = False
        elif name in ("crawl-delay", "content-signal", "content-usage"):
            lines.append((latest, (name, value, number)))
            row = False
        elif name == "sitemap" and value:
            found.sitemaps.append(value)
        elif name in ("license", "licence") and value:
            found.licence = found.licence or value
    who = token if token and token in named else "*"
    read_group([line for meant, line in lines if who in meant], found)
    return found


def read_group(lines: Sequence[tuple[str, str, int]], found: Robots) -> None:
    """Add a group's lines."""
    for name, value, number in lines:
        if name in ("allow", "disallow"):
            if value.startswith(("/", "*")):
                path = re.sub(rb"\*+", b"*", normal_path(value.encode("utf-8", "surrogatepass")))
                path = path[:-1].replace(b"$", b"%24") + path[-1:]  # only a final `$` is special
                found.rules.append(Rule(name == "allow", path, number))
        elif name == "crawl-delay":
            seconds = re.match(r"\d+(\.\d+)?", value)
            found.crawl_delay = max(found.crawl_delay, float(seconds[0]) if seconds else 0.0)
        else:
            found.noai |= bool(NO_TRAINING.search(value))
            found.no_ai_input |= bool(NO_INPUT.search(value))

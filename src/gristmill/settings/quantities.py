"""Values as people write them in recipes and options: sizes, budgets, addresses, what goes into an HTTP header."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

LEAST_WEIGHT = 0.001  # readings an epoch
MOST_PARAMETERS, MOST_SECONDS, MOST_FLOPS = 10**13, 1e8, 1e27
FEWEST_FLOPS = 1e6


def parameters_of(size: str) -> int:
    """A number of parameters, as `1M`, `124M` or `1e9`; 0 for an empty text. Raises ValueError where it is none."""
    found = re.fullmatch(r"(\d{1,20}(?:\.\d{1,20})?(?:e\+?\d{1,2})?)([kMG]?)", size)
    number = round(float(found[1]) * 1000 ** " kMG".index(found[2] or " ")) if found else 0
    if size and not 1 <= number <= MOST_PARAMETERS:
        raise ValueError("a size is a number of parameters, as 1M or 124M, up to 10000G")
    return number


def seconds_and_flops(budget: str) -> tuple[float, float]:
    """Seconds (as `90s`, `5min`, `2h`, `1d`) and floating-point operations (as `1e15`) of a budget; one of them is 0.

    Raises ValueError where it is neither.
    """
    if not budget:
        return 0.0, 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\+?\d+)?)(s|min|h|d|)", budget)
    unit = {"s": 1, "min": 60, "h": 3600, "d": 86400}.get(found[2], 0) if found else 0
    number = float(found[1]) * (unit or 1) if found else 0.0
    if not 0 < number <= (MOST_SECONDS if unit else MOST_FLOPS):
        raise ValueError(
            "a budget is a time, as 90s, 5min, 2h or 1d, or a number of FLOPs, as 1e15; up to 1000d or 1e27"
        )
    if not unit and number < FEWEST_FLOPS:
        raise ValueError(f"{budget} without a unit are FLOPs, too little for any training: for seconds write {budget}s")
    return (number, 0.0) if unit else (0.0, number)


def bound_of(gate: str) -> tuple[str, float]:
    """Sign and number of a bound, as `<= 0.01`. Raises ValueError where it is none."""
    found = re.fullmatch(r"(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)", gate.strip())
    if not found:
        raise ValueError('a gate is a bound, as "<= 0.01" or ">= 0.9"')
    return found[1], float(found[2])


def matching(form: str, wrong: str) -> Callable[[str], str]:
    """A check that a whole text is of some form: it gives the text. Raises ValueError with `wrong` for another."""

    def check(text: str) -> str:
        if not re.fullmatch(form, text):
            raise ValueError(wrong)
        return text

    return check


header_value = matching(  # RFC 9110 section 5.5
    r"[!-~]([ -~]*[!-~])?", "it goes into an HTTP header: printable ASCII on one line, without spaces at the ends"
)
something = matching(r"(?s)\s*\S.*", "it is empty")
web_address = matching(
    r"(?is)https?://[^\s/?#@]+(?:[/?#].*)?",
    "a seed is an address, as https://example.org/, without a login: none is sent",
)
host_pattern = matching(r"[^\s/]+", "a host is named as example.org or *.example.org, without https:// and path")
media_type = matching(r"[^\s/]+/[^\s/]+", "a media type is written as text/html")  # RFC 6838


def plain_name(name: str) -> str:
    """A name that can be a folder's, and leads nowhere else. Raises ValueError where it is none."""
    if name in ("", ".", "..") or re.search(r"[/\\\0\n]", name) or len(name.encode()) > 200:
        raise ValueError("a name is that of a folder: not empty, without / or \\, and neither . nor ..")
    return name


def is_loopback(host: str) -> bool:
    """Whether a host, by its name or IP address (also in brackets), is this machine and reached from it only."""
    try:
        found = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost"
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def network(text: str) -> str:
    """A network's addresses. Raises ValueError for another."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("a network is written as 127.0.0.0/8") from None
    return text


def reading_weight(weight: float) -> float:
    """How often a document is read an epoch. Raises ValueError where that cannot be done."""
    if weight and not LEAST_WEIGHT <= weight <= 1 / LEAST_WEIGHT:
        raise ValueError(f"a weight is 0, which leaves a source out, or from {LEAST_WEIGHT:g} to {1 / LEAST_WEIGHT:g}")
    return weight


def not_one(k: int) -> int:
    """One token in k can be left out. Raises ValueError for 1, which would leave none."""
    if k == 1:
        raise ValueError("1 would leave no token to learn from; 4 is usual, 0 turns it off")
    return k

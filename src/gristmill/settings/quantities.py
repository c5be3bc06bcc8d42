"""Values as people write them in recipes and options: sizes, budgets, what goes into an HTTP header."""

from __future__ import annotations

import re


def parameters_of(size: str) -> int:
    """A number of parameters, as `1M` or `124M`; 0 for none. Raises ValueError where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", size or "0")
    if not found:
        raise ValueError("a size is a number of parameters, as 1M or 124M")
    unit: int = 1000 ** " kMG".index(found[2] or " ")
    return round(float(found[1]) * unit)


def seconds_and_flops(budget: str) -> tuple[float, float]:
    """Seconds (as `90s`, `5min`, `2h`, `1d`) and floating-point operations (as `1e15`) of a budget; one of them is 0.

    Raises ValueError where it is neither.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\+?\d+)?)(s|min|h|d|)", budget or "0")
    if not found:
        raise ValueError("a budget is a time, as 90s, 5min, 2h or 1d, or a number of FLOPs, as 1e15")
    seconds = {"s": 1, "min": 60, "h": 3600, "d": 86400}.get(found[2], 0)
    return float(found[1]) * seconds, 0.0 if seconds else float(found[1])


def header_value(text: str) -> str:
    """A text that may stand in an HTTP header (RFC 9110 section 5.5). Raises ValueError for another."""
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", text):
        raise ValueError("it goes into an HTTP header: printable ASCII on one line, without spaces at the ends")
    return text

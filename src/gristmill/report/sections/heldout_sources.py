"""Held-out text: what the finished model needs for a byte of it, by source and by language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gristmill.report.blocks import Block, Section, Table
from gristmill.report.plot import number
from gristmill.report.reading import Folders, values

KINDS = (("by_source", "By source"), ("by_language", "By language"))
HEAD = ("", "documents", "bytes", "bits per byte", "95 % interval")
SAYS = (
    "Bits per byte of text that was held out of training: less means better expected, and text that is made of the "
    "same sentences over and over needs less whatever the model knows. Sources are compared with that in mind. An "
    "interval is the bootstrap's, which draws documents; of fewer than five there is none."
)


def heldout_sources(folders: Folders) -> Section | None:
    """Tables of more than one source or language."""
    found = values(folders, "evaluate", "heldout.json")
    tables: list[Block] = [
        Table(caption, HEAD, [row(one) for one in found[kind]])
        for kind, caption in KINDS
        if len(found.get(kind, ())) > 1
    ]
    return Section("Where it expects the next token best", SAYS, tables) if tables else None


def row(one: Mapping[str, Any]) -> list[str]:
    """One source or language."""
    bits = f"{one['bits_per_byte']:.3f}" if "bits_per_byte" in one else ""
    sure = f"{one['low']:.3f} to {one['high']:.3f}" if "low" in one else ""
    return [one["name"], number(one["documents"]), number(one["bytes"]), bits, sure]

"""What an audit leaves: every kind of figure with an interval and a control."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gristmill.manifest import Manifest


def sure(name: str, value: float | None, low: float = 0.0, high: float = 0.0) -> dict[str, Any]:
    """A figure and its interval, as `audit.json` has them side by side."""
    return {name: value, f"{name}_interval": None if value is None else [low, high]}


def audited(folder: Path, text: str) -> None:
    """Write the folder of an audit whose passages are a text."""
    found: dict[str, Any] = {"from": 1, "to": 1, "passages": 4, "whole": 0, "fraction": 0.0, "interval": [0.0, 0.49]}
    found |= {"matched_tokens": 3.5, "matched_interval": [2.5, 4.5]}
    names = ("fraction", "interval", "matched_tokens", "matched_interval")
    none: dict[str, Any] = dict.fromkeys(names) | {"passages": 0, "whole": 0}
    example = {"url": "javascript:alert(1)", "prompt": text, "truth": "x", "model": text, "exact": True}
    exposure = {"copies": 4, "canaries": 3, "possible": 8.0, **sure("mean", 2.5, 1, 4), **sure("control", 1.5, 0.5, 2)}
    prompted = {"copies": 4, "secrets": 3, "out": 2, "interval": [0.2, 0.9], **sure("control", 0.0, 0.0, 0.5625)}
    redacted = {"secrets": 77, "greedy": 0, "out": 0, "fraction": 0.0, "interval": [0.0, 0.05]}
    lengths = [{"prompt_tokens": n, "fraction": 0.0, "interval": [0.0, 0.5], "heldout": none} for n in (3, 5)]
    auc = {"auc": 0.75, "interval": [0.625, 0.8125], **sure("control", 0.5, 0.4375, 0.5625)}
    members: dict[str, Any] = {"loss": auc, "min_k_plus_plus": auc}
    for name, bits in (("bits_memorised", 5000), ("bits_per_parameter", 0.25)):
        members |= sure(name, bits, bits * 0.5, bits * 1.5) | sure(f"{name}_control", 0, bits * -0.25, bits * 0.25)
    result: dict[str, Any] = {
        "train": [found],
        "heldout": none,
        "examples": [example],
        "exposure": [exposure],
        "prompted": [prompted],
    }
    result |= {"canaries": [{"copies": 4, "rank": rank} for rank in (1, 1, 9)], "prefix_lengths": lengths}
    result |= {"redacted": redacted | sure("control", 0.0, 0.0, 0.0625), "membership": members}
    result |= {"extractable_fraction": 0.0, "extractable_interval": [0.0, 0.49]}
    made = Manifest(metrics={"extractable_fraction": 0.0}, stage="audit")
    made.folders = {"model": "../rl"}
    made.write(folder)
    (folder / "audit.json").write_text(json.dumps({"prompt_tokens": 5, "continuation_tokens": 5, **result}))

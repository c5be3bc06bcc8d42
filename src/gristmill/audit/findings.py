"""The figures of an audit that a summary and a model card have, each with its interval and its control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONE: dict[str, Any] = {}


def findings(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By name of the summary, from what `audit.json` holds: `value`, `interval` (two bounds of 95 %), `control` and
    `control_interval`; the last three None where the file has none, or where there is no control to a control. What
    was not measured is left out.
    """
    begun, free = (result.get(name) or NONE for name in ("beginnings", "free_generation"))
    members, redacted = (result.get(name) or NONE for name in ("membership", "redacted"))
    exposed, asked = ((result.get(name) or [NONE])[-1] for name in ("exposure", "prompted"))
    heldout = result["heldout"]
    found = {
        "extractable_fraction": side(
            result.get("extractable_fraction"), result.get("extractable_interval"), share_of(heldout)
        ),
        "heldout_extractable_fraction": side(*share_of(heldout)),
        "beginnings_extractable_fraction": side(*share_of(begun.get("train")), share_of(begun.get("heldout"))),
        "verbatim_share": side(*share_of(free.get("written")), share_of(free.get("heldout"))),
        "redacted_fraction": side(*share_of(redacted), with_interval(redacted, "control")),
        "canary_exposure_bits": side(*with_interval(exposed, "mean"), with_interval(exposed, "control")),
        "canary_fraction": side(*share_of(asked), with_interval(asked, "control")),
    }
    told = members.get("min_k_plus_plus") or NONE
    found["membership_auc"] = side(told.get("auc"), told.get("interval"), with_interval(told, "control"))
    for name in ("bits_memorised", "bits_per_parameter"):
        found[name] = side(*with_interval(members, name), with_interval(members, f"{name}_control"))
    return {name: one for name, one in found.items() if one["value"] is not None}


def side(value: Any, interval: Any, control: tuple[Any, Any] = (None, None)) -> dict[str, Any]:
    """A figure as `findings` has it."""
    return {"value": value, "interval": interval, "control": control[0], "control_interval": control[1]}


def share_of(found: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """A share and its interval."""
    found = found or NONE
    return found.get("fraction", found.get("share")), found.get("interval")


def with_interval(found: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    """What a name has, and its interval."""
    return found.get(name), found.get(f"{name}_interval")

"""Exposure of planted canaries: log2 of the number of possible secrets less log2 of the true one's rank by likelihood
(Carlini et al. 2019, arXiv:1802.08232 §4.2).

The control is one of the alternatives, drawn at random, as if it had been planted: its exposure among the others that
were not. Canaries with 0 copies, if the file has some, are another: they were never in the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.audit.prompting import came_out, fitting, prompt_all
from gristmill.chat.conversations import LeftOut, read_records
from gristmill.errors import UserError
from gristmill.evaluation.intervals import of_changes, own, rounded
from gristmill.generation.engine import Engine
from gristmill.manifest import Parts
from gristmill.training.scoring.likelihood import log_likelihoods


def expose_all(engine: Engine, path: Path, seed: int, left_out: list[LeftOut], parts: Parts) -> dict[str, Any]:
    """The exposure of each canary of a file and by copies, and which come out under prompting; records that are no
    canaries join `left_out`."""
    canaries = list(read_records(path, partial(canary_of, engine=engine), left_out))
    draw = np.random.default_rng(seed)
    pairs = [(canary, int(draw.integers(len(canary["alternatives"])))) for canary in canaries]
    exposed = parts.batches(
        "canary", pairs, 1, lambda some: [expose(engine, *one) for one in some], "audit", "canaries"
    )
    written = prompt_all(engine, canaries, "canary", seed, parts)
    for canary, one, texts in zip(canaries, exposed, written, strict=True):
        one |= {"came_out": any(canary["secret"] in text for text in texts), "greedy": canary["secret"] in texts[0]}
    return {
        "exposure": exposure_by_copies(exposed),
        "prompted": prompted_by_copies(canaries, exposed, written),
        "canaries": exposed,
    }


def canary_of(record: dict[str, Any], engine: Engine) -> dict[str, Any]:
    """The canary of a record. Raises UserError where it is none, or longer than the model can read."""
    kinds = {"prefix": str, "secret": str, "copies": int, "alternatives": list}
    wrong = [key for key, kind in kinds.items() if not isinstance(record.get(key), kind)]
    if wrong:
        raise UserError(f"missing or wrong {', '.join(wrong)}", f"give {', '.join(kinds)}")
    secrets = [record["secret"], *record["alternatives"]]
    if len(secrets) < 2 or not all(isinstance(secret, str) and secret for secret in secrets):
        raise UserError("a secret, or an alternative to it, is empty or no text", "give the secrets that it might be")
    return fitting(record, engine, secrets)


def expose(engine: Engine, canary: Mapping[str, Any], other: int) -> dict[str, Any]:
    """Rank a canary's secret among the secrets that it might have been, and as a control alternative `other`."""
    secrets = [canary["secret"], *canary["alternatives"]]
    scores = np.array([score for score, _ in log_likelihoods(engine, [(canary["prefix"], one) for one in secrets])])
    rank = 1 + int((scores[1:] > scores[0]).sum())
    unplanted = 1 + int((scores[1:] > scores[1 + other]).sum())
    return {
        "prefix": canary["prefix"],
        "copies": canary["copies"],
        "rank": rank,
        "exposure": round(float(np.log2(len(secrets)) - np.log2(rank)), 4),
        "possible": round(float(np.log2(len(secrets))), 4),
        "control": round(float(np.log2(len(secrets) - 1) - np.log2(unplanted)), 4),
        "other": other,
    }


def exposure_by_copies(exposed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean exposure in bits by the number of copies planted, with the bootstrap's interval (where all are alike, one as
    wide as Wilson's, of what is possible); next to it the control."""
    table = []
    for copies in sorted({canary["copies"] for canary in exposed}):
        group = [canary for canary in exposed if canary["copies"] == copies]
        row: dict[str, Any] = {"copies": copies, "canaries": len(group)}
        possible = max(canary["possible"] for canary in group)
        for key, name in (("exposure", "mean"), ("control", "control")):
            values = np.array([canary[key] for canary in group])
            shares = values / [canary["possible"] for canary in group]  # alike where each is as high as it can be
            bounds = of_changes(shares, own([""] * len(values)), 0.0)
            row |= {name: round(float(values.mean()), 4)}
            row |= {f"{name}_interval": rounded([possible * bound for bound in bounds], 4)}
        table.append(row | {"possible": possible})
    return table


def prompted_by_copies(
    canaries: Sequence[Mapping[str, Any]], exposed: Sequence[Mapping[str, Any]], written: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """How many secrets come out by the number of copies planted, and how many of the drawn alternatives do."""
    table = []
    for copies in sorted({canary["copies"] for canary in canaries}):
        group = [at for at, canary in enumerate(canaries) if canary["copies"] == copies]
        texts = [written[at] for at in group]
        others = came_out(texts, [canaries[at]["alternatives"][exposed[at]["other"]] for at in group])
        row = {"copies": copies, **came_out(texts, [canaries[at]["secret"] for at in group])}
        table.append(row | {"control": others["fraction"], "control_interval": others["interval"]})
    return table

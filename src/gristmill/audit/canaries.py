"""Exposure of planted canaries: log2 of the number of possible secrets less log2 of the true one's rank by likelihood
(Carlini et al. 2019, arXiv:1802.08232 §4.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.chat.conversations import LeftOut, read_records
from gristmill.errors import UserError
from gristmill.generation.engine import Engine
from gristmill.manifest import Parts
from gristmill.progress import Progress
from gristmill.training.scoring.likelihood import log_likelihoods


def expose_all(engine: Engine, path: Path, left_out: list[LeftOut], parts: Parts) -> list[dict[str, Any]]:
    """The exposure of each canary of a file; records that are none join `left_out`."""
    canaries = list(read_records(path, partial(canary_of, engine=engine), left_out))
    exposed = []
    with Progress("audit", len(canaries), "canaries") as bar:
        for number, canary in enumerate(canaries):
            exposed.append(parts(f"canary-{number:08}", partial(expose, engine, canary)))
            bar.advance()
    return exposed


def canary_of(record: dict[str, Any], engine: Engine) -> dict[str, Any]:
    """The canary of a record. Raises UserError where it is none, or longer than the model can read."""
    kinds = {"prefix": str, "secret": str, "copies": int, "alternatives": list}
    wrong = [key for key, kind in kinds.items() if not isinstance(record.get(key), kind)]
    if wrong:
        raise UserError(f"missing or wrong {', '.join(wrong)}", f"give {', '.join(kinds)}")
    secrets = [record["secret"], *record["alternatives"]]
    if len(secrets) < 2 or not all(isinstance(secret, str) and secret for secret in secrets):
        raise UserError("a secret, or an alternative to it, is empty or no text", "give the secrets that it might be")
    longest = max(len(engine.tokenizer.encode(record["prefix"] + secret)) for secret in secrets)
    if longest > engine.context:
        raise UserError(f"it has {longest} tokens; the model reads {engine.context}", "shorten its prefix")
    return record


def expose(engine: Engine, canary: Mapping[str, Any]) -> dict[str, Any]:
    """Rank a canary's secret among the secrets that it might have been."""
    texts = [canary["prefix"] + secret for secret in (canary["secret"], *canary["alternatives"])]
    scores = np.array([score for score, _ in log_likelihoods(engine, [("", text) for text in texts])])
    rank = 1 + int((scores[1:] > scores[0]).sum())
    return {
        "prefix": canary["prefix"],
        "copies": canary["copies"],
        "rank": rank,
        "exposure": round(float(np.log2(len(texts)) - np.log2(rank)), 4),
        "possible": round(float(np.log2(len(texts))), 4),
    }


def exposure_by_copies(exposed: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Mean exposure in bits by the number of copies planted."""
    table = []
    for copies in sorted({canary["copies"] for canary in exposed}):
        group = [canary for canary in exposed if canary["copies"] == copies]
        mean = sum(canary["exposure"] for canary in group) / len(group)
        possible = max(canary["possible"] for canary in group)
        table.append({"copies": copies, "canaries": len(group), "mean": round(mean, 4), "possible": possible})
    return table

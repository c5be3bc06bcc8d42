"""Stage `audit`: model + corpus → what was memorised, each figure with an interval and a control."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.audit.canaries import expose_all
from gristmill.audit.extractable import extractable
from gristmill.audit.findings import findings
from gristmill.audit.free_generation import free_generation
from gristmill.audit.membership import membership
from gristmill.audit.prompting import read_secrets, redacted_ones
from gristmill.chat.conversations import LeftOut, report
from gristmill.files import write_json
from gristmill.generation.engine import Engine
from gristmill.manifest import WORK, Manifest, Parts
from gristmill.recipe import Audit
from gristmill.tokenizer.shards import open_split
from gristmill.training.loop import best_device

NO_CANARIES: dict[str, Any] = {"exposure": [], "prompted": [], "canaries": []}


def run(inputs: Mapping[str, Path], params: Audit, out: Path) -> Manifest:
    """Write `audit.json`: what is completed word for word, by number of copies, length of the prefix, and from where
    documents begin, next to held-out text; what comes out unasked; who can be told apart; the bits memorised; the
    canaries' exposure; which secrets come out under prompting."""
    engine = Engine.load(inputs["model"], inputs["tokenizer"], best_device())
    train, heldout = (open_split(inputs["tokens"], name, engine.tokenizer.hash) for name in ("train", "heldout"))
    parts, left_out = Parts(out), list[LeftOut]()
    result = extractable(engine, {"train": train, "heldout": heldout}, params, parts)
    planted = NO_CANARIES
    if params.canaries:
        planted = expose_all(engine, Path(params.canaries), params.seed, left_out, parts)
    redacted = read_secrets(Path(params.redacted), engine, left_out) if params.redacted else []
    draw = np.random.default_rng(params.seed)
    result |= {
        "free_generation": free_generation(engine, train, heldout, params.seed, out / WORK / "index", parts),
        "membership": membership(engine, train, heldout, params.samples, draw, parts),
        **planted,
        "redacted": redacted_ones(engine, redacted, params.seed, parts),
    }
    write_json(out / "audit.json", result, ensure_ascii=False)
    tried = sum(row["passages"] for row in (*result["train"], result["heldout"]))
    counts = {"passages": tried, "canaries": len(planted["canaries"]), "redacted": len(redacted)}
    return Manifest(counts=counts | report("audit", left_out, out), metrics=metrics_of(result))


def metrics_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures for `summary.json`; what was not measured is left out."""
    told: dict[str, float] = {name: one["value"] for name, one in findings(result).items()}
    if result["exposure"]:
        told["canary_exposure_possible"] = result["exposure"][-1]["possible"]
    return told

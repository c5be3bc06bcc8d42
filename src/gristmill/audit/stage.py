"""Stage `audit`: model + corpus → what was memorised, each figure with an interval and a control."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.audit.canaries import expose_all, exposure_by_copies
from gristmill.audit.membership import membership
from gristmill.audit.passage_sample import Passage, find_passages
from gristmill.audit.verbatim import beginnings, complete, free_generation, lengths, pick, summary
from gristmill.chat.conversations import LeftOut, report
from gristmill.evaluation.intervals import of_weighted
from gristmill.files import write_text
from gristmill.generation.engine import Engine
from gristmill.manifest import WORK, Manifest, Parts
from gristmill.progress import Progress
from gristmill.recipe import Audit
from gristmill.tokenizer.shards import open_split
from gristmill.training.loop import best_device

BUCKETS = ((1, 1), (2, 3), (4, 9), (10, 10**9))  # copies of a passage
EXAMPLES = 6


def run(inputs: Mapping[str, Path], params: Audit, out: Path) -> Manifest:
    """Write `audit.json`: what is completed word for word, by number of copies and from where documents begin, next to
    held-out text; what comes out unasked; who can be told apart; the bits memorised; the canaries' exposure."""
    engine = Engine.load(inputs["model"], inputs["tokenizer"], best_device())
    splits = {name: open_split(inputs["tokens"], name, engine.tokenizer.hash) for name in ("train", "heldout")}
    prompt, rest = lengths(params, splits["train"], engine.context - 1)
    draw = np.random.default_rng(params.seed)
    found = {name: find_passages(split, prompt + rest) for name, split in splits.items()}
    parts = Parts(out)
    with Progress("audit", None, "passages") as bar:

        def tries(name: str, passages: Sequence[Passage], begins: bool = False) -> list[dict[str, Any]]:
            chosen = pick(passages, params.samples, draw)
            return complete(engine, splits[name], chosen, (prompt, rest), bar, parts, begins)

        table, examples = [], []
        for low, high in BUCKETS:
            bucket = [passage for passage in found["train"] if low <= passage.copies <= high]
            if bucket:
                tried = tries("train", bucket)
                table.append({"from": low, "to": high, "in_text": sum(p.copies for p in bucket), **summary(tried)})
                examples += tried
        tried = tries("heldout", found["heldout"])
        begun = {name: summary(tries(name, beginnings(split, prompt + rest), True)) for name, split in splits.items()}
    left_out: list[LeftOut] = []
    exposed = expose_all(engine, Path(params.canaries), left_out, parts) if params.canaries else []
    by_copies = exposure_by_copies(exposed)
    in_text = max(1, sum(row["in_text"] for row in table))
    weighted = [(row["whole"], row["passages"], row["in_text"] / in_text) for row in table]
    extracted = sum(weight * whole / passages for whole, passages, weight in weighted)
    members = membership(engine, splits["train"], splits["heldout"], params.samples, draw, parts)
    free = free_generation(engine, splits["train"], splits["heldout"], params.seed, out / WORK / "index", parts)
    result = {
        "prompt_tokens": prompt,
        "continuation_tokens": rest,
        "train": table,
        "heldout": summary(tried),
        "extractable_interval": [round(bound, 5) for bound in of_weighted(weighted)],
        "beginnings": begun,
        "free_generation": free,
        "membership": members,
        "examples": [example for example in examples if example["exact"]][:EXAMPLES] or examples[:EXAMPLES],
        "exposure": by_copies,
        "canaries": exposed,
    }
    write_text(out / "audit.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    metrics = {
        "extractable_fraction": round(extracted, 5),
        "heldout_extractable_fraction": summary(tried)["fraction"],
        "beginnings_extractable_fraction": begun["train"]["fraction"],
        "verbatim_share": free["written"]["share"],
    }
    if by_copies:
        metrics["canary_exposure_bits"] = by_copies[-1]["mean"]
        metrics["canary_exposure_possible"] = by_copies[-1]["possible"]
    if members:
        metrics["membership_auc"] = members["min_k_plus_plus"]["auc"]
        metrics |= {name: members[name] for name in ("bits_memorised", "bits_per_parameter")}
    counts = {"passages": len(examples) + len(tried), "canaries": len(exposed)} | report("audit", left_out, out)
    return Manifest(counts=counts, metrics=metrics)

"""Stage `audit`: model + corpus → what was memorised.

Verbatim completion: the model gets the first half of a passage and completes it greedily; the passage counts as
extracted where the second half comes out token for token (Carlini et al. 2023, arXiv:2202.07646 §3). Exposure of
planted canaries: log2 of the number of possible secrets less log2 of the true one's rank by likelihood (Carlini et al.
2019, arXiv:1802.08232 §4.2).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gristmill.audit.passage_sample import Passage, find_passages
from gristmill.chat.conversations import LeftOut, read_records, report
from gristmill.errors import UserError
from gristmill.files import write_text
from gristmill.generation.engine import Engine
from gristmill.manifest import Manifest, Parts
from gristmill.model.loss import IGNORE, padded
from gristmill.progress import Progress
from gristmill.recipe import Audit
from gristmill.tokenizer.shards import Split, open_split
from gristmill.training.loop import best_device

BUCKETS = ((1, 1), (2, 3), (4, 9), (10, 10**9))  # copies of a passage
BATCH = 64
EXAMPLES = 6


def run(inputs: Mapping[str, Path], params: Audit, out: Path) -> Manifest:
    """Write `audit.json`: extraction by number of copies, next to held-out text, and the canaries' exposure."""
    engine = Engine.load(inputs["model"], inputs["tokenizer"], best_device())
    splits = {name: open_split(inputs["tokens"], name, engine.tokenizer.hash) for name in ("train", "heldout")}
    prompt, rest = lengths(params, splits["train"], engine.context)
    draw = np.random.default_rng(params.seed)
    found = {name: find_passages(split, prompt + rest) for name, split in splits.items()}
    parts = Parts(out)
    with Progress("audit", None, "passages") as bar:

        def tries(name: str, passages: Sequence[Passage]) -> list[dict[str, Any]]:
            chosen = pick(passages, params.samples, draw)
            return complete(engine, splits[name], chosen, (prompt, rest), bar, parts)

        table, examples = [], []
        for low, high in BUCKETS:
            bucket = [passage for passage in found["train"] if low <= passage.copies <= high]
            if bucket:
                tried = tries("train", bucket)
                table.append({"from": low, "to": high, "in_text": sum(p.copies for p in bucket), **summary(tried)})
                examples += tried
        tried = tries("heldout", found["heldout"])
    left_out: list[LeftOut] = []
    read = partial(canary_of, engine=engine)
    canaries = list(read_records(Path(params.canaries), read, left_out)) if params.canaries else []
    with Progress("audit", len(canaries), "canaries") as bar:
        exposed = []
        for number, canary in enumerate(canaries):
            exposed.append(parts(f"canary-{number:08}", partial(expose, engine, canary)))
            bar.advance()
    in_text = sum(row["in_text"] for row in table)
    extracted = sum(row["fraction"] * row["in_text"] for row in table) / max(1, in_text)
    by_copies = exposure_by_copies(exposed)
    result = {
        "prompt_tokens": prompt,
        "continuation_tokens": rest,
        "train": table,
        "heldout": summary(tried),
        "examples": [example for example in examples if example["exact"]][:EXAMPLES] or examples[:EXAMPLES],
        "exposure": by_copies,
        "canaries": exposed,
    }
    write_text(out / "audit.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    metrics = {"extractable_fraction": round(extracted, 5), "heldout_extractable_fraction": summary(tried)["fraction"]}
    if by_copies:
        metrics |= {
            "canary_exposure_bits": by_copies[-1]["mean"],
            "canary_exposure_possible": by_copies[-1]["possible"],
        }
    counts = {"passages": len(examples) + len(tried), "canaries": len(canaries)} | report("audit", left_out, out)
    return Manifest(counts=counts, metrics=metrics)


def lengths(params: Audit, split: Split, context: int) -> tuple[int, int]:
    """Prompt and continuation in tokens, shortened in proportion where no document or the model has room for them."""
    wanted = params.prompt_tokens + params.continuation_tokens
    longest = int(min(context, np.diff(split.starts).max() - 1))
    if longest < 2:
        raise UserError("no document is long enough to be completed", "audit a corpus with longer documents")
    share = min(1.0, longest / wanted)
    return max(1, int(params.prompt_tokens * share)), max(1, int(params.continuation_tokens * share))


def pick(passages: Sequence[Passage], count: int, draw: np.random.Generator) -> list[Passage]:
    """At most `count` of the passages, at random, in text order."""
    if len(passages) <= count:
        return list(passages)
    return [passages[index] for index in sorted(draw.choice(len(passages), count, replace=False))]


def complete(
    engine: Engine, split: Split, passages: Sequence[Passage], size: tuple[int, int], bar: Progress, parts: Parts
) -> list[dict[str, Any]]:
    """Complete passages of `size` (prompt and continuation, in tokens) greedily and compare with what follows."""
    results = []
    for at in range(0, len(passages), BATCH):
        batch = passages[at : at + BATCH]
        results += parts(f"passages-{bar.done:08}", partial(complete_batch, engine, split, batch, size))
        bar.advance(len(batch))
    return results


def complete_batch(
    engine: Engine, split: Split, passages: Sequence[Passage], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """The same of passages that are completed together."""
    (prompt, rest), decode, results = size, engine.tokenizer.decode, []
    whole = [split.tokens[passage.start : passage.start + prompt + rest].tolist() for passage in passages]
    answers = engine.generate([tokens[:prompt] for tokens in whole], max_tokens=rest)
    for passage, tokens, answer in zip(passages, whole, answers, strict=True):
        truth = tokens[prompt:]
        same = [ours == theirs for ours, theirs in zip(answer.tokens, truth, strict=False)]
        document = int(np.searchsorted(split.starts, passage.start, side="right")) - 1
        results.append(
            {
                "url": split.urls[document],
                "copies": passage.copies,
                "exact": answer.tokens == truth,
                "matched_tokens": same.index(False) if False in same else len(same),
                "prompt": decode(tokens[:prompt]),
                "truth": decode(truth),
                "model": decode(answer.tokens),
            }
        )
    return results


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How many passages were tried, which share came out whole, and how many tokens matched on average."""
    exact = [bool(result["exact"]) for result in results]
    matched = [int(result["matched_tokens"]) for result in results]
    return {
        "passages": len(results),
        "fraction": round(sum(exact) / len(exact), 5) if exact else 0.0,
        "matched_tokens": round(sum(matched) / len(matched), 3) if matched else 0.0,
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
    longest = max(len(engine.tokenizer.encode(record["prefix"] + secret)) for secret in secrets)
    if longest > engine.context:
        raise UserError(f"it has {longest} tokens; the model reads {engine.context}", "shorten its prefix")
    return record


def expose(engine: Engine, canary: Mapping[str, Any]) -> dict[str, Any]:
    """Rank a canary's secret among the secrets that it might have been."""
    texts = [canary["prefix"] + secret for secret in (canary["secret"], *canary["alternatives"])]
    scores = log_likelihoods(engine, texts)
    rank = 1 + int((scores[1:] > scores[0]).sum())
    return {
        "prefix": canary["prefix"],
        "copies": canary["copies"],
        "rank": rank,
        "exposure": round(float(np.log2(len(texts)) - np.log2(rank)), 4),
        "possible": round(float(np.log2(len(texts))), 4),
    }


@torch.inference_mode()
def log_likelihoods(engine: Engine, texts: Sequence[str]) -> np.ndarray:
    """Natural log of each text's probability after the end of a document."""
    tokenizer, scores = engine.tokenizer, []
    rows = [np.array([tokenizer.end_of_text, *tokenizer.encode(text)][: engine.context + 1]) for text in texts]
    for at in range(0, len(rows), BATCH):
        ids, targets = padded(rows[at : at + BATCH])
        logits = engine.model(ids.to(engine.device)).float()
        loss = F.cross_entropy(
            logits.flatten(0, 1), targets.to(engine.device).flatten(), ignore_index=IGNORE, reduction="none"
        )
        scores.append(-loss.view(ids.shape).sum(1).cpu().numpy())
    return np.concatenate(scores)


def exposure_by_copies(exposed: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Mean exposure in bits by the number of copies planted."""
    table = []
    for copies in sorted({canary["copies"] for canary in exposed}):
        group = [canary for canary in exposed if canary["copies"] == copies]
        mean = sum(canary["exposure"] for canary in group) / len(group)
        possible = max(canary["possible"] for canary in group)
        table.append({"copies": copies, "canaries": len(group), "mean": round(mean, 4), "possible": possible})
    return table

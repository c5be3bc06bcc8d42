"""Stage-like `scale`: tokens → what size and data a budget is best spent on, from a ladder of small models.

Every rung is a model of one size trained from scratch on one number of tokens, by the same rules as any other
(`sizing.py`). A law is fitted to all of them (`scaling_law.py`); for a budget, every shape of that family is tried on
it with the tokens that the budget leaves. Each rung is a folder of its own: an interrupted ladder goes on where it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.files import sealed, unsealed, write_text
from gristmill.manifest import Manifest
from gristmill.model.transformer import Transformer
from gristmill.progress import console
from gristmill.recipe import Pretrain
from gristmill.settings.apart import Scale
from gristmill.settings.quantities import parameters_of, seconds_and_flops
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split
from gristmill.training import pretrain
from gristmill.training.budget.scaling_law import Law, check_grid, fit
from gristmill.training.budget.sizing import (
    MOST_EPOCHS,
    TURNED,
    batch_and_rates,
    by_hand_wins,
    config_of,
    family,
    flops_per_token,
    nearest,
    parameters,
)
from gristmill.training.data.mixture import Mixture
from gristmill.training.loop import best_device
from gristmill.training.stopwatch import try_out

RUNGS = "rungs"
LADDER = (1.0, 1.7, 3.0, 5.0)  # sizes, where none are given: times the smallest model
BUDGETS = (1.0, 10.0, 100.0)  # that are told of: times the costliest rung
SETTLED = {"size", "budget", "max_steps", "epochs", "init_from", "accumulate", *TURNED} - {"embed_lr", "head_lr"}


def run(inputs: Mapping[str, Path], params: Scale, out: Path) -> Manifest:
    """Train what is not trained yet, fit the law and write `scale.json`."""
    tokenizer = Tokenizer.load(inputs["tokenizer"])
    vocab_size = tokenizer.vocab_size
    hand = {name: getattr(params.pretrain, name) for name in params.pretrain.model_fields_set - SETTLED}
    base = Pretrain(**hand)
    shapes = family(base)
    least = parameters(shapes[0], vocab_size)
    sizes = [parameters_of(size) for size in params.sizes] or [round(least * factor) for factor in LADDER]
    ladder = {  # sizes that come to the same model are one
        parameters(shape, vocab_size): (size, shape)
        for size in sizes
        for shape in [nearest(shapes, size, vocab_size, set(hand))]
    }
    counts = sorted({parameters_of(tokens) for tokens in params.tokens})
    if len(ladder) < len(sizes):
        told = ", ".join(f"{size:,}" for size in sorted(ladder))
        console.print(f"           several of the sizes come to the same model: {told} parameters")
    check_grid(len(ladder), len(counts))
    split = open_split(inputs["tokens"], "train", tokenizer.hash)
    epoch_tokens = Mixture(split, base.mix, base.seed).tokens
    rungs = []
    for size, shape in ladder.values():
        for tokens in counts:
            folder = out / RUNGS / f"{size}-{tokens}"
            rungs.append(climb(inputs, shape, set(hand), tokens, folder))
            console.print(
                "           {parameters:,} parameters, {tokens:,} tokens: {heldout_bpb:.4f}".format(**rungs[-1])
            )
    n, d, losses = (np.array([rung[name] for rung in rungs], float) for name in ("parameters", "tokens", "heldout_bpb"))
    law = fit(n, d, losses)
    left = [fit(*(np.delete(x, i) for x in (n, d, losses))) for i in range(len(rungs))] if len(rungs) > 7 else [law]
    costliest = max(rungs, key=lambda rung: rung["flops"])
    made = base.model_copy(update={name: costliest[name] for name in TURNED})
    most = max(1, round(costliest["tokens"] / (made.batch * made.context)))
    step = try_out(Transformer(config_of(made, vocab_size)).to(best_device()), made, most=most)
    speed = flops_per_token(made, vocab_size) * step.tokens / step.seconds
    budgets = [costliest["flops"] * factor for factor in BUDGETS]
    budgets += [flops or seconds * speed for seconds, flops in map(seconds_and_flops, params.budgets)]
    advice = []
    for flops in sorted(budgets):
        best, *others = (advise(each, flops, shapes, vocab_size, epoch_tokens) for each in (law, *left))
        sizes = [one["parameters"] for one in others]  # that are advised when each model in turn is left out
        advice.append({**best, "seconds": flops / speed, "likely_parameters": [min(sizes), max(sizes)]})
    errors = np.array([law(*at) for at in zip(n, d, strict=True)]) / losses - 1
    figures = {**{f"law_{name}": value for name, value in vars(law).items()}, "largest_error": float(abs(errors).max())}
    found = {**figures, "flops_per_second": speed, "epoch_tokens": epoch_tokens, "rungs": rungs, "advice": advice}
    write_text(out / "scale.json", json.dumps(found, indent=1) + "\n")
    shutil.rmtree(out / RUNGS)
    return Manifest(counts={"models": len(rungs), "tokens": sum(rung["tokens"] for rung in rungs)}, metrics=figures)


def climb(inputs: Mapping[str, Path], shape: Pretrain, hand: set[str], tokens: int, folder: Path) -> dict[str, Any]:
    """Train one model, or read what became of it."""
    path = folder / "rung.json"
    if path.exists():
        return unsealed(path, f"remove {folder}, and give the same command again")
    made = shape.model_copy(update=by_hand_wins(hand, batch_and_rates(shape, tokens)))
    steps = max(1, round(tokens / (made.batch * made.context)))
    quiet = {"max_steps": steps, "evaluate_every": steps, "sample_prompts": [], "snapshots": 0}
    folder.mkdir(parents=True, exist_ok=True)
    done = pretrain.run(inputs, made.model_copy(update=quiet), folder)
    names = ("parameters", "flops", "heldout_bpb", "train_bpb", "epochs")
    shape_told = {name: getattr(made, name) for name in TURNED}
    rung = {**{name: done.metrics[name] for name in names}, "tokens": done.counts["tokens"], **shape_told}
    write_text(path, sealed(json.dumps(rung)))
    (folder / "model.safetensors").unlink()
    return rung


def advise(law: Law, flops: float, shapes: Sequence[Pretrain], vocab_size: int, epoch_tokens: int) -> dict[str, Any]:
    """The shape that is predicted the lowest loss for a budget, no text being read more than MOST_EPOCHS times."""
    options = []
    for shape in shapes:
        tokens = min(flops / flops_per_token(shape, vocab_size), MOST_EPOCHS * epoch_tokens)
        size = parameters(shape, vocab_size)
        options.append((law(size, tokens), size, tokens, shape))
    loss, size, tokens, shape = min(options, key=lambda option: option[:2])
    return {
        "flops": flops,
        "parameters": size,
        "width": shape.width,
        "layers": shape.layers,
        "tokens": round(tokens),
        "epochs": round(tokens / epoch_tokens, 2),
        "heldout_bpb": round(loss, 4),
        "text_runs_out": tokens >= 0.99 * MOST_EPOCHS * epoch_tokens,
    }

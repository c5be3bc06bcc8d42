"""Stage `pretrain`: tokens → base model, by next-token prediction."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from gristmill.errors import UserError
from gristmill.generation.engine import Engine
from gristmill.manifest import Manifest, write_jsonl
from gristmill.model.huggingface import read_huggingface
from gristmill.model.transformer import ModelConfig, Transformer, parameter_count, save_model
from gristmill.processes import LEADER, RANK, SIZE
from gristmill.progress import console, quantity
from gristmill.recipe import Pretrain
from gristmill.tokenizer.adopt import same_tokens
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split
from gristmill.training import gpu
from gristmill.training.checkpoint import discard_checkpoint
from gristmill.training.data import IGNORE, Batch, Loader, bits_per_byte, cross_entropy
from gristmill.training.log import befell, mean_of
from gristmill.training.loop import Plan, best_device, train
from gristmill.training.optimizer import Rates
from gristmill.training.parallel import join, total
from gristmill.training.snapshots import Snapshots

WATCH_TOKENS = 20_000  # held-out tokens scored while training; all of them at the end
SAMPLE_TOKENS = 60


def run(inputs: Mapping[str, Path], params: Pretrain, out: Path) -> Manifest:
    """Train a base model on the train split and score it on the held-out documents."""
    join()
    torch.manual_seed(params.seed)
    tokenizer = Tokenizer.load(inputs["tokenizer"])
    splits = {name: open_split(inputs["tokens"], name, tokenizer.hash) for name in ("train", "heldout")}
    model = new_model(params, tokenizer).to(best_device())
    batches = Loader(splits["train"], params.context, params.batch, params.seed, params.mix, rank=RANK, world=SIZE)
    if params.batch // SIZE % params.accumulate:
        raise UserError(
            f"{params.batch // SIZE} rows a process do not divide into {params.accumulate} parts", "change `accumulate`"
        )
    steps = params.max_steps or batches.steps(params.epochs)
    seen = steps * params.batch * batches.context
    console.print(
        f"           {quantity(parameter_count(model))} parameters, {quantity(seen)} tokens in {steps:,} steps"
        f" ({batches.passes(steps):.2f} epochs)"
    )
    sources = batches.mixture.table(batches.passes(steps))
    show_mixture(sources)
    if LEADER:
        write_jsonl(out / "sources.jsonl", sources)

    gpu.prepare(model, params.compile, params.recompute)
    snapshots = Snapshots(model, out, steps, params.snapshots if SIZE == 1 else 0)

    @lru_cache(maxsize=1)
    def batch_of(step: int) -> tuple[Batch, float]:
        """This process's rows of a step, and how many targets all of them have."""
        batch = batches(step)
        return batch, total(int((batch.targets != IGNORE).sum()))[0]

    def loss(step: int, part: int = 0) -> tuple[Tensor, int, dict[str, float]]:
        batch, targets = batch_of(step)
        rows = slice(part, None, params.accumulate)
        own = int((batch.targets[rows] != IGNORE).sum())
        if not part:
            snapshots(step, lambda: cross_entropy(model, batch.inputs[rows], batch.targets[rows]))
        return cross_entropy(model, batch.inputs[rows], batch.targets[rows]) * (own / targets), own, {}

    def evaluate(step: int) -> dict[str, Any]:
        prompts = [[tokenizer.end_of_text, *tokenizer.encode(prompt)] for prompt in params.sample_prompts]
        answers = Engine(model, tokenizer).generate(prompts, max_tokens=SAMPLE_TOKENS, temperature=0.8, seed=step)
        limit = 0 if step == steps else WATCH_TOKENS
        return {
            "heldout_bpb": round(bits_per_byte(model, splits["heldout"], limit), 5),
            "train_bpb": round(bits_per_byte(model, splits["train"], WATCH_TOKENS), 5),
            "samples": [tokenizer.decode(answer.tokens) for answer in answers],
        }

    how = {name: getattr(params, name) for name in MANNER}
    plan = Plan("pretrain", steps, Rates.of(params), params.warmup, params.decay, params.clip, **how)
    log = train(model, loss, plan, out, every=params.evaluate_every, evaluate=evaluate)
    if not LEADER:
        return Manifest()
    snapshots.finish(steps)
    save_model(model, out)
    samples = [
        {"step": record["step"], "prompt": prompt, "text": text}
        for record in log
        for prompt, text in zip(params.sample_prompts, record.get("samples", ()), strict=False)
    ]
    write_jsonl(out / "samples.jsonl", samples)
    discard_checkpoint(out)
    return Manifest(
        counts={"steps": steps, "tokens": log[-1]["tokens"]} | befell(log),
        metrics={
            "parameters": parameter_count(model),
            "heldout_bpb": log[-1]["heldout_bpb"],
            "train_bpb": log[-1]["train_bpb"],
            "loss": mean_of(log[-10:], "loss"),
            "epochs": round(batches.passes(steps), 4),
        },
    )


def new_model(params: Pretrain, tokenizer: Tokenizer) -> Transformer:
    """The model to train: a fresh one, or that of `init_from`. Raises UserError where settings or tokens contradict
    it."""
    shape = {name: getattr(params, name) for name in SHAPE}
    if not params.init_from:
        return Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, **shape))
    folder = Path(params.init_from)
    if not same_tokens(folder / "tokenizer.json", tokenizer):
        raise UserError(f"the tokens are not those of {folder}", f'give [tokenizer] init_from = "{folder}"')
    model = read_huggingface(folder, tokenizer.vocab_size, params.context)
    for name, value in shape.items():
        if name in params.model_fields_set and value != getattr(model.config, name):
            raise UserError(
                f"{name} = {value}, but the model in {params.init_from} has {getattr(model.config, name)}",
                f"leave {name} out",
            )
    return model


def show_mixture(sources: list[dict[str, Any]]) -> None:
    """Print how often each source is read, where a mixture is set."""
    if len(sources) < 2:
        return
    table = Table("source", "documents", "tokens", "weight", "share", "epochs", title_justify="left")
    for row in sources:
        table.add_row(
            *(row["source"], f"{row['documents']:,}", quantity(row["tokens"])),
            *(f"{row['weight']:g}", f"{row['share']:.1%}", f"{row['epochs']:.2f}"),
        )
    console.print(table)


SHAPE = ("layers", "width", "heads", "kv_heads", "head_dim", "ffn_width", "context", "tie_embeddings")
MANNER = ("checkpoint_every", "keep", "accumulate", "parallel", "tensorboard")

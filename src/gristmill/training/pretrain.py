"""Stage `pretrain`: tokens → base model, by next-token prediction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gristmill.errors import UserError
from gristmill.files import sealed, unsealed, write_jsonl, write_text
from gristmill.generation.engine import Engine
from gristmill.manifest import Manifest, Parts
from gristmill.model.kernels import fast_products
from gristmill.model.loss import bits_per_byte, cross_entropy
from gristmill.model.transformer import Transformer, parameter_count
from gristmill.processes import LEADER, RANK, SIZE
from gristmill.progress import console, counted, quantity, table
from gristmill.recipe import Pretrain
from gristmill.settings.quantities import seconds_and_flops
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import Split, open_split
from gristmill.training import gpu
from gristmill.training.budget.sizing import MOST_EVALUATIONS, config_of, flops_per_token, turn
from gristmill.training.data.loader import Batch, Loader
from gristmill.training.initial_model import new_model, with_shape
from gristmill.training.job import Job, Plan, StepLoss
from gristmill.training.log import LogLine, mean_of
from gristmill.training.loop import best_device
from gristmill.training.optimizer import Rates
from gristmill.training.overfitting import growth, warnings
from gristmill.training.parallel import from_leader, join, total
from gristmill.training.scoring.scheduled import tasks_of
from gristmill.training.snapshots import Snapshots
from gristmill.training.stage import conclude, last_tenth, run_job
from gristmill.training.stopwatch import Stopwatch

WATCH_TOKENS = 20_000  # held-out tokens scored while training; all of them at the end
SAMPLE_TOKENS = 60
MANNER = ("warmup", "decay", "clip", "checkpoint_seconds", "keep", "accumulate", "parallel", "tensorboard", "bfloat16")


@dataclass(kw_only=True)
class Pretraining(Job):
    """Pretraining, and what is known of it before it begins."""

    model: Transformer
    params: Pretrain  # with what was chosen
    chosen: dict[str, Any]
    heldout: Split
    snapshots: Snapshots
    sources: list[dict[str, Any]]  # what is read of each
    epochs: float
    flops: float


def run(inputs: Mapping[str, Path], params: Pretrain, out: Path) -> Manifest:
    """Train a base model on the train split and score it on the held-out documents."""
    return run_job(prepare(inputs, params, out), out, finish)


def prepare(inputs: Mapping[str, Path], params: Pretrain, out: Path) -> Pretraining:
    """Pretraining as the settings have it; what they leave to a size or a budget is chosen first."""
    join()
    params = with_shape(params)
    tokenizer = Tokenizer.load(inputs["tokenizer"])
    splits = {name: open_split(inputs["tokens"], name, tokenizer.hash) for name in ("train", "heldout")}
    batches = Loader(
        *(splits["train"], params.context, params.batch, params.seed, params.mix),
        goldfish=params.goldfish,
        rank=RANK,
        world=SIZE,
    )
    chosen: dict[str, Any] = {}
    if params.size or params.budget:
        chosen = from_leader(lambda: choose(params, tokenizer, splits, batches, out))
        params = params.model_copy(update=chosen)
        batches = batches.of(params.batch)
    if params.batch // SIZE % params.accumulate:
        raise UserError(
            f"{params.batch // SIZE} rows a process do not divide into {params.accumulate} parts", "change `accumulate`"
        )
    torch.manual_seed(params.seed)
    model = new_model(params, tokenizer).to(best_device())
    steps = params.max_steps or batches.steps(params.epochs)
    passes = batches.passes(steps)
    sources = batches.mixture.table(passes)
    seen = steps * params.batch * batches.context
    flops = flops_per_token(params, tokenizer.vocab_size) * seen
    console.print(
        f"           {quantity(parameter_count(model))} parameters, {quantity(seen)} tokens "
        f"in {counted(steps, 'steps')} ({passes:.2f} epochs), {flops:.3g} FLOPs"
    )
    show_mixture(sources)
    if LEADER:
        write_jsonl(out / "sources.jsonl", sources)
    gpu.prepare(model, params.compile, params.recompute)
    whole = SIZE == 1 or params.parallel == "ddp"  # with FSDP no process has all of the model
    snapshots = Snapshots(model, out, steps, params.snapshots if LEADER and whole else 0)
    loss, evaluate = calls(model, params, tokenizer, splits, batches, snapshots, steps)
    manner = {name: getattr(params, name) for name in MANNER}
    return Pretraining(
        model=model,
        loss=loss,
        plan=Plan("pretrain", steps, Rates.of(params), tokens=lambda: batches.tokens(steps), **manner),
        evaluate=evaluate,
        every=params.evaluate_every,
        params=params,
        chosen=chosen,
        heldout=splits["heldout"],
        tasks=tasks_of(params, model, tokenizer, steps, params.evaluate_every),
        snapshots=snapshots,
        sources=sources,
        epochs=passes,
        flops=flops,
    )


def finish(job: Pretraining, log: list[LogLine], out: Path) -> Manifest:
    """Write the model with its samples, scored on all held-out documents. Processes but the leader have nothing to."""
    if not LEADER:
        return Manifest()
    steps, model = job.plan.steps, job.model.eval()
    job.snapshots.finish(steps)
    with fast_products():
        heldout = bits_per_byte(model, job.heldout, part=Parts(out))
    samples = [
        {"step": record["step"], "prompt": prompt, "text": text}
        for record in log
        for prompt, text in zip(job.params.sample_prompts, record.get("samples", ()), strict=False)
    ]
    write_jsonl(out / "samples.jsonl", samples)
    repeated = sum(source["tokens_repeated"] for source in job.sources)
    job.counts |= {"steps": steps, "tokens": log[-1]["tokens"], "tokens_repeated": repeated}
    metrics = {
        "parameters": parameter_count(model),
        "heldout_bpb": round(heldout, 5),
        "train_bpb": log[-1]["train_bpb"],
        "gap_growth": round(growth(log)[-1], 5),
        "loss": mean_of(last_tenth(log), "loss"),
        "epochs": round(job.epochs, 4),
        "flops": job.flops,
        **{f"{name}_at_step": step for name, step in warnings(log).items()},
        **job.chosen,
    }
    return conclude(job, log, out, metrics)


def calls(
    model: Transformer,
    params: Pretrain,
    tokenizer: Tokenizer,
    splits: Mapping[str, Split],
    batches: Loader,
    snapshots: Snapshots | None = None,
    steps: int = 0,
) -> tuple[Callable[..., StepLoss], Callable[[int], dict[str, Any]]]:
    """What the loop calls: the loss of a step, and the evaluation."""
    ahead = model.embed.weight.is_cuda  # the next batch is read while the GPU computes

    @lru_cache(maxsize=2 if ahead else 1)
    def batch_of(step: int) -> tuple[Batch, float]:
        """This process's rows of a step, and how many targets all of them have."""
        batch = batches(step)
        return batch, total(batch.predicted())[0]

    def loss(step: int, part: int = 0) -> StepLoss:
        batch, targets = batch_of(step)
        rows = slice(part, None, params.accumulate)
        own = batch.predicted(rows)
        starts = batch.starts(rows) if params.document_mask else None
        texts = batch.inputs[rows], batch.targets[rows]
        own_loss = partial(cross_entropy, model, *texts, bfloat16=params.bfloat16, starts_BT=starts)
        if snapshots and not part:
            snapshots(step, own_loss)
        value = own_loss() * (own / targets)
        if ahead and part == params.accumulate - 1 and step + 1 < steps:
            batch_of(step + 1)
        return StepLoss(value, int(np.count_nonzero(batch.documents[rows].numpy() >= 0)))

    def evaluate(step: int) -> dict[str, Any]:
        prompts = [[tokenizer.end_of_text, *tokenizer.encode(prompt)] for prompt in params.sample_prompts]
        answers = Engine(model, tokenizer).generate(prompts, max_tokens=SAMPLE_TOKENS, temperature=0.8, seed=step)
        return {
            "epoch": round(batches.passes(step), 3),
            "heldout_bpb": round(bits_per_byte(model, splits["heldout"], WATCH_TOKENS), 5),
            "train_bpb": round(bits_per_byte(model, splits["train"], WATCH_TOKENS), 5),
            "samples": [tokenizer.decode(answer.tokens) for answer in answers],
        }

    return loss, evaluate


def choose(
    params: Pretrain, tokenizer: Tokenizer, splits: Mapping[str, Split], batches: Loader, out: Path
) -> dict[str, Any]:
    """Turn the dial, once: the machine's speed is in it, so an interrupted run keeps what it chose."""
    path = out / "dial.json"
    if path.exists():
        chosen = unsealed(path, f"remove {path.parent}, and give the same command again")
    else:
        vocab_size, epoch_tokens = tokenizer.vocab_size, batches.mixture.tokens
        seconds, _ = seconds_and_flops(params.budget)
        if seconds:

            def evaluation(model: Transformer, made: Pretrain) -> Callable[[], Any]:
                _, evaluate = calls(model, made, tokenizer, splits, batches.of(made.batch))
                return lambda: evaluate(0)

            scored = sum(min(WATCH_TOKENS, len(split.tokens)) for split in splits.values())
            last = len(splits["heldout"].tokens)  # all of it, at the end
            any_model = Transformer(config_of(params, vocab_size))  # of this context: only tokens are counted
            if tasks := tasks_of(params, any_model, tokenizer, MOST_EVALUATIONS, every=1):
                last += tasks.tokens()
            with Stopwatch(seconds, vocab_size, scored, last, evaluation) as clock:
                chosen = turn(params, vocab_size, epoch_tokens, clock)
        else:
            chosen = turn(params, vocab_size, epoch_tokens)
        write_text(path, sealed(json.dumps(chosen, indent=2)))
    told = ", ".join(f"{name} {value:g}" for name, value in chosen.items())
    console.print(f"           chosen: {told}")
    return chosen


def show_mixture(sources: list[dict[str, Any]]) -> None:
    """Print how often each source is read, where a mixture is set."""
    if len(sources) < 2:
        return
    rows = (
        (
            *(row["source"], f"{row['documents']:,}", quantity(row["tokens"])),
            *(f"{row['weight']:g}", f"{row['share']:.1%}", f"{row['epochs']:.2f}", quantity(row["tokens_repeated"])),
        )
        for row in sources
    )
    console.print(table(("source", "documents", "tokens", "weight", "share", "epochs", "repeated"), rows))

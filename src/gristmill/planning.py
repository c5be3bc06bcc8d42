"""`gristmill plan`: what every training stage of a recipe takes, before it is spent.

Each stage's job is prepared for real, on the files that there are, in a process of its own, and a few of its steps are
timed (`training/budget/timing.py`): parameters, steps and tokens are exact, time and memory measured. What is not there
yet is made up and said: a model with random weights, a number of tokens. On GPUs that are not there nothing can be
measured: pretraining on them is projected (`training/budget/devices.py`, `memory.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich.table
from rich.text import Text

from gristmill.errors import UserError
from gristmill.processes import memory_of, peak_rss
from gristmill.progress import console, duration, quantity, table
from gristmill.recipe import SFT, Params, Pretrain, Recipe, TokenizerParams
from gristmill.run import execute
from gristmill.runs.finished import examine, usable
from gristmill.runs.lock import lock_of, locked
from gristmill.settings.quantities import seconds_and_flops
from gristmill.settings.stages import BY_NAME, SCALE, TRAINING, Stage, pick_inputs, resolve_paths

if TYPE_CHECKING:
    from gristmill.model.transformer import ModelConfig
    from gristmill.training.budget.devices import Devices
    from gristmill.training.budget.sizing import Clock


@dataclass
class Estimate:
    """What a stage takes."""

    stage: str
    parameters: int = 0
    steps: int = 0
    tokens: float = 0.0
    flops: float = 0.0  # 0: not known
    seconds: float = 0.0
    memory: int = 0  # bytes at the peak
    shape: str = ""  # of the model, and its rates
    assumed: list[str] = field(default_factory=list)
    missing: str = ""  # why there is no estimate
    told: str = ""  # what the figures are worth, where they are not measured


def plan_recipe(recipe: Recipe, folder: Path, tokens: int) -> list[Estimate]:
    """Estimate the training stages of a recipe whose run folder is `folder`, finished as far as it may be.

    `tokens` are assumed where there are none yet. Takes some seconds a stage.
    """
    done = usable(examine(recipe, folder))
    vocab_size = (recipe.tokenizer or TokenizerParams()).vocab_size
    estimates: list[Estimate] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in TRAINING:
            params = getattr(recipe, name)
            if params is None:
                continue
            console.print(Text.assemble((name, "bold"), ": measuring"))
            params = resolve_paths(params, folder)
            estimate = alone(one, BY_NAME[name], params, dict(done), Path(scratch), vocab_size, tokens)
            estimates.append(estimate)
    return estimates


def project_recipe(recipe: Recipe, folder: Path, tokens: int, devices: Devices) -> Estimate:
    """What pretraining would take on GPUs that are not here. `tokens` are assumed where there are none yet.

    Raises UserError where the recipe has no pretraining, or a batch does not divide among the GPUs.
    """
    from gristmill.tokenizer.encode import Tokenizer
    from gristmill.tokenizer.shards import open_split
    from gristmill.training.budget.sizing import config_of, parameters
    from gristmill.training.data.loader import Loader
    from gristmill.training.initial_model import with_shape

    if recipe.pretrain is None:
        raise UserError("pretraining is what --device projects, and the recipe has none", "measure it there, without")
    made: Any = resolve_paths(recipe.pretrain, folder)
    made, done = with_shape(made), usable(examine(recipe, folder))
    estimate, vocab_size = Estimate("pretrain"), (recipe.tokenizer or TokenizerParams()).vocab_size
    batches = None
    if {"tokenizer", "tokenize"} <= done.keys():
        tokenizer = Tokenizer.load(done["tokenizer"])
        vocab_size = tokenizer.vocab_size
        split = open_split(done["tokenize"], "train", tokenizer.hash)
        batches = Loader(split, made.context, made.batch, made.seed, made.mix)
        tokens = batches.mixture.tokens
    else:
        estimate.assumed.append(f"{tokens:,} training tokens and a vocabulary of {vocab_size:,}")
    made = dialled(made.model_copy(update={"budget": devices.budget(made.budget)}), vocab_size, tokens)
    whole = batches.of(made.batch).steps(made.epochs) if batches and not made.max_steps else 0
    estimate.steps = whole or steps_of(made, tokens)
    estimate.tokens, estimate.parameters = estimate.steps * made.batch * made.context, parameters(made, vocab_size)
    in_full(estimate, made, config_of(made, vocab_size))
    estimate.seconds = estimate.flops / devices.speed()
    fill(estimate, made, vocab_size, devices)
    return estimate


def fill(estimate: Estimate, made: Pretrain, vocab_size: int, devices: Devices) -> None:
    """Add the memory of each GPU, and whether it has so much; if not, what would help."""
    from gristmill.training.budget.memory import training_memory

    rows, rest = divmod(made.batch, devices.count)
    if rest or rows % made.accumulate:
        parts = f" in {made.accumulate} parts each" if made.accumulate > 1 else ""
        least = devices.count * made.accumulate
        remedy = f"give a multiple of {least}, as --set pretrain.batch={least * max(1, round(made.batch / least))}"
        raise UserError(f"{made.batch} rows a step do not divide among {devices}{parts}", remedy)

    def needed(**changes: object) -> int:
        return training_memory(made.model_copy(update=changes), vocab_size, True, devices.count).peak

    estimate.memory = needed()
    there = f"Memory is that of each GPU, which has {devices.memory / 2**20:,.0f} MiB"
    if devices.fit(estimate.memory):
        estimate.told = f"{devices.told()}. {there}: it suffices"
        return
    less: list[dict[str, Any]] = [{"accumulate": parts} for parts in range(1, rows + 1) if rows % parts == 0]
    less += [{"accumulate": rows, "recompute": True}, {"accumulate": rows, "recompute": True, "parallel": "fsdp"}]
    remedy = "it takes larger GPUs, or more of them"
    if change := next((change for change in less if devices.fit(needed(**change))), None):
        settings = ", ".join(f"pretrain.{name} = {json.dumps(value)}" for name, value in change.items())
        remedy = f"{settings} would do, with {needed(**change) / 2**20:,.0f} MiB"
    estimate.told = f"{devices.told()}. {there}: too little; {remedy}"


def dialled(params: Pretrain, vocab_size: int, tokens: int, clock: Clock | None = None) -> Pretrain:
    """The settings with what a size or a budget chooses."""
    from gristmill.training.budget.sizing import turn

    if not params.size and not params.budget:
        return params
    return params.model_copy(update=turn(params, vocab_size, tokens, clock))


def steps_of(made: Pretrain, tokens: int) -> int:
    """How many steps are trained where an epoch has so many tokens."""
    return made.max_steps or max(1, round(made.epochs * tokens / (made.batch * made.context)))


def scale_recipe(recipe: Recipe, params: Params, folder: Path) -> None:
    """Train the ladder of `gristmill scale` on the tokens of a recipe's run, if that is not done.

    Raises UserError where there are no tokens that the recipe would make now.
    """
    found = examine(recipe, folder)
    for name in ("tokenizer", "tokenize"):
        why = found[name].fault if name in found else "is not in the recipe"
        if why:
            raise UserError(f"{folder}: {name} {why}", "make the tokens: gristmill run RECIPE --until tokenize")
    with locked(lock_of(folder / SCALE.name)):
        execute(SCALE, pick_inputs(SCALE, usable(found)), params, folder / SCALE.name)


def alone(function: Callable[..., Estimate], *arguments: Any) -> Estimate:
    """Call a function in a process of its own, so that its memory can be told: forked from one that imports once."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["gristmill.training.pretrain"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def one(stage: Stage, params: Params, done: dict[str, Path], scratch: Path, vocab_size: int, tokens: int) -> Estimate:
    """The estimate of one stage. Models that are not trained yet lie in `scratch`, made by the stage before."""
    from gristmill.model.transformer import parameter_count, save_model
    from gristmill.tokenizer.formats.vocabulary_files import TEMPLATE
    from gristmill.training.budget.timing import estimated
    from gristmill.training.pretrain import Pretraining

    estimate, out = Estimate(stage.name), scratch / f"{stage.name}.partial"
    out.mkdir()
    foreign = isinstance(params, SFT) and bool(params.init_from)
    foreign |= (done.get("sft", scratch / "sft") / "tokenizer.json").exists()
    if not foreign and not {"tokenizer", "tokenize"} <= done.keys():
        if isinstance(params, Pretrain):
            without_tokens(estimate, params, vocab_size, tokens)
        else:
            estimate.missing = "it needs tokens; gristmill run RECIPE --until tokenize makes them"
        return estimate
    for name in TRAINING[: TRAINING.index(stage.name)]:
        if name not in done and (scratch / name).exists():
            done[name] = scratch / name
            estimate.assumed.append(f"{name}: a model with random weights")
    if isinstance(params, SFT) and stage.function("as_it_is")(inputs := pick_inputs(stage, done), params):
        stage.function("taken")(inputs, params, out)
        out.rename(scratch / stage.name)
        estimate.missing = "the model is taken as it is"
        return estimate
    try:
        job = stage.function("prepare")(pick_inputs(stage, done), params, out)
        found = estimated(job)
    except UserError as error:
        estimate.missing = error.problem
        return estimate
    estimate.parameters, estimate.steps = parameter_count(job.model), found.steps
    estimate.tokens, estimate.seconds, estimate.memory = found.tokens, found.seconds, peak_memory()
    save_model(job.model, scratch / stage.name)
    for words in (path for name in ("tokenizer.json", TEMPLATE) for path in out.glob(name)):  # of `sft.init_from`
        shutil.copy(words, scratch / stage.name)
    if isinstance(job, Pretraining):
        estimate.seconds += len(job.heldout.tokens) / found.step.tokens * found.step.seconds / 3  # forward only
        in_full(estimate, job.params, job.model.config)
    elif stage.name != "rl":  # which reads with several models, and writes
        estimate.flops = 6.0 * estimate.parameters * estimate.tokens
    return estimate


def without_tokens(estimate: Estimate, params: Pretrain, vocab_size: int, tokens: int) -> None:
    """Estimate pretraining on tokens that are not there: random ones, for so many an epoch."""
    from gristmill.model.transformer import Transformer
    from gristmill.training.budget.sizing import config_of, parameters
    from gristmill.training.loop import best_device
    from gristmill.training.stopwatch import Stopwatch, try_out

    if params.init_from:
        estimate.missing = "it goes on from another model and needs tokens; gristmill run RECIPE --until tokenize"
        return
    seconds, _ = seconds_and_flops(params.budget)
    with Stopwatch(seconds, vocab_size) if seconds else nullcontext() as clock:
        made = dialled(params, vocab_size, tokens, clock)
    estimate.steps = steps_of(made, tokens)
    step = try_out(Transformer(config_of(made, vocab_size)).to(best_device()), made, most=estimate.steps)
    estimate.seconds, estimate.tokens = estimate.steps * step.seconds, estimate.steps * made.batch * made.context
    estimate.memory = peak_memory()
    estimate.assumed.append(f"{tokens:,} training tokens and a vocabulary of {vocab_size:,}")
    estimate.parameters = parameters(made, vocab_size)
    in_full(estimate, made, config_of(made, vocab_size))


def in_full(estimate: Estimate, made: Pretrain, config: ModelConfig) -> None:
    """Add what follows from the shape."""
    from gristmill.training.budget.sizing import SHAPE, flops_per_token

    estimate.flops = flops_per_token(config, config.vocab_size) * estimate.steps * made.batch * made.context
    told = {name: getattr(config, name) for name in SHAPE}
    told |= {name: getattr(made, name) for name in ("batch", "muon_lr", "embed_lr", "head_lr")}
    estimate.shape = ", ".join(f"{name} {value:g}" for name, value in told.items())


def peak_memory() -> int:
    """Bytes of this process at the peak, on the GPU if there is one.

    Pages of files that the process has read which this one was forked from, as PyTorch's own, count as if it had.
    """
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    before, here = (memory_of([process], "RssFile:") for process in (os.getppid(), os.getpid()))
    return peak_rss() + max(0, before - here)


def estimates_table(estimates: Sequence[Estimate], price: float) -> rich.table.Table:
    """The estimates as a table; `price` is for an hour."""
    total, rows = Estimate("together"), list[Sequence[str]]()
    for one in estimates:
        if one.missing:
            rows.append((one.stage, f"not known: {one.missing}"))
            continue
        total.tokens, total.seconds = total.tokens + one.tokens, total.seconds + one.seconds
        total.memory = max(total.memory, one.memory)
        rows.append(
            (
                *(one.stage, quantity(one.parameters), f"{one.steps:,}", quantity(one.tokens)),
                *(f"{one.flops:.3g}" if one.flops else "", f"{one.memory / 2**20:,.0f} MiB"),
                *(duration(one.seconds), *[f"{one.seconds / 3600 * price:,.2f}"] * (price > 0)),
            )
        )
    memory, seconds = f"{total.memory / 2**20:,.0f} MiB", duration(total.seconds)
    cost = [f"{total.seconds / 3600 * price:,.2f}"] * (price > 0)
    rows.append((total.stage, "", "", quantity(total.tokens), "", memory, seconds, *cost))
    head = ("stage", "parameters", "steps", "tokens", "FLOPs", "memory", "time", *["cost"] * (price > 0))
    return table(head, rows)

"""`gristmill plan`: what every training stage of a recipe takes, before it is spent.

Each stage's job is prepared for real, on the files that there are, in a process of its own, and a few of its steps are
timed (`training/budget/timing.py`): parameters, steps and tokens are exact, time and memory measured. What is not there
yet is made up and said: a model with random weights, a number of tokens.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich.table

from gristmill.errors import UserError
from gristmill.processes import peak_rss
from gristmill.progress import console, duration, quantity, table
from gristmill.recipe import SFT, Params, Pretrain, Recipe, TokenizerParams
from gristmill.run import execute
from gristmill.runs.finished import examine
from gristmill.runs.lock import lock_of, locked
from gristmill.settings.quantities import seconds_and_flops
from gristmill.settings.stages import BY_NAME, SCALE, TRAINING, Stage, pick_inputs, resolve_paths

if TYPE_CHECKING:
    from gristmill.model.transformer import ModelConfig


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


def plan_recipe(recipe: Recipe, folder: Path, tokens: int) -> list[Estimate]:
    """Estimate the training stages of a recipe whose run folder is `folder`, finished as far as it may be.

    `tokens` are assumed where there are none yet. Takes some seconds a stage.
    """
    done = usable(recipe, folder)
    vocab_size = (recipe.tokenizer or TokenizerParams()).vocab_size
    estimates: list[Estimate] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in TRAINING:
            params = getattr(recipe, name)
            if params is None:
                continue
            console.print(f"[bold]{name}[/bold]: measuring", soft_wrap=True)
            params = resolve_paths(params, folder)
            estimate = alone(one, BY_NAME[name], params, dict(done), Path(scratch), vocab_size, tokens)
            estimates.append(estimate)
    return estimates


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
        execute(SCALE, pick_inputs(SCALE, usable(recipe, folder)), params, folder / SCALE.name)


def usable(recipe: Recipe, folder: Path) -> dict[str, Path]:
    """The stages' folders that are what the recipe would make now."""
    return {name: one.folder for name, one in examine(recipe, folder).items() if not one.fault}


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
    try:
        job = stage.named("prepare")(pick_inputs(stage, done), params, out)
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
    from gristmill.training.budget.sizing import config_of, parameters, turn
    from gristmill.training.loop import best_device
    from gristmill.training.stopwatch import Stopwatch, try_out

    if params.init_from:
        estimate.missing = "it goes on from another model and needs tokens; gristmill run RECIPE --until tokenize"
        return
    made, (seconds, _) = params, seconds_and_flops(params.budget)
    if seconds:
        with Stopwatch(seconds, vocab_size) as clock:
            made = params.model_copy(update=turn(params, vocab_size, tokens, clock))
    elif params.size or params.budget:
        made = params.model_copy(update=turn(params, vocab_size, tokens))
    estimate.steps = made.max_steps or max(1, round(made.epochs * tokens / (made.batch * made.context)))
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
    """Bytes of this process at the peak, on the GPU if there is one."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_rss()


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

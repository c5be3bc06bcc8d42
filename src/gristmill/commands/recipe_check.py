"""`gristmill check`: what would go wrong in training, told before any of it, in a second or two.

Files are read up to SAMPLED records; nothing is trained, and no model is loaded. Time goes by FLOPs at this machine's
speed in matrix products: `gristmill plan` measures.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from gristmill.chat.conversations import checked, records_of
from gristmill.chat.layouts import READ
from gristmill.chat.template import exchange, render, template_of
from gristmill.commands.record_check import SAMPLED, Amount, Finding, examples_found, records_found
from gristmill.errors import UserError
from gristmill.inputs.folders import content
from gristmill.inputs.text_files import named
from gristmill.progress import duration, quantity
from gristmill.recipe import SFT, Pretrain, Recipe
from gristmill.runs.finished import examine
from gristmill.runs.gates import foreseen
from gristmill.runs.journal import SUMMARY
from gristmill.runs.ready import check_inputs
from gristmill.settings.choices import SHAPE, unused
from gristmill.settings.stages import STAGES, TRAINING, resolve_paths
from gristmill.tokenizer.encode import Tokenizer

PROCESS = 400 << 20  # bytes that Python and PyTorch take before there is a model
SAVED = 12 * 4  # bytes on the disk of a parameter: checkpoints, and the model
SAVED_FROZEN = 5 * 4  # the same where adapters alone are trained: four checkpoints hold its weight, and the model
SIDE, PRODUCTS = 512, 20  # rows of the matrices that are multiplied to tell the machine's speed; how often at least
EFFICIENCY = 0.5  # of a training step's products, of those of a large matrix


def check_recipe(recipe: Recipe, folder: Path, price: float = 0.0) -> Iterator[Finding]:
    """What is found of a recipe whose run folder is, or will be, `folder`; `price` is for an hour of this machine."""
    stages = [stage for stage in STAGES if getattr(recipe, stage.name) is not None]
    try:
        check_inputs(recipe, stages, folder, {})
    except UserError as error:
        yield Finding("recipe", error.problem, True, error.remedy)
        return
    with tempfile.TemporaryDirectory() as scratch:
        try:
            tokenizer = tokenizer_of(recipe, folder, Path(scratch))
        except UserError as error:
            yield Finding("tokenizer", error.problem, True, error.remedy)
            return
        for told, sure in foreseen(recipe, content(folder / SUMMARY)):
            remedy = "summary.json of a finished run has the names that there are"
            yield Finding("gates", told, sure or told.endswith("?"), remedy)
        source = source_of(recipe)
        foreign: Any = shape_of(source[1]) if source else None
        context, amounts = context_of(recipe, foreign), dict[str, Amount]()
        yield from examples_found(recipe, folder, tokenizer, context, amounts)
        prompts: Any = resolve_paths(recipe.rl, folder) if recipe.rl else None
        if prompts and Path(prompts.prompts).exists():
            yield from reward_found(recipe, prompts)
        yield from tasks_found(recipe, folder)
        if tokenizer:
            yield from template_found(tokenizer)
        if tokenizer and source:
            yield from tokens_found(*source, foreign.vocab_size, tokenizer)
        yield from resources_found(recipe, foreign, folder, tokenizer, price, amounts)


def tokenizer_of(recipe: Recipe, folder: Path, scratch: Path) -> Tokenizer | None:
    """The tokenizer that the stages will have, if it is there already. Raises UserError where it cannot be used."""
    done = examine(recipe, folder)
    for name in ("tokenizer", "sft"):
        if name in done and not done[name].fault and (done[name].folder / "tokenizer.json").exists():
            return Tokenizer.load(done[name].folder)
    source = next((one.init_from for one in (recipe.tokenizer, recipe.sft) if one and one.init_from), "")
    if not source:
        return None
    from gristmill.tokenizer.formats.import_hf import adopt

    adopt(Path(source), scratch / "tokenizer.json")
    return Tokenizer.load(scratch)


def source_of(recipe: Recipe) -> tuple[str, Path] | None:
    """The stage that begins with a model by others, and that model."""
    named = ((name, getattr(recipe, name)) for name in ("pretrain", "sft"))
    return next(((name, Path(one.init_from)) for name, one in named if one and one.init_from), None)


def context_of(recipe: Recipe, foreign: Any) -> int:
    """The most tokens that the model reads; 0 where that is not known yet."""
    if recipe.pretrain:
        return 0 if recipe.pretrain.size or recipe.pretrain.budget else recipe.pretrain.context
    return foreign.context if foreign else 0


def shape_of(source: Path) -> Any:
    """The shape of a model by others."""
    from gristmill.model.formats.gguf_format import gguf_config
    from gristmill.model.formats.hf_format import read_config

    return gguf_config(source) if source.suffix == ".gguf" else read_config(source)


def reward_found(recipe: Recipe, params: Any) -> Iterator[Finding]:
    """Whether something rewards answers: the function that is named is there (its file is run), or there is a truth."""
    if params.reward:
        from gristmill.posttrain.rewards import read_function

        try:
            read_function(params.reward)
        except UserError as error:
            yield Finding("rl", error.problem, True, error.remedy)
        told, remedy = unused(recipe)
        if told:
            yield Finding("reward", told, remedy=remedy)
    elif not recipe.reward:
        sample = islice(records_of(Path(params.prompts)), SAMPLED)
        if not any(isinstance(record, dict) and named(record).get("truth") is not None for _, _, record in sample):
            remedy = "add a [reward] table, name a function in rl.reward, or give the prompts their truth"
            yield Finding("rl", 'nothing rewards answers: no prompt has a "truth"', True, remedy)


def tasks_found(recipe: Recipe, folder: Path) -> Iterator[Finding]:
    """What the records of the tasks are; one of lm-evaluation-harness is left to it."""
    if recipe.evaluate and recipe.evaluate.tasks:
        from gristmill.evaluation.tasks import YAML, form_of

        params: Any = resolve_paths(recipe.evaluate, folder)
        for name, path in params.tasks.items():
            if Path(path).suffix in YAML:
                yield Finding(f"evaluate.tasks.{name}", "it is lm-evaluation-harness's to read, when it runs")
            elif Path(path).is_file():
                yield from records_found(f"evaluate.tasks.{name}", Path(path), partial(checked, form_of), {})


def template_found(tokenizer: Tokenizer) -> Iterator[Finding]:
    """Whether the end of a turn is learned, and in whose template."""
    ids, mask = render(exchange("a", "b"), tokenizer)
    learned = [token for token, borne in zip(ids, mask, strict=True) if borne]
    if learned[-1:] != [tokenizer.im_end]:
        yield Finding("template", "the end of a turn is never trained", True, "report it, with the template")
    if tokenizer.chat_template and template_of(tokenizer).source != tokenizer.chat_template:
        told = "the model's own chat template cannot be used; ChatML takes its place"
        yield Finding("template", told, remedy="tune long enough that it learns ChatML")


def tokens_found(stage: str, source: Path, rows: int, tokenizer: Tokenizer) -> Iterator[Finding]:
    """Whether a tokenizer belongs to a model by others, whose embedding has so many rows."""
    from gristmill.tokenizer.formats.import_hf import read_foreign

    found = read_foreign(source)
    if not found.held_by(tokenizer):
        remedy = f'give [tokenizer] init_from = "{source}"'
        yield Finding(stage, f"the tokens are not those of {source}", True, remedy)
    if rows <= max(found.order):
        told = f"{source}: its tokenizer has more tokens than its model's {rows:,} rows"
        yield Finding(stage, told, True, "take tokenizer and model of one folder")


def resources_found(
    recipe: Recipe,
    foreign: Any,
    folder: Path,
    tokenizer: Tokenizer | None,
    price: float,
    amounts: Mapping[str, Amount],
) -> Iterator[Finding]:
    """Memory, disk, time and cost of the model that is trained, as far as its shape is known."""
    from gristmill.training.budget.sizing import flops_per_token, layer_weights

    made: Any = recipe.pretrain
    if made and (made.size or made.budget):
        yield Finding("resources", "a dial chooses the model: gristmill plan tells what it takes")
        return
    shape = foreign or made
    if shape is None:
        return
    vocabulary = tokenizer.vocab_size if tokenizer else recipe.tokenizer.vocab_size if recipe.tokenizer else 0
    tables = vocabulary * shape.width * (1 if shape.tie_embeddings else 2)
    parameters = tables + shape.layers * layer_weights(shape)
    trained = [params for name in TRAINING if (params := getattr(recipe, name)) is not None]
    disk = parameters * sum(SAVED_FROZEN if frozen(params) else SAVED for params in trained)
    memory, there = memory_of(made, vocabulary) if made else memory_of(*tuned(shape, recipe, amounts, vocabulary))
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    told = f"{quantity(parameters)} parameters: {memory / 2**30:,.2f} GiB of memory, of {there / 2**30:,.1f}"
    yield Finding("resources", told, memory > there, "a smaller model, or a larger machine" if memory > there else "")
    told = f"about {disk / 2**30:,.2f} GiB on the disk, of {free / 2**30:,.1f} free"
    yield Finding("resources", told, disk > free, "free some, or set --out" if disk > free else "")
    tokens = tokens_read(recipe, folder, amounts)
    if not tokens:
        yield Finding("resources", "how long it takes is known after tokenize; until then gristmill plan measures")
        return
    rate = speed()
    seconds = tokens * flops_per_token(shape, vocabulary) / rate
    cost = f", {seconds / 3600 * price:,.2f} at {price:g} an hour" if price else ""
    told = f"{quantity(tokens)} tokens that are known: about {duration(seconds)}{cost}; gristmill plan measures"
    yield Finding("resources", told)


def tuned(
    shape: Any, recipe: Recipe, amounts: Mapping[str, Amount], vocabulary: int
) -> tuple[Pretrain, int, bool, bool]:
    """What fine-tuning a model by others takes as much memory as: a pretraining, with one row of all tokens of a step.
    And the tokens that there are, whether adapters alone are trained, and whether the mean of weights is held."""
    from gristmill.posttrain.examples import dose

    params, tokens = recipe.sft or SFT(), 0
    if there := amounts.get("sft"):
        batch, _ = dose(there.records, params.batch, params.epochs)
        tokens = round(there.bytes / 4 * min(1.0, batch / there.records))
    sizes = {name: getattr(shape, name) for name in (*SHAPE, "tie_embeddings")}
    made = Pretrain().model_copy(update={**sizes, "context": max(1, tokens), "batch": 1})
    return made, vocabulary, frozen(params), bool(params.swa)


def frozen(params: Any) -> bool:
    """Whether a stage trains adapters alone."""
    return isinstance(params, SFT) and bool(params.lora_rank or params.lora_from)


def memory_of(made: Pretrain, vocabulary: int, adapters: bool = False, swa: bool = False) -> tuple[int, int]:
    """Bytes that training takes and that there are: of the GPU where there is one, else of the machine."""
    import torch

    from gristmill.training.budget.memory import training_memory

    gpu = torch.cuda.is_available()
    peak = training_memory(made, vocabulary, gpu, 1, adapters, swa).peak
    if gpu:
        return peak, torch.cuda.get_device_properties(0).total_memory
    return PROCESS + peak, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def tokens_read(recipe: Recipe, folder: Path, amounts: Mapping[str, Amount]) -> float:
    """About how many tokens the stages train on whose text is there: four bytes of a file are one."""
    total = 0.0
    for name in READ.keys() & amounts.keys():
        params, there = getattr(recipe, name), amounts[name]
        total += passes(name, there, params) * there.bytes / 4 * (1 - getattr(params, "heldout", 0.0))
    done = examine(recipe, folder).get("tokenize")
    if recipe.pretrain and done and not done.fault:
        from gristmill.tokenizer.shards import open_split

        total += recipe.pretrain.epochs * len(open_split(done.folder, "train").tokens)
    return total


def passes(stage: str, there: Amount, params: Any) -> float:
    """How often the examples of a file are read."""
    from gristmill.posttrain.examples import CONVERSATIONS, PAIRS, dose

    enough = PAIRS if READ[stage][0] == "preferences" else CONVERSATIONS
    return float(params.epochs or dose(there.records, enough=enough)[1])


def speed() -> float:
    """FLOPs a second that training gets here, from the fastest of some products of matrices: the others show what else
    the machine does meanwhile."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = torch.randn(SIDE, SIDE, device=device)
    taken, end = list[float](), time.perf_counter() + 0.2
    while (began := time.perf_counter()) < end or len(taken) < PRODUCTS:
        (a @ a).sum().item()
        taken.append(time.perf_counter() - began)
    return EFFICIENCY * 2 * SIDE**3 / min(taken)

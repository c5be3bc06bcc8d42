"""The stages of the journey: what each reads, in the order in which a recipe runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from gristmill.errors import UserError, nearest
from gristmill.recipe import Params
from gristmill.settings.types import FUNCTION, mapped, marked_fields


@dataclass(frozen=True)
class Stage:
    """One step of the journey."""

    name: str
    module: str  # whose function `run` it is; imported when first needed
    reads: Mapping[str, tuple[str, ...]]  # input name → stages: the last of them that the recipe has is given
    optional: frozenset[str] = frozenset()  # inputs that it can do without
    together: bool = False  # whether all processes of torchrun run it; the others wait while the leader runs the rest

    def function(self, name: str = "run") -> Any:
        """A function of the stage's module: its own, or another, as a training stage's `prepare`."""
        return getattr(import_module(f"gristmill.{self.module}"), name)


CORPUS = ("extract", "filter", "dedup", "redact", "decontaminate")  # documents, as far as the recipe has cleaned them
MODEL = ("pretrain", "sft", "dpo", "kto", "rl")  # the model, as far as the recipe has trained it
TRAINING = ("pretrain", "sft", "dpo", "kto", "reward", "rl")
CRAWLS = ("crawl", "common_crawl")
TOKENS = {"tokenizer": ("tokenizer",), "tokens": ("tokenize",)}
TUNED = {**TOKENS, "tokenizer": ("sft", "tokenizer")}  # that of `sft.init_from`, where the recipe learns none
BEFORE_REPORT = (
    Stage("miniweb", "miniweb.stage", {}),
    Stage("crawl", "crawl.stage", {}),
    Stage("common_crawl", "crawl.common_crawl", {}),
    Stage("extract", "corpus.extract.stage", {"crawl": CRAWLS}, frozenset({"crawl"})),
    Stage("filter", "corpus.filter.stage", {"corpus": ("extract",)}),
    Stage("dedup", "corpus.dedup.stage", {"corpus": ("extract", "filter")}),
    Stage("redact", "corpus.redact.stage", {"corpus": CORPUS[:3]}),
    Stage("decontaminate", "corpus.decontaminate.stage", {"corpus": CORPUS[:4]}),
    Stage("passages", "passages.stage", {"corpus": ("extract",)}),
    Stage("tokenizer", "tokenizer.train", {"corpus": CORPUS}),
    Stage("tokenize", "tokenizer.tokenize", {"corpus": CORPUS, "tokenizer": ("tokenizer",)}),
    Stage("pretrain", "training.pretrain", TOKENS, together=True),
    Stage(
        "sft",
        "posttrain.sft",
        {"model": ("pretrain",), "corpus": CORPUS, **TOKENS},
        frozenset({"model", "corpus", *TOKENS}),
        together=True,
    ),
    Stage("dpo", "posttrain.dpo", {"model": MODEL[:2], **TUNED}, frozenset({"tokens"}), together=True),
    Stage("kto", "posttrain.kto", {"model": MODEL[:3], **TUNED}, frozenset({"tokens"}), together=True),
    Stage("reward", "posttrain.reward", {"model": MODEL[:4], **TUNED}, frozenset({"tokens"}), together=True),
    Stage(
        "rl",
        "posttrain.rl",
        {"model": MODEL[1:4], "reward": ("reward",), **TUNED},
        frozenset({"reward", "tokens"}),
        together=True,
    ),
    Stage(
        "evaluate",
        "evaluation.stage",
        {"model": MODEL, **TUNED, **{name: (name,) for name in MODEL[1:4]}},
        frozenset({"tokens", *MODEL[1:4]}),
    ),
    Stage("audit", "audit.stage", {"model": MODEL, **TOKENS}),
    Stage(
        "export",
        "export.stage",
        {"model": MODEL, "tokenizer": TUNED["tokenizer"], "evaluation": ("evaluate",)},
        frozenset({"evaluation"}),
    ),
)
BEFORE = {stage.name: (stage.name,) for stage in BEFORE_REPORT}
STAGES = (*BEFORE_REPORT, Stage("report", "report.stage", BEFORE, frozenset(BEFORE)))
SCALE = Stage("scale", "training.budget.ladder", TOKENS)  # of no recipe: `gristmill scale` runs it
INDEX = Stage("index", "audit.trace.corpus_index", {"tokens": ("tokenize",)})  # `gristmill trace` and `count` do
BY_NAME = {stage.name: stage for stage in STAGES}


def pick_inputs(stage: Stage, done: Mapping[str, Path]) -> dict[str, Path]:
    """The folders that a stage reads, from those of the stages before it."""
    inputs = {}
    for name, candidates in stage.reads.items():
        present = [done[candidate] for candidate in candidates if candidate in done]
        if present:
            inputs[name] = present[-1]
        elif name not in stage.optional:
            raise UserError(
                f"stage {stage.name} needs {' or '.join(candidates)}, which the recipe does not have",
                f"add a [{'tokenizer' if 'tokenizer' in candidates else candidates[0]}] table to the recipe",
            )
    return inputs


def resolve_paths(params: Params, folder: Path) -> Params:
    """Replace `{stage}` at the start of paths by that stage's folder in the run."""

    def resolve(value: str) -> str:
        name, brace, rest = value.removeprefix("{").partition("}")
        if not (value.startswith("{") and brace):
            return value
        if name not in BY_NAME:
            raise UserError(
                f"`{value}`: no stage is called {name}{nearest(name, BY_NAME)}", f"choose one of {', '.join(BY_NAME)}"
            )
        return str(folder / name) + rest

    names = marked_fields(type(params), "path")
    return params.model_copy(update={name: mapped(resolve, getattr(params, name)) for name in names})


def input_paths(params: Params) -> dict[str, str]:
    """Every input path of the parameters, under a name of its own, of which the function is part that it names."""
    found: dict[str, str] = {}
    for name in marked_fields(type(params), "path"):
        value = getattr(params, name)
        if isinstance(value, dict):
            found |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            items = value if isinstance(value, list) else [value] if value else []
            for index, item in enumerate(items):
                function = FUNCTION.search(item)
                found[f"{name}.{function[0][1:] if function else index}"] = FUNCTION.sub("", item)
    return found

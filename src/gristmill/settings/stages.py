"""The stages of the journey: what each reads, in the order in which a recipe runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from gristmill.errors import UserError, nearest
from gristmill.manifest import Manifest
from gristmill.recipe import Params
from gristmill.settings.types import FUNCTION, path_fields

StageFunction = Callable[[Mapping[str, Path], Any, Path], Manifest]


@dataclass(frozen=True)
class Stage:
    """One step of the journey."""

    name: str
    run: str  # `module:function`, imported when first needed
    reads: Mapping[str, tuple[str, ...]]  # input name → stages: the last of them that the recipe has is given
    optional: frozenset[str] = frozenset()  # inputs that it can do without
    together: bool = False  # whether all processes of torchrun run it; the others wait while the leader runs the rest

    def function(self) -> StageFunction:
        """The stage's function."""
        function: StageFunction = self.named(self.run.partition(":")[2])
        return function

    def named(self, name: str) -> Callable[..., Any]:
        """Another function of the stage's module, as a training stage's `prepare`."""
        function: Callable[..., Any] = getattr(import_module(f"gristmill.{self.run.partition(':')[0]}"), name)
        return function


CORPUS = ("extract", "filter", "dedup", "redact", "decontaminate")  # documents, as far as the recipe has cleaned them
MODEL = ("pretrain", "sft", "dpo", "kto", "rl")  # the model, as far as the recipe has trained it
TRAINING = ("pretrain", "sft", "dpo", "kto", "reward", "rl")
CRAWLS = ("crawl", "common_crawl")
TOKENS = {"tokenizer": ("tokenizer",), "tokens": ("tokenize",)}
TUNED = {**TOKENS, "tokenizer": ("sft", "tokenizer")}  # that of `sft.init_from`, where the recipe learns none
BEFORE_REPORT = (
    Stage("miniweb", "miniweb.stage:run", {}),
    Stage("crawl", "crawl.stage:run", {}),
    Stage("common_crawl", "crawl.common_crawl:run", {}),
    Stage("extract", "corpus.extract.stage:run", {"crawl": CRAWLS}, frozenset({"crawl"})),
    Stage("filter", "corpus.filter.stage:run", {"corpus": ("extract",)}),
    Stage("dedup", "corpus.dedup.stage:run", {"corpus": ("extract", "filter")}),
    Stage("redact", "corpus.redact.stage:run", {"corpus": CORPUS[:3]}),
    Stage("decontaminate", "corpus.decontaminate.stage:run", {"corpus": CORPUS[:4]}),
    Stage("passages", "passages.stage:run", {"corpus": ("extract",)}),
    Stage("tokenizer", "tokenizer.train:run", {"corpus": CORPUS}),
    Stage("tokenize", "tokenizer.tokenize:run", {"corpus": CORPUS, "tokenizer": ("tokenizer",)}),
    Stage("pretrain", "training.pretrain:run", TOKENS, together=True),
    Stage(
        "sft",
        "posttrain.sft:run",
        {"model": ("pretrain",), "corpus": CORPUS, **TOKENS},
        frozenset({"model", "corpus", *TOKENS}),
        together=True,
    ),
    Stage("dpo", "posttrain.dpo:run", {"model": MODEL[:2], **TUNED}, frozenset({"tokens"}), together=True),
    Stage("kto", "posttrain.kto:run", {"model": MODEL[:3], **TUNED}, frozenset({"tokens"}), together=True),
    Stage("reward", "posttrain.reward:run", {"model": MODEL[:4], **TUNED}, frozenset({"tokens"}), together=True),
    Stage(
        "rl",
        "posttrain.rl:run",
        {"model": MODEL[1:4], "reward": ("reward",), **TUNED},
        frozenset({"reward", "tokens"}),
        together=True,
    ),
    Stage("evaluate", "evaluation.stage:run", {"model": MODEL, **TUNED, "sft": ("sft",)}, frozenset({"tokens", "sft"})),
    Stage("audit", "audit.stage:run", {"model": MODEL, **TOKENS}),
    Stage(
        "export",
        "export.stage:run",
        {"model": MODEL, "tokenizer": TUNED["tokenizer"], "evaluation": ("evaluate",)},
        frozenset({"evaluation"}),
    ),
)
BEFORE = {stage.name: (stage.name,) for stage in BEFORE_REPORT}
STAGES = (*BEFORE_REPORT, Stage("report", "report.stage:run", BEFORE, frozenset(BEFORE)))
SCALE = Stage("scale", "training.budget.ladder:run", TOKENS)  # of no recipe: `gristmill scale` runs it
INDEX = Stage("index", "audit.trace.corpus_index:run", {"tokens": ("tokenize",)})  # `gristmill trace` and `count` do
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
                f"add a [{candidates[-1]}] table to the recipe",
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

    changed: dict[str, Any] = {}
    for name in path_fields(type(params)):
        value = getattr(params, name)
        if isinstance(value, dict):
            changed[name] = {key: resolve(item) for key, item in value.items()}
        else:
            changed[name] = [resolve(item) for item in value] if isinstance(value, list) else resolve(value)
    return params.model_copy(update=changed)


def input_paths(params: Params) -> dict[str, str]:
    """Every input path of the parameters, under a name of its own, of which the function is part that it names."""
    found: dict[str, str] = {}
    for name in path_fields(type(params)):
        value = getattr(params, name)
        if isinstance(value, dict):
            found |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            items = value if isinstance(value, list) else [value] if value else []
            for index, item in enumerate(items):
                function = FUNCTION.search(item)
                found[f"{name}.{function[0][1:] if function else index}"] = FUNCTION.sub("", item)
    return found

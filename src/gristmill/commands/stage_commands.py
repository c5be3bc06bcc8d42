"""Every stage as a command of its own: `gristmill STAGE INPUT… -o DIR`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from gristmill.commands.groups import STAGE, EngineName, Settings, Workers
from gristmill.corpus.execution.executor import parse_backend, using
from gristmill.errors import UserError, nearest, typed
from gristmill.manifest import RECIPE, Manifest
from gristmill.progress import console, results
from gristmill.recipe import stage_params
from gristmill.run import run_alone
from gristmill.runs.finished import KEEPING, made_in, stages_of
from gristmill.runs.model_choice import find_model
from gristmill.settings.descriptions import settings_of
from gristmill.settings.recipe_file import set_override, validate
from gristmill.settings.stages import BY_NAME, CORPUS, MODEL, STAGES, Stage


def one_of(names: Sequence[str]) -> str:
    """`a, b or c`."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


FILES = {"crawl": "seeds", "extract": "paths"}  # stages that read no folder of a stage: the setting that names what
INPUTS = {  # what an input is, on disk
    "corpus": f"Documents: the folder of {one_of(CORPUS)} (documents*.parquet).",
    "tokenizer": "A vocabulary: the folder of tokenizer (tokenizer.json).",
    "tokens": "Token shards: the folder of tokenize (*.bin, *-index.parquet, shards.json).",
    "model": f"A model: the folder of {one_of(MODEL)} (model.safetensors, model.json).",
    **{name: f"A model before that one, to be compared: the folder of {name}." for name in MODEL[1:4]},
    "reward": "A reward model: the folder of reward (model.safetensors, model.json).",
    "seeds": "URLs to begin at.",
    "paths": "Files, folders, URLs: WARC, HTML, Markdown, JSONL, CSV, Parquet, EPUB, PDF, Word, code, Wikipedia dumps.",
    "run": "A run folder, as runs/miniweb.",
    "evaluation": "Figures for the model card: the folder of evaluate.",
}
ANY = {"corpus": CORPUS, "model": MODEL}  # stages that write such an input, in whatever order they run
MOSTLY = {("sft", "model"), ("sft", "tokenizer")}  # what a stage can do without, but hardly ever does
OWN = {  # files of one's own
    "conversations": "talks.jsonl",
    "preferences": "pairs.jsonl",
    "questions": "questions.jsonl",
    "prompts": "prompts.jsonl",
}
RARE = {"dpo", "kto"}  # stages that a run seldom has
FLAGS = {  # stages with a setting that is an option of the command, too
    "export": ("check", "Compare what transformers and llama.cpp make of the folder with what training made."),
}


class StageCommand(TyperCommand):
    """A command whose help ends with the stage's settings."""

    def lacks(self) -> str:
        """What to do where not all folders are given: name them all, for they may come in any order."""
        stage = BY_NAME[str(self.name)]
        return f"for example: {example(stage)}" if stage.name == "report" else f"it reads: {needs(stage)}"

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help text, then a line a setting."""
        super().format_help(ctx, formatter)
        results.print(f"For example: {example(BY_NAME[str(self.name)])}\n")
        settings = settings_of(stage_params(str(self.name)))
        if not settings:
            return
        table = Table("setting", "type", "default", "meaning", box=None, header_style="bold", pad_edge=False)
        for one in settings:
            table.add_row(*(Text(part) for part in (one.name, one.kind, one.default, one.meaning)))
        results.print(f"Settings, by --set or in a recipe's [{self.name}] table:\n")
        results.print(table)


def example(stage: Stage, run: Path = Path("runs/miniweb")) -> str:
    """A command that runs the stage, on folders of a run that are there, if any is. They may come in any order."""
    made = made_in(run)
    given = {"crawl": ["https://example.org/"], "extract": ["pages.warc.gz", "notes/"], "report": ["runs/miniweb"]}
    needed = [name for name in inputs_of(stage) if name not in stage.optional or (stage.name, name) in MOSTLY]
    there = [[one for one in stage.reads[name] if one in made] for name in needed]
    usual = [[one for one in stage.reads[name] if one not in RARE][-1] for name in needed]
    named = [found[-1] if found else name for found, name in zip(there, usual, strict=True)]
    folders = given.get(stage.name, [typed(f"{run}/{name}") for name in named])
    own = [f"--set {name}={file}" for name, file in OWN.items() if name in stage_params(stage.name).model_fields]
    return " ".join(["gristmill", stage.name, *folders, "-o", f"my-{stage.name}", *own[:1]])


def add_stages(app: typer.Typer) -> None:
    """Give the app a command for every stage."""
    for stage in STAGES:
        app.command(stage.name, cls=StageCommand, rich_help_panel=STAGE)(stage_command(stage))


def inputs_of(stage: Stage) -> list[str]:
    """The inputs in the order in which they are given: those that it needs, then the others."""
    return sorted(stage.reads, key=lambda name: name in stage.optional)


def parameter(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter of a command's function."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def arguments_of(stage: Stage) -> list[inspect.Parameter]:
    """The command's arguments."""
    if stage.name in FILES:
        name = FILES[stage.name]
        argument = typer.Argument(metavar=name[:-1].upper(), help=INPUTS[name])
        return [parameter("given", Annotated[list[str] | None, argument], None)]
    if stage.name == "report":
        return [parameter("folder", Annotated[Path, typer.Argument(metavar="RUN", help=INPUTS["run"])])]
    found = []
    for name in inputs_of(stage):
        argument = typer.Argument(metavar=name.upper(), help=INPUTS[name], show_default=False)
        if name in stage.optional or (name == "tokenizer" and "model" in stage.reads):  # the model's own is found
            found.append(parameter(name, Annotated[Path | None, argument], None))
        else:
            found.append(parameter(name, Annotated[Path, argument]))
    if stage.name in FLAGS:
        name, meaning = FLAGS[stage.name]
        found.append(parameter(name, Annotated[bool, typer.Option(f"--{name}", help=meaning)], False))
    return found


def stage_command(stage: Stage) -> Callable[..., None]:
    """A command that runs one stage on files of its own kind."""

    def command(
        out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
        workers: Workers = 0,
        engine: EngineName = "processes",
        settings: Settings = None,
        **inputs: Any,
    ) -> None:
        data: dict[str, object] = {}
        for setting in settings or []:
            set_override(data, setting.removeprefix(f"{stage.name}."), stage_params(stage.name))
        if stage.name in FLAGS and inputs.pop(FLAGS[stage.name][0]):
            data[FLAGS[stage.name][0]] = True
        folders = folders_of(stage, inputs)
        if inputs.get("given"):
            data[FILES[stage.name]] = inputs["given"]
        params = validate(stage_params(stage.name), data, f"gristmill {stage.name}")
        with using(parse_backend(engine, workers)):
            made = run_alone(stage, folders, params, out)
        if made is None:
            console.print(f"{out} is finished and unchanged; nothing to do")
        elif stage.name in MODEL[1:]:
            console.print(f"talk to it: gristmill chat {typed(out)}")

    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    command.__signature__ = signature.replace(parameters=[*arguments_of(stage), *keywords])  # type: ignore[attr-defined]
    command.__doc__ = (stage_params(stage.name).__doc__ or "").strip()
    return command


def folders_of(stage: Stage, inputs: Mapping[str, Any]) -> dict[str, Path]:
    """The folders that a stage reads, by input. Raises UserError where one is no folder."""
    if stage.name in FILES:
        return {}
    if stage.name == "report":
        run: Path = inputs["folder"]
        found = {name: path for name, path in stages_of(run).items() if name in stage.reads}
        if not found:
            remedy = f"make them: gristmill run RECIPE --out {typed(run)} {KEEPING}"
            remedy = remedy if (run / RECIPE).exists() else "name a run folder, as runs/miniweb"
            raise UserError(f"no stage in {run} can be reported on", remedy)
        return found
    given = [path for path in inputs.values() if path is not None]
    for path in given:
        if path.suffix == ".gguf" or by_others(path):
            remedy = f"take it as it is, and give that folder: gristmill sft -o taken --set init_from={typed(path)}"
            if "init_from" in stage_params(stage.name).model_fields:
                remedy = f"give it as --set init_from={typed(path)}, and not as a folder"
            raise UserError(f"{stage.name}: {path} is a model by others", remedy)
        if not path.is_dir():
            beside = [str(one) for one in path.parent.glob("*/")]
            problem = "is a file" if path.exists() else f"does not exist{nearest(str(path), beside)}"
            raise UserError(f"{stage.name}: the folder {path} {problem}", f"for example: {example(stage)}")
        if (path / RECIPE).exists():
            whole = f"{path} is a whole run, and the stage reads folders of stages in it"
            raise UserError(f"{stage.name}: {whole}", f"for example: {example(stage, path)}")
    if {"model", "tokenizer"} <= stage.reads.keys():
        made = [manifest.stage if (manifest := Manifest.read(path)) else "" for path in given]
        if not {"", "tokenizer"} & {*made} and (models := [at for at, one in enumerate(made) if one in MODEL]):
            given.append(find_model(given[models[0]]).tokenizer)
    return placed(stage, given)


def by_others(path: Path) -> bool:
    """Whether a folder holds a Hugging Face model that no stage made."""
    return (path / "config.json").exists() and not Manifest.read(path)


def placed(stage: Stage, given: Sequence[Path]) -> dict[str, Path]:
    """The folders given, by input: in the order given where each can be what its place says, in another otherwise.

    A folder tells which stage wrote it; one that does not can be anything. Raises UserError where no order will do.
    """
    made = {path: manifest.stage if (manifest := Manifest.read(path)) else "" for path in given}
    may_be = {name: {"", *stage.reads[name], *ANY.get(name, ())} for name in inputs_of(stage)}
    for names in permutations(may_be, len(given)):
        chosen = dict(zip(names, given, strict=True))
        if all(made[path] in may_be[name] for name, path in chosen.items()) and {*may_be} - stage.optional <= {*names}:
            return chosen
    takers = [[name for name, stages in may_be.items() if made[path] in stages] for path in given]
    for path, taken in zip(given, takers, strict=True):
        if not taken:
            raise UserError(f"{stage.name}: {path} was written by {made[path]}, and is not read", needs(stage))
    if len(given) < len({*may_be} - stage.optional):
        raise UserError(f"gristmill {stage.name}: a folder is missing", f"it reads: {needs(stage)}")
    most = max(takers, key=takers.count)
    alike = " and ".join(str(path) for path, taken in zip(given, takers, strict=True) if taken == most)
    raise UserError(f"{stage.name}: one {most[0]} is read, and {alike} are one each", "leave out what is not meant")


def needs(stage: Stage) -> str:
    """What the stage reads, in words."""
    return " ".join(INPUTS[name] for name in inputs_of(stage)) + f" For example: {example(stage)}"

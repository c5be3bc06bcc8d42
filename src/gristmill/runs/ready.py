"""Whether a recipe's stages can begin: what each reads is there, or a stage before it makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from gristmill.errors import UserError, typed
from gristmill.inputs.folders import PIPE, SAVE, files_of
from gristmill.recipe import Params, Recipe, stage_params
from gristmill.settings.choices import refuse_gaps
from gristmill.settings.descriptions import settings_of
from gristmill.settings.recipe_file import TUNED_ON
from gristmill.settings.stages import Stage, input_paths, pick_inputs, resolve_paths
from gristmill.settings.types import ADDRESS, marked_fields

FIRST = 2_000  # records of a file that are looked at until one is good
MUST_HOLD = {  # setting → what must be in the folder that it names
    "tokenizer.init_from": "tokenizer.json",
    "pretrain.init_from": "config.json",
    "sft.init_from": "config.json",
    "dedup.against": "index",
}


def check_inputs(recipe: Recipe, stages: Sequence[Stage], folder: Path, finished: Mapping[str, Path]) -> None:
    """Raise UserError for the first stage that could not begin: before any stage runs, not after hours when it is its
    turn. Each must have the stages that it reads, and the files and folders that its settings name: those that the
    `finished` stages should have written too.
    """
    refuse_gaps(recipe, [stage.name for stage in stages])
    before: dict[str, Path] = {}
    for stage in stages:
        pick_inputs(stage, before)
        params = getattr(recipe, stage.name)
        resolved = input_paths(resolve_paths(params, folder))  # a placeholder of no stage is reported
        places = {name: getattr(params, name) for name in marked_fields(type(params), "place")}
        for name, path in {**input_paths(params), **places}.items():
            maker = path[1:].partition("}")[0] if path.startswith("{") else ""
            if "://" not in path and not ADDRESS.search(path) and (maker not in before or maker in finished):
                field = name.partition(".")[0]
                setting = f"{stage.name}.{name if isinstance(getattr(params, field), dict) else field}"
                if recipe.evaluate and path == recipe.evaluate.questions:
                    setting = "evaluate.questions"  # from where decontaminate may have it
                unmade = f"`{path}`: {maker} does not run before; " if maker and maker not in before else ""
                check_input(stage, name, resolved.get(name, path), f"{setting}: {unmade}")
        before[stage.name] = folder / stage.name


def check_settings(stage: Stage, params: Params) -> None:
    """Raise UserError where a file or folder that the settings of a stage by itself name is not there, or of another
    kind."""
    for name, path in input_paths(params).items():
        if "://" not in path and not ADDRESS.search(path):
            check_input(stage, name, path, f"{stage.name}.{name.partition('.')[0]}: ")


def check_input(stage: Stage, name: str, named: str, begins: str) -> None:
    """Raise UserError where what a setting names is not there, or is a folder where a file is wanted, or no folder."""
    field, path = name.partition(".")[0], Path(named)
    if not named:
        raise UserError(f"{begins}an empty path", "name a file or folder; . is the one that you are in")
    inside = MUST_HOLD.get(f"{stage.name}.{field}", "")
    if not path.exists():
        meaning = next((one.meaning for one in settings_of(stage_params(stage.name)) if one.name == field), "")
        remedy = f"check the path; {stage.name}.{field}: {meaning}" if meaning else "check the path"
        if field == "init_from":
            remedy = "name a folder or GGUF file that is here; hf download OWNER/MODEL --local-dir DIR fetches one"
        raise UserError(f"{begins}no such file or folder: {path}", remedy)
    if not (path.is_dir() or path.is_file()):
        raise UserError(f"{begins}{path} is a {PIPE}", SAVE)
    if path.is_dir() and field in marked_fields(stage_params(stage.name), "file"):
        raise UserError(f"{begins}{path} is a folder", "name a file")
    if TUNED_ON.get(stage.name) == field:
        try:
            files_of(path)
        except UserError as error:
            raise UserError(f"{begins}{error.problem}", error.remedy) from None
    if not path.is_dir() and field in marked_fields(stage_params(stage.name), "folder"):
        raise UserError(f"{begins}{path} is a file", "name a folder")
    if path.is_dir() and not (path / inside).exists():
        remedy = "name another folder"
        if inside == "config.json" and (path / "model.json").exists():  # of a run, in our own format
            made = f"gristmill export {typed(path)} {typed(path.parent / 'tokenizer')} -o exported"
            remedy = f"write the model as others have it, and name that folder: {made}"
            if stage.name == "sft":
                remedy = f"give that folder itself: gristmill sft {typed(path)} -o DIR; or {remedy}"
        raise UserError(f"{begins}{path} has no {inside}", remedy)


def check_records(recipe: Recipe, names: Sequence[str]) -> None:
    """Raise UserError where one of these stages could use no record of its file of conversations, preferences or
    prompts, as far as the first tell: before a model is trained for it. What the run itself makes is not looked at.
    """
    from gristmill.chat.conversations import LeftOut, checked, nothing_left, records_of, sifted
    from gristmill.chat.layouts import READ

    for name in READ.keys() & set(names):
        setting, read = READ[name]
        path = getattr(getattr(recipe, name), setting)
        if not path or path.startswith("{") or not Path(path).exists():
            continue
        left_out = list[LeftOut]()
        first = islice(records_of(Path(path)), FIRST)
        if not any(True for _ in sifted(first, partial(checked, read), left_out)):
            raise nothing_left(f"{name}.{setting}: {path} holds no record", "give some", left_out)

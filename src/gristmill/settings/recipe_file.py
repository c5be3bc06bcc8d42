"""From a TOML file and `--set` to a checked recipe: reading, overriding, anchoring paths, saying what is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from gristmill.errors import UserError
from gristmill.recipe import Params, Recipe, stage_params
from gristmill.settings.descriptions import wrong_settings
from gristmill.settings.types import ADDRESS, mapped, marked_fields

P = TypeVar("P", bound=Params)
# stage → setting that names what it learns from
TUNED_ON = {
    "sft": "conversations",
    "dpo": "preferences",
    "kto": "preferences",
    "reward": "preferences",
    "rl": "prompts",
}
TEMPLATES = {"folder": "extract.paths", "site": "crawl.seeds"}  # recipes that ship → what each must be told


def load_recipe(path: Path | str, overrides: Sequence[str] | None = None) -> Recipe:
    """Read a recipe: a TOML file (with or without its ending), or by its name one that ships, as `miniweb`.

    `overrides` are `key.path=value` each, as `pretrain.max_steps=20`: values in TOML, a bare word is a string, none
    takes the setting out. Paths in the file are relative to its folder, those in overrides to the working directory;
    what comes back has a field a stage, None for those that the recipe does not have, and absolute paths.

    Raises UserError naming the file and key of whatever is wrong.
    """
    overrides = texts_of(overrides)
    path = found_recipe(Path(path), overrides)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        remedy = "give the path of a .toml file; gristmill new folder PATH writes one for documents of your own"
        raise UserError(f"cannot read recipe {path}: {error.strerror}", remedy) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}", "mend that line") from error
    anchor_paths(data, path.absolute().parent)
    for override in overrides:
        set_override(data, override, Recipe)
    anchor_paths(data, Path.cwd())  # what overrides named; the file's own are absolute by now
    data.setdefault("name", path.stem.strip(".") or "run")  # two recipes side by side are two runs
    recipe = validate(Recipe, data, str(path))
    if recipe.model_fields_set <= {"name", "seed"}:
        raise UserError(f"{path} has no stage", "give it a table for each stage, as [extract]")
    return recipe


def texts_of(overrides: object) -> list[str]:
    """Overrides as a list of texts, none for None. Raises UserError where they are something else."""
    if isinstance(overrides, str):  # whose letters would be read as settings
        raise UserError(f"settings are a list, not the text {overrides!r}", f"give [{overrides!r}]")
    given = [] if overrides is None else [overrides]
    if isinstance(overrides, Iterable) and not isinstance(overrides, Mapping):
        given = [*overrides]
    found = [one for one in given if isinstance(one, str)]
    if wrong := [one for one in given if not isinstance(one, str)]:
        raise UserError(f"a setting is a text, not {wrong[0]!r}", 'give a list, as ["pretrain.max_steps=20"]')
    return found


def found_recipe(path: Path, overrides: Sequence[str]) -> Path:
    """The file that is meant: the one named, one of one's own with `.toml` after the name, or one that ships.

    Raises UserError where it would be a template that is not told what to read.
    """
    own = path.with_name(f"{path.name}.toml")
    if path.is_file() or (path.name and own.is_file()):
        return path if path.is_file() else own
    if path.parent not in (Path(), Path("recipes")) or path.stem not in shipped_names():
        return path
    needed = TEMPLATES.get(path.stem)
    if needed and not any(one.startswith(f"{needed}=") for one in overrides):
        what = "PATH" if path.stem == "folder" else "URL"
        problem = f"there is no recipe {path}, and the one that ships does not say which {path.stem} to read"
        raise UserError(problem, f"gristmill new {path.stem} {what} writes one; or name it with --set {needed}=…")
    return shipped_folder() / f"{path.stem}.toml"  # as `gristmill run miniweb`, wherever one is


def shipped_folder() -> Path:
    """The folder of the recipes that ship: in an installed package, or in the source tree."""
    installed = Path(__file__).parents[1] / "recipes"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "recipes"


def shipped_names() -> list[str]:
    """Names of the recipes that ship."""
    return sorted(path.stem for path in shipped_folder().glob("*.toml"))


def shipped_recipe(name: str) -> str:
    """The text of a recipe that ships."""
    return (shipped_folder() / f"{name}.toml").read_text(encoding="utf-8")


def anchor_paths(data: dict[str, Any], folder: Path) -> None:
    """Make the paths in a recipe's tables absolute, where they are relative: to `folder`."""

    def anchored(value: Any) -> Any:
        free = not isinstance(value, str) or not value or value.startswith("{") or "://" in value
        return value if free or ADDRESS.search(value) else str(folder / Path(value).expanduser())

    for name, table in data.items():
        if name in Recipe.model_fields and isinstance(table, dict):
            for key in marked_fields(stage_params(name), "path", "place"):
                if key in table:
                    table[key] = mapped(anchored, table[key])


def set_override(data: dict[str, Any], override: str, known: type[Params]) -> None:
    """Apply one `a.b=value` to nested tables; `a.b=` removes that key, `a=` the table.

    Raises UserError where it has no `=`, goes through what is no table, or removes what `known` does not have.
    """
    key, equals, value = override.partition("=")
    form = "stage.key=value" if known is Recipe else "key=value"
    if not equals:
        raise UserError(f"--set {override}: no `=`", f"write --set {form}")
    *tables, last = key.strip().split(".", 1 if key.startswith("gates.") else -1)  # whose names have dots
    last = last.strip("\"'")
    if not value.strip():
        remove(data, [*tables, last], known)
        return
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise UserError(f"--set {override}: `{table}` is not a table", f"write --set {form}")
    try:
        data[last] = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError as error:
        if value.lstrip()[:1] in "[{\"'":
            remedy = "write the value as in a recipe; a shell needs quotes around it"
            raise UserError(f"--set {override}: not valid TOML: {error}", remedy) from None
        data[last] = value


def remove(data: dict[str, Any], keys: list[str], known: type[Params]) -> None:
    """Take a key out of nested tables, if it is there. Raises UserError where `known` has no such key."""
    model: type[Params] | None = known
    for key in keys:
        if model and key not in model.model_fields and keys[0] != "gates":
            raise UserError(
                f"--set {'.'.join(keys)}=: unknown key `{key}`", f"known are {', '.join(model.model_fields)}"
            )
        model = stage_params(key) if model is Recipe else None  # below settings, keys are the user's own
    for key in keys[:-1]:
        data = data.get(key, {})
        if not isinstance(data, dict):
            return
    data.pop(keys[-1], None)


def validate(model: type[P], data: dict[str, Any], where: str) -> P:
    """Check a table against its model.

    Raises UserError that names every wrong setting, and for an unknown one the nearest that there is.
    """
    if model is Recipe:
        hand_down(data)
    try:
        return model.model_validate(data)
    except UserError as error:  # settings that contradict each other
        remedy = error.remedy
        for name in Recipe.model_fields if model is not Recipe else ():  # of a stage's command, as its help names them
            remedy = remedy.replace(f"--set {name}.", "--set ")
        raise UserError(f"{where}: {error.problem}", remedy) from None
    except ValidationError as error:
        tables = {name: params for name in Recipe.model_fields if (params := stage_params(name)) is not Params}
        raise wrong_settings(error, where, model, tables) from None


def hand_down(data: dict[str, Any]) -> None:
    """Let `seed` of a recipe flow into stages that have one and set none, the questions that it evaluates on into
    `decontaminate`, its tasks into training that scores some, and what it fine-tunes on into `evaluate`."""
    tables = {name: table for name, table in data.items() if name in Recipe.model_fields and isinstance(table, dict)}
    seed, evaluate = data.get("seed", 0), tables.get("evaluate")
    if isinstance(seed, int) and 0 <= seed < 1 << 32:  # a wrong one is told once
        for name, table in tables.items():
            if "seed" in stage_params(name).model_fields:
                table.setdefault("seed", seed)
    if evaluate is not None and "decontaminate" in tables:
        tables["decontaminate"].setdefault("sets", [evaluate["questions"]] if "questions" in evaluate else [])
    for name in ("pretrain", "sft"):
        if evaluate is not None and tables.get(name, {}).get("tasks_every"):
            tables[name].setdefault("tasks", evaluate.get("tasks", {}))
    if evaluate is not None:
        read = [tables.get(name, {}).get(field) for name, field in TUNED_ON.items()]
        evaluate.setdefault("tuned_on", [*dict.fromkeys(path for path in read if isinstance(path, str) and path)])

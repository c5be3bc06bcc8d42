"""What of a run folder may be used: stages that its recipe names and that are what the recipe would make now.

Everything that looks into a run asks here, so that nothing shows figures or models left by another recipe, by other
settings, by inputs that were redone since, or by other code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gristmill.errors import UserError, typed
from gristmill.files import unsealed
from gristmill.inputs.folders import SINCE, digest, newer
from gristmill.inputs.storage import as_path, is_remote
from gristmill.manifest import MANIFEST, RECIPE, Manifest
from gristmill.progress import warn
from gristmill.recipe import Params, Recipe
from gristmill.runs.fingerprint import Changes, changes, code_digest
from gristmill.runs.journal import read_journal
from gristmill.settings.recipe_file import validate
from gristmill.settings.stages import BY_NAME, CORPUS, MODEL, STAGES, Stage, input_paths, pick_inputs, resolve_paths
from gristmill.settings.types import ADDRESS

RUNS, PASSAGES = Path("runs"), "passages.sqlite"
KEEPING = "(--keep-old keeps what only other code made)"
UPDATE = "update"  # folder of what was read again, within a run's
SHOWN = 3  # source files in a message


@dataclass(frozen=True)
class StageState:
    """A stage of a recipe, in a run folder."""

    folder: Path
    fault: str = ""  # why it may not be used, as `was made for another sft`; empty: it may
    root: str = ""  # the stage before it that the fault is of, if it has none of its own

    @property
    def made(self) -> bool:
        """Whether there is anything."""
        return (self.folder / MANIFEST).exists()


def examine(recipe: Recipe, run: Path) -> dict[str, StageState]:
    """Every stage that a recipe names, in a run folder, in order, with what is wrong with it.

    Inputs from outside the run are trusted to be what they were, where the recipe names the same path.
    """
    found: dict[str, StageState] = {}
    kept = read_journal(run)
    for stage in STAGES:
        params: Params | None = getattr(recipe, stage.name)
        if params is not None:
            folder = run / stage.name
            accepted = str(kept.get(stage.name, {}).get("code", ""))
            found[stage.name] = state_of(stage, resolve_paths(params, run), folder, found, accepted)
    return found


def state_of(stage: Stage, params: Params, folder: Path, before: Mapping[str, StageState], accepted: str) -> StageState:
    """Whether a stage's folder may be used. `accepted` is the digest of the code under which it was kept."""
    try:
        made = Manifest.read(folder)
        if made is None:
            return StageState(folder, "is not made yet")
        inputs = pick_inputs(stage, {name: one.folder for name, one in before.items()})
        needed = [before[name] for name in used(params, inputs, folder.parent) if name in before]
        missing = next((one for one in needed if not one.made), None)
        if missing:
            return inherited(folder, missing)
        digests = known_digests(params, made, inputs, folder.parent)
    except UserError as error:
        return StageState(folder, f"cannot be checked: {error.problem}")
    changed = changes(made, stage, params, digests)
    if changed.inputs or changed.parameters:
        return StageState(folder, describe(changed, inputs))
    wrong = next((one for one in needed if one.fault), None)
    if wrong:
        return inherited(folder, wrong)
    same = not changed.code or accepted == code_digest(stage, params)
    return StageState(folder, "" if same else describe(changed, inputs))


def inherited(folder: Path, wrong: StageState) -> StageState:
    """A stage that was made from one that may not be used."""
    root = wrong.root or wrong.folder.name
    return StageState(folder, wrong.fault if wrong.root else f"was made from {root}, which {wrong.fault}", root)


def gathered(found: Mapping[str, StageState]) -> list[str]:
    """What is wrong with stages, in few words: `rl was made for another sft`, `sft is not made yet; rl likewise`."""
    named: dict[str, list[str]] = {}
    for name, one in found.items():
        named.setdefault(one.fault, []).append(name)
    return [
        f"{first} {fault}" + (f"; {', '.join(others)} likewise" if others else "")
        for fault, (first, *others) in named.items()
        if fault
    ]


def known_digests(params: Params, made: Manifest, inputs: Mapping[str, Path], run: Path) -> dict[str, str]:
    """The digests of what a stage reads, without reading data: from manifests, and for paths outside the run, where
    they are the same paths as when the stage was made, as they were then."""
    found = {name: digest(path, trust=True) for name, path in inputs.items()}
    for name, path in input_paths(params).items():
        owner, file = inside(path, run)
        if ADDRESS.search(path):
            found[name] = path
        elif owner:
            outputs = (Manifest.read(run / owner) or Manifest()).outputs
            found[name] = outputs.get(file) or digest(Path(path))
        elif written(made.params, name) == path and name in made.inputs:
            found[name] = made.inputs[name]
        else:
            found[name] = digest(as_path(path))
    return found


def used(params: Params, inputs: Mapping[str, Path], run: Path) -> list[str]:
    """The stages whose folders a stage reads, through its inputs or its parameters' paths."""
    owners = [inside(path, run)[0] for path in input_paths(params).values()]
    return list(dict.fromkeys([*(path.name for path in inputs.values()), *filter(None, owners)]))


def inside(path: str, run: Path) -> tuple[str, str]:
    """The stage whose folder in the run a path leads to, and the file there; empty where it leads elsewhere."""
    if is_remote(path) or not Path(path).is_relative_to(run):
        return "", ""
    owner, _, file = Path(path).relative_to(run).as_posix().partition("/")
    return (owner, file) if owner in BY_NAME else ("", "")


def written(params: Mapping[str, Any], name: str) -> Any:
    """A path as a manifest has it, by the name that `input_paths` gives it."""
    field, _, key = name.partition(".")
    value = params.get(field)
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list):
        return value[int(key)] if int(key) < len(value) else None
    return value


def describe(changed: Changes, inputs: Mapping[str, Path]) -> str:
    """What is wrong with a stage, as `was made for another sft`."""
    stages = [inputs[name].name for name in changed.inputs if name in inputs]
    gone = [name for name in changed.inputs if name not in inputs and name in BY_NAME]
    files = [name for name in changed.inputs if name not in inputs and name not in BY_NAME]
    more = " and more" if len(changed.code) > SHOWN else ""
    parts = [f"for another {' and '.join(stages)}"] * bool(stages)
    parts += [f"with {' and '.join(gone)}, which the recipe does not have now"] * bool(gone)
    parts += [f"from other files ({', '.join(files)})"] * bool(files)
    parts += [f"with other settings ({', '.join(changed.parameters)})"] * bool(changed.parameters)
    if not parts:
        parts = [f"by other code ({', '.join(changed.code[:SHOWN])}{more})"]
    return f"was made {', '.join(parts)}"


def read_recipe(run: Path) -> Recipe:
    """The recipe that a run folder was last run with. Raises UserError where it cannot be read."""
    path, remedy = run / RECIPE, f"run the recipe again: gristmill run RECIPE --out {typed(run)}"
    try:
        content = unsealed(path, remedy)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", remedy) from error
    try:
        return validate(Recipe, content, str(path))
    except UserError as error:
        stage = next((name for name in reversed(list(made_in(run))) if name in MODEL), "passages")
        as_it_is = f"a stage's folder is used as it is: gristmill chat {typed(run / stage)}"
        problem = error.problem.partition(" (known:")[0]
        raise UserError(f"{run} was made by another version: {problem}", f"{remedy}; or {as_it_is}") from error


def folder_of(recipe: Recipe, out: Path | None = None) -> Path:
    """Where a recipe is run: the folder that is given, else one of its name."""
    return out or RUNS / recipe.name


def run_folder(path: Path) -> Path:
    """The same path. Raises UserError where there is no such folder; it names one that is called much like it."""
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{path} is a file, no run folder", "name the folder of a run, as runs/miniweb")
    places = [place for place in (RUNS, path.parent) if place.is_dir()]
    others = {one.name: one for place in places for one in place.iterdir() if one.is_dir()}
    near = get_close_matches(path.name, others, 1)
    like = f", did you mean `{others[near[0]]}`?" if near else ""
    raise UserError(f"no run folder {path}{like}", "check the path, or make one: gristmill run RECIPE")


def made_in(run: Path) -> dict[str, Path]:
    """The folders of all stages that are finished in a run, by name, also of those that may not be used."""
    return {name: run / name for name in BY_NAME if Manifest.read(run / name)}


def stages_of(run: Path) -> dict[str, Path]:
    """The folders of a run's stages that may be used, by name; says which others there are, and why not.

    Of a folder without a recipe all stages are taken that lie in it. Raises UserError where there is no such folder.
    """
    if not (run_folder(run) / RECIPE).exists():
        return made_in(run)
    return usable(examine(read_recipe(run), run))


def usable(found: Mapping[str, StageState]) -> dict[str, Path]:
    """The folders of those stages that may be used; says which others there are, and why not."""
    for line in gathered({name: one for name, one in found.items() if one.made}):
        warn(f"left out: {line}")
    return {name: one.folder for name, one in found.items() if not one.fault}


def passages_of(folder: Path) -> Path | None:
    """The passages that a run's recipe names, those of a later `gristmill update` before its own, or that a folder
    holds; None where there are none. Raises UserError where the recipe names them and they may not be used.
    """
    if not (folder / RECIPE).exists():
        return next((place for place in (folder, folder / "passages") if (place / PASSAGES).exists()), None)
    if not read_recipe(folder).passages:
        return None
    return stage_of(folder / UPDATE if newer(folder) else folder, "passages")


def watched_of(folder: Path) -> list[Path]:
    """The files of which one changes whenever `passages_of` gives others than before."""
    places = folder, folder / "passages", folder / UPDATE / "passages"
    return [*(place / PASSAGES for place in places), folder / SINCE]


def stage_of(folder: Path, name: str) -> Path:
    """A stage's folder in a run, or the folder itself where it is no run's.

    Raises UserError where there is no such folder, or the run has the stage and it may not be used.
    """
    if not (run_folder(folder) / RECIPE).exists():
        return folder / name if (folder / name).is_dir() else folder
    found = examine(read_recipe(folder), folder).get(name)
    if found is None or found.fault:
        made = f"gristmill run RECIPE --until {name}"
        if found is None:
            raise UserError(f"{folder}: its recipe has no {name}", f"add [{name}] to the recipe, then: {made}")
        remedy = f"make it: {made} {KEEPING}"
        if folder.name == UPDATE and (folder.parent / RECIPE).exists():  # no run of the recipe makes that
            remedy = f"read the pages again: gristmill update {typed(folder.parent)}"
        raise UserError(f"{folder}: {name} {found.fault}", remedy)
    return found.folder


def newest_corpus(run: Path) -> Path | None:
    """The documents of a run as far as they were cleaned, if they are there."""
    return next((run / name for name in reversed(CORPUS) if (run / name / MANIFEST).exists()), None)

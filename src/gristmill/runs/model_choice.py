"""Which model a person means: the newest of a run that may be used, one that they name, or one by others (a Hugging
Face folder, a GGUF file)."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gristmill.errors import UserError, typed
from gristmill.inputs.folders import digest
from gristmill.manifest import RECIPE, Manifest, intact
from gristmill.runs.finished import StageState, examine, gathered, read_recipe, run_folder
from gristmill.settings.stages import MODEL

NEWEST = tuple(reversed(MODEL))  # stages that train a model to talk with, the last first
OURS, HUGGING_FACE = "model.json", "config.json"  # what shows whose folder it is
GGUF = ".gguf"


@dataclass(frozen=True)
class Model:
    """A model that was found."""

    folder: Path
    tokenizer: Path
    name: str  # under which it is served
    about: str  # one line: which it is, and why not another
    evaluated: Path | None = None  # the folder of its run's evaluation, if that may be used


def find_model(folder: Path | str | None, named: str | None = None, choose: Sequence[str] = NEWEST) -> Model:
    """The model of a run folder, of a stage's folder, of a Hugging Face folder or of a GGUF file (Llama, Qwen3): its
    `folder` (or file), the folder of its `tokenizer`, its `name`, and `about`, which says which it is and why not a
    newer one.

    `named` is a stage of the run (as `sft`), or a folder that is taken instead. Of a run, the first of the stages
    `choose` (by default rl, kto, dpo, sft, pretrain) is taken that its recipe names and that is what the recipe would
    make now. Nothing is loaded. Raises UserError where there is none.
    """
    folder = None if folder is None else Path(folder)
    if named in MODEL and folder is not None:
        return of_run(folder, [named]) if (folder / RECIPE).exists() else of_stage(folder / named)
    path = Path(named) if named else folder
    if path is None:
        raise UserError("no model is named", "give a run folder, as runs/miniweb, or --model DIR")
    if path.suffix == GGUF and path.is_file():
        return of_foreign(path, "a GGUF file")
    if not path.is_dir():
        if named or path.suffix == GGUF:
            raise UserError(f"no model {path}", f"name one of {', '.join(MODEL)}, the folder of one, or a GGUF file")
        run_folder(path)
    if (path / RECIPE).exists():
        return of_run(path, choose)
    if (path / OURS).exists():
        return of_stage(path)
    if (path / HUGGING_FACE).exists():
        return of_foreign(path, "a Hugging Face folder")
    there = [path / name for name in MODEL if (path / name / OURS).exists()]
    if len(there) > 1:
        raise UserError(f"{path} has no {RECIPE}, which says which of its models is meant", f"name one: {there[-1]}")
    if not there:
        runs = ", ".join(sorted(str(one) for one in path.iterdir() if (one / RECIPE).exists()))
        remedy = f"name one: {runs}" if runs else "let the run reach the pretrain stage: gristmill run RECIPE"
        raise UserError(f"{path} holds no model{'' if runs else ' yet'}", remedy)
    return of_stage(there[0], path.resolve().name)


def of_run(run: Path, choose: Sequence[str]) -> Model:
    """The first of some stages of a run whose model may be used."""
    found = examine(read_recipe(run), run)
    wrong: dict[str, StageState] = {}
    for stage in choose:
        if stage not in found:
            if len(choose) == 1:
                others = ", ".join(name for name in MODEL if name in found) or "none"
                raise UserError(f"{run}: its recipe has no {stage}", f"choose one of {others}, or name a folder")
        elif found[stage].fault:
            Manifest.read(run / stage)  # a damaged one is refused, not passed over for an older model
            wrong[stage] = found[stage]
        else:
            why = unfinished(run, found) or "; ".join(gathered(wrong))
            about = f"{stage} ({why})" if wrong else stage
            evaluated = run / "evaluate" if "evaluate" in found and not found["evaluate"].fault else None
            words = run / ("tokenizer" if "tokenizer" in found else "sft")  # which has that of `sft.init_from`
            return Model(run / stage, words, run.resolve().name, about, evaluated)
    made = [stage for stage in choose if stage in found and found[stage].made]
    if why := unfinished(run, found):
        raise UserError(f"{run} has no model yet: {why}", f"go on: gristmill run RECIPE --out {typed(run)}")
    if not made:
        raise UserError(f"{run} holds no model yet", "let the run reach the pretrain stage: gristmill run RECIPE")
    raise UserError(
        f"{run} holds no model that its recipe would make now: {'; '.join(gathered(wrong))}",
        f"gristmill run RECIPE --out {typed(run)} makes it anew (if it was made with --set, give the same again to "
        "keep it; --keep-old keeps what only other code made); "
        f"or name a folder as it is: {run / made[0]}",
    )


def unfinished(run: Path, stages: Iterable[str]) -> str:
    """Where a run came to a stop; an empty text where it ended, or stopped between two stages."""
    stage = next((name for name in stages if (run / f"{name}.partial").exists()), "")
    return f"{stage} was interrupted, or is still running" if stage else ""


def of_stage(folder: Path, name: str = "") -> Model:
    """The model in a stage's folder, wherever that lies, with the tokenizer that it was trained with."""
    if not (folder / OURS).exists():
        raise UserError(f"no model in {folder}", f"name the folder of {', '.join(MODEL)}")
    made = Manifest.read(folder) or Manifest()
    if made.stage == "reward":
        raise UserError(
            f"{folder} is a reward model: it scores answers, and gives none", f"name one of {', '.join(MODEL)}"
        )
    return Model(folder, words_of(folder), name or folder.resolve().name, str(folder))


def words_of(folder: Path) -> Path:
    """The folder of the tokenizer that a stage's model was trained with. Raises UserError where that is gone."""
    if (folder / "tokenizer.json").exists():
        return folder
    made = Manifest.read(folder) or Manifest()
    noted = made.folders.get("tokenizer", "../tokenizer")
    options = [folder.absolute().parent / noted.removeprefix("../"), folder.absolute().parent / "tokenizer"]
    for tokenizer in options:
        if (tokenizer / "tokenizer.json").exists() and made.inputs.get("tokenizer") in (None, digest(tokenizer)):
            return tokenizer
    tried = " or ".join(dict.fromkeys(map(str, options)))
    raise UserError(
        f"{folder}: the tokenizer that the model was trained with is not at {tried}",
        "put the tokenizer's folder there, or train the model again",
    )


def of_foreign(source: Path, kind: str) -> Model:
    """A model by others; its tokenizer, with the control tokens that it lacks, goes to a temporary folder."""
    from gristmill.tokenizer.formats.import_hf import adopt

    intact(source)  # it may be, or lie in, the folder of an export stage
    scratch = Path(tempfile.mkdtemp(prefix="gristmill-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    adopt(source, scratch / "tokenizer.json")
    return Model(source, scratch, source.resolve().name.removesuffix(GGUF), f"{source} ({kind})")


def in_our_form(model: Model) -> Path:
    """The folder of a model as our stages write it; one by others is written next to its tokenizer first."""
    if (model.folder / OURS).exists():
        return model.folder
    from gristmill.generation.engine import load_together
    from gristmill.model.transformer import save_model

    save_model(load_together(model.folder, model.tokenizer)[0], model.tokenizer)
    return model.tokenizer

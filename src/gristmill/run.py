"""Running a recipe: which stages are run, skipped or kept, and what becomes of a stage's folder.

A stage is `run(inputs, params, out) -> Manifest`. It works in `<run>/<stage>.partial`, which becomes `<run>/<stage>`
by one rename when it has succeeded: a stage folder is either complete or absent. A `.partial` folder left by a kill
is handed back to the same stage with the same fingerprint, which may go on from there.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from gristmill import __version__
from gristmill.errors import Damaged, UserError, nearest, typed
from gristmill.files import make_readable, sealed, sha256_file, write_json, write_text
from gristmill.inputs.folders import LOCK
from gristmill.manifest import FINGERPRINT, RECIPE, WORK, Manifest, heavy_loss, intact
from gristmill.processes import LEADER, SIZE, watching_memory
from gristmill.progress import console, duration, warn
from gristmill.recipe import Params, Recipe
from gristmill.runs.failures import explaining, traced
from gristmill.runs.fingerprint import (
    Changes,
    changes,
    code_digest,
    code_of,
    digests_of,
    fingerprint_of,
    folders_served,
)
from gristmill.runs.finished import examine
from gristmill.runs.journal import KEPT, RAN, SKIPPED, SUMMARY, Journal
from gristmill.runs.lock import lock_of, locked
from gristmill.runs.ready import check_inputs, check_records, check_settings
from gristmill.runs.stage_line import stage_line, warned
from gristmill.settings.choices import unused
from gristmill.settings.stages import CORPUS, CRAWLS, STAGES, Stage, pick_inputs, resolve_paths

RUN, SKIP = "run", "skip"
BEGINNING = ("pretrain", "sft")  # their `init_from` is a model


def run_recipe(
    recipe: Recipe, folder: Path | str, *, first: str | None = None, until: str | None = None, keep_old: bool = False
) -> dict[str, float]:
    """Run a recipe's stages in order into `folder` and write `summary.json` and `run.json`; returns the summary, of the
    stages up to `until`.

    A stage is skipped where its fingerprint is unchanged, and goes on where an earlier call was interrupted. `first`
    redoes that stage and, as their inputs change, those that read it; `until` stops after that stage; `keep_old` keeps
    stages of which nothing but the code has changed. Progress goes to standard error.

    The summary has dotted names, as `pretrain.heldout_bpb`: times are in seconds, sizes in bytes, shares from 0 to 1,
    `bpb` is bits per byte. Under torchrun it is empty but for the leader.

    Corpora over 16 MB are cleaned by several processes, each of which imports the script that called this function:
    the call belongs under `if __name__ == "__main__":` there.

    Raises UserError for anything the user can mend, also where another process works in the folder.
    """
    folder, stages = Path(folder), chosen(recipe, first, until)
    names = [stage.name for stage in stages]
    check_inputs(recipe, stages, folder, {})
    check_records(recipe, names)
    told, remedy = unused(recipe)
    if told and {"reward", "rl"} <= {stage.name for stage in stages}:
        warn(f"caution: {told}; {remedy}")
    with locked(folder / LOCK), traced(folder) if LEADER else nullcontext(), explaining("", folder):
        if LEADER:
            write_text(folder / RECIPE, sealed(recipe.model_dump_json(indent=2, exclude_none=True)))
        journal = Journal(folder)
        done: dict[str, Path] = {}
        for stage in stages:
            params, inputs = resolve_paths(getattr(recipe, stage.name), folder), pick_inputs(stage, done)
            out, redo = folder / stage.name, stage.name == first
            execute(stage, inputs, params, out, redo=redo, keep_old=keep_old, journal=journal)
            done[stage.name] = out
            check_inputs(recipe, stages, folder, done)
        if not LEADER:
            return {}
        work = journal.count(RAN)
        summary = summarise(recipe, folder, list(done))
        journal.write(finished=True)
    for name, place in done.items():
        if found := Manifest.read(place):
            warn_of(heavy_loss(found, folder / name), *warned(found))
    if work:
        console.print(f"{folder}: {work} of {len(stages)} stages run in {duration(journal.seconds())}")
    else:
        kept = journal.count(KEPT)
        told = f"finished, {kept} of them by other code" if kept else "finished and unchanged"
        console.print(f"{folder}: all {len(stages)} stages are {told}; nothing to do")
    return summary


def chosen(recipe: Recipe, first: str | None, until: str | None) -> list[Stage]:
    """The stages of a recipe up to `until`. Raises UserError where it lacks one that is named."""
    if not isinstance(recipe, Recipe):
        raise UserError(f"a recipe is what load_recipe gives, not {recipe!r}", "give load_recipe(…)")
    stages = [stage for stage in STAGES if getattr(recipe, stage.name) is not None]
    names = [stage.name for stage in stages]
    for option, name in (("--from", first), ("--until", until)):
        if name is not None and name not in names:
            problem = f"{option} {name}: this recipe has no such stage{nearest(name, names)}"
            raise UserError(problem, f"choose one of {', '.join(names)}")
    if first and until and names.index(first) > names.index(until):
        raise UserError(f"--from {first} comes after --until {until}", "name them the other way round")
    return stages[: names.index(until) + 1] if until else stages


def run_alone(stage: Stage, inputs: Mapping[str, Path], params: Params, out: Path) -> Manifest | None:
    """Run one stage into a folder of its own; returns its manifest, or None where that is done already.

    Raises UserError where another process works there, or a file that its settings name is not there.
    """
    check_settings(stage, params)
    with locked(lock_of(out)):
        return execute(stage, inputs, params, out)


def execute(
    stage: Stage,
    inputs: Mapping[str, Path],
    params: Params,
    out: Path,
    *,
    redo: bool = False,
    keep_old: bool = False,
    journal: Journal | None = None,
) -> Manifest | None:
    """Run one stage into `out` unless that is done already; returns its manifest, or None where it was not run.

    Of torchrun's processes the leader does so, and tells the others of a stage that they run with it.
    """
    if not LEADER:
        follow(stage, inputs, params, out)
        return None
    journal = journal or Journal(None)
    digests = digests_of(params, inputs)
    fingerprint = fingerprint_of(stage, params, digests)
    partial = out.with_name(out.name + ".partial")
    adopt(partial, out, fingerprint)
    existing, damage = found_in(out)
    changed = changes(existing, stage, params, digests) if existing else None
    same = existing is not None and existing.fingerprint == fingerprint
    if not redo and (same or (keep_old and changed and changed.only_code())):
        damage = found_in(out, whole=True)[1]
        if not damage:
            tell_others(stage, SKIP)
            keep(stage, journal, "" if same else str(changed), changed, code_digest(stage, params))
            return None
    if out.exists() and existing is None and not damage and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and was not written by gristmill", "remove it, or choose another output folder")
    if damage and not redo:
        tell_damage(stage, params, damage, out)
    if changed and (out.parent / RECIPE).exists() and not redo:
        tell_sets(stage, changed)
    console.print(stage.name, style="bold")
    if changed and not redo and not damage:
        console.print(f"           made again, for what has changed: {changed}", style="dim", markup=False)
    with explaining(stage.name, partial):
        begin(partial, fingerprint, stage, params, digests, keep_old)
        result = carry_out(stage, inputs, params, partial)
        result.stage, result.fingerprint, result.version = stage.name, fingerprint, __version__
        result.params, result.inputs, result.code = params.model_dump(), digests, code_of(stage, params)
        result.folders = {name: beside(path, out) for name, path in inputs.items()}
        result.begun_with = begun_with(stage, params, inputs)
        finish(result, partial)
    adopt(partial, out, fingerprint)
    console.print(f"           {stage_line(result)}", style="dim")
    warn_of(heavy_loss(result, out))
    journal.note(stage.name, RAN, "--from" if redo else damage or str(changed or "new"), changed)
    return result


def found_in(out: Path, whole: bool = False) -> tuple[Manifest | None, str]:
    """The manifest of a stage's folder, and what is damaged there: of the files only where `whole` asks for it."""
    try:
        existing = Manifest.read(out)
        if whole:
            intact(out)
    except Damaged as error:
        return None, error.problem
    return existing, ""


def keep(stage: Stage, journal: Journal, why: str, changed: Changes | None, code: str) -> None:
    """Note of a stage that it is not run: being unchanged, or made by other code, which `why` tells."""
    if not why:
        journal.note(stage.name, SKIPPED, "unchanged")
        return
    journal.note(stage.name, KEPT, why, changed, code)
    warn(f"{stage.name}: kept, though made by other code ({why})")


def tell_damage(stage: Stage, params: Params, damage: str, out: Path) -> None:
    """Say why a finished stage is made again. Raises Damaged where that would fetch pages anew, which may be others."""
    if stage.name in CRAWLS and not folders_served(params):
        again = f"--from {stage.name}" if (out.parent / RECIPE).exists() else f"remove {typed(out)}"
        raise Damaged(damage, f"put a whole copy there, or fetch the pages as they are now: {again}")
    warn(f"{stage.name}: {damage}; it is made again")


def tell_sets(stage: Stage, changed: Changes) -> None:
    """Say why a run cleans its text and trains anew where only questions have changed, and what asks them alone."""
    names = {name.partition(".")[0] for name in (*changed.parameters, *changed.inputs)}
    if stage.name == "decontaminate" and names == {"sets"}:
        warn(
            f"{stage.name}: other questions or evaluation sets: the text is cleaned of them, and all that was made of "
            "it is made again; to ask them of the model as it is: "
            "gristmill evaluate MODEL TOKENIZER --set questions=FILE -o FOLDER"
        )


def carry_out(stage: Stage, inputs: Mapping[str, Path], params: Params, partial: Path) -> Manifest:
    """Call the stage's function; its manifest, with time and memory."""
    started = time.monotonic()
    with watching_memory() as peak, running_services(params) as ready:
        tell_others(stage, RUN)
        result: Manifest = stage.function()(inputs, ready, partial)
    result.seconds = round(time.monotonic() - started, 3)
    result.peak_rss_bytes = peak()
    check_balance(stage, result)
    result.unmeasured = sorted(name for name, value in result.metrics.items() if not math.isfinite(value))
    for name in result.unmeasured:
        warn(f"{stage.name}: {name} is {result.metrics.pop(name)}: not measured")
    return result


def finish(result: Manifest, partial: Path) -> None:
    """Complete a stage's folder: every file but its working ones gets its checksum, and the manifest is written."""
    names = (path.relative_to(partial) for path in sorted(partial.rglob("*")) if path.is_file())
    for name in names:
        if name.parts[0] not in (WORK, FINGERPRINT):
            make_readable(partial / name)
            result.outputs[str(name)] = sha256_file(partial / name)
    result.write(partial)


def beside(path: Path, out: Path) -> str:
    """A folder that a stage read, as its manifest names it: relative where it lies in the same folder as `out`."""
    same = path.absolute().parent == out.absolute().parent
    return f"../{path.name}" if same else str(path.absolute())


def begun_with(stage: Stage, params: Params, inputs: Mapping[str, Path]) -> dict[str, str]:
    """The model by others that a stage begins with, or that began what it reads: stage → the model's name."""
    if stage.name in BEGINNING and (source := getattr(params, "init_from", "")):
        return {stage.name: Path(source).name}
    made = Manifest.read(inputs["model"]) if "model" in inputs else None
    return made.begun_with if made else {}


def warn_of(*texts: str) -> None:
    """Warn of what there is to say of a stage, where it ends and again at the run's end."""
    for told in filter(None, texts):
        warn(told)


def follow(stage: Stage, inputs: Mapping[str, Path], params: Params, out: Path) -> None:
    """Run a stage together with the leader, when it says so."""
    if stage.together:
        from gristmill.training.parallel import receive

        if receive(stage.name) == RUN:
            stage.function()(inputs, params, out.with_name(out.name + ".partial"))


def tell_others(stage: Stage, word: str) -> None:
    """Tell the other processes whether a stage is run or skipped."""
    if stage.together and SIZE > 1:
        from gristmill.training.parallel import broadcast

        broadcast(stage.name, word)


def begin(
    partial: Path, fingerprint: str, stage: Stage, params: Params, digests: Mapping[str, str], keep_old: bool
) -> None:
    """Make the working folder, or keep the one that an interrupted run with the same fingerprint left. What one of
    another fingerprint left is removed, which is said. Raises UserError where only the code is another, and `keep_old`.
    """
    mark = partial / FINGERPRINT
    begun, _, basis = mark.read_text().partition("\n") if mark.exists() else ("", "", "")
    if partial.exists() and begun != fingerprint:
        if begun and any(path != mark for path in partial.iterdir()):
            changed = changes(Manifest(**json.loads(basis)), stage, params, digests) if basis else None
            other = f" ({changed})" if changed else ""
            if keep_old and changed and changed.only_code():  # hours of training, it may be
                remedy = f"let that code end it; or remove {typed(partial)}, and {stage.name} begins anew"
                raise UserError(f"what an interrupted {stage.name} left was begun by other code{other}", remedy)
            warn(f"{stage.name}: begun anew: what an interrupted run left was made otherwise{other}, and is removed")
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    for left in partial.rglob(".tmp??????"):  # by a kill, of what safetensors was writing
        left.unlink()
    made_of = {"params": params.model_dump(mode="json"), "inputs": dict(digests), "code": code_of(stage, params)}
    write_text(mark, f"{fingerprint}\n{json.dumps(made_of)}")


def adopt(partial: Path, out: Path, fingerprint: str) -> None:
    """Rename a finished working folder into place, without its working files (also one whose run was killed just
    before: until then they let it go on)."""
    finished, _ = found_in(partial)
    if finished and finished.fingerprint == fingerprint:
        shutil.rmtree(partial / WORK, ignore_errors=True)
        (partial / FINGERPRINT).unlink(missing_ok=True)
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)


@contextmanager
def running_services(params: Params) -> Iterator[Params]:
    """Serve a miniature web over loopback for as long as a crawl that connects to `{miniweb}` lasts."""
    targets: dict[str, str] = getattr(params, "connect_to", {})
    with ExitStack() as stack:
        addresses: dict[str, str] = {}
        for pattern, target in folders_served(params).items():
            from gristmill.miniweb.serve import serve

            addresses[target] = addresses.get(target) or stack.enter_context(serve(Path(target)))
            targets = {**targets, pattern: addresses[target]}
        yield params.model_copy(update={"connect_to": targets}) if addresses else params


def check_balance(stage: Stage, result: Manifest) -> None:
    """Raise AssertionError where documents or bytes went missing without a rule: a bug, not a user's mistake."""
    counts = result.counts
    for unit, dropped in (("documents", result.dropped), ("bytes", result.dropped_bytes)):
        if {f"{unit}_in", f"{unit}_out"} <= counts.keys():
            lost = counts[f"{unit}_in"] - counts[f"{unit}_out"] - counts.get(f"{unit}_edited", 0)
            lost -= sum(dropped.values())
            assert lost == 0, f"{stage.name}: {lost} {unit} are unaccounted for: {counts} {dropped}"


def summarise(recipe: Recipe, folder: Path, done: list[str]) -> dict[str, float]:
    """Write `summary.json`: the figures of the stages that this run made or found unchanged, which are returned, and of
    those after them that still are what the recipe would make.
    """
    later = [name for name, one in examine(recipe, folder).items() if not (one.fault or name in done)]
    write_json(folder / SUMMARY, figures_of(folder, [*done, *later]), sort_keys=True, allow_nan=False)
    return figures_of(folder, done)


def figures_of(folder: Path, names: list[str]) -> dict[str, float]:
    """Figures of finished stages: one flat object of dotted names to numbers.

    `run.wall_seconds` is what those stages took when they were made, all together; `run.json` has the time of this run.
    """
    summary: dict[str, float] = {}
    manifests = [found for name in names if (found := Manifest.read(folder / name))]
    for found in manifests:
        for name, value in {**found.counts, **found.metrics, "seconds": found.seconds}.items():
            # a figure with a dot names its own place, as evaluate's `rl.wrong_answer_rate`
            summary[name if "." in name else f"{found.stage}.{name}"] = value
    summary["run.wall_seconds"] = round(sum(found.seconds for found in manifests), 3)
    summary["run.peak_rss_bytes"] = max((found.peak_rss_bytes for found in manifests), default=0)
    last_corpus = [name for name in CORPUS if name in names]
    if last_corpus:
        summary["corpus.documents_kept"] = summary.get(f"{last_corpus[-1]}.documents_out", 0)
    return summary

"""`gristmill update`: pages that have changed are read and indexed again, next to a model that stays as it is."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from gristmill.errors import UserError
from gristmill.files import write_json, write_text
from gristmill.inputs.folders import NEWER, SINCE, newer
from gristmill.manifest import MANIFEST, Manifest
from gristmill.progress import console, counted, results
from gristmill.recipe import Recipe
from gristmill.run import execute, run_recipe
from gristmill.runs.finished import UPDATE, made_in, read_recipe, run_folder
from gristmill.runs.lock import lock_of, locked
from gristmill.settings.stages import BY_NAME, CRAWLS, MODEL, pick_inputs, resolve_paths

KEPT = ["{crawl}", "{crawl}/../unreached/pages-00000.warc.gz"]  # pages, and those that could not be had just now
READ_AGAIN = ("name", "seed", *CRAWLS, "extract", "passages")


def update(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder whose recipe has passages.")],
) -> dict[str, list[str]]:
    """Read the pages of a run again and index them in `RUN/update`; returns those that are new, changed and gone since
    the run was made, which its weights do not know of. Raises UserError where the run has no passages.
    """
    recipe = read_recipe(run_folder(run))
    if recipe.passages is None:
        raise UserError(f"the recipe of {run} has no passages", "add a [passages] table to it, and run it")
    if not (run / "extract").is_dir():
        raise UserError(f"{run} has no documents yet", "run its recipe first")
    given = recipe.model_dump(exclude_unset=True, exclude_none=True, include=set(READ_AGAIN))
    fetched = [name for name in CRAWLS if getattr(recipe, name) is not None]
    again = run / UPDATE / "extract"
    last = None
    with suppress(UserError):  # where that is damaged it is made again
        last = documents_of(again) if newer(run) and Manifest.read(again) else None
    kept = crawl_again(run, given) if fetched == ["crawl"] and not given["extract"].get("paths") else None
    run_recipe(Recipe.model_validate(given), run / UPDATE, first=fetched[0] if fetched and kept is None else None)
    shutil.rmtree(run / UPDATE / "before", ignore_errors=True)
    now = documents_of(again)
    found = difference(documents_of(run / "extract"), now)
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    known = reported(run, text)
    if not known:  # else it would be younger than the report, which would be made again the next time
        write_text(run / NEWER, text)
    own = Manifest.read(run / "passages")
    write_json(run / SINCE, {"passages": own.fingerprint if own else ""})
    if not known:
        told_again(recipe, run)
    if last is not None:
        tell("since the last update", difference(last, now))
    whose = "newer than the weights" if any(name in made_in(run) for name in MODEL) else "since the run was made"
    tell(whose, found, f" (all in {run / NEWER})", named=last is None)
    if kept:
        results.print(f"{counted(len(kept), 'pages')} could not be had just now, and may be again; used as last read:")
    for url in (kept or [])[:5]:
        results.print(f"  kept: {url}")
    console.print(
        "find, chat and serve use what it is now; so does a server that runs already, from the next question on"
    )
    return found


def crawl_again(run: Path, given: dict[str, Any]) -> list[str]:
    """Crawl a run's site into `RUN/update`, and let the recipe `given` also read those pages that were there before and
    could not be had for the time being; returns their URLs."""
    from gristmill.crawl.revisits import keep_unreached

    place, extract = run / UPDATE, given["extract"]
    before, unreached, partial = place / "before", place / "unreached", place / "before.partial"
    if not newer(run):  # nothing was updated since the run was made
        for old in (before, unreached):
            shutil.rmtree(old, ignore_errors=True)
    elif not before.exists():  # else an update was interrupted, and it holds what was there before that
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(place / "crawl", partial)
        partial.rename(before)
    if unreached.exists():
        extract["paths"] = KEPT  # as what is there was made, which is used meanwhile
    run_recipe(Recipe.model_validate(given), place, first="crawl", until="crawl")
    earlier = [before, unreached] if before.exists() else [run / "crawl"]
    kept = keep_unreached([one for one in earlier if (one / "urls.jsonl").exists()], place / "crawl", unreached)
    extract["paths"] = KEPT if kept else []
    return kept


def difference(before: dict[str, str], now: dict[str, str]) -> dict[str, list[str]]:
    """The pages that are new, changed and gone."""
    return {
        "new": sorted(now.keys() - before.keys()),
        "changed": sorted(name for name in now.keys() & before.keys() if now[name] != before[name]),
        "gone": sorted(before.keys() - now.keys()),
    }


def tell(since: str, found: dict[str, list[str]], where: str = "", named: bool = True) -> None:
    """Print how many pages are new, changed and gone, and the first of each."""
    told = ", ".join(f"{len(names):,} {kind}" for kind, names in found.items())
    results.print(f"{since}: {told if any(found.values()) else 'nothing has changed'}{where}")
    for kind, names in found.items() if named else ():
        for name in names[:5]:
            results.print(f"  {kind}: {name}")


def reported(run: Path, text: str) -> bool:
    """Whether the run's report tells just this already: it is younger than such a file, and that than the passages."""
    made = [run / "passages" / MANIFEST, run / NEWER, run / "report" / MANIFEST]
    if not all(path.exists() for path in made) or (run / NEWER).read_text(encoding="utf-8") != text:
        return False
    times = [path.stat().st_mtime for path in made]
    return times == sorted(times)


def told_again(recipe: Recipe, run: Path) -> None:
    """Let the run's report, if it has one, tell what is newer than the weights."""
    report, stage = run / "report", BY_NAME["report"]
    if recipe.report is None or Manifest.read(report) is None:
        return
    made = {name: path for name, path in made_in(run).items() if getattr(recipe, name)}
    with locked(lock_of(report)):
        execute(stage, pick_inputs(stage, made), resolve_paths(recipe.report, run), report, redo=True)


def documents_of(folder: Path) -> dict[str, str]:
    """URL of each document (of a file its name) → its id, which is a hash of its text, and its title."""
    from gristmill.document import read_columns

    found: dict[str, str] = {}
    for batch in read_columns(folder, ("url", "id", "title")):
        found |= {one["url"]: f"{one['id']} {one['title']}" for one in batch.to_pylist()}
    return found

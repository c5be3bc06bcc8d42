"""`gristmill verify`: whether everything in a folder is as it was written, by the checksums that lie beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gristmill.errors import Damaged, UserError
from gristmill.files import unsealed
from gristmill.manifest import MANIFEST, RECIPE, Manifest, faults
from gristmill.runs.journal import JOURNAL
from gristmill.settings.stages import BY_NAME
from gristmill.training.checkpoint import FOLDER, STATE, examined

ORDER = {name: place for place, name in enumerate(BY_NAME)}
REMEDY = "name a run folder, as runs/miniweb, or a stage's"


@dataclass(frozen=True)
class Verified:
    """A stage's folder, a checkpoint, or the files that a run has of its own."""

    folder: Path
    files: int  # that there should be
    bytes: int  # that there are of them
    wrong: dict[str, str] = field(default_factory=dict)  # file → what is wrong with it: `damaged`, `missing`, …
    extra: list[str] = field(default_factory=list)  # files of which nothing is known


def verify(folder: Path) -> Iterator[Verified]:
    """Every run, stage's folder and checkpoint in a folder, itself included, with what is wrong there.

    Raises UserError where there is none.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}", REMEDY)
    found = False
    for place in (folder, *below(folder)):
        for one in examine(place):
            found = True
            yield one
    if not found:
        raise UserError(f"nothing in {folder} has checksums", REMEDY)


def below(folder: Path) -> Iterator[Path]:
    """All folders in a folder, stages in the order of the journey; those in a finished stage's are its own affair."""
    if not (folder / MANIFEST).exists():
        inside = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
        for path in sorted(inside, key=lambda path: (ORDER.get(path.name, len(ORDER)), path.name)):
            yield from (path, *below(path))


def examine(folder: Path) -> Iterator[Verified]:
    """What there is to check in one folder; in most, nothing."""
    if (folder / RECIPE).exists() or (folder / JOURNAL).exists():
        yield from of_run(folder)
    if (folder / MANIFEST).exists():
        yield from of_stage(folder)
    if folder.parent.name == FOLDER:
        _, problem = examined(folder)
        yield verified(folder, names_in(folder), {STATE: problem} if problem else {})


def of_run(run: Path) -> Iterator[Verified]:
    """The recipe, the journal and the summary of a run; then the stages that are not there any more."""
    wrong, content = {}, {}
    for name in (RECIPE, JOURNAL):
        try:
            content = unsealed(run / name, "")
        except FileNotFoundError:
            wrong[name] = "missing"
        except (OSError, Damaged):
            wrong[name] = "damaged"
    journal = {} if JOURNAL in wrong else content
    noted = journal.get("files", {})
    yield verified(run, (RECIPE, JOURNAL, *noted), wrong | dict(faults(run, noted)))
    for stage, entry in journal.get("stages", {}).items():
        if entry["did"] and not (run / stage / MANIFEST).exists():
            yield verified(run / stage, (MANIFEST,), {MANIFEST: "missing"})


def of_stage(folder: Path) -> Iterator[Verified]:
    """A finished stage's files, by its manifest."""
    there = names_in(folder)
    try:
        if made := Manifest.read(folder):
            listed = {*made.outputs, MANIFEST}
            yield verified(folder, listed, dict(faults(folder, made.outputs)), sorted(there - listed))
    except Damaged:
        yield verified(folder, there, {MANIFEST: "damaged"})


def names_in(folder: Path) -> set[str]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def verified(folder: Path, names: Iterable[str], wrong: dict[str, str], extra: list[str] | None = None) -> Verified:
    """What was found of some files of a folder."""
    paths = [folder / name for name in names]
    return Verified(folder, len(paths), sum(path.stat().st_size for path in paths if path.exists()), wrong, extra or [])

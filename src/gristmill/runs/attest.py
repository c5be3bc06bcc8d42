"""Signed statements of what made what: one a stage. Subjects are its files; dependencies what it read, by digests.

What `gristmill update` read again takes the place of a run's own passages, and has statements: `update.STAGE.json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gristmill.errors import UserError
from gristmill.export.envelope import enveloped, opened, private_key, public_key, read_by, statement
from gristmill.files import sha256_file, write_json
from gristmill.inputs.folders import content, digest
from gristmill.manifest import MANIFEST, Manifest
from gristmill.runs.finished import UPDATE
from gristmill.settings.stages import BY_NAME

ATTESTATIONS = "attestations"


def attest(run: Path, key: Path) -> Iterator[Path]:
    """Sign a statement for each finished stage of a run; yields their files, `RUN/attestations/STAGE.json`.

    Raises UserError where the key is none, or no stage is finished; Damaged where a stage's files have changed.
    """
    signer = private_key(key)
    folders = stages(run)
    made = {name: found for name, folder in folders.items() if (found := Manifest.read(folder))}
    if not made:
        raise UserError(f"no finished stage in {run}", "name a run folder, as runs/miniweb")
    (run / ATTESTATIONS).mkdir(exist_ok=True)
    for name, found in made.items():
        folder, path = folders[name], run / ATTESTATIONS / f"{name}.json"
        digest(folder)  # every file is as its manifest says
        write_json(path, enveloped(of_stage(folder, found), signer))
        yield path


def stages(run: Path) -> dict[str, Path]:
    """The folders of all stages that a run may have, by the names of their statements."""
    again = {f"{UPDATE}.{name}": run / UPDATE / name for name in BY_NAME}
    return {name: run / name for name in BY_NAME} | again


def of_stage(folder: Path, made: Manifest) -> dict[str, Any]:
    """What a stage's manifest says, as an in-toto statement."""
    files = {**made.outputs, MANIFEST: sha256_file(folder / MANIFEST)}
    subjects = [(name, {"sha256": value}) for name, value in sorted(files.items())]
    return statement(subjects, made, made.params, read_by(made))


def check(run: Path, key: Path) -> Iterator[tuple[str, str]]:
    """What is wrong with a run by its statements and a public key: (stage, what), nothing where all holds.

    Raises UserError where the key is none, or there are no statements.
    """
    verifier, files = public_key(key), sorted((run / ATTESTATIONS).glob("*.json"))
    if not files:
        raise UserError(f"{run} has no {ATTESTATIONS}", "sign them: gristmill attest RUN --key FILE")
    folders = stages(run)
    for path in files:
        folder = folders.get(path.stem, run / path.stem)
        payload = opened(content(path), verifier)
        if payload is None:
            yield path.stem, f"{path.name} is not signed by that key, or has changed"
            continue
        for subject in payload["subject"]:
            file = folder / subject["name"]
            if not file.is_file():
                yield path.stem, f"{subject['name']} is missing"
            elif sha256_file(file) != subject["digest"]["sha256"]:
                yield path.stem, f"{subject['name']} is not what was signed"
        made = Manifest.read(folder)
        signed = {one["name"]: one for one in payload["predicate"]["buildDefinition"]["resolvedDependencies"]}
        for name, place in made.folders.items() if made else ():
            source = folder / place
            if name in signed and source.is_dir() and digest(source, trust=True) != signed[name]["digest"]["sha256"]:
                yield path.stem, f"{name} is not the {source.resolve().name} that it was made of"
    for name, folder in folders.items():
        if (folder / MANIFEST).exists() and not (run / ATTESTATIONS / f"{name}.json").exists():
            yield name, "no statement is signed of it"

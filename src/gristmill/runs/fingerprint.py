"""Fingerprints: what a stage's output depends on (its parameters, its inputs by content, the code that makes it).

A stage's code is every source file that its module imports, directly or through others, with the C sources, headers and
data files in their folders. Where the C sources are not there (a released wheel), the version takes their place.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from gristmill import __version__
from gristmill.files import sha256_file
from gristmill.inputs.folders import digest, source_names
from gristmill.inputs.storage import as_path
from gristmill.manifest import Manifest
from gristmill.recipe import Params
from gristmill.settings.stages import Stage, input_paths
from gristmill.settings.types import ADDRESS, HOW, NAMED, marked_fields

SOURCE = Path(__file__).resolve().parents[1]
# Modules that cannot change what a stage writes: messages (errors, progress), names for other modules (__init__), and
# the recipe, whose values are part of the fingerprint themselves.
LEFT_OUT = frozenset({"__init__.py", "errors.py", "progress.py", "recipe.py"})
NATIVE = (".c", ".h")
COMPILED = (".so", ".pyd", ".pyc", ".py")
IMPORT = re.compile(r"^[ \t]*(?:from (gristmill[\w.]*) import (\([^)]*\)|.*)|import (gristmill[\w.]*))", re.MULTILINE)
COMMENT = re.compile(r"#.*")
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
TYPES_ONLY = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", re.MULTILINE)
SHOWN = 4  # names in a message


@dataclass(frozen=True)
class Changes:
    """Why a stage's fingerprint is another one than that of the folder that is there."""

    parameters: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)  # source files, and settings that came or went with them

    def only_code(self) -> bool:
        """Whether nothing but the code has changed."""
        return bool(self.code) and not self.parameters and not self.inputs

    def __str__(self) -> str:
        """As `parameters: lr; code: training/loop.py`; empty where nothing changed."""
        found = []
        for kind, names in asdict(self).items():
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            found += [f"{kind}: {', '.join(names[:SHOWN])}{more}"] * bool(names)
        return "; ".join(found)


def fingerprint_of(stage: Stage, params: Params, digests: Mapping[str, str]) -> str:
    """What a stage's output depends on: its name, parameters, inputs by content, and its code."""
    basis = [stage.name, settings(params), sorted(digests.items()), sorted(code_of(stage, params).items())]
    return hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()


def changes(found: Manifest, stage: Stage, params: Params, digests: Mapping[str, str]) -> Changes:
    """What is not as it was when a stage's folder was made."""
    code, ignored = code_of(stage, params), left_out(params)
    before = {name: value for name, value in found.params.items() if name not in ignored}
    before |= {name: source_names(found.params.get(name, [])) for name in marked_fields(type(params), NAMED)}
    now = json.loads(json.dumps(settings(params)))
    other = differing(before, now)
    new = [name for name in other if (name not in before and is_default(params, name)) or name not in now]
    changed = differing(found.code, code) if found.code else ["not recorded"]
    return Changes(
        [name for name in other if name not in new],
        differing(found.inputs, dict(digests)),
        changed + [f"setting {name}" for name in new],
    )


def is_default(params: Params, name: str) -> bool:
    """Whether a setting says what the code would do without it. With a dial, what is written down counts."""
    dialled = getattr(params, "size", "") or getattr(params, "budget", "")
    return not dialled and bool(getattr(params, name) == type(params).model_fields[name].default)


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names under which two mappings differ."""
    missing = object()
    return [name for name in sorted({*before, *now}) if before.get(name, missing) != now.get(name, missing)]


def settings(params: Params) -> dict[str, Any]:
    """The parameters that say what comes out."""
    names = {name: source_names(getattr(params, name)) for name in marked_fields(type(params), NAMED)}
    return params.model_dump(exclude=left_out(params)) | names


def left_out(params: Params) -> set[str]:
    """The parameters that do not: those on how it is made, and where inputs lie."""
    return set(marked_fields(type(params), "path", HOW))


def code_of(stage: Stage, params: Params | None = None) -> dict[str, str]:
    """Source file, relative to the package → its digest, for every file that can change what a stage writes."""
    served = closure("miniweb.serve") if params is not None and folders_served(params) else {}
    return closure(stage.module) | served


def code_digest(stage: Stage, params: Params | None = None) -> str:
    """The code of a stage as one hash."""
    return hashlib.sha256(json.dumps(code_of(stage, params), sort_keys=True).encode()).hexdigest()


def folders_served(params: Params) -> dict[str, str]:
    """Of a crawl, the host patterns that lead to a miniature web's folder, which the run then serves."""
    targets: dict[str, str] = getattr(params, "connect_to", {})
    return {pattern: target for pattern, target in targets.items() if Path(target).is_dir()}


@cache
def closure(module: str) -> dict[str, str]:
    """The files that a module of the package needs, itself included, with their digests."""
    if not any(SOURCE.glob("*/*.c")):
        return {"gristmill": __version__}
    seen, waiting, native, folders = set[Path](), [SOURCE / f"{module.replace('.', '/')}.py"], set[Path](), set[Path]()
    while waiting:
        path = waiting.pop()
        if path in seen or str(path.relative_to(SOURCE)) in LEFT_OUT:
            continue
        seen.add(path)
        needed = imported(path)
        waiting += needed
        if path.parent != SOURCE:
            folders.add(path.parent)
            if SOURCE / "native.py" in needed:
                native.add(path.parent)
    for folder in folders:
        for path in folder.glob("[!.]*.*"):
            if path.is_file() and path.suffix not in COMPILED and (path.suffix not in NATIVE or folder in native):
                seen |= {path, *included(path)}
    return {str(path.relative_to(SOURCE)): file_digest(path) for path in sorted(seen)}


@cache
def imported(path: Path) -> frozenset[Path]:
    """The files of the package that a source file imports, anywhere in it but for types only.

    Import statements are found as text, which is ten times as fast as parsing the whole file.
    """
    found = set[Path]()
    text = TYPES_ONLY.sub("", path.read_text(encoding="utf-8"))
    for module, names, plain in IMPORT.findall(text):
        package = SOURCE.joinpath(*(module or plain).split(".")[1:])
        listed = [name.split(" as ")[0].strip() for name in COMMENT.sub("", names).strip(" ()").split(",")]
        modules = [package / f"{name}.py" for name in listed if name]
        for option in (package.with_suffix(".py"), package / "__init__.py", *modules):
            if option.is_file():
                found.add(option)
    return frozenset(found)


@cache
def included(path: Path) -> frozenset[Path]:
    """The headers that a C file includes, in whichever folder, and the C files next to each; of those likewise."""
    found, waiting = set[Path](), [path] if path.suffix in NATIVE else []
    while waiting:
        current = waiting.pop()
        text = current.read_text(encoding="utf-8")
        headers = {current.parent.joinpath(name).resolve() for name in INCLUDE.findall(text)}
        inside = {header for header in headers if header.is_file() and header.is_relative_to(SOURCE)}
        more = inside.union(*(header.parent.glob("*.c") for header in inside)) - found
        found |= more
        waiting += more
    return frozenset(found)


@cache
def file_digest(path: Path) -> str:
    """The beginning of a source file's SHA-256."""
    return sha256_file(path)[:16]


def digests_of(params: Params, inputs: Mapping[str, Path]) -> dict[str, str]:
    """Input name → digest, for the folders that a stage reads and the paths among its parameters.

    Raises Damaged where a file of a stage among them is not as it was written.
    """
    found = {name: digest(path) for name, path in inputs.items()}
    for name, path in input_paths(params).items():
        found[name] = path if ADDRESS.search(path) else digest(as_path(path))
    return found

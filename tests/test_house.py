"""The rules of the house: no room imports a later one, the base imports no room, importing touches no network."""

from __future__ import annotations

import ast
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from command_line import python

import gristmill

SOURCE = Path(gristmill.__file__).parent
ROOT = SOURCE.parents[1]
EVERYWHERE = ("src", "tests", "tools", "benchmarks")
MOST_LINES, MOST_FUNCTION_LINES, MOST_FILES = 400, 60, 16
BASE = (
    *("errors", "native", "files", "manifest", "document", "record", "progress", "processes"),
    *("inputs", "settings", "recipe"),
)
ROOMS = (
    *("miniweb", "html", "crawl", "corpus", "tokenizer", "model", "generation", "training", "chat", "posttrain"),
    "passages",
    *("evaluation", "audit", "export", "inspection", "serving", "report", "runs", "run", "planning"),
    *("commands", "cli", "__main__"),
)


def imported(path: Path) -> set[str]:
    """The parts of gristmill that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.startswith("gristmill."):
                found.add(name.split(".")[1])
            elif name == "gristmill" and isinstance(node, ast.ImportFrom):
                found |= {alias.name for alias in node.names} & {*BASE, *ROOMS}
    return found


def room_of(path: Path) -> str:
    """The room or base module that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_every_folder_is_a_known_room() -> None:
    rooms = {room_of(path) for path in SOURCE.rglob("*.py")} - {"__init__"}
    assert rooms == {*BASE, *ROOMS}


def test_no_room_imports_a_later_room() -> None:
    for path in SOURCE.rglob("*.py"):
        room = room_of(path)
        if room in ROOMS:
            later = {name for name in imported(path) if name in ROOMS and ROOMS.index(name) > ROOMS.index(room)}
            # run.py serves the miniature web and cli.py knows all; nobody else reaches forward
            assert not later, f"{path.relative_to(SOURCE)} imports {later}"


def test_the_base_imports_no_room() -> None:
    for path in SOURCE.rglob("*.py"):
        if room_of(path) in BASE:
            assert not imported(path) & set(ROOMS), path


def test_no_room_imports_from_the_public_face() -> None:
    """Where it would, an import of a later room could not be seen."""
    modules = {room_of(path) for path in SOURCE.rglob("*.py")} | {"__version__"}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "gristmill":
                assert {alias.name for alias in node.names} <= modules, path


def code_files(*folders: str) -> list[Path]:
    """Every source file in folders of the repository: Python, C and JavaScript."""
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".c", ".h", ".js") and "__pycache__" not in path.parts
    )


def names_of(path: Path) -> str:
    """A file's place in the repository."""
    return path.relative_to(ROOT).as_posix()


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lines = {names_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in code_files(*EVERYWHERE)}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES}


def test_the_page_has_no_long_lines() -> None:
    """As ruff has it for Python, and clang-format for C."""
    page = [path for path in SOURCE.rglob("*") if path.suffix in (".js", ".css")]
    assert not [path.name for path in page for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 120]


def test_every_function_fits_a_screen() -> None:
    lines = {
        f"{names_of(path)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in code_files(*EVERYWHERE)
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {name: count for name, count in lines.items() if count > MOST_FUNCTION_LINES}


def test_no_folder_holds_too_many_files_side_by_side() -> None:
    counts = Counter(names_of(path.parent) for path in code_files(*EVERYWHERE))
    assert not {name: count for name, count in counts.items() if count > MOST_FILES}


def test_no_two_files_share_a_name() -> None:
    for folder, shared in (("src", {"__init__.py", "stage.py"}), ("tests", {"conftest.py"})):
        counts = Counter(path.name for path in code_files(folder))
        assert not {name for name, count in counts.items() if count > 1} - shared


def test_no_two_public_classes_of_a_room_share_a_name() -> None:
    found = Counter(
        (room_of(path), node.name)
        for path in SOURCE.rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert not [name for name, count in found.items() if count > 1]


def test_no_corpus_stage_imports_another() -> None:
    stages = {path.parent.name: path.parent for path in (SOURCE / "corpus").glob("*/stage.py")}
    assert {"extract", "filter", "dedup", "redact", "decontaminate"} == stages.keys()
    for stage, folder in stages.items():
        for path in folder.glob("*.py"):
            others = [name for name in stages if name != stage and f"gristmill.corpus.{name}" in path.read_text()]
            assert not others, f"{path.relative_to(SOURCE)} imports {others}"


def test_importing_everything_opens_no_connection() -> None:
    modules = [
        ".".join(("gristmill", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for path in SOURCE.rglob("*.py")
        if path.stem != "__main__" and (path.stem != "gpu_kernels" or find_spec("triton"))
    ]
    code = (
        "import socket, importlib\n"
        "def refuse(*_): raise AssertionError('network at import time')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        f"[importlib.import_module(name) for name in {modules!r}]"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_the_tour_of_the_house_names_every_room() -> None:
    tour = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[1]
    here = [path.name + "/" * path.is_dir() for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()]
    missing = [name for name in here if name not in ("__main__.py", "__pycache__/") and f" {name}" not in tour]
    assert not missing

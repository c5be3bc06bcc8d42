"""Fingerprints see the code that a stage runs, and only that."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from command_line import python

import gristmill
from gristmill.recipe import Crawl
from gristmill.runs.fingerprint import LEFT_OUT, code_of
from gristmill.settings.stages import BY_NAME, SCALE, STAGES, Stage

SOURCE = Path(gristmill.__file__).parent


def plainly_imported(path: Path) -> set[Path]:
    """The package's files that a file imports but for types, found by parsing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found: set[Path] = set()
    for one in ast.walk(tree):
        names = [alias.name for alias in one.names] if isinstance(one, ast.Import) else []
        if isinstance(one, ast.ImportFrom) and one.module:
            names = [one.module, *(f"{one.module}.{alias.name}" for alias in one.names)]
        for name in names:
            if name.split(".")[0] == "gristmill":
                place = SOURCE.joinpath(*name.split(".")[1:])
                found |= {path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()}
    return found


def plain_closure(module: str) -> set[str]:
    """The Python files that a module needs."""
    seen: set[Path] = set()
    waiting = {SOURCE / f"{module.replace('.', '/')}.py"}
    while waiting:
        path = waiting.pop()
        if path not in seen and str(path.relative_to(SOURCE)) not in LEFT_OUT:
            seen.add(path)
            waiting |= plainly_imported(path)
    return {str(path.relative_to(SOURCE)) for path in seen}


@pytest.mark.parametrize("stage", [*STAGES, SCALE], ids=lambda stage: stage.name)
def test_the_code_of_a_stage_is_all_that_it_imports(stage: Stage) -> None:
    assert {name for name in code_of(stage) if name.endswith(".py")} == plain_closure(stage.module)


def test_data_and_c_are_code_where_they_are_used() -> None:
    assert {"html/content/main_text.safetensors", "html/parse.c", "manifest.py"} <= code_of(BY_NAME["extract"]).keys()
    assert {"corpus/dedup/minhash.c", "corpus/text/words.h"} <= code_of(BY_NAME["dedup"]).keys()
    assert {"tokenizer/merge.c", "tokenizer/split.h", "tokenizer/unicode_classes.txt"} <= code_of(
        BY_NAME["tokenizer"]
    ).keys()
    assert not [name for name in code_of(BY_NAME["pretrain"]) if name.split("/")[0] in ("corpus", "serving", "cli.py")]
    assert "miniweb/serve.py" not in code_of(BY_NAME["crawl"])
    served = Crawl(seeds=["http://a.test/"], connect_to={"*.test": str(SOURCE)})
    assert "miniweb/serve.py" in code_of(BY_NAME["crawl"], served)


CHANGE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import gristmill
assert Path(gristmill.__file__).is_relative_to(sys.argv[1]), gristmill.__file__
from gristmill.runs.fingerprint import code_digest
from gristmill.settings.stages import STAGES
print({stage.name: code_digest(stage) for stage in STAGES})
"""


def digests(source: Path) -> dict[str, str]:
    """Every stage's code digest, of a copy of the package."""
    done = python(CHANGE, source)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = ast.literal_eval(done.stdout)
    return found


def test_a_changed_file_changes_the_stages_that_use_it(tmp_path: Path) -> None:
    package = tmp_path / "gristmill"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    before = digests(tmp_path)
    for file in (
        "corpus/filter/document_rules.py",
        "posttrain/rl.py",
        "html/content/main_text.safetensors",
        "cli.py",
        "progress.py",
    ):
        original = (package / file).read_bytes()
        (package / file).write_bytes(original + b"\n")
        after = digests(tmp_path)
        (package / file).write_bytes(original)
        found = {name for name in before if before[name] != after[name]}
        assert found == {stage.name for stage in STAGES if file in code_of(stage)}, file
        assert {"corpus/filter/document_rules.py": "filter" in found, "posttrain/rl.py": found == {"rl"}}.get(
            file, True
        ), found
        assert bool(found) == ("/" in file)
    for path in package.rglob("*.c"):
        path.unlink()
    released = digests(tmp_path)
    assert len(set(released.values())) == 1, "without sources the version counts"
    init = package / "__init__.py"
    init.write_text(init.read_text().replace(gristmill.__version__, gristmill.__version__ + "1"))
    assert set(digests(tmp_path).values()) != set(released.values())

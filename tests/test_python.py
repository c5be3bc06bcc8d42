"""The public face: what `import gristmill` offers, and that the examples of `docs/python.md` do what they say."""

from __future__ import annotations

import ast
import contextlib
import doctest
import inspect
import io
import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import python

import gristmill

DOCS = Path(__file__).parent.parent / "docs" / "python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
RUNS_IT = "Run a recipe"
ROLES = ("system", "developer")
RECIPE = """
name = "notes"
[extract]
paths = ["notes"]
[filter]
rules = []
languages = []
[dedup]
near = false
[redact]
[tokenizer]
vocab_size = 500
[tokenize]
heldout = 0.1
[pretrain]
layers = 1
width = 32
heads = 2
kv_heads = 1
head_dim = 16
ffn_width = 64
context = 256
[sft]
epochs = 0.5
"""
PAGE = """<!doctype html><html><head><meta charset="utf-8">
<title>The mill at Low Ford - Mills of the Marl</title></head>
<body><nav><a href="/">Home</a> <a href="/mills">All mills</a></nav>
<main><article><h1>The mill at Low Ford</h1>
<p>The mill was built in 1702 by Anna Ironmoor, and ground rye for three villages until the flood of 1841.</p>
<h2>What is left</h2>
<p>One of its two wheels still turns. The stones lie in the garden of the inn, where children climb on them.</p>
</article></main>
<footer>We use cookies. <a href="/privacy">Privacy</a></footer></body></html>
"""


@dataclass(frozen=True)
class Example:
    """A block of code, what it prints, and where it is."""

    heading: str
    code: str
    prints: str | None
    line: int

    def run(self) -> str:
        """Run it as a script; what it printed. A traceback has the lines of the page."""
        printed = io.StringIO()
        code = compile("\n" * self.line + self.code, str(DOCS), "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, {"__name__": "__main__"})
        return printed.getvalue()


def examples() -> list[Example]:
    """The examples of the page, in order."""
    text = DOCS.read_text(encoding="utf-8")
    found = []
    for block in BLOCK.finditer(text):
        heading = [one[1] for one in HEADING.finditer(text, 0, block.start())][-1]
        found.append(Example(heading, block[1], block[2], text.count("\n", 0, block.start(1))))
    return found


@pytest.fixture(scope="module")
def workshop(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with what the examples need, and what the one that runs the recipe printed."""
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "notes").mkdir()
    for day, document in enumerate(itertools.islice(gristmill.read_documents(corpus), 60), 1):
        (folder / "notes" / f"day-{day:02}.md").write_text(f"# Day {day}\n\n{document.text}\n")
    (folder / "notes.toml").write_text(RECIPE)
    (folder / "page.html").write_text(PAGE)
    with contextlib.chdir(folder):
        printed = next(one for one in examples() if one.heading == RUNS_IT).run()
    return folder, printed


def test_the_page_has_an_example_of_each_name() -> None:
    found = examples()
    assert len(found) == DOCS.read_text(encoding="utf-8").count("```python")
    used = {
        alias.name
        for one in found
        for node in ast.walk(ast.parse(one.code))
        if isinstance(node, ast.ImportFrom) and node.module == "gristmill"
        for alias in node.names
    }
    assert used == {*gristmill.__all__} - {"__version__", "Document"}


@pytest.mark.parametrize("example", examples(), ids=lambda one: one.heading)
def test_an_example_prints_what_it_says(
    example: Example, workshop: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, printed = workshop
    monkeypatch.chdir(folder)
    found = printed if example.heading == RUNS_IT else example.run()
    assert example.prints is not None
    same = doctest.OutputChecker().check_output(example.prints, f"{found.rstrip()}\n", doctest.ELLIPSIS)
    assert same, f"line {example.line} of {DOCS.name} printed:\n{found}"


def test_importing_loads_nothing_and_a_name_only_what_it_needs() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "def loaded(): return {name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "import gristmill; print(*loaded()); gristmill.UserError; print(*loaded())\n"
        "gristmill.Tokenizer; gristmill.read_documents; print('numpy' in loaded(), 'torch' in loaded())"
    )
    done = python(code, check=True)
    assert done.stdout.splitlines() == ["gristmill", "gristmill", "True False"]


def test_commands_load_nothing_heavy_before_they_work() -> None:
    """A start takes a second of processor time where they do."""
    code = (
        "import sys, gristmill.cli\n"
        "print([name for name in ('numpy', 'pyarrow', 'torch', 'fastapi', 'pycurl') if name in sys.modules])"
    )
    done = python(code, check=True)
    assert done.stdout.strip() == "[]"


def test_type_checkers_see_the_names_that_are_there() -> None:
    tree = ast.parse(Path(gristmill.__file__).read_text(encoding="utf-8"))
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(branch.test) == "TYPE_CHECKING"
    seen = {alias.name: node.module for node in branch.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {*seen, "__version__"} == {*gristmill.__all__} <= {*dir(gristmill)}
    for name, module in seen.items():
        offered = getattr(gristmill, name)
        assert offered is getattr(sys.modules[module or ""], name) and offered.__module__ == module


def test_every_name_says_what_it_is() -> None:
    for name in {*gristmill.__all__} - {"__version__"}:
        offered = getattr(gristmill, name)
        assert len((inspect.getdoc(offered) or "").split()) >= 20, name
        if inspect.isclass(offered):
            public = [item for key, item in vars(offered).items() if not key.startswith("_")]
            assert all(inspect.getdoc(item) for item in public if callable(item) or isinstance(item, classmethod)), name


def test_an_unknown_name_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="module 'gristmill' has no attribute 'Tokeniser'"):
        gristmill.Tokeniser  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Tokeniser'"):
        exec("from gristmill import Tokeniser")


@pytest.mark.parametrize(
    "call",
    [
        lambda: gristmill.load_recipe("absent.toml"),
        lambda: list(gristmill.read_documents("absent")),
        lambda: gristmill.Tokenizer.load("absent"),
        lambda: gristmill.load_model("absent"),
        lambda: gristmill.find_model("absent"),
        lambda: gristmill.Engine.load("absent", "absent"),
        lambda: gristmill.Assistant.load("absent", "absent"),
    ],
)
def test_what_is_not_there_is_named_with_a_remedy(
    call: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gristmill.UserError) as caught:
        call()  # type: ignore[operator]
    assert "absent" in caught.value.problem and caught.value.remedy


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: gristmill.load_model("runs/notes"), "name one of runs/notes/pretrain, runs/notes/sft"),
        (lambda: gristmill.load_model("foreign.gguf"), "Engine.load"),
        (lambda: gristmill.Tokenizer.load("runs/notes"), "name runs/notes/tokenizer"),
        (lambda: gristmill.Tokenizer.load("foreign.gguf"), "find_model"),
        (lambda: gristmill.run_recipe("notes.toml", "runs/notes"), "give load_recipe"),  # type: ignore[arg-type]
        (lambda: engine().generate([5, 6], max_tokens=3), r"give \[prompt\]"),  # type: ignore[list-item]
        (lambda: engine().generate([[5, 6]], max_tokens=-3), "give 0 or more"),
        (lambda: engine().generate([[5, 6]], max_tokens=3, samples=0), "give 1 or more"),
        (lambda: engine().generate([[5, 6]], max_tokens=3, temperature=1, top_p=1.2), "from 0 to 1"),
        (lambda: assistant().reply("Who?"), r'a list, not a text\n.*\[{"role": "user"'),  # type: ignore[arg-type]
        (lambda: assistant().reply({"role": "user"}), "a list, not a single message"),  # type: ignore[arg-type]
    ],
)
def test_a_likely_slip_is_told_what_to_write(
    call: Callable[[], object], told: str, workshop: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop[0])
    Path("foreign.gguf").write_bytes(b"GGUF\xc3\x03")
    with pytest.raises(gristmill.UserError, match=told):
        call()


def engine() -> gristmill.Engine:
    """That of the run of the examples."""
    return gristmill.Engine.load("runs/notes/pretrain", "runs/notes/tokenizer")


def assistant() -> gristmill.Assistant:
    """The same as an assistant."""
    return gristmill.Assistant.load("runs/notes/sft", "runs/notes/tokenizer")


def test_a_developer_is_the_system_as_in_training_and_the_api(
    workshop: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop[0])
    talks = [[{"role": role, "content": "Be brief."}, {"role": "user", "content": "Who?"}] for role in ROLES]
    assert assistant().prompt(talks[0]) == assistant().prompt(talks[1])


UNGUARDED = """
from pathlib import Path
from gristmill.corpus.execution.executor import SHARD_BYTES, Backend, Executor, using
import json
with using(Backend(workers=2)), Executor(SHARD_BYTES + 1) as executor:
    executor.map(json.loads, ["{}", "{}"], Path("shards"), print)
"""


def test_a_script_that_workers_cannot_import_is_told_how_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode and 'if __name__ == "__main__":' in done.stderr.rpartition("UserError")[2]

"""SIGTERM and Ctrl-C end any stage with a message and exit code 130, soon, and no later stage begins."""

from __future__ import annotations

import json
import random
import signal
import stat
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest
from forks import Commands, goes_on_alike
from hostile import Serve, response
from tiny import NAMES, arguments, without

from gristmill.manifest import Manifest

SECONDS = 60.0  # on a machine however busy; 10 on an idle one
SMALL = "layers = 1\nwidth = 32\nheads = 2\nkv_heads = 1\nhead_dim = 16\nffn_width = 32\ncontext = 64\n"


def endless(host: str, path: str) -> bytes:
    """Pages without end, each with a word of its own, so that none is taken for a trap."""
    number = int(path.strip("/") or 0) if path.strip("/").isdigit() else 0
    word = "".join("abcdefghij"[int(digit)] for digit in str(number))
    return response(f'page {word} <a href="/{number * 2 + 1}">x</a><a href="/{number * 2 + 2}">y</a>')


def interrupted(commands: Commands, recipe: str, folder: Path, sign: str, number: int) -> str:
    """Run a recipe, send the signal once `sign` is in its output, and return all that it printed."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_text(recipe)
    commands.start(["run", folder / "recipe.toml", "--out", folder / "run"])
    commands.until(lambda: sign in commands.printed())
    code, text = ended(commands, number)
    assert code == 130, text
    return text


def ended(commands: Commands, number: int) -> tuple[int, str]:
    """Send a command the signal: how it ended, soon and with the message unless it was over, and what it printed."""
    with suppress(ProcessLookupError):  # it may be over by then
        commands.signal(number)
    began = time.monotonic()
    code = commands.wait()
    took, text = time.monotonic() - began, commands.printed()
    assert took < SECONDS and "Traceback" not in text, text
    assert code == 0 or (code == 130 and "interrupted; the same command goes on" in text), text
    return code, text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_crawl_ends(number: int, serve: Serve, tmp_path: Path, commands: Commands) -> None:
    server = serve(endless)
    recipe = (
        f'name = "x"\n[crawl]\nseeds = ["http://site.test/"]\nconnect_to = {{ "*.test" = "127.0.0.1:{server.port}" }}\n'
        'allow_networks = ["127.0.0.0/8"]\ndelay = 0.0\nmax_depth = 1000\n[extract]\n'
    )
    for attempt in range(2):  # in the first pages, and going on from there
        text = interrupted(commands, recipe, tmp_path, "crawl", number)
        assert "extract" not in text, attempt


def test_an_interrupt_while_a_module_is_imported_ends_with_the_same_code(tmp_path: Path) -> None:
    """Modules make dataclasses by exec; CPython remembers an interrupt that came within one."""
    script = """
        import sys
        from gristmill import cli
        def app(**_):
            try:
                exec("raise KeyboardInterrupt")
            except KeyboardInterrupt:
                sys.exit(130)
        cli.app = app
        cli.main()
    """
    (tmp_path / "interrupted.py").write_text(textwrap.dedent(script))
    assert subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, check=False).returncode == 130


def corpus(folder: Path, documents: int) -> str:
    """A folder of text files, and the recipe that reads it."""
    (folder / "in").mkdir(parents=True)
    for part in range(documents // 100):
        texts = (f"The miller {n} walks to the river and back, and looks at mill {n * 7}." for n in range(100))
        (folder / "in" / f"{part}.txt").write_text("\n".join(f"{part} {text}" for text in texts))
    begin = f'name = "x"\n[extract]\npaths = ["{folder / "in"}"]\n'
    return f"{begin}[tokenizer]\nvocab_size = 300\n[tokenize]\nheldout = 0.1\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stage", ["extract", "tokenizer", "tokenize", "pretrain"])
def test_every_stage_ends(stage: str, number: int, tmp_path: Path, commands: Commands) -> None:
    recipe = corpus(tmp_path, 2_000) + f"[pretrain]\nmax_steps = 100000\nbatch = 8\n{SMALL}[report]\n"
    text = interrupted(commands, recipe, tmp_path, stage, number)
    assert "report" not in text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stage", NAMES)
def test_at_any_moment_of_any_stage_a_run_ends(
    stage: str, number: int, whole: Path, commands: Commands, tmp_path: Path
) -> None:
    """Soon, with the message; the same command goes on, and leaves the same bytes."""
    made, draw = Manifest.read(whole / stage), random.Random(f"{stage} {number}")
    assert made
    for attempt in range(3):
        out = without(whole, tmp_path / str(attempt), stage)
        commands.start(arguments(out, "--until", stage))
        commands.until(lambda: f"{stage}\n" in commands.printed())
        time.sleep(draw.random() * made.seconds)
        ended(commands, number)
        goes_on_alike(commands, out, stage, whole)


def test_fine_tuning_ends_while_its_data_is_prepared(tmp_path: Path, commands: Commands) -> None:
    lines = (
        json.dumps({"messages": [{"role": "user", "content": f"Who {n}?"}, {"role": "assistant", "content": f"{n}."}]})
        for n in range(20_000)
    )
    recipe = corpus(tmp_path, 300) + f"[pretrain]\nmax_steps = 2\nbatch = 8\n{SMALL}"
    recipe += f'[sft]\nconversations = "{tmp_path / "talk.jsonl"}"\n[export]\n'
    (tmp_path / "talk.jsonl").write_text("\n".join(lines))
    text = interrupted(commands, recipe, tmp_path, "\nsft", signal.SIGTERM)
    assert "after step" not in text and "export" not in text
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != ".lock"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_last_step_ends(number: int, tmp_path: Path, commands: Commands) -> None:
    recipe = corpus(tmp_path, 2_000) + f"[pretrain]\nmax_steps = 3\nbatch = 4000\n{SMALL}[report]\n"
    folder = tmp_path / "run" / "pretrain.partial"
    text = ""
    for attempt in range(3):  # wherever within the three long steps the signal comes
        text = interrupted(commands, recipe, tmp_path, "FLOPs", number)
        assert "report" not in text, attempt
        assert folder.exists()

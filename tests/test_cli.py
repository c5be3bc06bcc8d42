"""The command line as a user meets it: help, documented commands, and one message with exit code 2 for each mistake."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Command, Refusal
from typer.main import get_command
from typer.testing import CliRunner

from gristmill import cli
from gristmill.recipe import Params, Recipe, stage_params
from gristmill.settings.descriptions import settings_of
from gristmill.settings.recipe_file import load_recipe
from gristmill.settings.stages import STAGES
from gristmill.tokenizer.formats.vocabulary_files import write_tokenizer_json

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
TOP: Any = get_command(cli.app)


def commands(group: Any = TOP, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield (*names, *name.split()), command


def test_every_setting_has_a_meaning_and_stands_in_the_reference() -> None:
    for name in Recipe.model_fields:
        if (model := stage_params(name)) is not Params:
            missing = [one.name for one in settings_of(model) if not one.meaning]
            assert not missing, f"write after {missing} of [{name}] in recipe.py what they mean"
    found = importlib.util.spec_from_file_location("settings_reference", ROOT / "tools" / "settings_reference.py")
    assert found and found.loader
    tool = importlib.util.module_from_spec(found)
    found.loader.exec_module(tool)
    page = tool.PAGE.read_text(encoding="utf-8")
    assert page == tool.written(page), "docs/settings.md is old: run tools/settings_reference.py"


def test_help_explains_every_command_and_every_setting() -> None:
    top = CliRunner().invoke(cli.app, ["-h"]).output
    for words, command in commands():
        shown = CliRunner().invoke(cli.app, [*words, "-h"])
        assert shown.exit_code == 0 and "Usage" in shown.output, words
        assert words[0] in top
        lower = [one for one in command.params if one.param_type_name == "argument" and not one.metavar]
        assert not lower, f"{words}: an argument has no metavar"
    for stage in STAGES:
        page = CliRunner().invoke(cli.app, [stage.name, "--help"]).output
        lines = [" ".join(line.split()) for line in page.splitlines()]
        for one in settings_of(stage_params(stage.name)):
            assert any(" ".join(f"{one.name} {one.kind} {one.default} {one.meaning}".split()) == line for line in lines)
    usage = " ".join(CliRunner().invoke(cli.app, ["evaluate", "--help"]).output.split())
    assert re.search(r"evaluate \[OPTIONS\] \W*MODEL\W+TOKENIZER\W+TOKENS\W+SFT", usage)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["eval"], "evaluate"),
        (["corpus", "sa"], "sample"),
        (["run", "--unt"], "--until"),
        (["run", "r.toml", "--set", "pretrain.muon"], "pretrain.muon_lr="),
        (["pretrain", "--set", "muon"], "muon_lr="),
    ],
)
def test_the_shell_completes(typed: list[str], offered: str) -> None:
    words = {"COMP_WORDS": " ".join(["gristmill", *typed]), "COMP_CWORD": str(len(typed))}
    shown = CliRunner().invoke(
        cli.app, [], prog_name="gristmill", env={"_GRISTMILL_COMPLETE": "complete_bash", **words}
    )
    assert shown.output.split() == [offered]


def test_commands_are_listed_in_panels_in_the_journeys_order() -> None:
    page = CliRunner().invoke(cli.app, ["--help"]).output
    order = ["The journey", " run ", " chat ", " serve ", " inspect ", " plan ", *(f" {s.name} " for s in STAGES)]
    places = [page.rindex(f"│{name}" if name.startswith(" ") else name) for name in order]
    assert places == sorted(places)


def documented() -> Iterator[tuple[str, list[str]]]:
    """Every use of the command in the pages, in fenced blocks and between backticks, as a list of words."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```([a-z]*)\n(.*?)^```", text, re.M | re.S)
        lines = [line for language, block in blocks if language != "python" for line in block.splitlines()]
        lines += [line.replace("\\|", "|") for line in re.findall(r"`([^`\n]+)`", text)]
        for line in lines:
            if call := re.search(r"(?:^|\s|&& )(?:python -m )?gristmill (?=[a-z-])(.*)", line):
                words = shlex.split(call[1].replace("…", ""), comments=True)
                if words and re.fullmatch(r"[a-z_-]+", words[0]):
                    yield f"{page.name}: {line.strip()}", words


def wrong_in(words: list[str]) -> str:
    """What is wrong in a documented use; nothing where it is right."""
    called = max(
        (one for one in commands() if words[: len(one[0])] == list(one[0])), key=lambda one: len(one[0]), default=None
    )
    if words[0] in TOP.commands and hasattr(TOP.commands[words[0]], "commands") and len(words) == 1:
        return ""  # a group's name
    if called is None:
        return "" if words[0].startswith("--") and words[0] in options(TOP) else f"no command {words[0]}"
    given = [word.strip("[]").rstrip("…") for word in words[len(called[0]) :]]
    for place, word in enumerate(given):
        if re.match(r"-{1,2}[a-z]", word) and word.split("=")[0] not in options(called[1]):
            return f"no option {word}"
        if word.startswith("recipes/") and not (ROOT / word).exists():
            return f"no recipe {word}"
        if word == "--set" and re.match(r"[a-z_]+\.[a-z_]+=", given[place + 1]):
            stage, name = given[place + 1].split("=")[0].split(".")[:2]
            if stage != "a" and name not in stage_params(stage).model_fields:
                return f"no setting {stage}.{name}"
    return ""


def options(command: Any) -> set[str]:
    """The options of a command."""
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"-h", "--help"}


def test_every_command_in_the_documentation_exists() -> None:
    uses = list(documented())
    assert len(uses) > 20
    assert not [(where, wrong) for where, words in uses if (wrong := wrong_in(words))]


def test_the_reference_has_every_command_with_every_option() -> None:
    rows = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8").splitlines()
    stages = {(stage.name,) for stage in STAGES}
    for words, command in commands():
        shown = [row for row in rows if row.startswith(f"| `gristmill {' '.join(words)}")]
        shown += [row for row in rows if words == ("run",) and row.startswith("| `  --")]
        named = {name for row in shown for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row)}
        lacking = [one.opts for one in command.params if one.opts[0][0] == "-" and not named & {*one.opts}]
        assert words in stages or (shown and not lacking), f"{words}: {lacking}"


def test_the_check_of_the_documentation_sees_what_is_wrong() -> None:
    for line in ("rum x.toml", "run x.toml --form sft", "run recipes/none.toml", "run r.toml --set sft.lrr=1"):
        assert wrong_in(line.split())
    for line in ("run RECIPE [--out DIR]", "tokenizer report RUN", "--version", "corpus ledger RUN [--document ID]"):
        assert not wrong_in(line.split())


Fails = Callable[..., str]


@pytest.fixture
def fails(
    tmp_path: Path,
    corpus: Path,
    tokenizer_folder: Path,
    tokens_folder: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Refusal,
) -> Fails:
    """Runs a command line that must be refused, in a folder with some files; returns the message."""
    monkeypatch.chdir(tmp_path)
    for name, folder in (("corpus", corpus), ("vocabulary", tokenizer_folder), ("tokens", tokens_folder)):
        (tmp_path / name).symlink_to(folder)
    (tmp_path / "model").symlink_to(model_folder)
    for name in ("empty", "foreign", "other"):
        (tmp_path / name).mkdir()
    write_tokenizer_json(tmp_path / "other" / "tokenizer.json", [bytes([byte]) for byte in range(256)], [], "qwen2")
    files = {
        "foreign/precious.txt": "x",
        "page.txt": "Some text to read.",
        "blank.toml": "",
        "binary.toml": "\0\1",
        "broken.toml": "[crawl",
        "number.toml": "pretrain = 3",
        "types.toml": "[pretrain]\nlayers = 'many'\nsize = '1m'\n[dedup]\nbands = 2.5\nurls = 'often'\n",
        "small.toml": "[extract]\npaths = ['page.txt']\n[dedup]\n",
        "c.jsonl": '{"messages": 5}\n',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def refused(line: str) -> str:
        message = refusal(*shlex.split(line))
        assert "remedy: " in message, message
        return message

    return refused


MISTAKES = {
    # the command line
    "rnu small.toml": "did you mean `run`?",
    "corpus sampel x": "did you mean `sample`?",
    "run": "missing argument",
    "run small.toml --untill dedup": "--until",
    "run small.toml --workers -1": "--workers",
    "run small.toml --engine threads": "threads",
    "pretrain vocabulary tokens": "--out",
    "pretrain vocabulary -o out": "a folder is missing",
    "export vocabulary -o out": "a folder is missing remedy: it reads: A model: the folder of pretrain",
    "pretrain vocabulary tokens model -o out": "model",
    "serve model --port many": "--port",
    # recipes
    "run none.toml": "none.toml",
    "run empty": "empty",
    "run blank.toml -o out": "no stage",
    "run binary.toml": "not valid TOML",
    "run broken.toml": "not valid TOML",
    "run number.toml": "`pretrain` takes a table, [pretrain]",
    "run types.toml": "`pretrain.layers`",
    "run small.toml --until rl": "no such stage",
    "run small.toml --from dedup --until extract": "comes after",
    "pretrain vocabulary tokens -o out --set width=1000000000000000": "at most 65,536",
    "run small.toml --from dedupe": "did you mean `dedup`?",
    # settings
    "run small.toml --set dedup": "no `=`",
    "run small.toml --set dedup.band=2": "did you mean `bands`?",
    "run small.toml --set layers=2": "it is a setting of [pretrain]",
    "run small.toml --set name.x=1": "`name` takes a text",
    "run small.toml --set dedup.bands.x=1 --set dedup.bands=2 --set dedup.bands.x=1": "not a table",
    "tokenizer report vocabulary binary.toml": "make one: gristmill extract binary.toml -o DIR",
    "run small.toml --set pretrain.size=1m": "as 1M or 124M, up to 10000G (given: '1m')",
    "run small.toml --set 'extract.paths=[\"page.txt\"'": "not valid TOML",
    "run small.toml --set dedup.seed=-1": "`dedup.seed` takes an integer, at least 0",
    "run small.toml --set pretrain.epochs=inf": "`pretrain.epochs` takes a number, above 0, at most 1,000 (given: inf)",
    "tokenizer corpus -o out --set vocab=300": "did you mean `vocab_size`?",
    "tokenizer corpus -o out --set pattern=gpt2": "gpt2",
    "run small.toml -o out --set 'extract.paths=[\"{exract}/x\"]'": "did you mean `extract`?",
    # files and folders
    "dedup none -o out": "does not exist",
    "dedup page.txt -o out": "is a file",
    "dedup empty -o out": "no documents",
    "dedup tokens -o out": "no column text",
    "extract none.txt -o out": "none.txt",
    "extract empty -o out": "nothing readable",
    "extract -o out": "extract",
    "crawl -o out": "`crawl.seeds`",
    "crawl http://a.test/ -o out --set user_agent=é": "`crawl.user_agent`: it goes into an HTTP header",
    "crawl http://a.test/ -o out --set user_agent='\"a\\nb\"'": "`crawl.user_agent`",
    "extract page.txt -o foreign": "not written by gristmill",
    "extract page.txt -o page.txt": "page.txt",
    "extract page.txt -o page.txt/out": "page.txt",
    "pretrain tokens vocabulary -o out": "tokenizer",
    "pretrain vocabulary corpus -o out": "token",
    "sft corpus corpus vocabulary tokens -o out": "model",
    "sft model corpus vocabulary tokens -o out --set conversations=c.jsonl": "c.jsonl",
    "sft model corpus vocabulary tokens -o out --set conversations=none.jsonl": "none.jsonl",
    "sft model corpus vocabulary tokens -o out --set conversations=empty": "empty",
    "sft -o out --set init_from=model": "give that folder itself: gristmill sft model -o DIR; or write the model",
    "reward model vocabulary tokens -o out": "`reward.preferences` is not set",
    "evaluate model vocabulary tokens -o out --set questions=none.jsonl": "none.jsonl",
    "pretrain tokens -o out": "a folder is missing remedy: it reads: A vocabulary: the folder of tokenizer",
    "export model corpus -o out": "tokenizer",
    "export model other -o out": "use the tokenizer of the same run",
    "reward model other tokens -o out --set preferences=c.jsonl": "use the tokenizer of the same run",
    "report empty -o out": "no stage",
    "report none -o out": "none",
    # looking
    "chat none": "none",
    "chat empty": "empty",
    "chat page.txt": "page.txt",
    "serve empty": "empty",
    "inspect empty": "nothing to look at",
    "inspect empty The": "empty",
    "inspect none --tokens The": "none",
    "tokenizer report none": "none",
    "tokenizer report vocabulary none": "none",
    "corpus sample none --dropped-by x": "none",
    "find empty apple tree": "put words that belong together in quotes",
    "verify empty apple": "remedy: gristmill verify",
    "corpus sample empty --dropped-by x": "empty",
    "corpus ledger none": "none",
    "corpus ledger empty": "empty",
    "corpus score -o s": "good",
    "corpus score -o s --good none --bad page.txt": "none",
    "corpus sample empty --dropped-by x -n 0": "-n",
    "tokenizer report vocabulary --parameters 0": "--parameters",
    "plan small.toml": "no stage that trains",
    "plan none.toml": "none.toml",
    "plan small.toml --tokens many": "--tokens",
    "plan small.toml --device tpu": "tpu is no GPU",
    "scale small.toml -o empty": "empty",
    "scale small.toml -o empty --sizes many": "many",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_message(line: str, fails: Fails) -> None:
    assert MISTAKES[line] in fails(line)


@pytest.mark.usefixtures("bits_bind")
def test_a_folder_that_cannot_be_written(fails: Fails, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    assert "cannot write to" in fails("run small.toml -o out")


def test_names_keep_their_case(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("name = 'r'\n[pretrain]\nsize = '1M'\n")
    recipe = load_recipe(path)
    assert recipe.pretrain and recipe.pretrain.size == "1M"


def test_a_folder_that_is_named_like_an_option_is_shown_as_a_command_takes_it(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("The miller went down to the river before the sun was up.")
    Path("r.toml").write_text('[extract]\npaths = ["a.txt"]\n[passages]\n')
    ended = command("run", "r.toml", "-o", "./-x").stdout
    words = shlex.split(next(line for line in ended.splitlines() if line.startswith("find:")))[2:]
    assert words == ["find", "./-x", "QUESTION"]
    refused = command("trace", "-x", "The miller")
    assert refused.code == 2 and "no such option: -x" in refused.stderr and "that name: ./-x" in refused.stderr
    assert "before the sun" in command(*words[:2], "When did the miller go?").stdout

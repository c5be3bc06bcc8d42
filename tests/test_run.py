"""Recipes and the run folder as a user meets them: one clear message and exit code 2 for every mistake."""

from __future__ import annotations

import gzip
import shutil
import socket
from pathlib import Path

import pytest
from command_line import Refusal
from forks import Commands

from gristmill.corpus.extract import stage as extract
from gristmill.errors import UserError
from gristmill.files import write_jsonl
from gristmill.manifest import FINGERPRINT, Manifest
from gristmill.recipe import Recipe
from gristmill.run import run_recipe
from gristmill.settings.recipe_file import load_recipe, validate
from gristmill.settings.stages import STAGES

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_valid_and_their_stages_find_what_they_read(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    present = {stage.name for stage in STAGES if getattr(recipe, stage.name) is not None}
    for stage in STAGES:
        for name, candidates in stage.reads.items():
            assert stage.name not in present or name in stage.optional or present & set(candidates)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["pretrain.layer=4"], "unknown key `pretrain.layer`, did you mean `layers`?"),
        (["pretrian.layers=4"], "unknown key `pretrian`"),
        (["pretrain.layers=many"], "`pretrain.layers`"),
        (["pretrain.layers=0"], "`pretrain.layers`"),
        (["crawl.seeds=[]"], "`crawl.seeds`"),
        (["pretrain"], "no `=`"),
        (["name.x=1"], "not a table"),
        (["sft.conversations=/no/such.jsonl"], "/no/such.jsonl"),
    ],
)
def test_wrong_settings(settings: list[str], told: str, tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "texts").mkdir()
    recipe = tmp_path / "r.toml"
    recipe.write_text("name = 'x'\n[crawl]\nseeds = ['http://127.0.0.1:9/']\n[pretrain]\n[sft]\n")
    if "sft" in settings[0]:
        recipe.write_text("[sft]\n")
    arguments = [part for setting in settings for part in ("--set", setting)]
    message = refusal("run", str(recipe), "--out", tmp_path / "out", *arguments)
    assert told in message or "no model to begin with" in message


def test_wrong_recipes_and_options(tmp_path: Path, refusal: Refusal) -> None:
    assert "none.toml" in refusal("run", tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[crawl\n")
    assert "bad.toml is not valid TOML" in refusal("run", tmp_path / "bad.toml")
    (tmp_path / "alone.toml").write_text("[pretrain]\n")
    alone = ["run", tmp_path / "alone.toml", "--out", tmp_path / "out"]
    assert "[tokenizer]" in refusal(*alone)
    assert "no such stage" in refusal(*alone, "--until", "rl")
    (tmp_path / "file").write_text("")
    (tmp_path / "texts.toml").write_text("[extract]\npaths = ['file']\n")
    blocked = ["run", tmp_path / "texts.toml", "--out", tmp_path / "file" / "out"]
    assert "cannot write to" in refusal(*blocked)
    assert "--out" in refusal("extract", tmp_path)


def test_wrong_inputs(tmp_path: Path, refusal: Refusal) -> None:
    out = ["-o", tmp_path / "out"]
    assert "no such file" in refusal("extract", tmp_path / "none", *out)
    (tmp_path / "empty").mkdir()
    nothing = refusal("extract", tmp_path / "empty", *out)
    assert "nothing readable" in nothing and len(nothing) < 600, "the endings of source code are not listed"
    assert "no documents" in refusal("filter", tmp_path / "empty", *out)
    record = b"WARC/1.1\r\nWARC-Type: response\r\nContent-Length: 9000\r\n\r\nHTTP/1.1 200 OK\r\n\r\n<p>cut"
    (tmp_path / "cut.warc.gz").write_bytes(gzip.compress(record)[:-9])
    message = refusal("extract", tmp_path / "cut.warc.gz", *out)
    assert "cut.warc.gz" in message
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    seed = f"http://127.0.0.1:{port}/"
    network = ["--set", 'allow_networks=["127.0.0.0/8"]']
    assert seed in refusal("crawl", seed, *out, *network)
    assert "allow_networks" in refusal("crawl", seed, *out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("x")
    (tmp_path / "page.txt").write_text("Some text to read.")
    taken = ["extract", tmp_path / "page.txt", "-o", tmp_path / "mine"]
    assert "not written by gristmill" in refusal(*taken)
    assert (tmp_path / "mine" / "precious.txt").exists()


def test_the_seed_of_a_recipe_reaches_every_stage() -> None:
    recipe = validate(Recipe, {"seed": 7, "dedup": {}, "sft": {"seed": 3}}, "test")
    assert recipe.dedup and recipe.sft and (recipe.dedup.seed, recipe.sft.seed) == (7, 3)


def texts(folder: Path, count: int) -> Path:
    """A folder of small stories."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        words = f"The miller of house {number} went to the river and looked at boat {number}. "
        (folder / f"{number}.txt").write_text(words + f"It was a good day for number {number}, he said to them. " * 2)
    return folder


def test_finished_stages_are_skipped_and_a_change_redoes_what_follows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = texts(tmp_path / "texts", 12)

    def go(**changes: int) -> list[str]:
        capsys.readouterr()
        data = {"extract": {"paths": [str(source)]}, "dedup": {"bands": changes.get("bands", 14)}, "tokenizer": {}}
        recipe = validate(Recipe, {**data, "tokenizer": {"vocab_size": changes.get("vocab", 300)}}, "test")
        summary = run_recipe(recipe, tmp_path / "run")
        assert summary["extract.documents_out"] == len(list(source.iterdir()))
        printed = capsys.readouterr().err
        ran = [stage.name for stage in STAGES if f"\n{stage.name}\n" in f"\n{printed}"]
        assert ran or "nothing to do" in printed
        return ran

    assert go() == ["extract", "dedup", "tokenizer"]
    assert go() == []
    assert go(vocab=280) == ["tokenizer"]
    assert go(vocab=280, bands=13)[0] == "dedup"
    texts(source, 13)
    assert go(vocab=280, bands=13) == ["extract", "dedup", "tokenizer"]
    (tmp_path / "run" / "dedup" / "manifest.json").unlink()
    with pytest.raises(UserError, match="was not written by gristmill"):
        go(vocab=280, bands=13)


def test_a_folder_left_by_a_kill_is_taken_up_only_for_the_same_work(tmp_path: Path) -> None:
    source = texts(tmp_path / "texts", 5)
    partial = tmp_path / "run" / "extract.partial"
    partial.mkdir(parents=True)
    (partial / "junk.parquet").write_text("from another recipe")
    run_recipe(validate(Recipe, {"extract": {"paths": [str(source)]}}, "test"), tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "extract",
        "recipe.json",
        "run.json",
        "summary.json",
    }
    made = Manifest.read(tmp_path / "run" / "extract")
    assert made and set(made.outputs) == {"documents.parquet", "dropped.jsonl"}


def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_jsonl(tmp_path / "a.jsonl", ({"n": 1 // number} for number in (1, 0)))
    assert not list(tmp_path.iterdir())


def test_a_kill_while_checksums_are_made_costs_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = validate(Recipe, {"extract": {"paths": [str(texts(tmp_path / "texts", 5))]}}, "test")
    whole = run_recipe(recipe, tmp_path / "whole")
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(Manifest, "write", interrupted)
        run_recipe(recipe, tmp_path / "run")
    with monkeypatch.context() as idle:
        idle.setattr(extract, "extract_shard", interrupted)
        again = run_recipe(recipe, tmp_path / "run")
    figures = ("extract.documents_out", "extract.bytes_out")
    assert [again[name] for name in figures] == [whole[name] for name in figures]
    names = [sorted(path.name for path in (tmp_path / run / "extract").iterdir()) for run in ("whole", "run")]
    assert names[0] == names[1] == ["documents.parquet", "dropped.jsonl", "manifest.json"]


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_safetensors_was_writing_when_it_was_killed_is_no_output(tmp_path: Path) -> None:
    recipe = validate(Recipe, {"extract": {"paths": [str(texts(tmp_path / "texts", 5))]}}, "test")
    run_recipe(recipe, tmp_path / "run")
    first = Manifest.read(tmp_path / "run" / "extract")
    assert first
    shutil.rmtree(tmp_path / "run" / "extract")
    partial = tmp_path / "run" / "extract.partial"
    partial.mkdir()
    (partial / FINGERPRINT).write_text(first.fingerprint)
    (partial / ".tmpO9LaPH").write_bytes(b"weights")  # as it names what it renames at the end
    run_recipe(recipe, tmp_path / "run")
    made = Manifest.read(tmp_path / "run" / "extract")
    assert made and made.outputs == first.outputs


def test_a_run_ends_with_what_its_training_warned_of_also_where_nothing_is_left_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"{(number * 7919) % 9973:x}" for number in range(1000)]
    (tmp_path / "texts").mkdir()
    for number in range(10):  # of which nothing can be learned but by heart
        (tmp_path / "texts" / f"{number}.txt").write_text(" ".join(words[number * 100 : (number + 1) * 100]))
    shape = {"layers": 1, "width": 64, "context": 64, "max_steps": 60, "evaluate_every": 5, "snapshots": 0}
    data = {"extract": {"paths": [str(tmp_path / "texts")]}, "tokenizer": {"vocab_size": 300}, "tokenize": {}}
    recipe = validate(Recipe, {**data, "tokenize": {"heldout": 0.3}, "pretrain": {**shape, "sample_prompts": []}}, "")
    for told in ("stages run in", "nothing to do"):
        capsys.readouterr()
        run_recipe(recipe, tmp_path / "run")
        before, _, _ = " ".join(capsys.readouterr().err.split()).partition(told)
        assert "held-out text: it is being memorised" in before.rpartition("warning: pretrain: step")[2]


def test_from_and_until(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = texts(tmp_path / "texts", 6)
    recipe = validate(Recipe, {"extract": {"paths": [str(source)]}, "dedup": {}}, "test")
    run_recipe(recipe, tmp_path / "run", until="extract")
    assert not (tmp_path / "run" / "dedup").exists()
    run_recipe(recipe, tmp_path / "run")
    before = (tmp_path / "run" / "extract" / "manifest.json").stat().st_mtime_ns
    run_recipe(recipe, tmp_path / "run", first="extract")
    assert (tmp_path / "run" / "extract" / "manifest.json").stat().st_mtime_ns > before


def test_a_stage_alone_on_files(tmp_path: Path, commands: Commands) -> None:
    source = texts(tmp_path / "texts", 6)
    for arguments in (["extract", str(source), "-o", "docs"], ["dedup", "docs", "-o", "unique"]):
        done = commands.run(arguments, tmp_path)
        assert done.code == 0, done.stderr
        assert "6 documents, " in done.stderr and "B of text" in done.stderr and "_" not in done.stderr
    assert (tmp_path / "unique" / "documents.parquet").exists()


def test_a_missing_input_is_reported_before_any_stage_runs(tmp_path: Path) -> None:
    recipe = load_recipe(ROOT / "recipes" / "miniweb.toml", ["sft.conversations=nope.jsonl", "miniweb.pages=200"])
    with pytest.raises(UserError, match=r"sft\.conversations: no such file or folder: .*nope\.jsonl"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "miniweb").exists()

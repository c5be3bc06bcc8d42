"""Paths in a recipe are relative to the recipe, those on the command line to the working directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from gristmill.document import read_documents
from gristmill.run import run_recipe
from gristmill.settings.recipe_file import load_recipe

RECIPE = """
[extract]
paths = ["notes", "/abs/x.txt", "hf://datasets/a/b"]
[filter]
block_lists = ["hosts.txt"]
scores = { quality = "q.safetensors" }
[crawl]
seeds = ["http://a.test/"]
connect_to = { "a.test" = "127.0.0.1:80", "b.test" = "{miniweb}", "c.test" = "web" }
[common_crawl]
snapshot = "CC-MAIN-2024-22"
base = "mirror"
[sft]
conversations = "{miniweb}/conversations.jsonl"
[evaluate]
questions = "q.jsonl"
[decontaminate]
"""


def test_where_paths_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    (project / "r.toml").write_text(RECIPE)
    monkeypatch.chdir(elsewhere)
    found = load_recipe(Path("../project/r.toml"), ["dedup.against=['old']"])
    assert found.extract and found.filter and found.crawl and found.common_crawl and found.sft
    assert [Path(path).resolve() for path in found.extract.paths[:1]] == [project / "notes"]
    assert found.extract.paths[1:] == ["/abs/x.txt", "hf://datasets/a/b"]
    assert Path(found.filter.block_lists[0]).resolve() == project / "hosts.txt"
    assert Path(found.filter.scores["quality"]).resolve() == project / "q.safetensors"
    assert found.crawl.connect_to["a.test"] == "127.0.0.1:80"
    assert found.crawl.connect_to["b.test"] == "{miniweb}"
    assert Path(found.crawl.connect_to["c.test"]).resolve() == project / "web"
    assert Path(found.common_crawl.base).resolve() == project / "mirror"
    assert found.sft.conversations == "{miniweb}/conversations.jsonl"
    assert found.decontaminate and Path(found.decontaminate.sets[0]).resolve() == project / "q.jsonl"
    assert found.dedup and found.dedup.against == [str(elsewhere / "old")]


def test_a_recipe_runs_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project/notes").mkdir(parents=True)
    (tmp_path / "project/notes/a.txt").write_text("The miller went down to the river before the sun was up.")
    (tmp_path / "project/r.toml").write_text('[extract]\npaths = ["notes"]\n')
    for place in ("project", "."):
        monkeypatch.chdir(tmp_path / place)
        run_recipe(load_recipe(Path("r.toml" if place == "project" else "project/r.toml")), tmp_path / place / "out")
        (found,) = read_documents(tmp_path / place / "out/extract")
        assert found.source == "a.txt"


def test_a_recipe_saved_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('name = "é"\r\n[tokenizer]\r\nvocab_size = 300\r\n', encoding="utf-8-sig")
    recipe = load_recipe(tmp_path / "r.toml")
    assert recipe.name == "é" and recipe.tokenizer and recipe.tokenizer.vocab_size == 300


def test_recipes_side_by_side_are_runs_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[tokenizer]\n")
    (tmp_path / "other.toml").write_text('name = "x"\n[tokenizer]\n')
    assert [load_recipe(tmp_path / f"{name}.toml").name for name in ("mine", "other")] == ["mine", "x"]
    assert load_recipe(tmp_path / "mine.toml", ["name=y"]).name == "y"

"""`gristmill new`: a recipe for what one has, which loads, keeps every document and says how long it takes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from command_line import Command

from gristmill.commands.new_recipe import new_folder, new_site, survey, tokens_made
from gristmill.corpus.filter import stage as filter
from gristmill.corpus.filter.candidate import Candidate
from gristmill.document import Document, document_id, read_documents, write_documents
from gristmill.errors import UserError
from gristmill.recipe import Dedup, Filter
from gristmill.run import execute, run_recipe
from gristmill.settings.recipe_file import load_recipe, shipped_names
from gristmill.settings.stages import BY_NAME

ROOT = Path(__file__).parents[2]
OPTIONS = "\n".join(f"- --option-{n} {{file}}" for n in range(40))
PAGES = {
    "commit.md": f"# commit\n\n{OPTIONS}\n- --amend",
    "rebase.md": f"# rebase\n\n{OPTIONS}\n- --onto",
    "short.txt": "Two words.",
    "german.txt": "Der Müller ging zum Fluss, bevor die Sonne aufgegangen war, und nahm seinen Hund mit.",
    "config.txt": "javascript = {\n  lorem ipsum\n}\n" * 30,
    "story.txt": "The miller went home. " * 6,
    "copy.md": f"# commit\n\n{OPTIONS}\n- --amend",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of documentation."""
    (tmp_path / "my docs").mkdir()
    for name, text in PAGES.items():
        (tmp_path / "my docs" / name).write_text(text)
    (tmp_path / "my docs/photo.png").write_bytes(b"x")
    return tmp_path / "my docs"


@pytest.mark.parametrize("name", ["folder", "site"])
def test_recipes_for_own_documents_keep_all_but_copies(folder: Path, tmp_path: Path, name: str) -> None:
    recipe = load_recipe(ROOT / "recipes" / f"{name}.toml", [f"extract.paths=['{folder}']", "crawl="])
    run_recipe(recipe, tmp_path / "run", until="dedup")
    kept = {document.source for document in read_documents(tmp_path / "run/dedup")}
    assert kept == PAGES.keys() - {"rebase.md", "commit.md", "copy.md"} | {"rebase.md", "commit.md"}


def test_near_copies_stay_if_wanted(tmp_path: Path) -> None:
    texts = [PAGES["commit.md"] + " " * n + f" {'x' * n}" for n in range(3)]
    (tmp_path / "in").mkdir()
    documents = [Document(document_id(str(n), text), text) for n, text in enumerate([*texts, texts[0]])]
    write_documents(tmp_path / "in/documents.parquet", documents)
    for near, left in ((True, 1), (False, 3)):
        execute(BY_NAME["dedup"], {"corpus": tmp_path / "in"}, Dedup(near=near), tmp_path / f"out{near}")
        assert len(list(read_documents(tmp_path / f"out{near}"))) == left


def test_a_heavy_loss_is_told_with_its_rules(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = load_recipe(ROOT / "recipes/folder.toml", [f"extract.paths=['{folder}']", "filter.rules=['c4']"])
    run_recipe(recipe, tmp_path / "run", until="filter")
    told = capsys.readouterr().err
    assert told.count("warning: filter dropped 6 of 7 documents") == 2  # when it happens, and at the end
    assert "c4_curly_bracket 4" in told and "--dropped-by c4_curly_bracket" in told and "filter.rules = []" in told
    run_recipe(recipe, tmp_path / "run", until="filter")
    assert "warning: filter dropped" in capsys.readouterr().err  # also of what was done before
    recipe = load_recipe(ROOT / "recipes/folder.toml", [f"extract.paths=['{folder}']"])
    run_recipe(recipe, tmp_path / "run", until="dedup")
    assert "warning" not in capsys.readouterr().err


def test_a_folder_becomes_a_recipe(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[tuple[int, float]] = []
    monkeypatch.setattr(
        "gristmill.commands.new_recipe.tell_time", lambda place, tokens, seconds: told.append((tokens, seconds))
    )
    place = new_folder(Path("my docs"))
    assert place == Path("folder.toml")
    recipe = load_recipe(place)
    assert recipe.name == "folder" and recipe.tokenizer and recipe.tokenizer.vocab_size == 1024
    assert tomllib.loads(place.read_text())["extract"]["paths"] == ["my docs"]
    assert "# Your own documents are all wanted." in place.read_text()
    shape = recipe.pretrain
    assert shape and shape.heads * shape.head_dim == shape.width == 128 and shape.epochs == 4.0
    size = sum(len(text.encode()) for text in PAGES.values())
    assert told[0][0] == pytest.approx(size / 2.6, rel=0.02)
    assert tokens_made(recipe, tmp_path / "run") == told[0][0]  # which `plan` says before a run
    assert recipe.tokenize and recipe.tokenize.heldout == 0.1
    (folder / "measures.jsonl").write_text('{"n": 1}\n{"n": 2}\n')  # no text in any row
    assert survey(folder).unread == ["photo.png", "measures.jsonl"]
    (folder / "measures.jsonl").unlink()
    found = survey(folder)
    assert (found.files, found.unread) == (len(PAGES), ["photo.png"])
    shown = capsys.readouterr().err
    assert "not read: 1 file: photo.png" in shown and "next: gristmill run folder.toml --until passages" in shown
    with pytest.raises(UserError, match=r"folder\.toml exists"):
        new_folder(Path("my docs"))
    with pytest.raises(UserError, match="no such file or folder"):
        new_folder(Path("gone"))
    run_recipe(recipe, tmp_path / "run", until="dedup")
    assert len(list(read_documents(tmp_path / "run/dedup"))) == len(PAGES) - 1


@pytest.mark.parametrize("name", ["two\nlines = 5", "cr\r[extract]", "del\x7f", 'emoji 😀 "q" \\'])
def test_a_folder_of_any_name_becomes_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("gristmill.commands.new_recipe.tell_time", lambda *_: None)
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.txt").write_text("Old Anna paints the long bridge. " * 20)
    extract = load_recipe(new_folder(tmp_path / name, tmp_path / "own.toml")).extract
    assert extract and extract.paths == [str(tmp_path / name)]


def test_sizes_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.commands.new_recipe.tell_time", lambda *_: None)
    (tmp_path / "in").mkdir()
    vocabularies, widths = [], []
    for megabytes in (0.5, 3, 10):
        for number in range(10):
            (tmp_path / f"in/{number}.txt").write_text("word " * round(megabytes * 20_000))
        recipe = load_recipe(new_folder(tmp_path / "in", tmp_path / f"{megabytes}.toml"))
        assert recipe.tokenizer and recipe.pretrain
        assert tokens_made(recipe, tmp_path / "run") == pytest.approx(megabytes * 1e6 / 3, rel=0.2)
        vocabularies.append(recipe.tokenizer.vocab_size)
        widths.append(recipe.pretrain.width)
    assert vocabularies == [1024, 2048, 4096] and widths == sorted(widths)


def test_a_site_becomes_a_recipe(tmp_path: Path) -> None:
    own = load_recipe(new_site("http://127.0.0.1:8080/docs/", tmp_path / "own.toml")).crawl
    other = load_recipe(new_site("https://docs.example.org/", tmp_path / "other.toml")).crawl
    office = load_recipe(new_site("http://192.168.1.7/", tmp_path / "office.toml")).crawl
    assert own and own.seeds == ["http://127.0.0.1:8080/docs/"] and "127.0.0.0/8" in own.allow_networks
    assert other and other.allow_networks == [] and (own.delay, other.delay) == (0.0, 1.0)
    assert office and office.allow_networks == ["192.168.1.7/32"]
    for wrong in ("docs.example.org", "ftp://a.test/", "http://", "http://[::1", "http://ann:secret@a.test/"):
        with pytest.raises(UserError, match="not the address of a site"):
            new_site(wrong, tmp_path / "wrong.toml")


def test_shipped_recipes_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"folder", "site", "miniweb"} <= set(shipped_names())
    for name in shipped_names():
        told = {"folder": ["extract.paths=['.']"], "site": ["crawl.seeds=['http://a.test/']"]}.get(name, [])
        assert load_recipe(Path(name), told).name == load_recipe(Path(f"recipes/{name}.toml"), told).name == name


def test_ones_own_recipe_is_found_by_its_name_and_a_template_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "site.toml"):
        with pytest.raises(UserError, match=f"there is no recipe {name}, .*\n.*gristmill new {name[:4]}"):
            load_recipe(name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "folder.toml").write_text('[extract]\npaths = ["notes"]\n')
    found = load_recipe("folder").extract
    assert found and found.paths == [str(tmp_path / "notes")]


def test_the_default_rules_still_drop(tmp_path: Path) -> None:
    chosen = filter.chain(Filter(languages=[]))
    document = Document("1", PAGES["config.txt"])
    assert any(rule(Candidate(document)) for rule in chosen)


def test_the_commands(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setattr("gristmill.commands.new_recipe.tell_time", lambda *_: None)
    assert command("new", "folder", folder, "-o", tmp_path / "a.toml").code == 0
    assert load_recipe(tmp_path / "a.toml").name == "a"

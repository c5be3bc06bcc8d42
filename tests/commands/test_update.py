"""Pages that have changed are read and indexed again; what was trained stays as it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from command_line import Command
from crawling import Serve, Site, page, starting

from gristmill.commands.update import update
from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.recipe import Recipe
from gristmill.report.sections.how_made import newer
from gristmill.run import run_recipe
from gristmill.runs.finished import passages_of


@pytest.fixture
def serve() -> Iterator[Serve]:
    yield from starting(Site)


def test_changed_pages_are_found_without_training(tmp_path: Path, command: Command) -> None:
    pages, run = tmp_path / "docs", tmp_path / "run"
    pages.mkdir()
    for name in ("mill", "ferry", "inn"):
        (pages / f"{name}.md").write_text(f"# The {name}\n\nThe {name} is painted green and opens at nine.\n")
    recipe = tmp_path / "pages.toml"
    recipe.write_text('[extract]\npaths = ["docs"]\n[passages]\n[dedup]\n[report]\n')
    ended = command("run", recipe, "-o", run).stdout
    assert f"serve:   gristmill serve {run}\n" in ended and f"find:    gristmill find {run} " in ended
    assert "Newer than" not in (run / "report" / "index.html").read_text()
    kept = (run / "dedup" / "manifest.json").read_bytes()
    assert passages_of(run) == run / "passages"
    (pages / "ferry.md").write_text("# The ferry\n\nThe ferry is painted purple now.\n")
    (pages / "inn.md").unlink()
    (pages / "school.md").write_text("# The school\n\nThe school is new.\n")
    done = command("update", run)
    assert "use what it is now; so does a server that runs already" in done.stderr
    assert "since the run was made: 1 new, 1 changed, 1 gone" in done.stdout and "last update" not in done.stdout
    found = {"new": ["school.md"], "changed": ["ferry.md"], "gone": ["inn.md"]}
    assert json.loads((run / "update" / "newer.json").read_text()) == found
    assert (run / "dedup" / "manifest.json").read_bytes() == kept
    assert passages_of(run) == run / "update" / "passages"
    report = (run / "report" / "index.html").read_text()
    assert "1 new, 1 changed, 1 gone" in report and "school.md" in report
    assert "Newer than the run" in report and "trained" not in report[report.index("Newer than the run</h") :][:500]
    trained = newer({"passages": run / "passages", "pretrain": run / "pretrain"})  # as if there were a model
    assert trained and trained.title == "Newer than the weights"
    (line,) = command("find", run, "What colour is the ferry painted?", "--json", "-n", "1").stdout.splitlines()
    assert "purple" in json.loads(line)["text"]
    told = command("why", run, pages / "ferry.md").stdout.splitlines()  # a file by its path
    assert told[0].startswith("extract: kept, ") and "update/extract: kept, " in told[-2]
    assert "passages: searched and quoted, in 1 passage" in told and told[-1].startswith("update/passages: searched")
    assert "update: changed since the run was made, which has it as it was" in told
    assert "update: new since" in command("why", run, "school.md").stdout
    assert "update: gone since" in command("why", run, "inn.md").stdout
    unknown = command("why", run, "ferr.md")
    assert unknown.code == 2 and "did you mean `ferry.md`?" in unknown.stderr
    made = (run / "report" / "manifest.json").stat().st_mtime_ns
    said = command("update", run).stdout.splitlines()
    assert said[0] == "since the last update: nothing has changed" and len(said) == 2
    assert said[1].startswith("since the run was made: 1 new, 1 changed, 1 gone")
    assert update(run) == found, "again, with nothing to do"
    assert (run / "report" / "manifest.json").stat().st_mtime_ns == made
    (pages / "ferry.md").write_text("# The ferry\n\nThe ferry is painted white now.\n")
    (pages / "well.md").write_text("# The well\n\nThe well is new, too.\n")
    last = command("update", run).stdout
    assert "since the last update: 1 new, 1 changed, 0 gone\n  new: well.md\n  changed: ferry.md\n" in last
    assert "well.md" in (run / "report" / "index.html").read_text()
    shutil.copytree(run, tmp_path / "copy", copy_function=shutil.copyfile)  # which keeps no times
    os.utime(tmp_path / "copy" / "passages" / "manifest.json", (2**32, 2**32))
    assert passages_of(tmp_path / "copy") == tmp_path / "copy" / "update" / "passages"
    command("run", recipe, "-o", run)
    assert passages_of(run) == run / "passages"
    assert "update" not in command("why", run, "ferry.md").stdout
    assert "Newer than" not in (run / "report" / "index.html").read_text()


def test_records_of_a_file_are_told_apart(tmp_path: Path, command: Command) -> None:
    pages, recipe, run = tmp_path / "docs", tmp_path / "pages.toml", tmp_path / "run"
    pages.mkdir()
    recipe.write_text('[extract]\npaths = ["docs"]\n[passages]\n')

    def write(title: str) -> None:
        rows = [{"url": "a", "title": title, "text": "one"}, {"url": "b", "text": "two"}]
        (pages / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    write("Old")
    command("run", recipe, "-o", run)
    write("New")
    assert "since the run was made: 0 new, 1 changed, 0 gone" in command("update", run).stdout
    assert "extract: kept, " in command("why", run, "rows.jsonl:2").stdout
    told = command("why", run, pages / "rows.jsonl").stderr
    assert "may be any of 2 pages" in told and "name one of a, b" in told


def test_commands_that_are_shown_can_be_copied(tmp_path: Path, command: Command) -> None:
    (tmp_path / "mill.md").write_text("# The mill\n\nThe mill is painted green and opens at nine.\n")
    recipe, run = tmp_path / "my pages.toml", tmp_path / "my run"
    shown = command("new", "folder", tmp_path / "mill.md", "-o", recipe).stderr
    assert f"next: gristmill run '{recipe}' --until passages; " in shown
    shown = command("run", recipe, "-o", run, "--until", "passages").stdout
    assert f"serve:   gristmill serve '{run}'\n" in shown and f"gristmill find '{run}' \"QUESTION\"\n" in shown


def test_a_search_that_finds_nothing_or_cannot_search_says_so(tmp_path: Path, command: Command) -> None:
    (tmp_path / "mill.md").write_text("# The mill\n\nThe mill is painted green and opens at nine.\n")
    documents, index = tmp_path / "documents", tmp_path / "index"
    command("extract", tmp_path / "mill.md", "-o", documents)
    command("passages", documents, "-o", index)
    nothing = command("find", index, "??")
    assert nothing.code == 0 and nothing.stdout == "" and "no passage has a word of that" in nothing.stderr
    os.truncate(index / "passages.sqlite", 1000)
    for asked in (("find", index, "mill"), ("chat", index)):
        broken = command(*asked)
        assert broken.code == 2 and f"{index / 'passages.sqlite'} is damaged" in broken.stderr


def test_a_run_without_passages_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Some words on a page.")
    run_recipe(Recipe.model_validate({"extract": {"paths": [str(tmp_path / "a.md")]}}), tmp_path / "run")
    with pytest.raises(UserError, match="has no passages"):
        update(tmp_path / "run")


def test_an_update_by_other_code_is_made_again_by_an_update(tmp_path: Path, command: Command) -> None:
    (pages := tmp_path / "docs").mkdir()
    (pages / "mill.md").write_text("# The mill\n\nThe mill is painted green and opens at nine.\n")
    recipe, run = tmp_path / "pages.toml", tmp_path / "run"
    recipe.write_text('[extract]\npaths = ["docs"]\n[passages]\n')
    assert command("run", recipe, "-o", run).code == command("update", run).code == 0
    made = Manifest.read(run / "update" / "extract")
    assert made
    made.code["document.py"], made.fingerprint = "0" * 16, "of other code"
    made.write(run / "update" / "extract")
    refused = command("find", run, "What colour is the mill?")
    assert refused.code == 2 and "made by other code (document.py)" in refused.stderr
    assert f"gristmill update {run}" in refused.stderr and "gristmill run" not in refused.stderr
    assert command("update", run).code == command("find", run, "What colour is the mill?").code == 0


def test_pages_of_a_site_that_cannot_be_had_for_now_are_kept(tmp_path: Path, command: Command, serve: Serve) -> None:
    run, toll, down, removed = tmp_path / "run", ["four"], set[str](), set[str]()
    links = {"/": ["/toll", "/inn", "/hub", "/mill"], "/hub": ["/behind"]}
    text = (
        "<p>The {} of Vantmoor is painted green, and is open on all days but Sundays. The toll there is {} crowns.</p>"
    )

    def answer(request: web.Request) -> web.StreamResponse:
        status = 500 if request.path in down else 404 if "." in request.path or request.path in removed else 200
        told = text.format(request.path.strip("/") or "town", toll[0] if request.path == "/toll" else "two")
        return web.Response(status=status) if status != 200 else page(*links.get(request.path, []), text=told)

    def answered(question: str) -> str:
        return command("find", run, question, "--json", "-n", "1", "--words").stdout

    params = serve(answer).params()
    (tmp_path / "site.toml").write_text(
        f'[crawl]\nseeds = ["http://site.test/"]\nconnect_to = {{"*.test" = "{params.connect_to["*.test"]}"}}\n'
        'allow_networks = ["127.0.0.0/8"]\ndelay = 0.0\n[extract]\n[passages]\n'
    )
    assert command("run", tmp_path / "site.toml", "-o", run).code == 0
    down |= {"/hub", "/inn"}  # and so what only the hub names is not asked for
    removed.add("/mill")
    told = command("update", run).stdout
    assert "0 new, 0 changed, 1 gone" in told and "gone: http://site.test/mill" in told
    assert "3 pages could not be had just now" in told and "kept: http://site.test/behind" in told
    assert "behind" in answered("behind of Vantmoor") and "inn" in answered("inn of Vantmoor")
    down.clear()
    toll[0] = "nine"
    told = command("update", run).stdout
    assert "0 new, 1 changed, 1 gone" in told and "just now" not in told
    down.add("/toll")
    for _ in range(2):  # as it was read last, however often it fails
        told = command("update", run).stdout
        assert "0 new, 1 changed, 1 gone" in told and "1 page could not be had just now" in told
        assert "nine crowns" in answered("What is the toll of Vantmoor?")
    removed.add("/toll")
    down.clear()
    told = command("update", run).stdout
    assert "gone: http://site.test/toll" in told and "just now" not in told
    assert "0 new, 0 changed, 2 gone" in told and "since the last update: 0 new, 0 changed, 1 gone" in told
    assert not (run / "update" / "unreached").exists() and not (run / "update" / "before").exists()

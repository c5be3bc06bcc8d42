"""The ledger: it balances to the byte, tells when it does not, and leads a document back to where it came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import Command

from gristmill.corpus.execution.ledger import ledger, way
from gristmill.document import read_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.recipe import Recipe
from gristmill.run import run_recipe
from gristmill.runs.finished import stages_of
from gristmill.settings.recipe_file import validate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over 40 texts: ten too short, ten copies."""
    folder = tmp_path_factory.mktemp("ledger")
    lines = []
    for number in range(40):
        words = " ".join(f"the word{number % 30}x{i} and café" for i in range(40))
        text = words if number % 4 or number >= 30 else "too short"
        lines.append(json.dumps({"text": text, "url": f"http://a.test/{number}"}))
    (folder / "in.jsonl").write_text("\n".join(lines))
    tables = {
        "extract": {"paths": [str(folder / "in.jsonl")]},
        "filter": {"languages": [], "rules": ["gopher_quality"], "min_words": 20},
        "dedup": {},
    }
    run_recipe(validate(Recipe, tables, "test"), folder / "run")
    return folder / "run"


def test_it_balances_to_the_byte(run: Path) -> None:
    entries = ledger(stages_of(run))
    assert [entry.stage for entry in entries] == ["extract", "filter", "dedup"]
    assert all(entry.balances() for entry in entries)
    kept = list(read_documents(run / "dedup"))
    assert entries[-1].kept == {"documents": len(kept), "bytes": sum(len(found.text.encode()) for found in kept)}
    assert entries[1].came == entries[0].kept
    assert entries[2].dropped["exact_copy"][0] > 0
    made = Manifest.read(run / "dedup")
    assert made
    made.dropped_bytes["exact_copy"] -= 1
    made.write(run / "dedup")
    assert [entry.balances() for entry in ledger(stages_of(run))] == [True, True, False]
    made.dropped_bytes["exact_copy"] += 1
    made.write(run / "dedup")


def test_the_way_of_a_document(run: Path) -> None:
    kept = next(iter(read_documents(run / "dedup")))
    told = list(way(stages_of(run), kept.id))
    assert [stage for stage, _ in told] == ["extract", "filter", "dedup"]
    assert all(text.startswith("kept") and kept.id in text and "in.jsonl:" in text for _, text in told)
    copy = json.loads((run / "dedup" / "dropped.jsonl").read_text().splitlines()[0])
    fate = dict(way(stages_of(run), copy["url"]))["dedup"]
    assert fate.startswith("dropped by exact_copy") and copy["kept"] in fate
    with pytest.raises(UserError, match="knows a document nothing"):
        list(way(stages_of(run), "nothing"))


def test_the_command(run: Path, command: Command) -> None:
    for arguments, told in (([], "exact_copy"), (["--document", "http://a.test/0"], "filter: dropped by gopher_")):
        done = command("corpus", "ledger", run, *arguments)
        assert done.code == 0 and told in done.stdout
    assert command("corpus", "ledger", run / "dedup").code == 2


def test_stages_of_other_code_are_told_how_to_make(run: Path, tmp_path: Path, command: Command) -> None:
    for name in ("extract", "filter", "dedup"):
        made = Manifest.read(Path(shutil.copytree(run / name, tmp_path / name)))
        assert made
        made.code["document.py"], made.fingerprint = "0" * 16, "of other code"
        made.write(tmp_path / name)
    shutil.copy(run / "recipe.json", tmp_path)
    refused = command("corpus", "ledger", tmp_path)
    assert refused.code == 2 and f"gristmill run RECIPE --out {tmp_path}" in " ".join(refused.stderr.split())


def test_copies_can_be_looked_at(run: Path) -> None:
    from gristmill.corpus.execution.samples import show

    assert next(iter(show([run / "dedup"], "exact_copy", 1)))["text"].startswith("the word")


def test_a_run_shows_its_samples_though_other_stages_keep_samples_of_their_own(
    run: Path, tmp_path: Path, command: Command
) -> None:
    whole = shutil.copytree(run, tmp_path / "run")
    (whole / "pretrain").mkdir()
    (whole / "pretrain" / "samples.jsonl").write_text('{"step": 0, "prompt": "The", "text": "x"}\n')

    done = command("corpus", "sample", whole, "--dropped-by", "exact_copy")
    assert done.code == 0 and "the word" in done.stdout
    assert command("corpus", "sample", whole / "pretrain", "--dropped-by", "exact_copy").code == 2


def test_a_stage_that_keeps_no_samples_names_its_rules(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gristmill.corpus.execution.samples import show

    extract = Manifest.read(run / "extract")
    assert extract
    with pytest.raises(UserError, match=r"nothing was dropped by `nothing`"):
        next(show([run / "extract"], "nothing", 1))
    for rule in extract.dropped:
        with pytest.raises(UserError, match=r"no text is kept(.|\n)*extract/dropped\.jsonl"):
            next(show([run / "extract"], rule, 1))

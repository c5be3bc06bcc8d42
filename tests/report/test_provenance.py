"""What a run's text is made of, against a plain count; and files that the standards' own validators accept."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import Command

from gristmill.document import Document, document_id, write_documents
from gristmill.files import sha256_file
from gristmill.manifest import Manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two stages, finished without a recipe."""
    run = tmp_path / "site"
    when = datetime(2026, 3, 1, tzinfo=UTC)
    documents = [
        Document(
            document_id(f"http://{host}/{n}", "x"),
            f"Page {n} of {host}, naïve.",
            f"http://{host}/{n}",
            host,
            language=language,
            licence=licence,
            fetched_at=when if n else None,
        )
        for host, count, language, licence in (("a.test", 5, "en", "CC-BY-4.0"), ("b.test", 2, "de", ""))
        for n in range(count)
    ]
    for stage, kept, dropped in (("extract", documents, {"noai": 3}), ("filter", documents[:6], {"gopher_bullets": 1})):
        (run / stage).mkdir(parents=True)
        write_documents(run / stage / "documents.parquet", kept)
        outputs = {"documents.parquet": sha256_file(run / stage / "documents.parquet")}
        counts = {"documents_in": len(kept) + sum(dropped.values()), "documents_out": len(kept)}
        made = Manifest(
            counts=counts, dropped=dropped, stage=stage, version="0.1.0", outputs=outputs, params={"honour": ["noai"]}
        )
        made.folders = {"corpus": "../extract"} if stage == "filter" else {}
        made.write(run / stage)
    return run


def test_counts_are_those_of_the_documents(folder: Path, command: Command) -> None:
    done = command("provenance", folder)
    assert done.code == 0, done.stderr
    card = (folder / "provenance" / "data_card.md").read_text()
    sizes = Counter({"a.test": sum(len(f"Page {n} of a.test, naïve.".encode()) for n in range(5))})
    assert f"| a.test | 5 | {sizes['a.test']:,} |" in card and "| b.test | 1 |" in card
    assert "| CC-BY-4.0 | 5 |" in card and "| not known | 1 |" in card
    assert "| 2026-03 | 4 |" in card
    assert "| extract | dropped: noai | 3 |" in card and "| filter | dropped: gopher_bullets | 1 |" in card


def test_what_a_page_says_of_itself_breaks_no_table(folder: Path, command: Command) -> None:
    page = Document("x", "A page.", "http://a.test/", "a.test", language="en", licence="MIT | own\nterms")
    write_documents(folder / "filter" / "documents.parquet", [page])
    Manifest(stage="filter", version="0.1.0").write(folder / "filter")
    assert command("provenance", folder).code == 0
    assert "\n| MIT \\| own terms | 1 | 7 | 100.0% |\n" in (folder / "provenance" / "data_card.md").read_text()


def test_the_summary_leaves_open_what_no_counter_says(folder: Path, command: Command) -> None:
    command("provenance", folder)
    text = (folder / "provenance" / "public_summary.md").read_text()
    assert "Provider name and contact details: TO BE PROVIDED" in text and "data size: TO BE PROVIDED (counted" in text
    assert "The run crawled nothing." in text and "noai 3." in text and "the largest first): en, de" in text
    sections = "1.1 1.2 1.3 2.1 2.2 2.2.1 2.2.2 2.3 2.4 2.5 2.6 3.1 3.2 3.3"
    assert [line.split()[1] for line in text.splitlines() if line.startswith("###")] == sections.split()


@pytest.mark.parametrize(
    ("tokens", "size"),
    [(10**9 - 1, "less than 1 billion"), (10**9, "1 billion to 10 trillion"), (10**13, "more than 10 trillion")],
)
def test_the_size_is_told_as_the_template_has_it(folder: Path, command: Command, tokens: int, size: str) -> None:
    (folder / "tokenize").mkdir()
    Manifest(metrics={"train_tokens": tokens}, stage="tokenize", version="0.1.0").write(folder / "tokenize")
    command("provenance", folder)
    assert f"Training data size: {size} tokens" in (folder / "provenance" / "public_summary.md").read_text()


def test_what_was_never_requested_is_not_counted_as_requested(folder: Path, command: Command) -> None:
    (folder / "crawl").mkdir()
    Manifest(stage="crawl", version="0.1.0", params={"user_agent": "mill/1", "delay": 1.5}).write(folder / "crawl")
    outcomes = [("page", 200)] * 5 + [("copy", 200), ("status_404", 404), ("timeout", 0), ("robots", 0), ("depth", 0)]
    lines = [json.dumps({"url": f"http://a.test/{n}", "outcome": o, "status": s}) for n, (o, s) in enumerate(outcomes)]
    (folder / "crawl" / "urls.jsonl").write_text("\n".join(lines) + "\n")
    command("provenance", folder)
    text = (folder / "provenance" / "public_summary.md").read_text()
    assert "8 URLs requested, 6 pages fetched; 6 documents left after filtering" in text
    assert "waits 1.5 s between requests" in text and "robots.txt 1" in text


@pytest.mark.usefixtures("bits_bind")
def test_a_run_that_cannot_be_written_is_named_and_another_folder_does(
    folder: Path, tmp_path: Path, command: Command
) -> None:
    folder.chmod(0o555)
    try:
        refused = command("provenance", folder)
        assert refused.code == 2 and f"cannot write {folder / 'provenance'}: Permission denied" in refused.stderr
        assert "--out" in refused.stderr
        assert command("provenance", folder, "--out", tmp_path / "elsewhere").code == 0
    finally:
        folder.chmod(0o755)


def test_no_licence_is_given_to_the_whole(folder: Path, command: Command) -> None:
    command("provenance", folder)
    described = json.loads((folder / "provenance" / "croissant.json").read_text())
    assert described["license"] == "TO BE PROVIDED. Documents by the licence that they state: CC-BY-4.0: 5, none: 1"
    assert not (folder / "provenance" / "model_card.md").exists()


def test_the_model_card_has_the_figures_of_what_judged_this_model(
    folder: Path, command: Command, model_folder: Path, tokenizer_folder: Path
) -> None:
    shutil.copytree(model_folder, folder / "pretrain")
    shutil.copytree(tokenizer_folder, folder / "tokenizer")
    for name in ("pretrain", "tokenizer"):
        Manifest(stage=name, version="0.1.0").write(folder / name)
    for stage, judged, figures in (
        ("audit", "pretrain", {"extractable_fraction": 0.125}),
        ("evaluate", "sft", {"heldout_bpb": 0.5}),
    ):
        (folder / stage).mkdir()
        made = Manifest(stage=stage, version="0.1.0", metrics=figures)
        made.folders = {"model": f"../{judged}"}
        made.write(folder / stage)
    audited = {"extractable_fraction": 0.125, "extractable_interval": [0.0625, 0.25], "heldout": {"fraction": 0.0}}
    (folder / "audit" / "audit.json").write_text(json.dumps(audited))
    command("provenance", folder)
    card = (folder / "provenance" / "model_card.md").read_text()
    told = "12.5% (95 % interval 6.2% to 25.0%; control 0.0%)"
    assert "# A base model" in card and f"| training passages completed word for word | {told} |" in card
    assert "bits per byte" not in card  # of another model
    assert "| languages of the texts of its run, by bytes | en " in card and "[data card](data_card.md)" in card
    assert "| licences that these 6 documents state | CC-BY-4.0 5, none 1 |" in card


def test_croissant_is_valid_and_leads_to_the_documents(folder: Path, command: Command) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    command("provenance", folder, "-o", folder / "filter" / "card")
    path = folder / "filter" / "card" / "croissant.json"
    described = json.loads(path.read_text())
    for file in described["distribution"]:
        file["contentUrl"] = str(folder / file["contentUrl"])
    path.write_text(json.dumps(described))
    found = mlcroissant.Dataset(str(path))
    assert not found.metadata.issues.errors
    assert "version" not in described and "citeAs" not in described  # of what has no fingerprint
    made = Manifest.read(folder / "filter")
    assert made
    made.fingerprint = "0123456789abcdef" * 4
    made.write(folder / "filter")
    command("provenance", folder)
    described = json.loads((folder / "provenance" / "croissant.json").read_text())
    assert described["version"] == "0.0.0+0123456789abcdef" and "datePublished" not in described
    assert described["citeAs"].startswith("@misc{site, title = {site}, note = {6 documents kept by gristmill 0.1.0")
    issues = mlcroissant.Dataset(described).metadata.issues
    assert not issues.errors and not any("version" in one or "citeAs" in one for one in issues.warnings)
    rows = list(found.records("documents"))
    assert len(rows) == 6 and rows[0]["documents/host"] == b"a.test"


def test_the_bill_of_materials_is_valid(folder: Path, command: Command) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    command("provenance", folder)
    text = (folder / "provenance" / "bom.cdx.json").read_text()
    assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    hashes = {part["bom-ref"]: part["hashes"][0]["content"] for one in bom["components"] for part in one["components"]}
    assert hashes["filter/documents.parquet"] == sha256_file(folder / "filter" / "documents.parquet")
    assert {"ref": "filter", "dependsOn": ["extract"]} in bom["dependencies"]

"""A folder of one's own files: everything that can be read is, and everything else is counted and named."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import sys
import zipfile
from pathlib import Path

import jsonl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from books import archive
from command_line import Command, Refusal

from gristmill import corpus
from gristmill.corpus.execution.rules import meaning
from gristmill.corpus.readers.input_files import UNREAD, read_whatever
from gristmill.document import Document, read_documents
from gristmill.errors import UserError
from gristmill.inputs.folders import labels
from gristmill.inputs.text_files import read_jsonl
from gristmill.manifest import Manifest
from gristmill.recipe import Extract
from gristmill.run import execute
from gristmill.settings.stages import BY_NAME

TEXT = "The miller went down to the river before the sun was up, and he took his dog with him."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a person's files."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/good.txt").write_text(TEXT)
    return tmp_path / "notes"


def extract(out: Path, *paths: Path) -> tuple[list[Document], dict[str, str], Manifest]:
    """Documents, and the rule under which each source left, of a run that went to its end."""
    execute(BY_NAME["extract"], {}, Extract(paths=[str(path) for path in paths]), out)
    found = Manifest.read(out)
    assert found
    left = {str(record["source"]): str(record["rule"]) for record in read_jsonl(out / "dropped.jsonl")}
    assert found.counts["documents_in"] == found.counts["documents_out"] + len(left)
    return list(read_documents(out)), left, found


def test_one_bad_file_never_ends_a_run(folder: Path, tmp_path: Path) -> None:
    good = json.dumps({"text": TEXT}).encode() + b"\n"
    pq.write_table(pa.table({"text": [TEXT]}), folder / "whole.parquet")
    bad = {
        "broken.parquet": (folder / "whole.parquet").read_bytes()[:200],
        "cut.jsonl.gz": gzip.compress(good * 5000)[:-12],
        "cut.txt.gz": gzip.compress(good * 5000)[:-12],
        "cut.jsonl.zst": pa.compress(good * 5000, "zstd", asbytes=True)[:-12],
        "no.jsonl.gz": b"not gzip at all",
        "book.epub": b"PK\x03\x04 nothing behind",
        "scan.pdf": b"%PDF-1.4 nothing behind",
        "letter.docx": b"PK\x03\x04 nothing behind",
        "dump.bz2": b"BZh9 nothing behind",
        "lab.ipynb": b'{"cells": 5}',
        "bare.epub": archive({"META-INF/container.xml": b"<container/>"}),
        "deep.ipynb": b"[" * 100_000,
        "empty.txt": b"",
        "empty.csv": b"",
        "empty.parquet": b"",
        "empty.epub": b"",
        "empty.jsonl": b"",
        "empty.warc.gz": b"",
        "noise.html": bytes(range(256)) * 20,
        "photo.jpg": b"\xff\xd8",
        "program": b"\x7fELF",
        "deep.json": b'{"text": ' + b"[" * 100_000,
        "settings.json": b'{"name": "x",\n "version": 3}',
        "table.csv": b"x,y\n" + b'"' + b"z" * 10,
    }
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    (folder / "link.txt").symlink_to("/nowhere/at/all")
    os.mkfifo(folder / "pipe.txt")
    (folder / ".git").mkdir()
    (folder / ".git/config.txt").write_text("hidden")
    found, left, made = extract(tmp_path / "out", folder)
    assert {document.source for document in found} >= {"good.txt", "whole.parquet:1", "table.csv", "cut.jsonl.gz:1"}
    named = {source.split(":")[0] for source in left}
    assert named == {*bad, "link.txt", "pipe.txt", ".git"} - {"table.csv"}
    assert {left[name] for name in bad if name.startswith("empty.")} == {"empty"}
    assert left["photo.jpg"] == left["program"] == "unread_kind"
    assert (left["link.txt"], left["pipe.txt"], left[".git"]) == ("not_a_file", "not_a_file", "hidden")
    assert left["settings.json:1"] == "no_text" and left["deep.json:1"] == left["deep.ipynb"] == "damaged"
    assert made.dropped["unread_kind"] == 2
    why = {record["source"]: record.get("why", "") for record in read_jsonl(tmp_path / "out/dropped.jsonl")}
    assert "before the end" in why["cut.txt.gz"] and why["cut.txt.gz"].endswith("; fetch it again")
    assert "truncated or damaged after line" in why["cut.jsonl.gz"] and "Parquet" in why["broken.parquet"]
    assert why["bare.epub"].startswith("no EPUB: ")


def test_packed_files_under_a_name_of_text_are_told_by_their_first_bytes(folder: Path, tmp_path: Path) -> None:
    data = TEXT.encode() * 20
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", data)
    packed = {
        "a.txt": (gzip.compress(data), "it is gzip by its first bytes: give it a name with .gz at its end (a.txt.gz)"),
        "b.md": (archive.getvalue(), "it is a zip archive by its first bytes"),
        "c.html": (lzma.compress(data), "it is xz by its first bytes"),
        "d.csv": (bz2.compress(data), "it is bzip2 by its first bytes"),
        "e.jsonl": (pa.compress(data, codec="zstd", asbytes=True), "it is zstd by its first bytes"),
    }
    for name, (content, _) in packed.items():
        (folder / name).write_bytes(content)
    (folder / "f.txt.gz").write_bytes(packed["a.txt"][0])
    (folder / "g.txt").write_text("PK is short for public key. " + TEXT)
    found, left, _ = extract(tmp_path / "out", folder)
    assert {document.source for document in found} == {"good.txt", "f.txt.gz", "g.txt"}
    assert left == dict.fromkeys(packed, UNREAD)
    why = {record["source"]: record["why"] for record in read_jsonl(tmp_path / "out/dropped.jsonl")}
    assert all(told in why[name] for name, (_, told) in packed.items())


@pytest.mark.usefixtures("bits_bind")
def test_a_folder_that_cannot_be_entered_costs_its_files_only(folder: Path, tmp_path: Path) -> None:
    (folder / "locked").mkdir()
    (folder / "locked" / "a.txt").write_text(TEXT)
    (folder / "locked").chmod(0o444)
    found, left, _ = extract(tmp_path / "out", folder)
    assert [document.source for document in found] == ["good.txt"] and left == {"locked/a.txt": "unreadable"}
    (folder / "locked").chmod(0o755)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that exists and cannot be read")
def test_a_file_that_cannot_be_read_is_named(folder: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "a.jsonl", "a.html"):
        (folder / name).symlink_to("/proc/self/mem")
        found, left, _ = extract(tmp_path / name, folder)
        assert [document.source for document in found] == ["good.txt"] and left == {name: "unreadable"}
        (folder / name).unlink()


def test_links_and_names(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/b.txt").write_text(TEXT + " b")
    (folder / "linked").symlink_to(tmp_path / "far")
    (folder / "loop").symlink_to("..")
    (folder / "twice").symlink_to(tmp_path / "far")
    for byte in b"\xe8\xe9":
        Path(os.fsdecode(os.fsencode(folder) + b"/caf%c.txt" % byte)).write_text(TEXT + " c")
    (folder / "naïve 日本\n語.md").write_text("# Title\n\n" + TEXT)
    found, left, _ = extract(tmp_path / "out", folder)
    sources = {document.source for document in found}
    assert sources >= {"linked/b.txt", "caf\\xe8.txt", "caf\\xe9.txt", "naïve 日本\n語.md", "good.txt"}
    assert left["twice"] == "linked_twice"
    assert sum(document.text.endswith(" b") for document in found) == 1


def test_its_own_runs_are_not_read(folder: Path, tmp_path: Path) -> None:
    (folder / "runs/a/extract").mkdir(parents=True)
    (folder / "runs/a/recipe.json").write_text('{"name": "a", "seed": 0}')
    pq.write_table(pa.table({"text": ["my own output"]}), folder / "runs/a/extract/documents.parquet")
    found, left, _ = extract(folder / "out", folder)
    assert [document.source for document in found] == ["good.txt"]
    assert left == {"runs/a": "own_run", "out.partial": "own_run"}


def test_its_own_output_is_not_read(folder: Path, command: Command) -> None:
    assert command("extract", folder, "-o", folder / "out").code == 0
    assert "nothing to do" in command("extract", folder, "-o", folder / "out").stderr
    assert command("filter", folder / "out", "-o", folder / "good", "--set", "rules=[]").code == 0
    (folder / "more.txt").write_text(TEXT + " m")
    assert command("extract", folder, "-o", folder / "out").code == 0
    assert [document.source for document in read_documents(folder / "out")] == ["good.txt", "more.txt"]
    assert command("extract", folder / "out", "-o", folder.parent / "again").code == 0  # as it is named itself
    assert len(list(read_documents(folder.parent / "again"))) == 2


def test_what_is_named_and_of_no_known_kind_is_counted(
    folder: Path, tmp_path: Path, command: Command, refusal: Refusal
) -> None:
    (tmp_path / "a.xyz").write_text("x")
    (tmp_path / "none").mkdir()
    names = [tmp_path / "a.xyz", tmp_path / "none", folder / "good.txt"]
    told = command("extract", *names, "-o", tmp_path / "out").stderr
    assert (
        "unread_kind 1: a.xyz (files that end with .xyz are not read: if it is text" in told and "empty 1: none" in told
    )
    assert "warning: extract dropped 2 of 3 documents (67%)" in told and "unread_kind 1" in told
    assert str(tmp_path / "out" / "dropped.jsonl") in told
    told = refusal("extract", *names[:2], "-o", tmp_path / "nothing")
    assert "a.xyz" in told and "nothing readable" in told


def test_a_heavy_loss_is_told_and_what_was_lost_is_named(folder: Path, tmp_path: Path, command: Command) -> None:
    for number in range(5):
        (folder / f"scan{number}.pdf").write_bytes(b"%PDF-1.4 nothing behind")
        (folder / f"blank{number}.html").write_text("<p> </p>")
    (folder / "noise.txt").write_bytes(bytes(range(256)) * 20)
    told = command("extract", folder, "-o", tmp_path / "out").stderr
    assert "warning: extract dropped 11 of 12 documents (92%)" in told
    assert "empty 5: blank0.html (no text), blank1.html (no text), blank2.html (no text) …" in told
    assert "noise.txt (in no character set that is known: convert it to UTF-8)" in told and "scan0.pdf (" in told
    assert all(record["why"] for record in read_jsonl(tmp_path / "out" / "dropped.jsonl"))


def test_every_rule_has_its_meaning() -> None:
    source = Path(corpus.__file__).parent
    code = "\n".join(path.read_text(encoding="utf-8") for path in source.rglob("*.py"))
    rules = set(
        re.findall(
            r'(?:return |fault=|Dropped\(|"rule": |fault = |FoundFile\(\w+, \w+, |unread\([^"]+, )"([a-z]\w+)"', code
        )
    )
    assert {"damaged", "gopher_too_short", "unread_kind", "empty", "minified"} <= rules | {UNREAD}
    lines = {
        "refinedweb_one_word",
        "refinedweb_pattern",
        "refinedweb_counter",
        "refinedweb_capitals",
        "refinedweb_digits",
        "c4_citations",
        "c4_javascript",
        "c4_long_word",
        "c4_policy",
    }
    assert not [rule for rule in rules - lines - {"cp1252", "code", "measures"} if not meaning(rule)]


def test_nothing_changes_nothing_is_done_again(folder: Path, tmp_path: Path) -> None:
    (folder / "loop").symlink_to("loop")
    params = Extract(paths=[str(folder)])
    assert execute(BY_NAME["extract"], {}, params, tmp_path / "out")
    assert execute(BY_NAME["extract"], {}, params, tmp_path / "out") is None
    (folder / "new.png").write_bytes(b"x")
    assert execute(BY_NAME["extract"], {}, params, tmp_path / "out")


def test_two_folders_do_not_give_the_same_source(tmp_path: Path) -> None:
    for place in ("a/docs", "b/docs", "c"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "index.html").write_text(f"<p>{TEXT} {place}</p>")
    paths = [tmp_path / place for place in ("a/docs", "b/docs", "c", "c/index.html")]
    found, left, _ = extract(tmp_path / "out", *paths)
    assert [document.source for document in found] == ["a/docs/index.html", "b/docs/index.html", "c/index.html"]
    assert len({document.id for document in found}) == 3 and left == {"index.html": "linked_twice"}
    extract(tmp_path / "out", *paths[:2])
    (tmp_path / "b/docs").rename(tmp_path / "b/manual")  # the same content, and other sources
    found, _, _ = extract(tmp_path / "out", paths[0], tmp_path / "b/manual")
    assert [document.source for document in found] == ["docs/index.html", "manual/index.html"]


def test_what_is_given_twice_is_read_once(folder: Path, tmp_path: Path, command: Command) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/more.txt").write_text(TEXT + " m")
    (folder / "hard.txt").hardlink_to(folder / "good.txt")
    (folder / ".hidden.txt").write_text(TEXT + " h")
    (folder / "shown.txt").symlink_to(".hidden.txt")
    paths = [folder / "sub", folder, folder / "sub/..", folder / "good.txt"]
    told = command("extract", *paths, "-o", tmp_path / "out").stderr
    assert "linked_twice" in told and "it is the same file as sub/more.txt" in told and "warning" not in told
    found = list(read_documents(tmp_path / "out"))
    assert [document.source for document in found] == ["sub/more.txt", "notes/good.txt", "notes/shown.txt"]
    left = [record["rule"] for record in read_jsonl(tmp_path / "out/dropped.jsonl")]
    assert left.count("hidden") == 1 and set(left) == {"hidden", "linked_twice"} and len(left) == 9


def test_a_kind_that_is_not_read_says_what_makes_one_that_is(folder: Path, tmp_path: Path, refusal: Refusal) -> None:
    for name in ("old.arc.gz", "crawl.arc", "table.ODS", "letters.pst", "notes.tar.gz", "photo.jpg"):
        (folder / name).write_bytes(b"x")
    _, left, _ = extract(tmp_path / "out", folder)
    assert set(left.values()) == {"unread_kind"} and len(left) == 6
    why = {record["source"]: record["why"] for record in read_jsonl(tmp_path / "out/dropped.jsonl")}
    assert why["old.arc.gz"].startswith("files that end with .arc.gz are not read: make a WARC file of it: warcio")
    assert "CSV" in why["table.ODS"] and ".mbox" in why["letters.pst"] and "unpack it" in why["notes.tar.gz"]
    told = refusal("extract", folder / "crawl.arc", "-o", tmp_path / "none")
    assert "remedy: make a WARC file of it: warcio recompress" in told


def test_labels_are_as_short_as_they_can_be() -> None:
    assert labels(["/x/a/docs", "/x/b/docs/", "notes"]) == ["a/docs", "b/docs", "notes"]
    assert labels(["docs", "docs"]) == ["docs", "docs"]
    assert labels(["s3://one/docs", "hf://two/docs", "."]) == ["one/docs", "two/docs", "."]


def test_an_empty_folder_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"x")
    (tmp_path / "in/b.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"2 \.png"):
        extract(tmp_path / "out", tmp_path / "in")


def test_a_single_broken_file_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"a\.parquet: .*not a readable Parquet"):
        extract(tmp_path / "out", tmp_path / "a.parquet")


def test_rows_that_hold_no_text(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"text": 5},
        {"text": None, "content": TEXT},
        {"title": "x"},
        [TEXT],
        {"text": [TEXT]},
        {"text": TEXT + "\ud800"},
    ]
    jsonl.write(folder / "a.jsonl", rows)
    found, left, _ = extract(tmp_path / "out", folder)
    assert {document.source for document in found} == {"good.txt", "a.jsonl:2", "a.jsonl:6"}
    assert set(left.values()) == {"no_text"} and len(left) == 4


def test_notebook_code_and_packed_text(folder: Path, tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Rivers\n", "\n", "Some *words*."]},
        {"cell_type": "code", "source": "print('```')", "outputs": [{"text": "secret"}]},
    ]
    (folder / "lab.ipynb").write_text(json.dumps({"nbformat": 4, "cells": cells}))
    old = [{"cell_type": "heading", "level": level, "source": "H"} for level in (2, 10**13, None)]
    (folder / "old.ipynb").write_text(json.dumps({"nbformat": 3, "worksheets": [{"cells": old}]}))
    (folder / "src").mkdir()
    (folder / "src/mill.py").write_text("def mill(x):\r\n    return {x}\r\n")
    (folder / "app.min.js").write_text("var a=1;" * 500)
    (folder / "Makefile").write_text("all:\n\tgrind\n")
    (folder / "README").write_text(TEXT + " r")
    (folder / "old.txt.gz").write_bytes(gzip.compress(TEXT.encode() + b" z"))
    found, left, _ = extract(tmp_path / "out", folder)
    by_source = {document.source: document for document in found}
    assert by_source["lab.ipynb"].text == "# Rivers\n\nSome *words*.\n\n````\nprint('```')\n````"
    assert by_source["lab.ipynb"].title == "Rivers"
    assert by_source["old.ipynb"].text == "## H\n\n# H\n\n# H"
    assert by_source["src/mill.py"].text == "```\ndef mill(x):\n    return {x}\n```"
    assert by_source["src/mill.py"].title == "src/mill.py"
    assert {"Makefile", "README", "old.txt.gz"} <= by_source.keys()
    assert left == {"app.min.js": "minified"}


def test_a_file_longer_than_any_document_is_left_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.inputs.text_files.MAX_WHOLE", 1_000)
    (folder / "a.txt").write_text(TEXT * 20)
    (folder / "b.py.gz").write_bytes(gzip.compress(b"x = 1\n" * 1_000))
    (folder / "c.jsonl").write_text(f'{{"text": "{TEXT * 20}"}}\n')
    found, left, _ = extract(tmp_path / "out", folder)
    assert {document.source for document in found} == {"good.txt", "c.jsonl:1"}
    assert left == {"a.txt": "too_large", "b.py.gz": "too_large"}


DOCX = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default '
    'Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override '
    'PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.'
    'document.main+xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship '
    'Id="r" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>',
    "word/styles.xml": '<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:style '
    'w:type="paragraph" w:styleId="H1"><w:name w:val="heading 1"/></w:style></w:styles>',
    "word/_rels/document.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
    'relationships"><Relationship Id="s" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/'
    'styles" Target="styles.xml"/></Relationships>',
    "docProps/core.xml": '<c xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>River letter</dc:title></c>',
    "word/document.xml": '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
    '<w:p><w:pPr><w:pStyle w:val="H1"/></w:pPr><w:r><w:t>The mill</w:t></w:r></w:p><w:p><w:r><w:t>%s</w:t></w:r></w:p>'
    "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc></w:tr>"
    "<w:tr><w:tc><w:p><w:r><w:t>1</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>2</w:t></w:r></w:p></w:tc></w:tr>"
    "</w:tbl></w:body></w:document>",
}


def test_a_word_document(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        for name, content in DOCX.items():
            archive.writestr(name, content.replace("%s", TEXT))
    (found,), left, _ = extract(tmp_path / "out", tmp_path / "a.docx")
    assert found.title == "River letter" and not left
    assert found.text.startswith(f"# The mill\n\n{TEXT}") and "| 1 | 2 |" in found.text


def test_an_extra_that_is_not_installed_costs_its_files_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.corpus.readers.books.find_spec", lambda name: None)
    (folder / "a.pdf").write_bytes(b"%PDF")
    (record,) = read_whatever(folder / "a.pdf", "a.pdf")
    assert record.fault == "needs_extra" and "gristmill[pdf]" in record.why
    _, left, _ = extract(tmp_path / "out", folder)
    assert left == {"a.pdf": "needs_extra"}

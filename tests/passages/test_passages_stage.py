"""What the stage keeps, drops and writes."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import jsonl
import pytest
from own_pages import document

from gristmill.document import Document, write_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.passages import stage
from gristmill.passages.search import Search
from gristmill.recipe import Passages

TEXT = "The miller walks to the river and talks about a red boat."


def made(folder: Path, *documents: Document) -> tuple[Manifest, Path]:
    write_documents(folder / "documents.parquet", documents)
    out = folder / "out"
    out.mkdir()
    return stage.run({"corpus": folder}, Passages(), out), out


def test_the_same_documents_give_the_same_bytes(corpus_of_pages: Path, passages_folder: Path, tmp_path: Path) -> None:
    stage.run({"corpus": corpus_of_pages}, Passages(), tmp_path)
    assert (tmp_path / "passages.sqlite").read_bytes() == (passages_folder / "passages.sqlite").read_bytes()


def test_a_run_that_was_interrupted_begins_anew(corpus_of_pages: Path, passages_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "passages.sqlite").write_bytes(b"half a file")
    stage.run({"corpus": corpus_of_pages}, Passages(), tmp_path)
    assert (tmp_path / "passages.sqlite").read_bytes() == (passages_folder / "passages.sqlite").read_bytes()


def test_pages_that_ask_for_it_copies_and_older_versions_are_left_out(tmp_path: Path) -> None:
    url, days = "http://a.test/x", [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2)]
    found, out = made(
        tmp_path,
        document("1", "Old", f"{TEXT} It was a Monday.", url=url, source="a.warc:1", fetched_at=days[0]),
        document("2", "New", f"{TEXT} It was a Friday.", url=url, source="a.warc:2", fetched_at=days[1]),
        document("3", "No", f"{TEXT} Kept out.", url="http://a.test/no", source="a.warc:3", signals="ai-input noai"),
        document("4", "Copy", f"{TEXT} It was a Friday."),
    )
    assert found.dropped == {"url_copy": 1, "ai-input": 1, "exact_copy": 1}
    assert found.counts["documents_in"] == found.counts["documents_out"] + 3 == 4
    assert [row["source"] for row in jsonl.read(out / "dropped.jsonl")] == ["a.warc:1", "a.warc:3", "4"]
    assert [one.record()["url"] for one in Search(out).find("red boat")] == [url]
    assert "Friday" in Search(out).find("red boat")[0].text


def test_documents_of_one_name_are_one_page(tmp_path: Path) -> None:
    found, out = made(tmp_path, document("a", "A", TEXT), document("a", "A", "Another part: the mill is closed."))
    assert (found.counts["pages"], found.counts["passages"]) == (1, 2)
    names = sqlite3.connect(out / "passages.sqlite").execute("SELECT name FROM pages").fetchall()
    assert names == [("a",)]


def test_a_file_without_a_title_is_found_by_its_name(tmp_path: Path) -> None:
    names = {"wifi_password.txt": "", "other.txt": "Titled"}
    files = [document(name, title, f"{TEXT} {name[:2]}", url=name, source=name) for name, title in names.items()]
    page = document("3", "", f"{TEXT} A page.", url="http://a.test/wifi-password", source="a.warc:3")
    _, out = made(tmp_path, *files, page)
    found = Search(out).find("What is the wifi password?")
    assert [(one.title, one.source) for one in found] == [("wifi_password", "wifi_password.txt")]
    assert not Search(out).find("other")


def test_where_nothing_may_be_used_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no document of"):
        made(tmp_path, document("1", "No", TEXT, signals="ai-input"))

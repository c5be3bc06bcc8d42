"""JSON lines as people have them: any charset and packing, and every line that is none named."""

from __future__ import annotations

import bz2
import gzip
import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.errors import UserError
from gristmill.inputs.text_files import BadLine, json_lines, read_jsonl, text_lines

RECORDS = [{"text": "Die Mühle am Fluß läuft über Nacht, und das Café öffnet früh."}, {"text": "Größe"}]
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)


@pytest.mark.parametrize(
    "charset", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_every_charset(tmp_path: Path, charset: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES.encode(charset))
    assert list(read_jsonl(tmp_path / "a.jsonl")) == RECORDS


def test_every_packing(tmp_path: Path) -> None:
    data = LINES.encode()
    for name, packed in {
        "a.jsonl.gz": gzip.compress(data),
        "a.jsonl.bz2": bz2.compress(data),
        "a.jsonl.zst": pa.compress(data, "zstd", asbytes=True),
        "list.json": json.dumps(RECORDS, indent=2).encode(),
        "lines.json": data,
        "windows.jsonl": data.replace(b"\n", b"\r\n"),
    }.items():
        (tmp_path / name).write_bytes(packed)
        assert list(read_jsonl(tmp_path / name)) == RECORDS, name
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(data * 1000)[:-20])
    with pytest.raises(UserError, match=r"cut\.jsonl\.gz is truncated or damaged after line"):
        list(read_jsonl(tmp_path / "cut.jsonl.gz"))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1', "not valid JSON"),
        (b'{"a": "caf\xe9"}', "not valid UTF-8 at byte 11"),
        (b"[1]", "not a JSON object"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_the_bad_line_is_named(tmp_path: Path, line: bytes, why: str) -> None:
    good = '{"a": "größer über schöne Mühlen"}\n'.encode()
    (tmp_path / "a.jsonl").write_bytes(good * 3 + b"\n" + line + b"\n" + good)
    with pytest.raises(UserError) as raised:
        list(read_jsonl(tmp_path / "a.jsonl"))
    assert f"a.jsonl:5: {why}" in raised.value.problem


def test_one_bad_line_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES.encode() + b"{{\n" + LINES.encode())
    found = [value for _, value in json_lines(tmp_path / "a.jsonl")]
    assert [value for value in found if not isinstance(value, BadLine)] == RECORDS * 2


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.inputs.text_files.MAX_LINE", 1000)
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n"' + b"x" * 5000 + b'"\n{"a": 2}\n')
    first, long, last = (value for _, value in json_lines(tmp_path / "a.jsonl"))
    assert (first, last) == ({"a": 1}, {"a": 2}) and "longer than" in long.why
    assert len(list(text_lines(tmp_path / "a.jsonl"))) == 3


def test_lone_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": ["x\\ud800y", "\\ud83d\\ude00"]}\n')
    assert list(read_jsonl(tmp_path / "a.jsonl")) == [{"a": ["x\ufffdy", "\U0001f600"]}]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jsonl"):
        list(read_jsonl(tmp_path / "gone.jsonl"))
    with pytest.raises(UserError, match="cannot read"):
        list(read_jsonl(tmp_path))


def test_an_archive_or_a_spreadsheet_is_no_text(tmp_path: Path) -> None:
    """Whatever its name says."""
    with zipfile.ZipFile(tmp_path / "talks.jsonl", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(UserError, match=r"talks\.jsonl is a ZIP archive or a spreadsheet"):
        list(text_lines(tmp_path / "talks.jsonl"))

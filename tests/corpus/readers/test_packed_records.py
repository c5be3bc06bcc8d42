"""WARC files packed by Zstandard, with a dictionary and without: records in = pages read + records named."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from fastwarc.stream_io import ZstdWriter, zstd_train_dictionary_from_samples

from gristmill.corpus.execution import executor
from gristmill.corpus.extract import stage as extract
from gristmill.corpus.readers.warc_ranges import InputRange, read_range
from gristmill.corpus.readers.warc_records import Extent
from gristmill.document import read_documents
from gristmill.recipe import Extract

ABOUT = "WARC/1.1\r\nWARC-Type: resource\r\nWARC-Target-URI: http://a.test/{0}\r\nContent-Type: text/plain\r\n"
RECORDS = [
    f"{ABOUT.format(n)}Content-Length: {5000 + n}\r\n\r\n{str(n % 10) * (5000 + n)}\r\n\r\n".encode() for n in range(12)
]
TRAINED = zstd_train_dictionary_from_samples(
    [f"{n % 977} {record[:300]!r}".encode() for n, record in enumerate(RECORDS * 80)], 400
)
SKIPPED = b"\x50\x2a\x4d\x18\x03\x00\x00\x00any"  # an extension frame
WAYS = ("plain", "dictionary", "packed dictionary", "extended", "one frame")


def packed(way: str, records: list[bytes]) -> list[bytes]:
    """The parts of a file: what comes before the records, and the frames that hold one each, or all."""
    sink, parts = io.BytesIO(), []
    dictionary = TRAINED if "dictionary" in way else None
    writer = ZstdWriter(sink, dictionary=dictionary, compress_dictionary_frame=way.startswith("packed"))
    begun = 0
    for record in [b"".join(records)] if way == "one frame" else records:
        writer.write(record)
        writer.finish()
        writer.flush()
        parts.append(sink.getvalue()[begun:] + (SKIPPED if way == "extended" else b""))
        begun = len(sink.getvalue())
    if dictionary:
        head = 8 + int.from_bytes(parts[0][4:8], "little")
        return [parts[0][:head], parts[0][head:], *parts[1:]]
    return [b"", *parts]


def read(path: Path, data: bytes) -> tuple[list[str], list[str]]:
    """URLs of the pages, and what is wrong with the others."""
    path.write_bytes(data)
    found = list(read_range(InputRange(path, path.name, len(data)), None, Extent()))
    return [record.url for record in found if not record.fault], [record.why for record in found if record.fault]


@pytest.mark.parametrize("way", WAYS)
def test_every_record_is_read_in_any_number_of_shards(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = packed(way, RECORDS)
    path = tmp_path / "a.warc.zst"
    path.write_bytes(b"".join(parts))
    for limit in (1 << 24, 1_000):
        monkeypatch.setattr(executor, "SHARD_BYTES", limit)
        out = tmp_path / str(limit)
        out.mkdir()
        made = extract.run({}, Extract(paths=[str(path)]), out)
        found = list(read_documents(out))
        assert [document.url for document in found] == [f"http://a.test/{n}" for n in range(12)] and not made.dropped
        if way != "one frame":
            begins = [sum(map(len, parts[: n + 1])) for n in range(12)]
            assert [document.source for document in found] == [f"a.warc.zst:{at}" for at in begins]


@pytest.mark.parametrize("way", WAYS)
def test_a_file_cut_anywhere_gives_or_names_every_record(way: str, tmp_path: Path) -> None:
    parts = packed(way, RECORDS[:4])
    whole = b"".join(parts)
    starts = [sum(map(len, parts[:n])) for n in range(1, len(parts))]
    for cut in range(1, len(whole)):
        pages, faults = read(tmp_path / "a.warc.zst", whole[:cut])
        assert len(faults) <= 1
        assert pages == [f"http://a.test/{n}" for n in range(len(pages))]
        begun = sum(start < cut for start in starts)
        extra = len(pages) + len(faults) - max(begun, 1)  # an extension that is cut off may be named, too
        assert way == "one frame" or extra == 0 or (way == "extended" and extra == 1), cut


def test_a_file_packed_whole_and_cut_gives_what_is_there(tmp_path: Path) -> None:
    whole = packed("one frame", RECORDS * 200)[1]
    pages, faults = read(tmp_path / "a.warc.zst", whole[: len(whole) * 3 // 4])
    assert len(pages) > 1_000 and len(faults) == 1 and "incomplete frame" in faults[0]


def test_damage_costs_one_record_and_what_cannot_be_read_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parts = packed("dictionary", RECORDS)
    for broken, bad in enumerate(parts[1:], 1):
        damaged = [*parts[:broken], bad[:9] + bytes(255 - byte for byte in bad[9:]), *parts[broken + 1 :]]
        pages, faults = read(tmp_path / "a.warc.zst", b"".join(damaged))
        assert len(pages) == 11 and len(faults) == 1, broken
    for between in (b"rubbish", b"\0" * 600):
        data = b"".join((*parts[:9], between, *parts[9:]))
        assert [len(each) for each in read(tmp_path / "a.warc.zst", data)] == [12, between == b"rubbish"]
    _, faults = read(tmp_path / "a.warc.zst", b"".join(parts[1:]))
    assert len(faults) == 1 and "Dictionary mismatch" in faults[0]
    _, faults = read(tmp_path / "a.warc.zst", parts[0][:-9])
    assert len(faults) == 1 and "its dictionary" in faults[0]
    _, faults = read(tmp_path / "a.warc.zst", parts[0][:16] + b"?" * 40 + parts[0][56:] + b"".join(parts[1:]))
    assert len(faults) == 1 and "its dictionary is damaged" in faults[0] and not capfd.readouterr().err
    pages, faults = read(tmp_path / "a.warc.zst", b"".join(RECORDS))
    assert len(pages) == 12 and not faults, "not packed, whatever its name says"

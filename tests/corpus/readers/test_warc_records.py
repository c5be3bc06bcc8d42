"""WARC files as others write them, and as they are found: records in = pages read + records named, to the record."""

from __future__ import annotations

import gzip
import io
import json
import time
import tracemalloc
from pathlib import Path

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from gristmill.corpus.execution import executor
from gristmill.corpus.extract import stage as extract
from gristmill.corpus.readers.warc_ranges import InputRange, read_range
from gristmill.corpus.readers.warc_records import Extent
from gristmill.document import read_documents
from gristmill.errors import UserError
from gristmill.recipe import Extract
from gristmill.record import Record

CASES = Path(__file__).parents[4] / "shared" / "cases" / "web"
HTTP = "application/http; msgtype=response"


def page(number: int) -> bytes:
    return f"<html><title>T{number}</title><p>The text of page number {number} is this.</p></html>".encode()


def raw(
    number: int, *, more: int | str = 0, newline: bytes = b"\r\n", kind: str = "response", status: str = "200 OK"
) -> bytes:
    """A record; its Content-Length is `more` than it should be, or is that word."""
    block = page(number)
    if kind in ("response", "revisit"):
        block = newline.join((f"HTTP/1.1 {status}".encode(), b"Content-Type: text/html", b"", block))
    length = len(block) + more if isinstance(more, int) else more
    media = HTTP if kind in ("response", "revisit") else "text/html"
    about = f"WARC/1.0\nWARC-Type: {kind}\nWARC-Target-URI: http://a.test/{number}\nContent-Type: {media}"
    head = f"{about}\nContent-Length: {length}\n\n".encode()
    return head.replace(b"\n", newline) + block + 2 * newline


def read(path: Path, data: bytes) -> tuple[list[Record], Extent]:
    path.write_bytes(data)
    extent = Extent()
    return list(read_range(InputRange(path, path.name, len(data)), None, extent)), extent


def numbers(found: list[Record]) -> list[int | str]:
    """The pages that were read by their numbers, and the faults."""
    return [record.fault or int(record.url.rpartition("/")[2]) for record in found]


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
@pytest.mark.parametrize("packing", ["plain", "records", "whole", "blocks", "empty members"])
def test_every_record_is_read_however_they_are_packed(packing: str, newline: bytes, tmp_path: Path) -> None:
    records = [raw(number, newline=newline) for number in range(40)]
    whole = b"".join(records)
    packed = {
        "plain": whole,
        "records": b"".join(map(gzip.compress, records)),
        "whole": gzip.compress(whole),
        "blocks": b"".join(gzip.compress(whole[at : at + 1_000]) for at in range(0, len(whole), 1_000)),
        "empty members": gzip.compress(b"") + b"".join(gzip.compress(each) + gzip.compress(b"") for each in records),
    }[packing]
    for ending in (".warc", ".warc.gz"):
        found, extent = read(tmp_path / f"a{ending}", packed)
        assert numbers(found) == list(range(40)) and {record.body for record in found} == set(map(page, range(40)))
        assert len({record.source for record in found}) == 40 and extent.end == len(packed)


def test_a_file_packed_whole_is_read_whole_in_any_number_of_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(b"".join(raw(number) for number in range(300)) + b"\0" * 512))
    monkeypatch.setattr(executor, "SHARD_BYTES", 2_000)
    made = extract.run({}, Extract(paths=[str(path)]), tmp_path)
    assert made.counts["documents_out"] == 300 and not made.dropped


@pytest.mark.parametrize("more", [-9, -1, 1, 4, 5, 300, 10**6, 10**10, 10**30, "9" * 5_000, "", "two", "-5", "1.5"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_length_costs_one_record_at_most(more: int | str, packed: bool, tmp_path: Path) -> None:
    records = [raw(number, more=more if number == 2 else 0) for number in range(6)]
    found, extent = read(tmp_path / "a.warc", b"".join(map(gzip.compress, records) if packed else records))
    kept = 2 if more in (1, 4) else "damaged"  # then it takes in what follows the record
    assert numbers(found) == [0, 1, kept, 3, 4, 5] and not extent.passed
    assert found[2].url == "http://a.test/2"


def test_wrong_lengths_take_time_as_the_bytes_they_stand_in(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        whole = gzip.compress(b"".join(raw(number, more=10**9) for number in range(count)))
        began = time.process_time()
        found, _ = read(tmp_path / "a.warc", whole)
        assert numbers(found) == ["damaged"] * count
        return time.process_time() - began

    assert seconds(4_000) < 30 * max(seconds(400), 0.01)


def test_padding_rubbish_and_trailing_bytes(tmp_path: Path) -> None:
    records = [raw(number) for number in range(4)]
    padded = b"\r\n\r\n".join(records) + b"\0" * 10_000
    assert numbers(read(tmp_path / "a.warc", padded)[0]) == [0, 1, 2, 3]
    rubbish = b"".join((records[0], b"rubbish\nand more of it\n" * 9, *records[1:]))
    assert numbers(read(tmp_path / "a.warc", rubbish)[0]) == [0, "damaged", 1, 2, 3]
    members = [gzip.compress(each) for each in records]
    assert numbers(read(tmp_path / "a.warc", b"".join(members) + b"\0" * 10_000)[0]) == [0, 1, 2, 3]
    assert numbers(read(tmp_path / "a.warc", b"".join(members) + b"signature")[0]) == [0, 1, 2, 3, "damaged"]
    between = b"".join((*members[:2], b"rubbish", *members[2:]))
    assert numbers(read(tmp_path / "a.warc", between)[0]) == [0, 1, "damaged", 2, 3]
    assert numbers(read(tmp_path / "a.warc", b"no WARC file at all")[0]) == ["damaged"]


def test_padding_without_end_takes_no_memory(tmp_path: Path) -> None:
    zeros = gzip.compress(b"\0" * 200_000_000, 1)
    data = b"".join((gzip.compress(raw(0)), zeros, gzip.compress(raw(1)), zeros))
    tracemalloc.start()
    found, _ = read(tmp_path / "a.warc.gz", data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert numbers(found) == [0, 1] and peak < 30_000_000


def test_a_byte_order_mark_before_a_file_is_passed_over(tmp_path: Path) -> None:
    for data in (raw(0) + raw(1), gzip.compress(raw(0)) + gzip.compress(raw(1))):
        assert numbers(read(tmp_path / "a.warc", b"\xef\xbb\xbf" + data)[0]) == [0, 1]


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_cut_at_any_byte_gives_or_names_every_record(packed: bool, tmp_path: Path) -> None:
    records = [raw(number, kind="request" if number == 1 else "response") for number in range(4)]
    parts = list(map(gzip.compress, records)) if packed else records
    whole = b"".join(parts)
    starts = [sum(map(len, parts[:number])) for number in range(len(parts))]
    for cut in range(1, len(whole)):
        found, extent = read(tmp_path / "a.warc", whole[:cut])
        begun = sum(start < cut for start in starts)
        assert len(found) + extent.passed.total() == begun, cut
        assert sum(record.fault == "damaged" for record in found) <= 1
        assert all(record.body == page(int(record.url[-1])) for record in found if not record.fault)


def test_a_file_packed_whole_and_cut_gives_what_is_there(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(raw(number) for number in range(2_000)))
    found, _ = read(tmp_path / "a.warc.gz", whole[: len(whole) // 2])
    read_pages = numbers(found)
    assert read_pages[-1] == "damaged" and len(read_pages) > 500
    assert read_pages[:-1] == list(range(len(read_pages) - 1))


def test_resources_are_pages_and_other_records_are_counted_by_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    cases = [("200 OK", "response"), ("203 Fine", "response"), ("404 Not Found", "response"), ("301 There", "response")]
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        writer.write_record(writer.create_warcinfo_record("a.warc.gz", {"software": "warcio"}))
        for number, (status, kind) in enumerate(cases):
            http = StatusAndHeaders(status, [("Content-Type", "text/html")], protocol="HTTP/1.1")
            url, body = f"http://a.test/{number}", io.BytesIO(page(number))
            writer.write_record(writer.create_warc_record(url, kind, body, http_headers=http))
        http = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        writer.write_record(
            writer.create_revisit_record("http://a.test/9", "sha1:A", "http://a.test/0", "2020-01-01", http)
        )
        for media in ("text/html", "image/png"):
            content = page(5) if media == "text/html" else b"\x89PNG\r\n\x1a\n"
            record = writer.create_warc_record(
                "http://a.test/5", "resource", io.BytesIO(content), warc_content_type=media
            )
            writer.write_record(record)
        dns = io.BytesIO(b"20200101\na.test. 60 IN A 192.0.2.1\n")
        writer.write_record(writer.create_warc_record("dns:a.test", "response", dns, warc_content_type="text/dns"))
        file.write(gzip.compress(raw(6, kind="conversion")) + gzip.compress(raw(7, kind="invented")))
    made = extract.run({}, Extract(paths=[str(path)]), tmp_path)
    assert [document.url[-1] for document in read_documents(tmp_path)] == ["0", "1", "5", "6"]
    assert made.dropped == {"not_html": 1}
    passed = {"warcinfo": 1, "status_404": 1, "status_301": 1, "revisit": 1, "no_http": 1, "other_type": 1}
    counted = {f"extract.records_without_page.{why}": count for why, count in passed.items()}
    assert {name: made.counts[name] for name in counted} == counted
    assert made.counts["records_without_page"] + made.counts["documents_in"] == 11


def test_a_file_without_a_page_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(gzip.compress(raw(number, kind="request")) for number in range(3)))
    with pytest.raises(UserError, match=r"no document in .*a\.warc\.gz: records without page: request 3\n.*check what"):
        extract.run({}, Extract(paths=[str(path)]), tmp_path)


@pytest.mark.skipif(not CASES.exists(), reason="../shared/cases is not there")
@pytest.mark.parametrize(
    ("name", "documents", "damaged"),
    [
        ("02-warc-one-gzip-member/six-pages.warc.gz", 6, 0),
        ("03-warc-content-length-off/garbage.warc", 5, 1),
        ("03-warc-content-length-off/off-by-one.warc", 5, 1),
        ("03-warc-content-length-off/off-by-one.warc.gz", 5, 1),
        ("04-warc-resource-records/folder.warc.gz", 3, 0),
        ("04-warc-resource-records/mixed.warc.gz", 3, 0),
    ],
)
def test_reported_files(name: str, documents: int, damaged: int, tmp_path: Path) -> None:
    made = extract.run({}, Extract(paths=[str(CASES / name)]), tmp_path)
    assert made.counts["documents_out"] == documents
    rules = [json.loads(line)["rule"] for line in (tmp_path / "dropped.jsonl").read_text().splitlines()]
    assert rules == ["damaged"] * damaged

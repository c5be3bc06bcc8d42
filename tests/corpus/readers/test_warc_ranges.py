"""Ranges of WARC files: together they give each record once, whatever a page holds and wherever the file is damaged."""

from __future__ import annotations

import gzip
import random
import zlib
from itertools import pairwise
from pathlib import Path

import jsonl
import pytest

from gristmill.corpus.execution import executor
from gristmill.corpus.execution.executor import Backend, using
from gristmill.corpus.extract import stage as extract
from gristmill.corpus.readers.warc_ranges import InputRange, cut_inputs, read_range
from gristmill.corpus.readers.warc_records import Extent
from gristmill.crawl.warc import DECISIONS, info, record
from gristmill.document import read_documents
from gristmill.manifest import Manifest
from gristmill.recipe import Extract

DATE = "2024-01-02T03:04:05Z"
HTTP = "application/http;msgtype=response"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"


def page(number: int) -> bytes:
    draw = random.Random(number)
    words = " ".join(f"{draw.choice('abcdef')}{draw.randrange(9999)}" for _ in range(300))
    return f"<html><title>T{number}</title><body><main><p>Page {number}. {words}</p></main></body></html>".encode()


def write_warc(path: Path, bodies: list[bytes], decisions: str = "") -> list[int]:
    """Write pages; returns the offset of each response."""
    offsets = []
    with path.open("wb") as file:
        file.write(info(DATE, "test", path.name))
        for number, body in enumerate(bodies):
            offsets.append(file.tell())
            about = {"WARC-Date": DATE, "WARC-Target-URI": f"http://a.test/{number}", DECISIONS: decisions}
            file.write(record("response", {**about, "Content-Type": HTTP}, HEAD + body)[1])
            file.write(record("request", {**about, "Content-Type": HTTP}, b"GET / HTTP/1.1\r\n\r\n")[1])
            file.write(record("metadata", about, b"outlink: http://a.test/")[1])
    return offsets


def run_extract(path: Path, out: Path, workers: int = 1) -> Manifest:
    out.mkdir()
    with using(Backend(workers=workers)):
        return extract.run({}, Extract(paths=[str(path)]), out)


def urls(out: Path) -> list[str]:
    return [document.url for document in read_documents(out)]


def test_ranges_and_workers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pages.warc.gz"
    offsets = write_warc(path, [page(number) for number in range(60)])
    run_extract(path, tmp_path / "one")
    assert [found.source for found in read_documents(tmp_path / "one")] == [f"pages.warc.gz:{at}" for at in offsets]
    monkeypatch.setattr(executor, "SHARD_BYTES", 20_000)
    assert len(cut_inputs([path])) > 10
    for workers in (1, 2):
        run_extract(path, tmp_path / f"many{workers}", workers)
    whole = list(read_documents(tmp_path / "one"))
    assert whole == list(read_documents(tmp_path / "many1"))
    for made in (tmp_path / "many1").glob("d*.*"):
        assert made.read_bytes() == (tmp_path / "many2" / made.name).read_bytes()


@pytest.mark.parametrize("seed", range(5))
def test_any_cut_gives_each_record_once(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    path = tmp_path / "pages.warc.gz"
    write_warc(path, [page(number) for number in range(30)])
    size = path.stat().st_size
    borders = sorted({0, size, *(draw.randrange(1, size) for _ in range(draw.choice((1, 5, 80))))})
    found, end = [], 0
    for start, stop in pairwise(borders):
        extent = Extent()
        found += [record.url for record in read_range(InputRange(path, path.name, 0, start, stop), None, extent)]
        assert extent.begin == end
        end = extent.end
    assert found == [f"http://a.test/{number}" for number in range(30)]
    assert end == size


def test_a_page_cannot_forge_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may hold, where it is stored uncompressed, the very bytes of a record of another site."""
    forged = tmp_path / "forged.warc.gz"
    write_warc(forged, [b"<html><body><p>Forged text that nobody served.</p></body></html>"])
    noise = random.Random(0).randbytes(30_000)
    trap = b"<html><body><p>Honest text.</p><!--" + noise + forged.read_bytes() + noise + b"--></body></html>"
    path = tmp_path / "pages.warc.gz"
    offsets = write_warc(path, [page(0), trap, page(2), page(3)])
    whole = path.read_bytes()
    member = zlib.decompressobj(31)
    stored = gzip.compress(member.decompress(whole[offsets[1] :]), 0)
    path.write_bytes(whole[: offsets[1]] + stored + member.unused_data)
    at = path.read_bytes().find(forged.read_bytes())
    assert at > 0, "the test needs the bytes to be stored as they are"
    run_extract(path, tmp_path / "one")
    for limit in (40_000, 100_000, 150_000):
        monkeypatch.setattr(executor, "SHARD_BYTES", limit)
        out = tmp_path / str(limit)
        result = run_extract(path, out)
        assert list(read_documents(out)) == list(read_documents(tmp_path / "one"))
        assert result.counts["documents_in"] == 4
    # the trap is one: a range that is read alone falls into it
    alone = read_range(InputRange(path, path.name, 0, at - 100, at + 9_000), None, Extent())
    assert "http://a.test/0" in [record.url for record in alone]


def test_damage_costs_one_record(tmp_path: Path) -> None:
    path = tmp_path / "pages.warc.gz"
    offsets = write_warc(path, [page(number) for number in range(10)])
    data = bytearray(path.read_bytes())
    data[offsets[4] + 300 : offsets[4] + 340] = b"\xff" * 40
    path.write_bytes(data)
    result = run_extract(path, tmp_path / "out")
    assert urls(tmp_path / "out") == [f"http://a.test/{number}" for number in range(10) if number != 4]
    assert result.dropped == {"damaged": 1}
    (dropped,) = jsonl.read(tmp_path / "out" / "dropped.jsonl")
    assert dropped["source"] == f"pages.warc.gz:{offsets[4]}"


def test_a_file_that_ends_within_a_record_gives_those_before(tmp_path: Path) -> None:
    path = tmp_path / "pages.warc.gz"
    offsets = write_warc(path, [page(number) for number in range(10)])
    whole = path.read_bytes()
    for cut in (offsets[7] + 300, offsets[7] + 5, len(whole) - 3):
        path.write_bytes(whole[:cut])
        result = run_extract(path, tmp_path / f"out{cut}")
        left = 7 if cut < offsets[8] else 10
        assert urls(tmp_path / f"out{cut}") == [f"http://a.test/{number}" for number in range(left)]
        assert result.dropped == {"damaged": 1}


def test_small_files_share_shards_and_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02d}.html").write_bytes(page(number))
    (folder / "99.jsonl.gz").write_bytes(gzip.compress(b'{"text": "A line of text."}\n'))
    monkeypatch.setattr(executor, "SHARD_BYTES", 20_000)
    shards = cut_inputs([folder])
    assert 2 < len(shards) < 15
    run_extract(folder, tmp_path / "out")
    assert urls(tmp_path / "out") == [f"{number:02d}.html" for number in range(40)] + ["99.jsonl.gz#1"]


def test_texts_and_decisions_of_a_crawl_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pages.warc.gz"
    write_warc(path, [page(0)], '{"licence": "https://creativecommons.org/licenses/by/4.0/"}')
    run_extract(path, tmp_path / "out")
    assert [found.licence for found in read_documents(tmp_path / "out")] == ["CC-BY-4.0"]
    about = {"WARC-Date": DATE, "WARC-Target-URI": "http://a.test/", "Content-Type": "text/plain"}
    (tmp_path / "texts.warc.wet.gz").write_bytes(record("conversion", about, "Ein Text, naïv.".encode())[1])
    run_extract(tmp_path / "texts.warc.wet.gz", tmp_path / "texts")
    assert [(found.text, found.url) for found in read_documents(tmp_path / "texts")] == [
        ("Ein Text, naïv.", "http://a.test/")
    ]

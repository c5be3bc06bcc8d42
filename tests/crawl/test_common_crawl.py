"""Common Crawl from a real HTTP server with ranges: selection by index and by file, kills, faults."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import jsonl
import pytest
from command_line import python
from crawling import free_port, program
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from gristmill.corpus.readers.warc_ranges import read_records
from gristmill.crawl import common_crawl
from gristmill.crawl.cdx import block_lines, host_keys
from gristmill.errors import UserError
from gristmill.recipe import CommonCrawl

SHARED = Path(__file__).parents[3] / "shared" / "data" / "commoncrawl"
SNAPSHOT = "CC-MAIN-2024-22"
HOSTS = ("a.example.org", "example.org", "b.example.net", "example.orgs.test", "www.example.org")
SERVER = """
import sys
from aiohttp import web
app = web.Application()
app.router.add_static("/", sys.argv[2])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves a folder over HTTP with ranges, in a process of its own."""
    with ExitStack() as servers:
        yield lambda folder: f"http://127.0.0.1:{servers.enter_context(program(SERVER, folder))}"


def surt(url: str) -> str:
    host, _, path = url.removeprefix("http://").partition("/")
    return ",".join(reversed(host.removeprefix("www.").split("."))) + f")/{path}"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A small snapshot in Common Crawl's layout: one WARC file written by warcio, its URL index, its WET file."""
    root = tmp_path / "commoncrawl"
    folder = f"crawl-data/{SNAPSHOT}/segments/1/warc"
    (root / folder).mkdir(parents=True)
    name = f"{folder}/CC-MAIN-00000.warc.gz"
    lines: list[tuple[str, str]] = []
    with (root / name).open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        draw = random.Random(0)
        for number in range(400):
            url = f"http://{HOSTS[number % len(HOSTS)]}/p/{number}"
            status, kind = ("404 Not Found", "text/html") if number % 17 == 16 else ("200 OK", "text/html")
            kind = "application/pdf" if number % 13 == 12 else kind
            language = "deu" if number % 3 == 2 else "eng"
            body = " ".join(draw.choices("abcdefgh", k=300)).encode()
            http = StatusAndHeaders(status, [("Content-Type", kind)], protocol="HTTP/1.1")
            offset = file.tell()
            writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=http))
            length = file.tell() - offset
            said = json.dumps({"languages": [{"code-iso-639-3": language}]})
            writer.write_record(
                writer.create_warc_record(
                    url,
                    "metadata",
                    io.BytesIO(f"languages-cld2: {said}\r\n".encode()),
                    warc_content_type="application/warc-fields",
                )
            )
            row = {"url": url, "mime": kind, "mime-detected": kind, "status": status[:3], "languages": language}
            row |= {"length": str(length), "offset": str(offset), "filename": name}
            lines.append((surt(url), f"{surt(url)} 20240518000000 {json.dumps(row)}"))
    (root / f"crawl-data/{SNAPSHOT}/warc.paths.gz").write_bytes(gzip.compress(f"{name}\n".encode()))
    write_index(root / f"cc-index/collections/{SNAPSHOT}/indexes", [line for _, line in sorted(lines)])
    return root


def write_index(folder: Path, lines: list[str], per_block: int = 7) -> None:
    """A ZipNum index of sorted lines in small blocks."""
    folder.mkdir(parents=True)
    clusters = []
    with (folder / "cdx-00000.gz").open("wb") as file:
        for at in range(0, len(lines), per_block):
            block = gzip.compress("".join(f"{line}\n" for line in lines[at : at + per_block]).encode())
            key = " ".join(lines[at].split(" ")[:2])
            clusters.append(f"{key}\tcdx-00000.gz\t{file.tell()}\t{len(block)}\t{at // per_block}")
            file.write(block)
    (folder / "cluster.idx").write_text("".join(f"{line}\n" for line in clusters))


def kept(out: Path) -> list[str]:
    return [page.url for page in read_records(sorted(out.glob("*.warc.gz")))]


def wanted(host: Callable[[str], bool], language: str = "", pdf: bool = False) -> set[str]:
    found = set()
    for number in range(400):
        name = HOSTS[number % len(HOSTS)]
        ok = number % 17 != 16 and (pdf or number % 13 != 12)
        if ok and host(name) and language in ("", "deu" if number % 3 == 2 else "eng"):
            found.add(f"http://{name}/p/{number}")
    return found


def run(out: Path, **settings: object) -> tuple[dict[str, int], dict[str, int]]:
    out.mkdir(exist_ok=True)
    made = common_crawl.run({}, CommonCrawl(snapshot=SNAPSHOT, **settings), out)  # type: ignore[arg-type]
    return made.counts, made.dropped


def test_by_index_over_http(serve: Callable[[Path], str], snapshot: Path, tmp_path: Path) -> None:
    base = serve(snapshot)
    counts, dropped = run(tmp_path / "out", base=base, hosts=["*.example.org"], languages=["eng"])
    urls = kept(tmp_path / "out")
    assert set(urls) == wanted(lambda name: name in ("a.example.org", "www.example.org"), "eng")
    assert len(urls) == counts["pages"] and counts["records"] == counts["pages"] + sum(dropped.values())
    assert dropped.keys() == {"status", "mime", "language"}
    # the records are the snapshot's own, byte for byte, where the log says
    for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines():
        row = json.loads(line)
        original = (snapshot / row["file"]).read_bytes()[row["offset"] : row["offset"] + row["length"]]
        name, _, at = row["source"].rpartition(":")
        copied = (tmp_path / "out" / name).read_bytes()[int(at) : int(at) + row["length"]]
        assert copied == original and row["url"].encode() in zlib.decompress(copied, wbits=31)


def test_a_list_of_files_that_is_none_is_named(snapshot: Path, tmp_path: Path) -> None:
    path = snapshot / f"crawl-data/{SNAPSHOT}/warc.paths.gz"
    for content in (b"<html>Moved</html>", path.read_bytes()[:-9]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"warc\.paths\.gz is no list of files"):
            run(tmp_path / "out", base=str(snapshot))


def test_an_exact_host_and_a_folder_instead_of_a_server(snapshot: Path, tmp_path: Path) -> None:
    run(tmp_path / "out", base=str(snapshot), hosts=["example.org"], mimes=[])
    assert set(kept(tmp_path / "out")) == wanted(lambda name: name == "example.org", pdf=True)
    with pytest.raises(UserError, match="nothing wanted"):
        run(tmp_path / "none", base=str(snapshot), hosts=["example.com"])
    with pytest.raises(UserError, match=r"has no cc-index.*cluster\.idx"):
        run(tmp_path / "wrong", base=str(tmp_path), hosts=["example.com"])


def test_whole_files_by_language(serve: Callable[[Path], str], snapshot: Path, tmp_path: Path) -> None:
    counts, dropped = run(tmp_path / "out", base=serve(snapshot), languages=["deu"])
    assert set(kept(tmp_path / "out")) == wanted(lambda _: True, "deu")
    assert counts["records"] == 400 == counts["pages"] + sum(dropped.values())
    with (tmp_path / "out" / "pages-00000.warc.gz").open("rb") as file:
        assert all(record.rec_type == "response" for record in ArchiveIterator(file))


def test_index_and_files_agree(snapshot: Path, tmp_path: Path) -> None:
    run(tmp_path / "index", base=str(snapshot), hosts=["*"], languages=["eng"])
    run(tmp_path / "files", base=str(snapshot), languages=["eng"])
    assert set(kept(tmp_path / "index")) == set(kept(tmp_path / "files"))


def test_damage_is_counted_and_passed_over(snapshot: Path, tmp_path: Path) -> None:
    run(tmp_path / "whole", base=str(snapshot), languages=["eng"])
    rows = jsonl.read(tmp_path / "whole" / "records.jsonl")
    path, victim = snapshot / rows[0]["file"], rows[len(rows) // 2]
    data = bytearray(path.read_bytes())
    middle = victim["offset"] + victim["length"] // 2
    data[middle : middle + 20] = bytes(20)
    path.write_bytes(data)
    counts, dropped = run(tmp_path / "index", base=str(snapshot), hosts=["*"], languages=["eng"])
    assert dropped["damaged"] == 1 and counts["pages"] == len(wanted(lambda _: True, "eng")) - 1
    counts, dropped = run(tmp_path / "files", base=str(snapshot), languages=["eng"])
    assert dropped["damaged"] == 1 and counts["pages"] == len(rows) // 2  # what lies behind cannot be told apart


def test_a_damaged_index_block_is_counted_and_passed_over(snapshot: Path, tmp_path: Path) -> None:
    path = snapshot / f"cc-index/collections/{SNAPSHOT}/indexes/cdx-00000.gz"
    data = bytearray(path.read_bytes())
    data[:10] = bytes(10)  # the first of the blocks of 7 lines
    path.write_bytes(data)
    counts, dropped = run(tmp_path / "out", base=str(snapshot), hosts=["*"], mimes=[])
    assert dropped["damaged"] == 1 and counts["records"] == 400 - 7 + 1


@pytest.mark.parametrize(("hosts", "size"), [(["*"], 10**9), ([], 1)])
def test_killed_and_run_again(
    hosts: list[str], size: int, serve: Callable[[Path], str], snapshot: Path, tmp_path: Path
) -> None:
    params = CommonCrawl(snapshot=SNAPSHOT, base=serve(snapshot), hosts=hosts, languages=["eng"])
    # the process kills itself while it takes that record, long after the last commit or just then
    code = (
        "import os, pathlib, signal, sys\nfrom gristmill.recipe import CommonCrawl\n"
        "from gristmill.crawl import common_crawl\n"
        f"common_crawl.COMMIT_SECONDS, common_crawl.WARC_BYTES = 0.005, {size}\n"
        "settle, last = common_crawl.Copy.settle, int(sys.argv[3])\n"
        "def settled(copy, *record):\n"
        "    settle(copy, *record)\n"
        "    if copy.done.pages == last: os.kill(os.getpid(), signal.SIGKILL)\n"
        "common_crawl.Copy.settle = settled\n"
        "print(common_crawl.run({}, CommonCrawl.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2])).counts)"
    )

    def run_until(out: Path, page: int) -> tuple[int, str]:
        out.mkdir(exist_ok=True)
        done = python(code, params.model_dump_json(), out, page)
        return done.returncode, done.stdout

    whole, broken = run_until(tmp_path / "whole", -1), tmp_path / "broken"
    assert whole[0] == 0
    for page in (1, 40, 90):
        assert run_until(broken, page)[0] == -signal.SIGKILL
    assert run_until(broken, -1) == whole
    names = sorted(path.name for path in (tmp_path / "whole").iterdir() if path.is_file())
    assert names == sorted(path.name for path in broken.iterdir() if path.is_file())
    assert names[:: len(names) - 1] == ["pages-00000.warc.gz", "records.jsonl"] and (len(names) > 2) == (size == 1)
    for name in names:
        assert (broken / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_copy_does_not_go_on_from_a_file_that_is_cut(snapshot: Path, tmp_path: Path) -> None:
    run(tmp_path / "out", base=str(snapshot), hosts=["*"])
    size = (tmp_path / "out" / "pages-00000.warc.gz").stat().st_size
    (tmp_path / "out" / ".work" / "progress.json").write_text(json.dumps({"pages": 100, "offset": size + 1}))
    with pytest.raises(UserError, match=r"pages-00000\.warc\.gz is damaged"):
        run(tmp_path / "out", base=str(snapshot), hosts=["*"])


def test_a_server_that_fails_for_the_moment(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[[Path], str]
) -> None:
    monkeypatch.setattr(common_crawl, "RETRY_SECONDS", 0.001)
    with pytest.raises(UserError, match="cannot read"):
        run(tmp_path / "out", base=f"http://127.0.0.1:{free_port()}", hosts=["example.org"])


def test_the_search_in_the_index_against_reading_all_of_it(tmp_path: Path) -> None:
    draw = random.Random(1)
    keys = sorted(
        {
            f"{draw.choice(('com', 'org'))},{draw.choice('abcdef')}{draw.randrange(3000)})/{draw.randrange(9)} 20240101"
            for _ in range(9000)
        }
    )
    data = "".join(f"{key}\tcdx-00000.gz\t0\t1\t{n}\n" for n, key in enumerate(keys)).encode()
    reads = []

    def read(_: str, start: int, end: int) -> bytes:
        reads.append(end - start)
        return data[start:end]

    for host in ("a17.org", "f2999.com", "*.com", "zz.org", "aa.aaa", "*"):
        for first, end in host_keys(host):
            expected = [key for key in keys if first <= key < end]
            before = [key for key in keys if key < first][-1:]
            found = [line.split("\t")[0] for line in block_lines(read, len(data), "", first, end)]
            assert found == before + expected, host
    assert len(data) > 4 * common_crawl.FED


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data/commoncrawl is not there")
def test_a_genuine_file(serve: Callable[[Path], str], tmp_path: Path) -> None:
    root = tmp_path / "cc"
    folder = root / "crawl-data" / SNAPSHOT
    folder.mkdir(parents=True)
    for kind, name in (("warc", "whirlwind.warc.gz"), ("wet", "whirlwind.warc.wet.gz")):
        shutil.copy(SHARED / name, folder / name)
        (folder / f"{kind}.paths.gz").write_bytes(gzip.compress(f"crawl-data/{SNAPSHOT}/{name}\n".encode()))
    base = serve(root)
    run(tmp_path / "warc", base=base, languages=["spa"])
    run(tmp_path / "wet", base=base, kind="wet", languages=["spa"], hosts=["*.wikipedia.org"])
    page = next(read_records([tmp_path / "warc" / "pages-00000.warc.gz"]))
    text = next(read_records([tmp_path / "wet" / "pages-00000.warc.gz"]))
    assert page.url == text.url == "https://an.wikipedia.org/wiki/Escopete"
    assert page.content_type == "text/html" and b"<title>Escopete" in page.body
    assert text.content_type == "text/plain" and text.body.startswith(b"Escopete")
    assert b"WARC-Identified-Content-Language: spa" in gzip.decompress(
        (tmp_path / "wet" / "pages-00000.warc.gz").read_bytes()
    )
    with pytest.raises(UserError, match="nothing wanted"):
        run(tmp_path / "none", base=base, languages=["eng"])

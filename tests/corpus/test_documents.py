"""The executor: the same bytes whatever runs the shards and however often it is killed; every byte accounted for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import jsonl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.corpus.execution import executor
from gristmill.corpus.execution.documents import document_shards, map_documents
from gristmill.corpus.execution.executor import Backend, using
from gristmill.corpus.execution.judge import Dropped, Judge
from gristmill.document import Document, read_batches, read_documents, write_documents
from gristmill.errors import UserError
from gristmill.manifest import WORK, Manifest

if TYPE_CHECKING:  # processes that a test starts import this file, too
    from command_line import Command


class Shortener(Judge):
    """Drops every third document, and shortens and counts every fifth."""

    def __init__(self, pause: float) -> None:
        super().__init__()
        self.pause = pause

    def __call__(self, document: Document) -> Document | Dropped:
        time.sleep(self.pause)
        number = int(document.id)
        if number % 3 == 0:
            return Dropped("third", {"why": "it is a third"})
        if number % 5 == 0:
            self.counts["shortened"] += 1
            document.text = document.text[:10]
        return document


class Slow(Judge):
    """Is interrupted while another process is slow."""

    def __init__(self, _: float) -> None:
        super().__init__()

    def __call__(self, document: Document) -> Document:
        time.sleep(0 if int(document.id) % 2_500 else 1_000)
        if document.id == "7499":
            raise KeyboardInterrupt
        return document


class Failing(Judge):
    """Meets what the user can mend."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem

    def __call__(self, document: Document) -> Document:
        raise UserError(f"{self.problem} in {document.id}", "mend it")


class Ending(Judge):
    """Ends its process."""

    def __init__(self, _: float) -> None:
        super().__init__()

    def __call__(self, document: Document) -> Document:
        os._exit(9)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for part in range(3):
        texts = (Document(str(n), f"Text número {n}. " * 50) for n in range(part * 2_500, (part + 1) * 2_500))
        write_documents(folder / f"documents-{part}.parquet", texts)
    return folder


def go(corpus: Path, out: Path, backend: Backend, pause: float = 0.0) -> Manifest:
    out.mkdir(exist_ok=True)
    with using(backend):
        return map_documents("shorten", corpus, Shortener, pause, out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_shards_cover_every_row_once(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (1, 1_500_000, 10**9):
        monkeypatch.setattr(executor, "SHARD_BYTES", limit)
        shards = document_shards(corpus)
        found = [(shard.path.name, group) for shard in shards for group in shard.groups]
        assert found == [(f"documents-{part}.parquet", group) for part in range(3) for group in range(3)]
        assert sum(shard.rows for shard in shards) == 7_500
        assert len(shards) == {1: 9, 1_500_000: 6, 10**9: 3}[limit]


def test_workers_change_nothing_and_the_ledger_balances(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "SHARD_BYTES", 1)
    made = [go(corpus, tmp_path / str(workers), Backend(workers=workers)) for workers in (1, 2)]
    one, two = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert one == two
    assert len(one) == 11
    assert made[0] == made[1]
    assert made[0].dropped == {"third": 2_500}
    assert made[0].counts["shortened"] == sum(n % 5 == 0 and n % 3 != 0 for n in range(7_500))
    kept = list(read_documents(tmp_path / "1"))
    assert [int(document.id) for document in kept] == [n for n in range(7_500) if n % 3]
    counts = made[0].counts
    assert counts["bytes_in"] == sum(len(found.text.encode()) for found in read_documents(corpus))
    assert counts["bytes_out"] == sum(len(found.text.encode()) for found in kept)
    assert counts["bytes_in"] == counts["bytes_out"] + counts["bytes_edited"] + made[0].dropped_bytes["third"]
    log = jsonl.read(tmp_path / "1" / "dropped.jsonl")
    assert [int(record["id"]) for record in log] == list(range(0, 7_500, 3))
    assert log[0] == {**log[0], "rule": "third", "why": "it is a third", "bytes": len("Text número 0. ".encode()) * 50}


def test_killed_and_run_again_gives_the_same_and_redoes_no_finished_shard(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "SHARD_BYTES", 1)
    go(corpus, tmp_path / "whole", Backend(workers=1))
    out = tmp_path / "killed"
    code = (
        "from pathlib import Path; from gristmill.corpus.execution import executor; import test_documents\n"
        "if __name__ == '__main__':\n"
        "    executor.SHARD_BYTES = 1\n"
        f"    test_documents.go(Path({str(corpus)!r}), Path({str(out)!r}), executor.Backend(workers=2), 0.0005)\n"
    )
    (tmp_path / "job.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path))}
    job = subprocess.Popen([sys.executable, str(tmp_path / "job.py")], stderr=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 300
    while len(list((out / WORK).glob("*.json"))) < 3:
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.wait()
    finished = {path: path.stat().st_mtime_ns for path in (out / WORK).glob("*.json")}
    assert 3 <= len(finished) < 9
    go(corpus, out, Backend(workers=1))
    assert contents(out) == contents(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == made for path, made in finished.items())


def test_errors_of_workers_reach_the_user(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "SHARD_BYTES", 1_500_000)
    for number, (job, told) in enumerate(((Failing, "broken in"), (Ending, "fewer --workers"))):
        out = tmp_path / str(number)
        out.mkdir()
        with pytest.raises(UserError, match=told), using(Backend(workers=2)):
            map_documents("x", corpus, job, "broken", out)


def test_an_error_does_not_wait_for_the_other_shards(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "SHARD_BYTES", 1)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), using(Backend(workers=4)):
        map_documents("x", corpus, Slow, 0.0, tmp_path)
    assert time.monotonic() - started < 500


def test_nothing_left_is_told(corpus: Path, tmp_path: Path) -> None:
    write_documents(tmp_path / "one.parquet", [Document("3", "text")])
    with pytest.raises(UserError, match=r"dropped all 1 documents \(third 1\)"):
        go(tmp_path / "one.parquet", tmp_path / "out", Backend())


def test_documents_survive_files_and_foreign_columns(tmp_path: Path) -> None:
    when = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    full = Document("1", "té\n\nxt", "http://a.test/", "a.test", "T", "en", 0.5, when, "w:1", "CC-BY-4.0", {"q": 0.25})
    full.redactions = {"email": 2}
    bare = Document("2", "")
    write_documents(tmp_path / "d.parquet", [full, bare])
    assert list(read_documents(tmp_path / "d.parquet")) == [full, bare]
    foreign = pa.table({"text": pa.array(["a", None]), "id": ["x", "y"], "language_score": pa.array([1.0, None])})
    pq.write_table(foreign, tmp_path / "f.parquet")
    assert list(read_documents(tmp_path / "f.parquet")) == [Document("x", "a", language_score=1.0), Document("y", "")]
    pq.write_table(pa.table({"text": [1], "id": [["x"]]}), tmp_path / "g.parquet")
    with pytest.raises(UserError, match=r"g\.parquet"):
        list(read_batches(tmp_path / "g.parquet"))


def test_a_whole_run_is_no_folder_of_documents_and_its_stages_are_named(tmp_path: Path) -> None:
    for stage in ("extract", "dedup"):
        (tmp_path / stage).mkdir()
        write_documents(tmp_path / stage / "documents.parquet", [Document("a", "text")])
    with pytest.raises(UserError, match="no documents in") as told:
        list(read_documents(tmp_path))
    assert told.value.remedy.endswith("here one of dedup, extract")


def test_a_cluster_that_does_not_answer_is_told_at_once(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("Some words on a page.")
    monkeypatch.setattr(executor, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        ports = [silent.getsockname()[1], closed.getsockname()[1]]
        closed.close()
        for address, why in (
            (f"127.0.0.1:{ports[0]}", "timed out"),
            (f"127.0.0.1:{ports[1]}", "refused"),
            (f"ray://127.0.0.1:{ports[1]}", "refused"),
        ):
            engine = address if "://" in address else f"ray:{address}"
            done = command("extract", tmp_path / "a.txt", "-o", tmp_path / "out", "--engine", engine)
            assert done.code == 2 and f"no Ray cluster at {address}: " in done.stderr and why in done.stderr
            assert "check the address" in done.stderr

"""What runs out is no property of a page: few file descriptors make a crawl slower, or end it with a message."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path

import jsonl
import pytest
from command_line import python
from hostile import MISSING, Serve, response

from gristmill.processes import watching_memory

CRAWL = """
import pathlib, sys
from gristmill.crawl import stage
from gristmill.recipe import Crawl
stage.run({}, Crawl.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""
# the same, with descriptors that go while it runs: another part of the process opens files until none is left
GREEDY = """
import os, threading, time
from gristmill import native
native.library()  # is there: what has to open it would end the crawl at once
def greedy():
    while True:
        time.sleep(0.1)
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            time.sleep(0.05)
        for one in held:
            os.close(one)
"""
PAGES = 200


def many(_: str, path: str) -> bytes:
    """Pages that all name all others."""
    if "." in path:
        return MISSING
    links = "".join(f'<a href="/{n}">x</a>' for n in range(PAGES))
    words = random.Random(path)
    return response(" ".join("".join(words.choices("abcdefgh", k=5)) for _ in range(12)) + links)


def limited(descriptors: int, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program that may open so many files."""
    limits = (descriptors, descriptors)
    return python(code, *arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits))


@pytest.mark.parametrize("descriptors", [40, 48])
def test_few_descriptors_cost_no_page(descriptors: int, serve: Serve, tmp_path: Path) -> None:
    done = limited(descriptors, CRAWL, serve(many).params().model_dump_json(), tmp_path)
    assert done.returncode == 0, done.stderr
    rows = jsonl.read(tmp_path / "urls.jsonl")
    assert sum(row["outcome"] == "page" for row in rows) == PAGES + 1


def test_descriptors_that_are_gone_for_a_moment_cost_no_page(serve: Serve, tmp_path: Path) -> None:
    *imports, call = CRAWL.strip().splitlines()
    code = "\n".join([*imports, GREEDY, "threading.Thread(target=greedy, daemon=True).start()", call])
    done = limited(120, code, serve(many).params(concurrency=4).model_dump_json(), tmp_path)
    if done.returncode:  # another part may be the one that finds none: then there is a message, and no page is lost
        assert "unable to open database file" in done.stderr or "Too many open files" in done.stderr
        assert "kept no page" not in done.stderr
        return
    rows = jsonl.read(tmp_path / "urls.jsonl")
    assert sum(row["outcome"] == "page" for row in rows) == PAGES + 1, [r for r in rows if r["outcome"] != "page"]


def test_too_few_descriptors_are_told(serve: Serve, tmp_path: Path) -> None:
    done = limited(20, CRAWL, serve(many).params().model_dump_json(), tmp_path)
    assert done.returncode and "too few file descriptors" in done.stderr and "ulimit -n" in done.stderr
    assert not (tmp_path / "urls.jsonl").exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells of other processes' memory")
def test_the_memory_of_all_processes_counts() -> None:
    hold = "import sys; data = bytearray(150_000_000); print('held', flush=True); sys.stdin.read()"
    with watching_memory() as peak:
        before = peak()
        child = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout and child.stdout.readline() == b"held\n"
        while peak() < before + 100_000_000:  # the next look sees it
            assert child.poll() is None
        child.communicate(b"")

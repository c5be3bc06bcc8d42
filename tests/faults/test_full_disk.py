"""A full disk ends any stage with a message and exit code 2; with space again, the same command leaves the same
bytes."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from command_line import python
from forks import Commands, goes_on_alike
from hostile import MISSING, Serve, response
from tiny import ENVIRONMENT, NAMES, arguments, without

SHARES = (0.02, 0.3, 0.7, 0.95)  # of what a stage writes, that there is space for
HOSTS = 12
CRAWL = """
import pathlib, sys
from gristmill.crawl import stage
from gristmill.recipe import Crawl
from gristmill.runs.failures import explained
try:
    stage.run({}, Crawl.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]))
except Exception as error:
    print(explained(error))
    sys.exit(2)
"""


def hosts(host: str, path: str) -> bytes:
    """Sites that name pages of their own and each other."""
    if "." in path:
        return MISSING
    number = int(path.strip("/") or 0)
    own = "".join(f'<a href="/{number * 3 + n}">x</a>' for n in (1, 2, 3) if number < 30)
    others = "".join(f'<a href="http://h{(number + n) % HOSTS}.test/{number}">y</a>' for n in range(3))
    return response(f"{own}{others}" + f"page {number} of {host} " * 40)


@pytest.mark.parametrize(
    "size", [60_000, *(pytest.param(size, marks=pytest.mark.slow) for size in (200_000, 300_000)), 500_000]
)
def test_a_crawl_that_finds_no_space_stops_as_one(size: int, serve: Serve, tmp_path: Path) -> None:
    params = serve(hosts).params(seeds=["http://h0.test/"], hosts=["*.test"], max_pages=400).model_dump_json()

    def crawl(out: Path, size: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess[str]:
        out.mkdir(exist_ok=True)
        limits = (size, resource.RLIM_INFINITY)
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        return python(CRAWL, params, out, env=ENVIRONMENT, preexec_fn=limit)

    assert crawl(tmp_path / "whole").returncode == 0
    stopped = crawl(tmp_path / "stopped", size)
    assert stopped.returncode == 2 and "space" in stopped.stdout, stopped.stdout + stopped.stderr
    assert crawl(tmp_path / "stopped").returncode == 0
    for path in filter(Path.is_file, (tmp_path / "whole").iterdir()):
        assert (tmp_path / "stopped" / path.name).read_bytes() == path.read_bytes(), path.name


@contextmanager
def disk(folder: Path) -> Iterator[Callable[[int], object]]:
    """A disk of its own at a folder; yields what gives it so many bytes."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def used(folder: Path) -> int:
    """Bytes that a folder takes on a disk of pages of 4 kB."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("stage", NAMES)
def test_every_stage_tells_of_a_full_disk_and_goes_on(
    stage: str, whole: Path, commands: Commands, tmp_path: Path
) -> None:
    told = 0
    for number, share in enumerate(SHARES):
        with disk(tmp_path / str(number)) as resize:
            out = without(whole, tmp_path / str(number) / "run", stage)
            resize(used(out) + 20_000 + int(share * used(whole / stage)))
            done = commands.run(arguments(out, "--until", stage))
            assert done.code in (0, 2), done.stderr
            if done.code:
                told += 1
                assert f"no space is left to write on the disk at {tmp_path / str(number)} (" in done.stderr
                assert "free some space" in done.stderr and "Traceback" not in done.stderr
            resize(1 << 30)
            goes_on_alike(commands, out, stage, whole)
    assert told

"""One run a folder: of commands in the same folder at the same time, one works and the others say who does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import python
from forks import Commands

from gristmill.errors import UserError
from gristmill.inputs.folders import LOCK
from gristmill.runs.lock import lock_of, locked

HOLD = """
import sys, time
from pathlib import Path
from gristmill.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
RACE = """
import random, sys, time
from pathlib import Path
from gristmill.errors import UserError
from gristmill.runs.lock import locked
path, mark, draw = Path(sys.argv[1]), Path(sys.argv[2]), random.Random(int(sys.argv[3]))
held = refused = 0
end = time.monotonic() + 300
while held < 20 and time.monotonic() < end:
    try:
        with locked(path):
            mark.mkdir()  # fails where another one is inside too
            time.sleep(draw.random() / 200)
            mark.rmdir()
            held += 1
    except UserError as error:
        assert "another gristmill works in" in str(error), error
        refused += 1
    time.sleep(draw.random() / 200)
print(held, refused)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """Another process that holds a lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_works_there_and_a_dead_one_locks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run" / LOCK
    process = holder(path)
    try:
        with pytest.raises(UserError) as told, locked(path):
            pass
        said = str(told.value)
        assert f"{tmp_path / 'run'}: process {process.pid}, started 20" in said and "--out" in said
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert path.exists()
    with locked(path):
        assert str(os.getpid()) in path.read_text()
    assert not path.exists()


def test_never_two_at_once(tmp_path: Path) -> None:
    """Three processes take and free the lock at 20 moments each that are drawn at random."""
    command = [sys.executable, "-c", RACE, str(tmp_path / LOCK), str(tmp_path / "inside")]
    runs = [
        subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed in range(3)
    ]
    told = [process.communicate(timeout=300) for process in runs]
    assert not any(process.returncode for process in runs), told
    assert [int(out.split()[0]) for out, _ in told] == [20, 20, 20]


def test_a_lock_is_held_where_no_space_is_left_to_say_who_holds_it(tmp_path: Path) -> None:
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"  # no byte can be written to a file
    held = "from pathlib import Path\nfrom gristmill.runs.lock import locked\nwith locked(Path('run/.lock')):\n    pass"
    done = python(full + held, cwd=tmp_path)
    assert done.returncode == 0 and not list((tmp_path / "run").iterdir())


def test_runs_and_single_stages_in_a_folder_exclude_each_other(tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "a.txt").write_text("The miller went down to the river before the sun was up.")
    (tmp_path / "r.toml").write_text('[extract]\npaths = ["a.txt"]\n')
    run = ["run", tmp_path / "r.toml", "-o", tmp_path / "run"]
    assert commands.run(run).code == 0
    assert lock_of(tmp_path / "run" / "sft") == tmp_path / "run" / LOCK
    assert lock_of(tmp_path / "run" / "index") != tmp_path / "run" / LOCK  # which no run writes: traced while one works
    process = holder(tmp_path / "run" / LOCK)
    alone = ["dedup", tmp_path / "run" / "extract", "-o"]
    try:
        for command in (run, [*alone, tmp_path / "run" / "dedup"]):
            done = commands.run(command)
            assert done.code == 2 and f"process {process.pid}, started" in done.stderr, done.stderr
        assert commands.run([*alone, tmp_path / "dedup"]).code == 0
    finally:
        process.kill()
        process.wait()
    done = commands.run(run)
    assert done.code == 0 and "nothing to do" in done.stderr
    assert not list(tmp_path.glob(f".*{LOCK}")) and not (tmp_path / "run" / LOCK).exists()

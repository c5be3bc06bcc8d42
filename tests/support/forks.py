"""Commands without the seconds that a start takes: processes forked from one that has imported everything."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from command_line import Done
from tiny import ENVIRONMENT, arguments, outputs

SERVER = Path(__file__).with_name("fork_server.py")
PATIENCE = 300.0  # seconds after which something hangs


class Commands:
    """Runs commands of gristmill's, one at a time, in one process or, as under torchrun, in several."""

    def __init__(self, folder: Path) -> None:
        """What commands print goes to files in the folder."""
        self.out, self.err = folder / "out.txt", folder / "err.txt"
        self.process = 0  # of the command under way
        command = [sys.executable, str(SERVER)]
        self.server = subprocess.Popen(
            command, env=ENVIRONMENT, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def start(self, arguments: Sequence[object], folder: Path | None = None, processes: int = 1) -> int:
        """Begin a command, in a folder; its process id. One that a failed test has left is ended."""
        self.end()
        assert self.server.stdin
        self.out.write_text("")
        self.err.write_text("")
        words = [str(word) for word in arguments]
        order = json.dumps([words, str(folder or Path.cwd()), str(self.out), str(self.err), processes])
        self.server.stdin.write(order.encode() + b"\n")
        self.process = self.answer()
        return self.process

    def answer(self) -> int:
        """The next number that the server gives."""
        assert self.server.stdout
        assert select.select([self.server.stdout], [], [], PATIENCE)[0], self.printed()
        return int(self.server.stdout.readline())

    def printed(self) -> str:
        """What the command has printed so far."""
        return self.out.read_text() + self.err.read_text()

    def over(self) -> bool:
        """Whether the command has ended."""
        try:
            state = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        return state == "Z"

    def until(self, holds: Callable[[], object]) -> None:
        """Wait for something that the command does."""
        ends = time.monotonic() + PATIENCE
        while not holds():
            assert not self.over() and time.monotonic() < ends, self.printed()
            time.sleep(0.002)

    def signal(self, number: int) -> None:
        """Send the command a signal."""
        os.kill(self.process, number)

    def kill(self) -> None:
        """`kill -9` of the command and all that it has started."""
        for end in (os.killpg, os.kill):  # it may not have a group of its own yet, or be over
            try:
                return end(self.process, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def wait(self) -> int:
        """The command's exit code; below zero: the signal that has ended it."""
        code, self.process = self.answer(), 0
        return code

    def run(self, arguments: Sequence[object], folder: Path | None = None, processes: int = 1) -> Done:
        """Run a command to its end."""
        self.start(arguments, folder, processes)
        return Done(self.wait(), self.out.read_text(), self.err.read_text())

    def end(self) -> None:
        """End a command that is under way."""
        if self.process:
            self.kill()
            self.wait()

    def close(self) -> None:
        """End the process that is forked from."""
        self.end()
        assert self.server.stdin
        self.server.stdin.close()
        self.server.wait(60)


def goes_on_alike(commands: Commands, out: Path, stage: str, whole: Path) -> None:
    """Check that a run goes on with a stage, by the command that it was begun with, and leaves the same bytes."""
    done = commands.run(arguments(out, "--until", stage))
    assert done.code == 0, done.stderr
    if stage != "report":  # it tells the seconds that each stage took
        assert outputs(out)[stage] == outputs(whole)[stage], out


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Commands without the time that a start takes."""
    made = Commands(tmp_path_factory.mktemp("commands"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def whole(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of every stage that nothing has interrupted; next to it, `printed.txt` and `progress.txt`."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = commands.run(arguments(out))
    assert done.code == 0, done.stderr
    out.with_name("printed.txt").write_text(done.stdout)
    out.with_name("progress.txt").write_text(done.stderr)
    return out

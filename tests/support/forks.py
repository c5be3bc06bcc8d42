"""Commands without the seconds that a start takes: processes forked from one that has imported everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tiny import ENVIRONMENT

SERVER = """
import json, os, sys
from gristmill import cli
from gristmill.settings.stages import STAGES
for stage in STAGES:
    stage.function()
for line in sys.stdin:
    arguments, log = json.loads(line)
    child = os.fork()
    if not child:
        os.setsid()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1), os.dup2(file, 2)
        sys.argv, code = ["gristmill", *arguments], 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Commands:
    """Runs commands of gristmill's, one at a time; what they print goes to the file `log`."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], env=ENVIRONMENT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def start(self, arguments: list[str]) -> int:
        """Begin a command; its process id."""
        assert self.server.stdin and self.server.stdout
        self.log.write_text("")
        self.server.stdin.write(json.dumps([arguments, str(self.log)]) + "\n")
        self.server.stdin.flush()
        self.process = int(self.server.stdout.readline())
        return self.process

    def over(self) -> bool:
        """Whether the command has ended."""
        try:
            state = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        return state == "Z"

    def kill(self) -> None:
        """`kill -9` of the command and all that it has started."""
        try:
            os.killpg(self.process, signal.SIGKILL)
        except ProcessLookupError:  # it has not a group of its own yet
            os.kill(self.process, signal.SIGKILL)

    def wait(self) -> int:
        """The command's exit code; below zero: the signal that has ended it."""
        assert self.server.stdout
        return int(self.server.stdout.readline())

    def run(self, arguments: list[str]) -> tuple[int, str]:
        """Run a command; its exit code and what it printed."""
        self.start(arguments)
        return self.wait(), self.log.read_text()

    def close(self) -> None:
        """End the process that is forked from."""
        assert self.server.stdin
        self.server.stdin.close()
        self.server.wait(60)

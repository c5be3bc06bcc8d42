"""The process that `forks.Commands` forks commands from: it has imported everything, and reads orders from its input.

An order is a JSON list of the arguments, the folder to work in, the files for standard output and error, and a number
of processes. Its answers are the command's process id and, when it has ended, its exit code.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

import jinja2.ext  # noqa: F401  # these take long to import, and commands import them when they need them
import numpy.random  # noqa: F401
import pyarrow.dataset  # noqa: F401
import torch._dynamo
import torch.distributed as dist
import torch.distributed.fsdp  # noqa: F401

from gristmill.settings.stages import STAGES


def command(arguments: list[str]) -> NoReturn:
    """Be a command to its end."""
    from gristmill import cli

    sys.argv, code = ["gristmill", *arguments], 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def one_of(processes: int, rank: int, port: int, arguments: list[str]) -> NoReturn:
    """Be one of several processes, which torchrun tells of each other in this way."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
    os.environ.update({name: str(number) for name, number in numbers.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_USE_AGENT_STORE="True")
    for name in [name for name in sys.modules if name.partition(".")[0] == "gristmill"]:
        del sys.modules[name]  # it was imported as the code of a process alone
    command(arguments)


def several(processes: int, arguments: list[str]) -> NoReturn:
    """Be what torchrun is: keep the processes' store, and end all where one fails."""
    reads, writes = os.pipe()
    running = []
    for rank in range(processes):
        running.append(os.fork())
        if not running[-1]:
            one_of(processes, rank, int.from_bytes(os.read(reads, 2)), arguments)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # its thread is no child's
    os.write(writes, store.port.to_bytes(2) * processes)

    def end(number: int, _: object) -> None:
        for process in running:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    failed = 0
    while running:
        process, status = os.wait()
        running.remove(process)
        if status:
            failed = 1
            end(signal.SIGTERM, None)
    os._exit(failed)


def main() -> None:
    """Carry out orders until there are no more."""
    for stage in STAGES:
        stage.function()
    for line in sys.stdin:
        arguments, folder, out, err, processes = json.loads(line)
        child = os.fork()
        if not child:
            os.setsid()
            os.chdir(folder)
            sys.stdin = io.StringIO()
            for path, descriptor in ((out, 1), (err, 2)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            several(processes, arguments) if processes > 1 else command(arguments)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()

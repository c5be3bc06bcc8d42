"""Servers for the tests of faults."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from forks import Commands
from hostile import Answer, Server
from tiny import arguments


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Server]]:
    servers: list[Server] = []

    def make(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield make
    for server in servers:
        server.loop.call_soon_threadsafe(server.loop.stop)


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Commands without the time that a start takes."""
    made = Commands(tmp_path_factory.mktemp("commands") / "log.txt")
    yield made
    made.close()


@pytest.fixture(scope="session")
def whole(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of every stage that nothing has interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    code, printed = commands.run(arguments(out))
    assert code == 0, printed
    return out

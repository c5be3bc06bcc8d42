"""Servers for the tests of faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from crawling import starting
from hostile import Answer, Server


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Server]]:
    yield from starting(Server)

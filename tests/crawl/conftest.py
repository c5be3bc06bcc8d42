from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from crawling import Raw, Serve, Site, starting


@pytest.fixture
def serve() -> Iterator[Serve]:
    yield from starting(Site)


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    yield from starting(Raw)

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from crawling import Handler, Site


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], Site]]:
    sites: list[Site] = []

    def make(handler: Handler) -> Site:
        sites.append(Site(handler))
        return sites[-1]

    yield make
    for site in sites:
        site.loop.call_soon_threadsafe(site.loop.stop)

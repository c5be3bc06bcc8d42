"""Servers that break TLS or HTTP/2: every URL is accounted for, and a page costs no other."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import crawl
from secure import FAULTS, HANDSHAKES, PAGES, SecureServer

from gristmill.recipe import Crawl

TIMEOUT = 4.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureServer]:
    folder = tmp_path_factory.mktemp("authority")
    made = SecureServer(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
        yield made
    made.loop.call_soon_threadsafe(made.loop.stop)


def outcomes(server: SecureServer, names: list[str], out: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows of a crawl of all these hosts at once, by host and path."""
    params = Crawl(
        seeds=[f"https://{name}.test/" for name in names],
        connect_to={f"{name}.test": server.target(name) for name in names},
        allow_networks=["127.0.0.0/8"],
        delay=0.0,
        timeout=TIMEOUT,
    )
    made, rows = crawl(params, out)
    assert made.counts["urls_left"] == 0
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
    for url, row in rows.items():
        name, _, path = url.removeprefix("https://").partition(".test")
        found[name][path] = row
    return found


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "once-"])
def test_a_broken_answer_costs_no_other_page(before: str, server: SecureServer, tmp_path: Path) -> None:
    began = time.monotonic()
    found = outcomes(server, ["good", *(before + name for name in FAULTS)], tmp_path)
    assert time.monotonic() - began < 300
    for name, rows in found.items():
        bad = rows.pop("/bad")["outcome"]
        assert Counter(row["outcome"] for path, row in rows.items() if path != "/sitemap.xml") == {"page": PAGES}, name
        # a stream that ends with NO_ERROR (RFC 9113 §8.1) is whole for libcurl
        whole = before or name in ("good", "rst-no-error")
        assert bad == "page" if whole else bad in ("unreachable", "timeout"), name


def test_servers_that_do_not_prove_who_they_are_are_not_read(server: SecureServer, tmp_path: Path) -> None:
    names = [*server.certificates, "wants-client", *HANDSHAKES]
    began = time.monotonic()
    found = outcomes(server, ["good", *names], tmp_path)
    assert time.monotonic() - began < 300
    assert found.pop("good")["/"]["outcome"] == "page"
    assert {name: row["outcome"] for name, rows in found.items() for row in rows.values()} == dict.fromkeys(
        names, "robots_unreachable"
    )
    assert all(found[name]["/"]["detail"] for name in names)
    assert not {name for name, _ in server.asked} & {*server.certificates, "wants-client"}

"""A site without an end: the crawl ends all the same, by what it asks for and not by what it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import MISSING, Answer, Serve, crawl, response

from gristmill.crawl import stage


def facets(_: str, path: str) -> bytes:
    """Every facet names three more, and none may be kept."""
    links = "".join(f'<a href="{path.rstrip("/")}/{letter}q">x</a>' for letter in "abc")
    return response(f'<meta name="robots" content="noindex">{links}') if path != "/" else response(links)


def copies(_: str, path: str) -> bytes:
    """One page under any address, with relative links that lead deeper."""
    return response('<a href="v/">x</a><a href="w/">y</a> the same') if "." not in path else MISSING


def sitemaps(_: str, path: str) -> bytes:
    """Every sitemap names fifty others."""
    if not path.endswith(".xml"):
        return response("home") if path == "/" else MISSING
    names = "".join(f"<sitemap><loc>http://site.test{path[:-4]}-{n}.xml</loc></sitemap>" for n in range(50))
    return response(f"<sitemapindex>{names}</sitemapindex>", kind="text/xml")


def redirects(_: str, path: str) -> bytes:
    """Every page moves on, to a page that links to a hundred that move on."""
    if path == "/" or "/to" in path:
        return response(
            "".join(f'<a href="{path.rstrip("/")}/x{n}z">x</a>' for n in range(100)), "X-Robots-Tag: noindex"
        )
    return response("", f"Location: {path}/to", status="302 Found")


@pytest.mark.parametrize("answer", [facets, copies, sitemaps, redirects])
def test_a_host_that_yields_nothing_new_is_left(
    answer: Answer, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage, "FRUITLESS", 100)
    # of a second host a page is kept
    server = serve(lambda host, path: response("kept") if host == "other.test" else answer(host, path))
    seeds = ["http://site.test/", "http://other.test/"]
    made, _ = crawl(server.params(seeds=seeds, max_depth=500), tmp_path)
    assert made.metrics["fruitless_hosts"] == 1 and made.counts["urls_left"] > 0
    assert sum(host == "site.test" for host, _ in server.asked) < 150
    assert "without a new page: site.test" in capsys.readouterr().err


def test_what_is_asked_for_has_a_limit_whatever_is_kept(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hosts without end, each with one page that is new and ten that are not."""
    monkeypatch.setattr(stage, "LEAST_ASKED", 100)

    def answer(host: str, path: str) -> bytes:
        if path == "/":
            number = int(host.removeprefix("h").removesuffix(".test") or 0)
            return response(
                f'{host} <a href="http://h{number + 1}.test/">x</a>'
                + "".join(f'<a href="/n{letter}">x</a>' for letter in "abcdefghij")
            )
        return response("x", "X-Robots-Tag: noindex") if path.startswith("/n") else MISSING

    server = serve(answer)
    params = server.params(seeds=["http://h0.test/"], hosts=["*.test"], max_pages=40, max_depth=500)
    made, _ = crawl(params, tmp_path)
    assert 10 < made.counts["pages"] < 40 and 400 <= len(server.asked) < 520  # robots.txt and tdmrep.json included
    assert "all that max_pages = 40 allows" in capsys.readouterr().err


def test_the_limit_of_a_host_counts_what_is_asked_for(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "LEAST_ASKED", 60)
    server = serve(facets)
    crawl(server.params(max_pages_per_host=5, max_depth=500), tmp_path)
    assert 55 < len(server.asked) < 70

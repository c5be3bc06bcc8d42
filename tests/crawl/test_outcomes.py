"""What becomes of a page: what it says of itself, traps, copies, feeds, types."""

from __future__ import annotations

import gzip
from pathlib import Path

from aiohttp import web
from crawling import Handler, Serve, crawl, page, pages_of, rows_of, warc_records, words

from gristmill.corpus.readers.warc_ranges import read_records


def test_what_pages_say_of_their_use_is_honoured_or_recorded(serve: Serve, tmp_path: Path) -> None:
    def tdmrep(_: web.Request) -> web.StreamResponse:
        return web.json_response([{"location": "/reserved/*", "tdm-reservation": 1}])

    licence = "https://creativecommons.org/licenses/by/4.0/"

    def said(head: str = "", **headers: str) -> Handler:
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        def answer(request: web.Request) -> web.StreamResponse:
            made = page(head=head, text=request.path)
            made.headers.update(named)
            return made

        return answer

    table = {
        "/.well-known/tdmrep.json": tdmrep,
        "/": ["/noai", "/noindex", "/tdm", "/reserved/x", "/usage", "/free"],
        "/noai": said('<meta name="robots" content="noai, noimageai">'),
        "/noindex": said(X_Robots_Tag="noindex"),
        "/tdm": said(tdm_reservation="1"),
        "/reserved/x": said(),
        "/usage": said(Content_Usage="train-ai=n"),
        "/free": said(f'<link rel="license" href="{licence}">'),
    }
    site = serve(pages_of(table))
    _, _, outcome = crawl(site.params(), tmp_path / "a")
    expected = {"/noai": "noai", "/noindex": "noindex", "/tdm": "tdm", "/reserved/x": "tdm", "/usage": "noai"}
    assert {path: outcome[path] for path in expected} == expected and outcome["/free"] == "page"
    _, _, outcome = crawl(site.params(honour=[]), tmp_path / "b")
    assert {outcome[path] for path in table if not path.startswith("/.")} == {"page"}
    decisions = {found.url: found.decisions for found in read_records([tmp_path / "b" / "pages-00000.warc.gz"])}
    assert decisions["http://site.test/free"] == {"robots": "no rule", "licence": licence}
    assert decisions["http://site.test/reserved/x"]["signals"] == ["tdm"]
    assert rows_of(tmp_path / "b")["http://site.test/free"]["licence"] == licence


def test_traps_circles_and_session_ids(serve: Serve, tmp_path: Path) -> None:
    def answer(request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/":
            return page("/day/0", "/x/", "/list?PHPSESSID=0123456789abcdef0123", "/list?PHPSESSID=fedcba9876543210")
        if path.startswith("/day/"):
            number = int(path[5:])
            return page(f"/day/{number + 1}", text=f"Nothing happens on day {number}.")
        if path.startswith("/x/"):
            return page("y/", text=words(len(path)))
        return page(text="list") if path == "/list" else web.Response(status=404)

    site = serve(answer)
    _, dropped, outcome = crawl(site.params(max_depth=500), tmp_path)
    days = sum(path.startswith("/day/") for path in site.paths())
    assert 64 <= days < 70 and outcome["/day/64"] == "trap"
    assert outcome["/x/y/y/"] == "page" and outcome["/x/y/y/y/"] == "trap" and dropped["trap"] == 2
    assert outcome["/list"] == "page" and not any("PHPSESSID" in path for path in site.paths())


def test_canonical_links_and_copies(serve: Serve, tmp_path: Path) -> None:
    def canonical(target: str, text: str) -> Handler:
        return lambda _: page(head=f'<link rel="canonical" href="{target}">', text=text)

    table: dict[str, object] = {
        "/": ["/a", "/a?print=1", "/b?sort=up", "/copy", "/wrong"],
        "/a": lambda _: page(text="the text of a"),
        "/a?print=1": canonical("/a", "the text of a, to print"),
        "/b?sort=up": canonical("/b", "b, sorted"),
        "/b": lambda _: page(text="b"),
        "/copy": lambda _: page(text="the text of a"),
        "/wrong": canonical("/", "all pages of this site name the home page"),
    }
    _, _, outcome = crawl(serve(pages_of(table)).params(), tmp_path)
    expected = {"/a": "page", "/a?print=1": "canonical", "/b?sort=up": "page", "/b": "page", "/copy": "copy"}
    assert {path: outcome[path] for path in expected} == expected and outcome["/wrong"] == "page"
    revisit = [record for record in warc_records(tmp_path) if record[0] == "revisit"]
    assert [(headers["WARC-Target-URI"], headers["WARC-Refers-To-Target-URI"]) for _, headers, _ in revisit] == [
        ("http://site.test/copy", "http://site.test/a")
    ]


def test_feeds_are_read(serve: Serve, tmp_path: Path) -> None:
    feed = "<rss><channel><item><link>http://site.test/new</link></item></channel></rss>"
    head = '<link rel="alternate" type="application/rss+xml" href="/feed">'
    table: dict[str, object] = {
        "/": lambda _: page(head=head),
        "/feed": lambda _: web.Response(text=feed, content_type="text/xml"),
        "/new": [],
    }
    _, _, outcome = crawl(serve(pages_of(table)).params(), tmp_path)
    assert (outcome["/feed"], outcome["/new"]) == ("feed", "page")


def test_types_are_told_from_the_bytes(serve: Serve, tmp_path: Path) -> None:
    def typed(body: bytes, kind: str) -> Handler:
        return lambda _: web.Response(body=body, headers={"Content-Type": kind})

    html = b"<!doctype html><title>x</title><p>Really a page"
    table = {
        "/": ["/a", "/b"],
        "/a": typed(html, "application/octet-stream"),
        "/b": typed(b"\x89PNG\r\n\x1a\n\0", "text/plain"),
    }
    _, _, outcome = crawl(serve(pages_of(table)).params(), tmp_path)
    assert (outcome["/a"], outcome["/b"]) == ("page", "type")
    assert [found.content_type for found in read_records([tmp_path / "pages-00000.warc.gz"])] == ["text/html"] * 2


def test_a_page_behind_a_question_for_cookies_is_kept(serve: Serve, tmp_path: Path) -> None:
    def asks(back: str) -> Handler:
        def answer(request: web.Request) -> web.StreamResponse:
            if request.cookies.get("seen") == "1" and request.cookies.get("more", "2") == "2":
                return page(text=f"the page {request.path}")
            response = web.Response(status=302, headers={"Location": back})
            response.set_cookie("seen", "1")
            return response

        return answer

    def check(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/through", "Set-Cookie": "more=2; Path=/"})

    def never(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/never", "Set-Cookie": "a=b"})

    def out(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/private", "Set-Cookie": "a=b"})

    table = {
        "/robots.txt": lambda _: web.Response(text="User-agent: *\nDisallow: /private"),
        "/": ["/itself", "/through", "/never", "/out", "/elsewhere"],
        "/itself": asks("/itself"),
        "/through": asks("/check"),
        "/check": check,
        "/never": never,
        "/out": out,
        "/elsewhere": asks("/other"),
        "/other": [],
    }
    site = serve(pages_of(table))
    _, _, outcome = crawl(site.params(), tmp_path)
    kept = {path for path, what in outcome.items() if what == "page"}
    assert kept == {"/", "/itself", "/through", "/other"} and outcome["/elsewhere"] == outcome["/never"] == "redirect"
    assert "cookies" in next(row["detail"] for row in rows_of(tmp_path).values() if row["url"].endswith("/never"))
    assert "/private" not in site.paths() and outcome["/private"] == "robots"
    written = gzip.decompress((tmp_path / "pages-00000.warc.gz").read_bytes())
    assert written.count(b"Cookie: seen=1\r\n") == 1 and written.count(b"Cookie: seen=1; more=2\r\n") == 1


def test_refreshes_frames_and_sitemaps_lead_to_pages(serve: Serve, tmp_path: Path) -> None:
    index = "<sitemapindex><sitemap><loc>/maps.php?part=1</loc></sitemap></sitemapindex>"
    urls = "\ufeff<s:urlset xmlns:s='x'><s:url><s:loc>/mapped</s:loc></s:url></s:urlset>"
    linked = "<urlset><url><loc>/from-a-link</loc></url></urlset>"
    table = {
        "/robots.txt": lambda _: web.Response(text="Sitemap: /all-of-it"),
        "/all-of-it": lambda _: web.Response(text=index, content_type="application/xml"),
        "/maps.php?part=1": lambda _: web.Response(body=urls.encode("utf-16"), content_type="application/xml"),
        "/a-map": lambda _: web.Response(text=linked, content_type="text/xml"),
        "/": lambda _: page("/a-map", head="<meta http-equiv=refresh content='0;url=/start'>"),
        "/start": lambda _: web.Response(
            text="start<iframe src=/frame></iframe>", content_type="text/html", headers={"Refresh": "9; url=/next"}
        ),
        **{path: [] for path in ("/next", "/frame", "/mapped", "/from-a-link")},
    }
    _, _, outcome = crawl(serve(pages_of(table)).params(), tmp_path)
    kept = {path for path, what in outcome.items() if what == "page"}
    assert kept == {"/", "/start", "/next", "/frame", "/mapped", "/from-a-link"}

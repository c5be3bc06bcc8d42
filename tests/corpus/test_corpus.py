"""Extraction and deduplication: each against hand-made cases or brute force."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import STORY

from gristmill.corpus.dedup import stage as dedup
from gristmill.corpus.extract import stage as extract
from gristmill.corpus.extract.language import detect
from gristmill.document import Document, read_documents, write_documents
from gristmill.errors import UserError
from gristmill.recipe import Dedup, Extract

SHARED = Path(__file__).parents[3] / "shared" / "data"
PAGE = f"""<!doctype html><html><head><title>The mill | Site</title></head><body>
<header><nav><a href="/">Home</a> <a href="/x">About us</a></nav></header>
<div class="cookie-banner">We use cookies.</div>
<main><h1>The mill</h1><p>{STORY}</p><p>The naïve cat slept.</p></main>
<aside>Related: ten tricks</aside><footer>Copyright nobody</footer></body></html>"""


def documents(folder: Path) -> list[Document]:
    return list(read_documents(folder))


def run_extract(paths: list[Path], out: Path):  # type: ignore[no-untyped-def]
    out.mkdir(exist_ok=True)
    return extract.run({}, Extract(paths=[str(path) for path in paths]), out)


def test_main_text_title_and_language(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    run_extract([tmp_path / "page.html"], tmp_path / "out")
    (found,) = documents(tmp_path / "out")
    assert (found.title, found.language, found.url) == ("The mill", "en", "page.html")
    assert STORY in found.text
    assert "naïve" in found.text
    for furniture in ("Home", "cookies", "Related", "Copyright"):
        assert furniture not in found.text


@pytest.mark.parametrize("charset", ["latin-1", "windows-1252", "utf-8", "utf-16"])
def test_charsets(tmp_path: Path, charset: str) -> None:
    meta = "" if charset == "utf-16" else f'<meta charset="{charset}">'
    (tmp_path / "p.html").write_bytes(PAGE.replace("<head>", f"<head>{meta}").encode(charset))
    run_extract([tmp_path], tmp_path / "out")
    assert "naïve" in documents(tmp_path / "out")[0].text


def test_every_kind_of_input(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.html").write_text(PAGE)
    (folder / "b.txt").write_text(STORY + " b")
    (folder / "c.md").write_text("# Title\n\n" + STORY)
    (folder / "d.jsonl").write_text(json.dumps({"text": STORY + " d", "url": "http://x/d"}) + "\n" + '{"text": ""}\n')
    write_documents(folder / "e.parquet", [Document("1", STORY + " e")])
    (folder / "f.html").write_bytes(b"\0\1\2binary")
    result = run_extract([folder], tmp_path / "out")
    assert (result.counts["documents_in"], result.counts["documents_out"]) == (7, 5)
    assert result.dropped == {"empty": 1, "undecodable": 1}
    assert "http://x/d" in [found.url for found in documents(tmp_path / "out")]


@pytest.mark.parametrize(
    ("name", "content"), [("x.bin", b"x"), ("x.parquet", b"x"), ("x.jsonl", b"{"), ("x.warc", b"x")]
)
def test_wrong_input_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        run_extract([tmp_path / name], tmp_path / "out")
    with pytest.raises(UserError, match="no such file"):
        run_extract([tmp_path / "missing"], tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Belwin Tarrock met Osmira Dunfell at the quay in Harnmoor, and they sold the pears to Quillan.", "en"),
        ("Der alte Müller ist nicht mehr im Haus und die Katze schläft auf dem Dach.", "de"),
        ("Le chat est dans la maison et les enfants jouent avec des pommes pour la fête.", "fr"),
        ("", ""),
        ("123 456", ""),
    ],
)
def test_language(text: str, code: str) -> None:
    assert detect(text)[0] == code


@pytest.mark.skipif(not (SHARED / "storybooks").exists(), reason="needs the shared real site")
def test_a_real_site_keeps_its_chapters_and_one_copy_of_its_boilerplate(tmp_path: Path) -> None:
    pages = sorted((SHARED / "storybooks").rglob("*.html"))[:120]
    run_extract(pages, tmp_path / "a")
    (tmp_path / "b").mkdir()
    result = dedup.run({"corpus": tmp_path / "a"}, Dedup(), tmp_path / "b")
    kept = documents(tmp_path / "b")
    assert sum("uncopyright" in found.url.lower() for found in kept) <= 1
    assert result.counts["documents_out"] > 0.7 * result.counts["documents_in"]


@given(st.text(st.sampled_from("\0\x01\t\n\r\x0b\x7f\ufffd\ufffe\uffff\U0001ffff aé中\ud800\U0001f600 \x1f")))
def test_cleaning_is_its_definition(text: str) -> None:
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    plain = "".join(c for c in plain if c in "\t\n" or (ord(c) >= 32 and c not in "\x7f\ufffe\uffff"))
    assert extract.clean(plain) == extract.clean(text) == plain.encode("utf-8", "replace").decode()

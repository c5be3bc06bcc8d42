"""What people have becomes documents: every kind of file, whole and damaged, here and in remote storage."""

from __future__ import annotations

import bz2
import json
import os
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from books import pdf
from command_line import Command
from hypothesis import given
from hypothesis import strategies as st

from gristmill.corpus.extract import stage as extract
from gristmill.corpus.readers.input_files import read_file
from gristmill.corpus.readers.wikitext import plain_text
from gristmill.document import Document, read_documents
from gristmill.errors import UserError
from gristmill.inputs.text_files import read_jsonl
from gristmill.recipe import Extract
from gristmill.run import execute
from gristmill.settings.stages import BY_NAME

FIRST = "The miller went down to the river before the sun was up, and he took his dog with him."
SECOND = "Nobody in the village knew where the old boat had come from, nor who had painted it green."
CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="EPUB/book.opf"/></rootfiles></container>'
)
PACKAGE = (
    '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
    "<dc:title>River Tales</dc:title><dc:rights>CC BY-SA 4.0</dc:rights></metadata><manifest>"
    '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
    '<item id="b" href="text/two.xhtml" media-type="application/xhtml+xml"/>'
    '<item id="a" href="text/one%20a.xhtml" media-type="application/xhtml+xml"/>'
    '<item id="gone" href="text/gone.xhtml" media-type="application/xhtml+xml"/>'
    '<item id="css" href="style.css" media-type="text/css"/></manifest>'
    '<spine><itemref idref="nav"/><itemref idref="a"/><itemref idref="gone"/><itemref idref="b"/></spine></package>'
)
DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11"><siteinfo>
<base>https://en.wikipedia.org/wiki/Main_Page</base><namespaces><namespace key="6">File</namespace></namespaces>
</siteinfo>{pages}</mediawiki>"""
PAGE = "<page><title>{title}</title><ns>{ns}</ns>{more}<revision><text>{text}</text></revision></page>"


def documents(path: Path, out: Path) -> list[Document]:
    out.mkdir(exist_ok=True)
    extract.run({}, Extract(paths=[str(path)]), out)
    return list(read_documents(out))


def dropped(out: Path) -> list[str]:
    return [record["rule"] for record in read_jsonl(out / "dropped.jsonl")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a person's files."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def make_epub(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr("META-INF/container.xml", CONTAINER)
        book.writestr("EPUB/book.opf", PACKAGE)
        book.writestr("EPUB/nav.xhtml", "<html><body><nav><a href='text/two.xhtml'>Two</a></nav></body></html>")
        for name, text in (("one a", FIRST), ("two", SECOND)):
            page = f"<html><body><h1>{name}</h1><p>{text}</p></body></html>"
            book.writestr(f"EPUB/text/{name}.xhtml", page)


def make_pdf(path: Path, pages: list[list[str]]) -> None:
    """A PDF with lines of text."""
    drawn = [" ".join(f"({line}) Tj T*" for line in lines) for lines in pages]
    path.write_bytes(pdf("\n".join(f"BT /F 11 Tf 14 TL 50 780 Td {lines} ET" for lines in drawn).encode()))


def test_an_epub_is_read_in_the_order_of_its_spine(tmp_path: Path) -> None:
    make_epub(tmp_path / "tales.epub")
    found = documents(tmp_path / "tales.epub", tmp_path / "out")
    assert [document.text for document in found] == [f"# one a\n\n{FIRST}", f"# two\n\n{SECOND}"]
    assert found[0].source == "tales.epub:EPUB/text/one a.xhtml"
    assert found[0].title.startswith("River Tales") and found[0].licence == "CC-BY-SA-4.0"
    assert dropped(tmp_path / "out") == ["damaged"]  # the part that the archive lacks


def test_a_pdf_becomes_paragraphs_without_running_heads(tmp_path: Path) -> None:
    cut = FIRST.rindex(" ", 0, len(FIRST) // 2)
    names = ["Ash", "Birch", "Cedar", "Elm", "Fir"]
    pages = [
        [
            f"River Tales {page}",
            f"{name} came home.",
            FIRST[:cut],
            f"{FIRST[cut + 1 :]} {name}!",
            SECOND + name + " bend-",
            "ed.",
        ]
        for page, name in enumerate(names)
    ]
    make_pdf(tmp_path / "a.pdf", pages)
    (found,) = documents(tmp_path / "a.pdf", tmp_path / "out")
    assert "River Tales" not in found.text
    assert found.text.startswith(f"Ash came home.\n\n{FIRST} Ash!\n\n{SECOND}Ash bended.")
    assert found.text.count(FIRST) == 5


def test_csv_and_compressed_json(folder: Path, tmp_path: Path) -> None:
    (folder / "a.csv").write_text(f'id,text,license\n7,"{FIRST}\nIt was cold, ""very"" cold.",CC0-1.0\n8,,\n')
    (folder / "b.tsv").write_text(f"content\ttitle\n{SECOND}\tBoat\n", encoding="utf-8-sig")
    packed = pa.compress(json.dumps({"text": FIRST}).encode() + b"\nbroken\n", "zstd", asbytes=True)
    (folder / "c.jsonl.zst").write_bytes(packed)
    found = documents(folder, tmp_path / "out")
    assert [document.source for document in found] == ["a.csv:1", "b.tsv:1", "c.jsonl.zst:1"]
    assert found[0].text.endswith('It was cold, "very" cold.') and found[0].licence == "CC0-1.0"
    assert (found[1].text, found[1].title) == (SECOND, "Boat")
    assert dropped(tmp_path / "out") == ["empty", "damaged"]


def test_names_of_columns_may_have_capitals(folder: Path, tmp_path: Path) -> None:
    (folder / "a.csv").write_text("Text ,Title\nOne two.,A,more\n")
    (folder / "b.jsonl").write_text('{"TEXT": "Three four.", "Title": "B"}\n')
    pq.write_table(pa.table({"Content": ["Five six."], "URL": ["http://a.test/"]}), folder / "c.parquet")
    found = documents(folder, tmp_path / "out")
    assert [one.text for one in found] == ["One two.", "Three four.", "Five six."]
    assert [one.title for one in found[:2]] == ["A", "B"] and found[2].url == "http://a.test/"


def test_tables_of_old_spreadsheets_and_of_excel(folder: Path, tmp_path: Path) -> None:
    (folder / "a.csv").write_bytes(b"sep=|\r\ntext|title\r\nOne, two; three.|A\r\n")
    (folder / "b.csv").write_bytes(b'text,title\rFour five.,B\r"Six\rseven.",C\r')
    found = documents(folder, tmp_path / "out")
    assert [(document.text, document.title) for document in found] == [
        ("One, two; three.", "A"),
        ("Four five.", "B"),
        ("Six\nseven.", "C"),
    ]
    assert not dropped(tmp_path / "out")


def test_what_cannot_be_read_says_why_and_what_to_do(folder: Path, tmp_path: Path) -> None:
    (folder / "null.txt").symlink_to("/dev/null")
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "old.docx").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 504)
    (folder / "notes.tar.bz2").write_bytes(bz2.compress(FIRST.encode()))
    (folder / "book.epub").write_text(FIRST)
    (folder / "paper.pdf").write_text(FIRST)
    (folder / "today.log").write_text(FIRST)
    (folder / "good.txt").write_text(FIRST)
    documents(folder, tmp_path / "out")
    why = {record["source"]: record["why"] for record in read_jsonl(tmp_path / "out/dropped.jsonl")}
    assert (why["null.txt"], why["loop.txt"]) == ("a device or pipe", "a link that leads nowhere")
    assert "password" in why["old.docx"] and "save it as .docx" in why["old.docx"]
    assert "is no MediaWiki dump" in why["notes.tar.bz2"] and why["notes.tar.bz2"].endswith("unpack it")
    assert why["book.epub"].startswith("no EPUB: ") and "PDFium" in why["paper.pdf"]
    assert why["today.log"].endswith("if it is text, give it a name that ends with .txt")


def test_pipes_devices_and_empty_paths_are_refused_at_once(tmp_path: Path, command: Command) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for path, why in ((tmp_path / "pipe.txt", "is a device or pipe"), ("/dev/null", "is a device"), ("", "empty path")):
        done = command("extract", path, "-o", tmp_path / "out")
        assert done.code == 2 and "extract.paths: " in done.stderr and why in done.stderr
    done = command("new", "folder", tmp_path / "pipe.txt")
    assert done.code == 2 and "is a device or pipe" in done.stderr
    with pytest.raises(UserError, match="is a device or pipe"):
        execute(BY_NAME["extract"], {}, Extract(paths=[str(tmp_path / "pipe.txt")]), tmp_path / "out")


def test_names_that_are_no_utf8_are_told_apart_and_found(folder: Path, tmp_path: Path, command: Command) -> None:
    for byte in (b"\xe8", b"\xe9"):
        Path(os.fsdecode(os.fsencode(folder) + b"/caf" + byte)).with_suffix(".txt").write_text(f"{FIRST} {byte!r}")
    (tmp_path / "r.toml").write_text('[extract]\npaths = ["in"]\n[passages]\n')
    assert command("run", tmp_path / "r.toml", "-o", tmp_path / "run").code == 0
    assert [found.source for found in read_documents(tmp_path / "run" / "extract")] == ["caf\\xe8.txt", "caf\\xe9.txt"]
    for asked in ("caf\\xe9.txt", "caf\udce9.txt", f"{folder}/caf\udce9.txt"):
        told = command("why", tmp_path / "run", asked)
        assert told.code == 0 and told.stdout.startswith("extract: kept") and "caf\\xe9.txt" in told.stdout
    for words in (("find", tmp_path / "run", "x\udce9"), ("extract", folder / "caf\udce9.txt", "-o", tmp_path / "out")):
        refused = command(*words)
        assert refused.code == 2 and "is no UTF-8" in refused.stderr and "\\xe9" in refused.stderr


def test_parts_and_cells_beyond_any_document_are_left_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.corpus.readers.word_document.MAX_MARKUP", 500)
    monkeypatch.setattr("gristmill.corpus.readers.tables.MAX_WHOLE", 500)
    with zipfile.ZipFile(folder / "a.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", " " * 1_000)
    pq.write_table(pa.table({"text": [FIRST, FIRST * 10]}), folder / "b.parquet")
    assert [document.source for document in documents(folder, tmp_path / "out")] == ["b.parquet:1"]
    assert dropped(tmp_path / "out") == ["too_large"] * 2


def test_a_wikipedia_dump(tmp_path: Path) -> None:
    text = "'''Ash''' is a [[tree|big tree]].{{cite|x={{y}}}} [[File:a.png|An [[ash]]]] It grows.\n== See ==\n* [[Oak]]"
    pages = PAGE.format(title="Ash &amp; oak", ns=0, more="", text=text)
    pages += PAGE.format(title="Talk:Ash", ns=1, more="", text="chatter")
    pages += PAGE.format(title="Ashes", ns=0, more='<redirect title="Ash"/>', text="#REDIRECT [[Ash]]")
    path = tmp_path / "enwiki-1-pages-articles.xml.bz2"
    path.write_bytes(bz2.compress(DUMP.format(pages=pages).encode()))
    (found,) = documents(path, tmp_path / "out")
    assert found.text == "Ash is a big tree. It grows.\n## See\n- Oak"
    assert (found.title, found.licence) == ("Ash & oak", "CC-BY-SA-4.0")
    assert found.url == "https://en.wikipedia.org/wiki/Ash_%26_oak"
    assert found.source == f"{path.name}:1"
    assert dropped(tmp_path / "out") == ["redirect"]


def test_a_dump_is_streamed_and_its_cut_end_named(tmp_path: Path) -> None:
    pages = "".join(PAGE.format(title=f"T{n}", ns=0, more="", text=FIRST) for n in range(2_000))
    whole = bz2.compress(DUMP.format(pages=pages).encode())
    (tmp_path / "a-pages-articles.xml.bz2").write_bytes(whole[:-40])
    records = read_file(tmp_path / "a-pages-articles.xml.bz2", "a")
    with pytest.raises(UserError, match="truncated or damaged after article"):
        assert next(records).title == "T0"
        list(records)
    (tmp_path / "b-pages-articles.xml.bz2").write_bytes(bz2.compress(b"<html><body/></html>"))
    with pytest.raises(UserError, match="mediawiki"):
        list(read_file(tmp_path / "b-pages-articles.xml.bz2", "b"))


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a <ref name=x>b</ref>c<ref name=x /> d", "a c d"),
        ("<math display=block>x^2</math> and <math>\\frac{a}{b}</math>", "$$x^2$$ and $\\frac{a}{b}$"),
        ("<syntaxhighlight lang=python>\nif a: [[b]]\n</syntaxhighlight>", "```\nif a: [[b]]\n```"),
        ("{| class=x\n! a\n|-\n| {{b|{{c}}}}\n|}after", "after"),
        ("[http://a.test/x the site] and [[Category:B]][[a (b)|]]", "the site and a (b)"),
        ("{{lang|la|vox}} {{nowrap|10 km}} x{{snd}}y", "vox 10 km x – y"),
        ("# one\n## two\n* three\n; term\n: said", "1. one\n  1. two\n- three\nterm\nsaid"),
        ("<nowiki>[[a]]</nowiki> {{unclosed [[b]]", "[[a]] unclosed b"),
        ("a&nbsp;&amp;lt; <!-- b --> __NOTOC__ ''c''", "a\xa0&lt; c"),
        ("== Empty ==\n== Full ==\ntext\n=== Also empty ===\n", "## Full\ntext"),
    ],
)
def test_wikitext(markup: str, text: str) -> None:
    assert plain_text(markup) == text


def test_wikitext_nested_deeper_than_any_is_left_out() -> None:
    assert plain_text("a" + "{{small|" * 99 + "b" + "}}" * 99 + " [[c]]") == "ab c"
    assert plain_text("a" + "{{small|" * 200 + "b" + "}}" * 200 + " [[c]]") == "a c"
    assert plain_text("[[" * 200 + "a {{small|b}} [[c|d]]").endswith("a b d")


@given(st.text("{}[]|=<>!-'*#:; \n\x00ab/ref", max_size=200))
def test_any_wikitext_ends(markup: str) -> None:
    assert isinstance(plain_text(markup), str)


@pytest.mark.parametrize("name", ["a.epub", "a.pdf", "a.xhtml"])
def test_one_damaged_file_among_good_ones_is_counted(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "good.txt").write_text(FIRST)
    (folder / name).write_bytes(b"\x00\x01garbage\xff" * 50)
    (found,) = documents(folder, tmp_path / "out")
    assert found.text == FIRST
    assert dropped(tmp_path / "out") in (["damaged"], ["undecodable"])


def test_an_epub_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.corpus.readers.books.MAX_PART", 1_000)
    make_epub(tmp_path / "a.epub")
    with zipfile.ZipFile(tmp_path / "a.epub", "a", zipfile.ZIP_DEFLATED) as book:
        book.writestr("EPUB/text/gone.xhtml", "x" * 1_000_000)
    documents(tmp_path / "a.epub", tmp_path / "out")
    assert dropped(tmp_path / "out") == ["too_large"]


def test_a_table_without_texts_is_a_markdown_table(folder: Path, tmp_path: Path) -> None:
    (folder / "a.csv").write_text('model;bits\nsmall;1,5\n"a|b";2\n', encoding="latin-1")
    pq.write_table(pa.table({"x": [1, 2], "y": ["é", None]}), folder / "b.parquet")
    (folder / "c.tsv").write_text("only\theads\n")
    (folder / "d.csv").write_text("n,n,\n1,2,3,4\n\n5\n")
    first, second, third = documents(folder, tmp_path / "out")
    assert third.text == "| n | n |  |\n| --- | --- | --- |\n| 1 | 2 | 3 | 4 |\n| 5 |"
    assert first.text == "| model | bits |\n| --- | --- |\n| small | 1,5 |\n| a\\|b | 2 |"
    assert (first.title, second.text) == ("a.csv", "| x | y |\n| --- | --- |\n| 1 | é |\n| 2 |  |")
    assert dropped(tmp_path / "out") == ["empty"]


def test_a_table_of_sentences_is_a_document_a_row(folder: Path, tmp_path: Path) -> None:
    tickets = "\ufeffTicket ID;Subject;Description\nT-1;Mill;{}\nT-2;;\n;Boat;{}\n".format(
        FIRST.replace(",", ";"), SECOND
    )
    (folder / "a.csv").write_text(tickets.replace(FIRST.replace(",", ";"), f'"{FIRST}"'))
    (folder / "b.csv").write_text(f'1,"{FIRST}"\n2,"{SECOND}"\n')  # without names
    rows = [
        {"question": FIRST, "answers": [{"by": "Ada", "note": SECOND}, 5], "id": 7, "none": None},
        {"question": "Why?"},
    ]
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.table({"note": [FIRST, SECOND], "vector": [[0.5], [1.5]], "n": [1, None]}), folder / "d.parquet")
    found = {document.source: document for document in documents(folder, tmp_path / "out")}
    assert {source: document.text for source, document in found.items()} == {
        "a.csv:1": f"Ticket ID: T-1\nSubject: Mill\nDescription: {FIRST}",
        "a.csv:2": "Ticket ID: T-2",
        "a.csv:3": f"Subject: Boat\nDescription: {SECOND}",
        "b.csv:1": f"1\n{FIRST}",
        "b.csv:2": f"2\n{SECOND}",
        "c.jsonl:1": f"question: {FIRST}\nby: Ada\nnote: {SECOND}\nid: 7",
        "c.jsonl:2": "question: Why?",
        "d.parquet:1": f"note: {FIRST}\nn: 1",
        "d.parquet:2": f"note: {SECOND}",
    }
    assert (found["a.csv:1"].title, found["c.jsonl:2"].title, found["c.jsonl:1"].url) == ("Mill", "Why?", "c.jsonl#7")
    assert dropped(tmp_path / "out") == []


def test_a_large_table_without_texts_is_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "good.txt").write_text(FIRST)
    (folder / "a.csv").write_text("x,y\n" + "1234567890,abcdefgh\n" * 60_000)
    assert [document.text for document in documents(folder, tmp_path / "out")] == [FIRST]
    assert dropped(tmp_path / "out") == ["large_table"]


def test_remote_files_are_read_in_place(tmp_path: Path) -> None:
    storage = fsspec.filesystem("memory")
    storage.pipe("/corpus/b/two.txt", SECOND.encode())
    storage.pipe("/corpus/a.jsonl", json.dumps({"text": FIRST}).encode() + b"\n")
    with storage.open("/corpus/c.parquet", "wb") as file:
        pq.write_table(pa.table({"text": [FIRST, SECOND]}), file)
    out = tmp_path / "out"
    params = Extract(paths=["memory://corpus"])
    first = execute(BY_NAME["extract"], {}, params, out)
    assert first is not None and first.counts["documents_out"] == 4
    assert [document.source for document in read_documents(out)] == [
        "a.jsonl:1",
        "b/two.txt",
        "c.parquet:1",
        "c.parquet:2",
    ]
    assert execute(BY_NAME["extract"], {}, params, out) is None  # unchanged
    storage.pipe("/corpus/b/two.txt", FIRST.encode())
    assert execute(BY_NAME["extract"], {}, params, out) is not None  # changed


def test_a_file_over_http(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/a.jsonl").write_text(json.dumps({"text": FIRST}) + "\n")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.jsonl"
        execute(BY_NAME["extract"], {}, Extract(paths=[url]), tmp_path / "out")
        with pytest.raises(UserError, match=r"gone\.jsonl"):
            execute(BY_NAME["extract"], {}, Extract(paths=[url.replace("a.", "gone.")]), tmp_path / "out2")
        server.shutdown()
    assert [document.text for document in read_documents(tmp_path / "out")] == [FIRST]


def test_unknown_storage_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nosuch"):
        execute(BY_NAME["extract"], {}, Extract(paths=["nosuch://a/b.jsonl"]), tmp_path / "out")

"""HTML → main text: the parser against lexbor, the forests against a plain walk, Markdown, and hostile pages."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree
from safetensors.numpy import load_file

from gristmill.html.charset import to_utf8
from gristmill.html.content.main_text import MODEL, extract_html, model

ROOT = Path(__file__).parents[2]
COSTS = Path(__file__).with_name("page_costs.py")
EVALUATION = ROOT.parent / "shared/data/extraction/trafilatura-eval.tar.xz"
sys.path.insert(0, str(ROOT / "tools/main_text"))
from blocks import Cut  # noqa: E402

PROSE = [
    "The mill stood at the end of the village, where the river turned west and the road became a path.",
    "Every morning the miller opened the gate, listened for the wheel, and counted the sacks that were left.",
    "His daughter kept the books, which nobody else could read, in a hand that leaned like grass in the wind.",
    "When the bridge fell, in the wet spring of that year, they carried the flour across in a borrowed boat.",
]
BODY = "".join(f"<p>{text}</p>" for text in PROSE)


def whole(source: str | bytes) -> str:
    """All text of a page."""
    return extract_html(source, whole=True).text


# ---- the parser ----


def lexbor_words(source: str) -> list[str]:
    """The words of the body that lexbor's tree holds, less what we never show."""
    hidden = {"script", "style", "template", "select", "svg", "iframe", "textarea", "title", "head", "rp", "rt"}
    blocks = set("body p div ul li section blockquote h1 h2 dl dd dt article form center br pre hr ol address".split())
    tree = HTMLTree.parse(source)
    out: list[str] = []
    stack: list[Any] = [tree.body] if tree.body else []
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            out.append(node)
        elif node.tag == "#text":
            out.append(node.value or "")
        elif node.tag in ("svg", "textarea"):
            out.append(" ")  # a box in the line
        elif node.tag not in hidden and not (node.tag or "#").startswith("#"):
            if node.tag in blocks:
                out.append(" ")
                stack.append(" ")
            stack += reversed(list(node.child_nodes))
    return re.findall(r"\w+", "".join(out))


TAGS = (
    "p div span b a ul li section blockquote script style svg h2 dl dd dt article textarea i em template x-y center h1 "
    "pre hr ol address option small nobr"
)
ODD = (
    "<a\thref='/x'> <br> </br> <!-- --> <!--x--> <form> <em/> < & &amp; &lt; &copy &notit; &#65; &#x42; &#0; <!x> </> "
    "</1> <p\tclass=a> <p\tid='b>"
)
PIECES = st.lists(
    st.sampled_from([*(f"<{tag}>" for tag in TAGS.split()), *(f"</{tag}>" for tag in TAGS.split()), *ODD.split(" ")])
    | st.integers(0, 99).map(lambda number: f"w{number} "),
    max_size=40,
)


@settings(max_examples=400)
@given(PIECES)
def test_text_is_that_of_a_standard_parser(pieces: list[str]) -> None:
    source = "<!doctype html><body>" + "".join(pieces)
    marks = re.compile(r"^(?:[- ]*\d+\. )+", re.MULTILINE)  # numbers of lists are not the page's
    assert Counter(re.findall(r"\w+", marks.sub("", whole(source)))) == Counter(lexbor_words(source))


def test_every_named_reference() -> None:
    names = sorted(html.entities.html5)
    found = [whole(f"<p>a&{name} b").split("b")[0] for name in names if name not in ("zwj;", "zwnj;")]
    invisible = re.compile("[\u00ad\u200b\u200e\u200f\u2060-\u2064]")
    blank = re.compile("[\\s\u00a0]+")
    wrong = []
    for name, text in zip((name for name in names if name not in ("zwj;", "zwnj;")), found, strict=True):
        wanted = f"a{html.unescape('&' + name)} "
        if name.rstrip(";") in ("NoBreak", "af", "ApplyFunction", "it", "InvisibleTimes", "ic", "InvisibleComma"):
            continue  # invisible: kept as they are
        if blank.sub(" ", invisible.sub("", wanted)).strip() != text.strip() and "b" not in wanted[1:]:
            wrong.append((name, text, wanted))
    assert not wrong


@given(st.text("&#x0123456789abcdefgnotilz; ", max_size=30))
def test_references_are_decoded_as_python_does(text: str) -> None:
    wanted = html.unescape(text.replace("<", ""))
    clean = "".join(letter for letter in wanted if letter.isprintable() or letter.isspace()).replace("\u200b", "")
    if "\xad" not in wanted and all(letter == "\ufffd" or letter.isprintable() or letter in " \n" for letter in wanted):
        assert whole(f"<p>{text}</p>").split() == clean.split()


# ---- the choice ----


def plain_judge(tensors: dict[str, np.ndarray], name: str, features: np.ndarray) -> np.float32:
    """A forest, walked in Python."""
    total = np.float32(0)
    part = {key: tensors[f"{name}.{key}"] for key in ("feature", "threshold", "children", "leaves")}
    for root, first_leaf in zip(tensors[f"{name}.roots"], tensors[f"{name}.first_leaves"], strict=True):
        at = 0
        while at >= 0:
            here = int(root) + at
            at = int(part["children"][here][int(features[part["feature"][here]] > part["threshold"][here])])
        total = np.float32(total + part["leaves"][int(first_leaf) + ~at])
    return total


def test_the_choice_is_the_forests(tmp_path: Path) -> None:
    menu = "".join(f'<li><a href="/{i}">Section {i}</a></li>' for i in range(9))
    page = (
        f'<title>Mill days</title><div id=nav><ul>{menu}</ul></div><div class="post"><h1>Mill days</h1>{BODY}'
        f'<pre>x = 1</pre></div><div class="sidebar"><h3>Latest news</h3><ul>{menu}</ul></div>'
        '<div id="comments"><p>Great story, I liked it very much indeed.</p></div><div class=footer>© 2020 Mill</div>'
    ).encode()
    tensors, known = load_file(MODEL), model()
    cut = Cut(page, known.classes, known.texts)
    first = np.array([plain_judge(tensors, "first", features) for features in cut.features])
    both = np.hstack([cut.features, cut.context(first)])
    second = np.array([plain_judge(tensors, "second", features) for features in both])
    assert ((cut.features >= 0) | (cut.features < 0)).all()  # no NaN
    assert np.abs(cut.choice(known)[0] - second).max() < 1e-4
    kept = [text for text, value in zip(cut.texts, second, strict=True) if value > tensors["threshold"][0]]
    text = extract_html(page).text
    assert re.sub(r"[`#\n ]+", " ", text).strip() == re.sub(r"\s+", " ", " ".join(k for k in kept if k != "Mill days"))
    assert all(part in text for part in PROSE)


NAMED = {  # what a page may be, by schema.org's type of it, and by Open Graph's
    "article": ("NewsArticle", "article"),
    "product": ("Product", "product"),
    "list": ("ItemList", None),
    "talk": ("DiscussionForumPosting", None),
}


def test_a_page_names_its_type() -> None:
    """In JSON-LD (one type, several, an address), microdata or Open Graph: each way is the same fact about a page, and
    each type another."""
    seen = set()
    for name, property_ in NAMED.values():
        json_ld = '<script type="application/ld+json">{%s, "name": "NewsArticle"}</script>'
        ways = [json_ld % f'"@type": "{name}"', json_ld % f'"@graph": [{{"@type":["Thing", "{name}" ]}}]']
        ways += [json_ld % f'"@type" : "http://schema.org/{name}"']
        ways += [f'<div itemscope itemtype="https://schema.org/{name}"></div>']
        ways += [f'<meta property="og:type" content="{property_}">'] if property_ else []
        told = [Cut(f"{way}<p>{PROSE[0]}".encode(), model().classes, model().texts).features for way in ways]
        plain = Cut(f"<p>{PROSE[0]}".encode(), model().classes, model().texts).features
        changed = [tuple(np.flatnonzero(features[0] != plain[0])) for features in told]
        assert len({*changed}) == 1, (name, changed)
        seen.add(changed[0])
    assert len(seen) == len(NAMED)


LAYOUTS = {
    "semantic": "<header><nav>{menu}</nav></header><main><article><h1>{title}</h1>{body}</article></main>"
    "<aside>{side}</aside><footer>{foot}</footer>",
    "divs": "<div id=header>{menu}</div><div id=content><h1>{title}</h1>{body}</div><div id=sidebar>{side}</div>"
    "<div id=footer>{foot}</div>",
    "table": "<table><tr><td width=120>{menu}</td><td valign=top><h1>{title}</h1>{body}</td></tr>"
    "<tr><td colspan=2>{foot}</td></tr></table>",
    "bare": "<p>{menu}</p><h1>{title}</h1>{body}<hr><address>{foot}</address>",
    "forum": "<div class=topnav>{menu}</div><div class=thread><h1>{title}</h1><div class=post><div class=author>ann"
    "</div><div class=postbody>{body}</div></div></div><div class=footer>{foot}</div>",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_body_stays_and_the_furniture_goes(layout: str, count: int) -> None:
    menu = " ".join(f'<a href="/{name}">{name}</a>' for name in ("Home", "Boats", "About us", "Contact"))
    side = '<h3>Related</h3><ul><li><a href="/t">Ten tricks for better bread</a></li></ul>'
    body = "".join(f"<p>{text}</p>" for text in PROSE[:count])
    source = LAYOUTS[layout].format(menu=menu, title="The river", body=body, side=side, foot="Copyright 2021 The Guild")
    page = extract_html(f"<!doctype html><title>The river | Guild</title><body>{source}")
    assert page.title == "The river"
    assert all(text in page.text for text in PROSE[:count])
    for furniture in ("Home", "About us", "Ten tricks", "Copyright"):
        assert furniture not in page.text


def test_a_link_beside_the_text_goes_though_it_repeats_the_title() -> None:
    links = '<ul><li><a href="/1">The long river</a></li><li><a href="/2">Other tales</a></li></ul>'
    main = f"<main><article><h1>The long river</h1>{BODY}</article></main>"
    page = extract_html(
        f"<title>The long river | Tales</title>{main}<aside class=related><h2>Related</h2>{links}</aside>"
    )
    assert page.text.endswith(PROSE[-1]) and "The long river" not in page.text


def test_comments_are_an_option() -> None:
    said = "I remember that bridge, my uncle helped to build it when he was young."
    source = (
        f"<title>x</title><article><h1>Mill</h1>{BODY}</article><div id=comments class=comments><h3>2 comments</h3>"
    )
    source += f"<div class=comment><p>{said}</p></div></div>"
    assert said not in extract_html(source).text
    assert said in extract_html(source, comments=True).text


# ---- hostile pages ----


@settings(max_examples=300)
@given(
    st.binary(max_size=400)
    | st.lists(st.sampled_from([b"<", b">", b"&", b"\xff", b"<!--", b"</p>", b"<td>", b"\xe2\x80"])).map(b"".join)
)
def test_any_bytes_are_read(source: bytes) -> None:
    assert extract_html(source).text is not None
    assert extract_html(b"<p>" + source, whole=True).text is not None


HOSTILE = {  # what a page repeats that is to cost much
    "elements": "<div>",
    "formatting": "<b>",
    "tables": "<table><tr><td>",
    "lists": "<ul><li>",
    "links": "<a href=x>",
    "foreign": "<svg>",
    "comments": "<!--",
    "attribute": "<p class='",
    "references": "&",
    "paragraphs": "<p>x",
    "formulas": "<math>",
    "choices": "<select>",
    "breaks": "a<br><br>",
    "rules": "a<hr>",
    "items": "<li>x",
    "rows": "<tr><td>a<td>b",
    "classes": '<b class="nav comment body a b c">x</b>',
    "misnested": "<p><b><i></p>",
    "vain ends": "</b></p></h1></table></li>",
    "headings": "<h1>a",
    "titles": "<title>a</title>",
    "scopes": "<button><p>",
    "lines of code": "<pre><div>x",
    "raised text": "<sup>x",
    "readings": "<ruby>a<rt>b",
    "fractions": "<math><mfrac><mi>a</math>",
    "annotations": "<math><annotation></math>",
    "formulas without an end": "<math><mi>x</mi><p>",
    "tables in a table": "<table><tr><td>x",
    "terms": "<dt>a<dd>b",
}
DEEP = {  # what stands before: elements that each part looks through
    "items in a list of much": ("<li><ul>" + "<div>" * 505, "<li>"),
    "cells far from their table": ("<table>" + "<b>" * 505, "<td>"),
    "ends far from their start": ("<i>" + "<font>" * 505, "</h1>"),
    "cells in a table in a cell": ("<table><tr><td><table>" + "<b>" * 505, "<td>"),
    "ends of unknown elements": ("<x>" * 505, "</y>"),
    "forms in a template": ("<template>" + "<b>" * 505, "<form></form>"),
    "foreign elements": ("<svg>" + "<g>" * 505, "</p><p>"),
    "ends between paragraphs": ("<div>" * 505, "<p></b>"),
    "paragraphs in a button in a paragraph": ("<p><button>" + "<b>" * 505, "<p>"),
    "text deep in cells": ("<table><tr><td>" + "<div>" * 480, "<p>x"),
    "links far from their start": ("<a>" + "<font>" * 505, "<a>"),
}
PAGES = {name: ("", part) for name, part in HOSTILE.items()} | DEEP


@pytest.fixture(scope="module")
def comparing() -> Iterator[Callable[[str, str], str]]:
    """Compares a page with plain text, in a process of its own; "0" where it costs little more."""
    with subprocess.Popen([sys.executable, COSTS], text=True, stdin=-1, stdout=-1) as process:
        assert process.stdin and process.stdout

        def compare(first: str, part: str) -> str:
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps([first, part]) + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield compare
        process.stdin.close()


@pytest.mark.skipif("GRISTMILL_NATIVE" in os.environ, reason="sanitizers take time and memory of their own")
@pytest.mark.parametrize("name", PAGES)
def test_no_page_costs_many_times_what_plain_text_does(name: str, comparing: Callable[[str, str], str]) -> None:
    """In time and memory; and twice the bytes cost about twice the time."""
    assert comparing(*PAGES[name]) == "0"


def test_nothing_is_lost_of_a_page_of_very_many_parts() -> None:
    words = [f"w{number}" for number in range(150_000)]
    for page in ("<p>" + "<p>".join(words), "<br><br>".join(words), "<table><tr><td>" + "<tr><td>".join(words)):
        assert extract_html(page, whole=True).text.replace("|", " ").replace("---", " ").split() == words


# ---- charsets ----


@pytest.mark.parametrize(
    ("header", "meta", "codec"),
    [
        ("", "utf-8", "utf-8"),
        ("", "iso-8859-1", "cp1252"),  # WHATWG: latin1 is windows-1252
        ("windows-1252", "utf-8", "cp1252"),
        ("utf-8", "", "utf-8"),
        ("", "", "utf-8"),
        ("iso-8859-1", "", "utf-8"),  # a server's default, which the bytes contradict
        ("bogus", "cp1252", "cp1252"),
    ],
)
def test_charset_precedence(header: str, meta: str, codec: str) -> None:
    text = "<p>naïve “quotes” — coöperation für alle, à demain"
    page = (f'<meta charset="{meta}">' if meta else "") + text
    assert to_utf8(page.encode(codec), header).decode().endswith(text)


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("shift_jis", "cp932", "①髙﨑"),
        ("gb2312", "gb18030", "镕中文"),
        ("euc-kr", "cp949", "똠방각하"),
        ("big5", "big5hkscs", "着嘅"),
    ],
)
def test_labels_mean_what_browsers_mean(label: str, codec: str, text: str) -> None:
    assert text in to_utf8(f'<meta charset="{label}"><p>{text}'.encode(codec)).decode()


def test_one_broken_byte_does_not_change_the_charset() -> None:
    page = "<meta charset=utf-8><p>Žluťoučký kůň úpěl ďábelské ódy".encode()
    assert "kůň úpěl" in to_utf8(page + b" \xff end", "utf-8").decode()


@given(st.binary(max_size=200), st.sampled_from(["", "utf-8", "utf-16", "x", "gbk", "ISO-8859-1", "utf-7"]))
def test_any_bytes_become_utf8(body: bytes, charset: str) -> None:
    to_utf8(body, charset).decode("utf-8")


# ---- quality on pages that nobody here wrote ----


@pytest.mark.slow
@pytest.mark.skipif(not EVALUATION.exists(), reason="the extraction data is not here")
def test_quality_on_hosts_that_the_model_was_not_fitted_on() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/extract.py"), "--quality"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = re.search(r"development snippets F1 ([\d.]+)", done.stdout)
    assert found and float(found.group(1)) > 0.925, done.stdout

"""HTML as pages really are: tables, code, formulas, hidden text, short pages, documentation, JSON-LD."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gristmill.corpus.extract.stage import extract_record
from gristmill.document import Document
from gristmill.html.content.main_text import extract_html
from gristmill.html.links import page_tags
from gristmill.record import Record

CASES = Path(__file__).parents[3] / "shared/cases/web"
FIRST = (
    "This is a long first paragraph about the river and the mill, with enough words that any reader would call it "
    "running text, and it ends here."
)
LAST = (
    "The second paragraph goes on about the miller, who ground the grain of three villages, and it holds a good number "
    "of words as well."
)


def whole(source: str) -> str:
    """All text of a page."""
    return extract_html(source, whole=True).text


def between(source: str) -> str:
    """What is kept of a part of an article between two paragraphs."""
    page = f"<title>Mill</title><article><h1>Mill</h1><p>{FIRST}</p>{source}<p>{LAST}</p></article>"
    text = extract_html(page).text
    assert text.startswith(FIRST) and text.endswith(LAST)
    return text.removeprefix(FIRST).removesuffix(LAST).strip()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<tr><td><p>a</p><td><div>b</div><tr><td>c<td>d", "| a | b |\n| c | d |"),
        ("<tr><th>a<th>b<tr><td><ul><li>c<li>d</ul><td><p>e<p>f", "| a | b |\n| --- | --- |\n| c d | e f |"),
        (f"<tr><th>a<td>{FIRST * 5}<tr><th>b<td>c", f"| a | {FIRST * 5} |\n| b | c |"),
        ("<caption>t<tr><td>a || b<td>or", "t\n\n| a \\|\\| b | or |"),
        ("<tr><th>a<th>b<tr><td><pre>if x:\n  y</pre><td>c", "| a | b |\n| --- | --- |\n| if x:<br>  y | c |"),
        ("<tr><th>a<th>b<tr><td colspan=2>c<tr><td>d<td>e", "| a | b |\n| --- | --- |\n| c |\n| d | e |"),
        (f"<tr><td class=icon><div>Note</div><td>{FIRST * 5}", f"| Note | {FIRST * 5} |"),  # as AsciiDoc writes it
        ("<tr><td><h2>a</h2>b<td><p>c<p>d", "## a\n\nb\n\nc\n\nd"),  # a layout
        ("<tr><td>a<td><table><tr><td>b<td>c</table>", "a\n\n| b | c |"),
        ("<tr><td class=gutter><pre>1\n2</pre><td><pre>a\nb</pre>", "```\na\nb\n```"),  # numbers of lines
    ],
)
def test_rows_stay_rows(source: str, text: str) -> None:
    assert whole(f"<table>{source}</table>") == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<div>a</div><div>  b</div><div></div><div>c</div>", "a\n  b\n\nc"),
        ("<code><div class=line><div>a</div></div><div>b\n</div><div>\n</div>c</code>", "a\nb\n\nc"),
        ("<ol><li>a<li>  b</ol>", "a\n  b"),
        ("<table><tr><td class=lineno>1<td>a<tr><td class=lineno>2<td>b</table>", "a\nb"),
        ("<span class=linenos>1</span>a\n<span class=linenos>2</span>b", "a\nb"),
        ("a<br>b", "a\nb"),
        ("a<sup>b</sup>", "ab"),
    ],
)
def test_code_whose_lines_are_elements(source: str, text: str) -> None:
    assert between(f"<pre>{source}</pre>") == f"```\n{text}\n```"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("10<sup>6</sup> H<sub>2</sub>O x<sup></sup>y z", "10<sup>6</sup> H<sub>2</sub>O xy z"),
        ("<math><mfrac><mi>a</mi><mrow><mi>b</mi><mo>+</mo><mn>1</mn></mrow></mfrac></math>", r"$\frac{a}{b+1}$"),
        ("<math><msup><mrow><mi>a</mi><mi>b</mi></mrow><mn>2</mn></msup></math>", "${ab}^{2}$"),
        ("<math><msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup></math>", "$x_{1}^{2}$"),
        ("<math><mroot><mi>x</mi><mn>3</mn></mroot><mspace/><msqrt><mi>y</mi><mi>z</mi></msqrt></math>", None),
        ("<math><mi>x</mi><annotation>no</annotation><!-- > --></math>", "$x$"),
        ("<math>" + "<mrow>" * 99 + "<mi>x</mi>" + "</mrow>" * 99 + "<mo>=</mo></math>", "$x=$"),
        ("<math></mrow></mrow><msup><mi>x</msup></math", "$x$"),
        ("a<math><mi>x</mi><p>b<p>c<math><mn>1</mn></math>", "ax\n\nb\n\nc$1$"),
        ("<div><math><mi>x</div><div>b</div><math><mn>1</mn></math>", "x\n\nb\n\n$1$"),
        ("<math><mi>x</mi><b>b</b> c<math><mn>1</mn></math>", "xb c$1$"),
        ("<math><mtext><b>if</b></mtext><mi/><!-- <p> --><mi>x</mi></math>", "$ifx$"),
        ("<ruby>漢<rt>かん</ruby><ruby>字<rp>(<rt>じ<rp>)</ruby>は", "漢字は"),
        ("<ruby>a<rb>b<rt>c<rb>d<rtc>e<rt>f</ruby>g", "abdg"),
        ("<div><template shadowrootmode=open>in</template>out</div><template>no</template>", "inout"),
        ("a<plaintext>b<p>c</p>", "a\n\n```\nb<p>c</p>\n```"),
        ("<p>a</", "a</"),
        ("a<script>b</script x='>'>c", "ac"),
        ("<select><option>a<input>b", "b"),
        ("<table><tr><td><select><option>a<tr><td>b</table>", "b"),
        ("<svg><desc><div><svg><ul>a</ul></svg></div></desc></svg>b", "b"),
        ("<title>t</title><frameset><frame src=x></frameset>a", ""),
        ("<h2>a<a class=hash-link href=#a>#</a></h2>b", "## a\n\nb"),
    ],
)
def test_what_elements_mean(source: str, text: str | None) -> None:
    assert whole(source) == (r"$x^{1/{3}}\sqrt{yz}$" if text is None else text)


@pytest.mark.parametrize(
    "how",
    ["hidden", "style='color: red; DISPLAY : none !important'", "style='visibility:hidden;x:y'", "aria-hidden=true"],
)
def test_hidden_text_however_it_is_spelt(how: str) -> None:
    assert between(f"<div {how}><p>{LAST.replace('second', 'unseen')}</p></div>") == ""
    assert between(f"<div style='not-display:none'><p>{FIRST}</p></div>") == FIRST


def test_a_page_that_a_script_will_show_is_read() -> None:
    assert (
        extract_html(f"<body><article style='display:none'><p>{FIRST}<p>{LAST}</article>").text == f"{FIRST}\n\n{LAST}"
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>Just one short paragraph.</p>", "Just one short paragraph."),
        ("<h1>Tools</h1><ul><li>Hammer<li>Chisel<li>Rasp<li>Saw</ul>", "- Hammer\n- Chisel\n- Rasp\n- Saw"),
        ("<nav>Home</nav><footer>By nobody</footer><div class=cookie-banner>We use them.</div>", ""),
        ("<p><a href=/>Home</a>", ""),
    ],
)
def test_very_short_pages(source: str, text: str) -> None:
    assert extract_html(f"<title>Tools</title><body>{source}").text == text


@pytest.mark.parametrize(
    ("head", "link"),
    [("", '<a class="headerlink" href="#x">¶</a>'), ('<meta name=generator content="Docusaurus v2.4">', "")],
)
def test_the_main_element_of_documentation_is_kept_whole(head: str, link: str) -> None:
    parts = ["<dl><dt>level</dt><dd>10</dd></dl>", "<pre>x = 1</pre>", "<h3>End{link}</h3><p>Ann</p>", "<p>v2</p>"]
    menu = "".join(f'<li><a href="/{i}">Part {i}</a></li>' for i in range(9))
    page = (
        f"{head}<title>Mills</title><div class=sidebar><ul>{menu}</ul><p>{FIRST}</p></div>"
        f"<div role=main><h1>Mills{link}</h1><p>{LAST}</p>{''.join(parts)}<nav><p>Part 1</p></nav></div>"
        f"<div class=footer>Built with care</div>"
    ).replace("{link}", link)
    text = extract_html(page).text
    assert text == f"{LAST}\n\nlevel\n\n10\n\n```\nx = 1\n```\n\n### End\n\nAnn\n\nv2"


def test_a_page_of_docbook_is_kept_but_for_its_navigation() -> None:
    """Tables of contents and pages of a line are its text, too; its style sheets say what is navigation."""
    bar = "<table><tr><td><a href=/p>Prev</a></td><th>Appendix E. Mills</th><td><a href=/n>Next</a></td></tr></table>"
    contents = "".join(f"<dt><a href=/{i}>{i}. Stone {i}</a></dt>" for i in range(3))
    page = (
        '<meta name=generator content="DocBook XSL Stylesheets V1.79"><title>Mills</title>'
        f"<div class=navheader>{bar}</div><div class=chapter><h1>Mills</h1>"
        f"<p>See <a href=/x>here</a></p><pre class=screen>x = 1</pre><div class=toc>"
        f"<dl>{contents}</dl></div></div><div class=navfooter>{bar}</div>"
    )
    text = extract_html(page).text
    assert "Prev" not in text and "Appendix" not in text
    for part in ("See here", "x = 1", "0. Stone 0", "2. Stone 2"):
        assert part in text


def test_an_article_that_stands_in_json_ld_alone() -> None:
    said = {"@graph": [1, {"@type": "NewsArticle", "articleBody": f'{FIRST} "x"'}, {"articleBody": "<p>no</p>"}]}
    for script in (json.dumps(said), json.dumps({"articleBody": f"<p>{FIRST} &quot;x&quot;</p>"})):
        page = f"<title>Mill</title><script type='application/ld+json'>{script}</script><div id=root></div>"
        assert extract_html(page).text == f'{FIRST} "x"'
    assert extract_html("<script type='application/ld+json'>{\"articleBody\": </script><div>").text == ""


def test_xhtml_is_read_as_xml() -> None:
    page = (
        f"<html><head><title/><script src='k.js'/></head><body><p>{FIRST}<br/><a id='x'/><a href='/y'/><svg/></p>"
        f"<style/><math/><div/><p>{LAST}<![CDATA[ a < é &amp; b ]]></p></body></html>"
    ).encode()
    assert page_tags(page, "", xml=True)[0][:2] == ("a", "/y") and not page_tags(page, "")
    found = extract_record(Record(page, "application/xhtml+xml", "http://x.test/", "x"))
    assert isinstance(found, Document) and found.text == f"{FIRST}\n\n{LAST} a < é &amp; b"


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")
@pytest.mark.parametrize("path", sorted(CASES.glob("*/*.*html"))[2:], ids=lambda path: path.name)
def test_pages_made_after_reports(path: Path) -> None:
    kind = "application/xhtml+xml" if path.suffix == ".xhtml" else "text/html"
    found = extract_record(Record(path.read_bytes(), kind, "http://x.test/", "x"))
    assert isinstance(found, Document) and "unseen" not in found.text

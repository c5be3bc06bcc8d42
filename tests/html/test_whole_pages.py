"""All text of a page as Markdown: where browsers see blocks, boxes, rows and formulas."""

from __future__ import annotations

import pytest

from gristmill.html.content.main_text import extract_html

PROSE = "The mill stood at the end of the village, where the river turned west and the road became a path."


def whole(source: str) -> str:
    """All text of a page."""
    return extract_html(source, whole=True).text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>a<p>b", "a\n\nb"),
        ("<p>a  b\n c&nbsp;d</p>", "a b c d"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("<h2>Title</h2><p>x<h4>y</h4>z", "## Title\n\nx\n\n#### y\n\nz"),
        ("<ul><li>a<li>b<ol start=3><li>c<li>d</ol></ul>", "- a\n- b\n  3. c\n  4. d"),
        ("<ul><li><p>a</p><p>b</p></li></ul>", "- a\n\nb"),
        ("<pre>\n  if x:\n    y &lt; z\n</pre>", "```\n  if x:\n    y < z\n```"),
        ("<pre>a\n```\nb</pre>", "````\na\n```\nb\n````"),
        (
            "<table><tr><th>n<th>m<tr><td>1<td>2<tr><td>3<td></table>",
            "| n | m |\n| --- | --- |\n| 1 | 2 |\n| 3 |  |",
        ),
        (f"<table><tr><td>a<td>{PROSE * 11}</table>", f"a\n\n{PROSE * 11}"),  # a layout, not a table
        ("<p>x <script type='math/tex'>a^2</script> y", "x $a^2$ y"),
        ("<p><math display=block alttext='{\\displaystyle b}'><mi>b</mi></math>", "$$b$$"),
        ("<p><math><mi>x</mi><annotation encoding='application/x-tex'>x &lt; 1</annotation></math>", "$x < 1$"),
        ("<p>w<img class=latex alt='\\pi'>", "w$\\pi$"),
        ("<p>a<svg><title>no</title><text>no</text></svg>b", "a b"),
        ("<p>a<svg><path><p>b", "a\n\nb"),  # breaks out of the picture
        ("<script>if (a<b) '<!--<script>' </script> x </script> y", "y"),
        ("<a href=x>one<a href=y>two</a>three", "onetwothree"),
        ("<b><p>a</b>b</p>c", "ab\n\nc"),
        ("<p>sec<sup class=reference>[1]</sup> <a class=headerlink href=#x>¶</a>", "sec"),
        ("<p>so\u00adft zero\u200bwidth</p>", "soft zerowidth"),
        ("a</p>b<i>c</br>d</i>", "a\n\nbc\nd"),  # end tags that make elements
        ("<p>a<button>b</p>c</button></p>d", "a b\n\nc\n\nd"),  # no paragraph in the button's scope
        ("a<template><p>x</p></p></template>b", "ab"),  # nor is there a boundary in what is not shown
        ("<svg>a</p>b", "b"),
        ("<form>a<form>b</form>c", "ab\n\nc"),  # a form in a form is not there
        ("<form><div>a</form>b</div>c", "ab\n\nc"),  # its end tag ends no other element
        ("<span><p>a</span>b", "ab"),  # an end tag that finds a block on its way is ignored
        ("<ul><li>a<ul></li><li>b</ul></ul>", "- a\n  - b"),
        ("<dl><dd><section>a<dd>b</section>c", "a\n\nb\n\nc"),
        ("<x-y><svg>a</x-y>b", "b"),  # any element's end tag ends the picture in it
        ("<p><i>a</p><svg>b</i>c", "a\n\nc"),  # formatting that a block has closed, too
        ("<table><tr><td><button>a</td><td>b</table>c", "| a | b |\n\nc"),  # a cell's end tag looks past buttons
        ("<table><tr><td><svg><td><foreignObject><i></td>a", "a"),  # and past HTML in a picture
        ("<table>a<tr><td>b<td>c</tr>d<i>e</i><p>f</table>g", "a\n\nde\n\nf\n\n| b | c |\n\ng"),  # text outside cells
        ("<table><tr><th>a<th>b<tr>x<td>c<td>d</table>", "x\n\n| a | b |\n| --- | --- |\n| c | d |"),
        ("<math><![CDATA[a]]>b<p>c<![CDATA[d]]>", "ab\n\nc"),
        ("<plaintext>\0a&amp;<b>", "```\n\ufffda&amp;<b>\n```"),
        ("a<xmp>if b &amp;&amp; c:\n  <d>\n</xmp>e", "a\n\n```\nif b &amp;&amp; c:\n  <d>\n```\n\ne"),
        ("<title>t</title>", ""),
        ("<p>a<!-- b -->c<!--> d --> e<!--- f -> g", "ac d --> e"),
        ("", ""),
    ],
)
def test_markdown(source: str, text: str) -> None:
    assert whole(source) == text


BOXES = (
    "<img src=x>",
    "<input>",
    "<svg><path/></svg>",
    "<select><option>x</select>",
    "<textarea></textarea>",
    "<iframe></iframe>",
    "<video></video>",
    "<canvas></canvas>",
    "<meter></meter>",
)


@pytest.mark.parametrize("box", BOXES)
def test_words_around_a_box_are_two(box: str) -> None:
    assert whole(f"<p>Milk 19 €{box}Add <i>to</i>{box}<i>basket</i>{box}, (x{box})") == "Milk 19 € Add to basket, (x)"
    assert whole(f"<ul><li>{box}a{box}<li>日{box}本") == "- a\n- 日本"
    assert whole(f"<p>a<template>{box}</template>b<input type=hidden>c<span>d</span>") == "abcd"


@pytest.mark.parametrize("name", ["button", "marquee", "object", "noscript", "progress"])
def test_words_in_a_box_are_none_of_those_around(name: str) -> None:
    assert whole(f"<p>19 €<{name}>Add</{name}><{name}>Keep</{name}>, (<{name}>x</{name}>)y") == "19 € Add Keep, (x)y"

"""Pages that are no articles keep what they are there for, and lose what leads elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gristmill.html.content.main_text import extract_html

TEXTS = [
    "The upper stone of our mill runs warm after ten minutes, although the gap is as wide as the manual asks for.",
    "Have you looked at the bearing below the stone? Mine was dry after the winter and did exactly the same thing.",
    "Thank you, the bearing was dry indeed; with new grease the stone stays cold even when we grind rye all day.",
    "Dress the stone once a year as well, since a smooth face rubs instead of cutting and that alone makes heat.",
]
MENU = "<nav><ul><li><a href='/'>All boards</a></li><li><a href='/l'>Sign in here</a></li></ul></nav>"
FOOT = "<footer><p>Copyright of the board's owners</p><a href='/p'>Privacy policy</a></footer>"


def page(main: str) -> str:
    """A page with navigation, a side column and a foot."""
    side = "<aside class='sidebar'><h3>Popular threads</h3><p><a href='/9'>Which sieve</a></p></aside>"
    head = "<!DOCTYPE html><html><head><title>A warm stone</title></head>"
    return f"{head}<body><header>{MENU}</header><main>{main}</main>{side}{FOOT}</body></html>"


def forum() -> str:
    """A thread whose posts are called comments."""
    posts = "".join(
        f"<div class='comment' id='comment-{at}'><div class='comment-author'><a href='/u'>miller{at}</a></div>"
        f"<div class='comment-body'><p>{text}</p></div><a class='reply' href='#'>Reply</a></div>"
        for at, text in enumerate(TEXTS)
    )
    return page(f"<h1>A warm stone</h1><div id='comments'>{posts}</div>")


def question() -> str:
    """A question, and answers in a part of their own."""
    answers = "".join(f"<div class='answer'><div class='answer-text'><p>{text}</p></div></div>" for text in TEXTS[1:])
    return page(f"<h1>A warm stone</h1><div class='question'><p>{TEXTS[0]}</p></div><div id='answers'>{answers}</div>")


def product() -> str:
    """A product with its description and its properties."""
    rows = "".join(f"<tr><th>Part {at}</th><td>{text}</td></tr>" for at, text in enumerate(TEXTS[2:]))
    return page(
        f"<h1>A warm stone</h1><div class='description'><p>{TEXTS[0]}</p><p>{TEXTS[1]}</p></div><table>{rows}</table>"
    )


def catalogue() -> str:
    """A list of goods, each with a name, a line and a price."""
    items = "".join(
        f"<li class='item'><h2><a href='/{at}'>Millstone number {at}</a></h2><p>{text}</p><p>{at}9.50 €</p></li>"
        for at, text in enumerate(TEXTS, 1)
    )
    return page(f"<h1>A warm stone</h1><ul class='items'>{items}</ul>")


def results() -> str:
    """Results of a search: a linked name, a line of text and a date each."""
    items = "".join(
        f"<li class='result'><h3 class='name'><a href='/{at}'>{text}</a></h3><p class='date'>Page {at} of May.</p></li>"
        for at, text in enumerate(
            [*(f"What {name} wrote of stones" for name in "Ann Ben Cem Dora Ede".split()), *TEXTS]
        )
    )
    return page(f"<h1>A warm stone</h1><p>9 results</p><ol class='results'>{items}</ol>")


def stories() -> str:
    """Links with who sent them and how many read them, in a list."""
    items = "".join(
        f"<li class='story'><span class='score'>{at}0</span><a class='title' href='/{at}'>{text}</a>"
        f"<div class='byline'><a href='/u'>miller{at}</a> <a href='/c'>{at} comments</a></div></li>"
        for at, text in enumerate(TEXTS * 3)
    )
    return page(f"<ol class='stories'>{items}</ol>")


def job() -> str:
    """An advertisement of a job: a heading, then items."""
    parts = "".join(f"<section><h3>Part {at}</h3><ul><li>{text}</li></ul></section>" for at, text in enumerate(TEXTS))
    return page(f"<h1>A warm stone</h1>{parts}<a class='button' href='/apply'>Apply for this job</a>")


@pytest.mark.parametrize("made", [forum, question, product, catalogue, results, stories, job])
def test_a_page_of_another_kind_keeps_its_content_and_loses_its_navigation(made: Callable[[], str]) -> None:
    """Every post, answer, property and item is there in order; menus, side columns and feet are not."""
    text = extract_html(made()).text
    places = [text.find(part) for part in TEXTS]
    assert -1 not in places and places == sorted(places), text
    for foreign in ("All boards", "Sign in here", "Popular threads", "Which sieve", "Copyright", "Privacy policy"):
        assert foreign not in text


def test_short_records_are_the_text_of_a_page_that_lists_them() -> None:
    """A page of nothing but linked names, with a place or a price each: all of them, in order."""
    names = "Stones of the north|Grinding in winter|A mill without water|The warm bearing|Sieves of silk".split("|")
    names += "Flour for bread|Sails in a storm|Wheels and weirs|The scale of a miller|Dressing by hand".split("|")
    events = "".join(
        f"<div class='event'><h3><a href='/{at}'>{name}</a></h3><span class='place'>Mill {at}</span></div>"
        for at, name in enumerate(names)
    )
    text = extract_html(page(f"<h1>Events</h1><div class='events'>{events}</div>")).text
    places = [text.find(part) for part in names]
    assert -1 not in places and places == sorted(places), text
    assert "Popular threads" not in text and "All boards" not in text


def test_comments_below_an_article_are_left_out_as_before() -> None:
    """Where there is a main text, what readers say of it is none."""
    article = "".join(f"<p>{text}</p>" for text in TEXTS * 3)
    said = "".join(
        f"<div class='comment'><p>I read number {at} with much joy, and so did my aunt.</p></div>" for at in "123"
    )
    text = extract_html(page(f"<article><h1>A warm stone</h1>{article}</article><div id='comments'>{said}</div>")).text
    assert TEXTS[0] in text and "my aunt" not in text

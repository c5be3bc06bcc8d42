"""Composed pages: the text of real pages in simple layouts, with real navigation, footers and side columns around it.

Real pages are large and full of class names; these teach what the elements and the commonest names mean by themselves.
What is main text is known exactly.
"""

from __future__ import annotations

import html
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

NAVIGATION = "nav navigation menu navbar main-nav site-nav topnav".split()
FOOTERS = "footer site-footer page-footer bottom foot".split()
SIDES = "sidebar side widget-area secondary right-col aside".split()
CONTENTS = "content main main-content post entry article page-content body text container wrapper story doc".split()
HEADERS = "header top masthead head branding".split()
RELATED = ["Related", "See also", "More", "Latest news", "Popular", "Mehr zum Thema", "Read next", "Tags", "Archive"]
PAGERS = [["Next"], ["Previous", "Next"], ["Up", "Home"], ["« Prev", "Next »"]]


@dataclass
class Labelled:
    """A real page's blocks with their labels: where the parts come from."""

    host: str
    texts: Sequence[str]
    words: Sequence[int]
    labels: Sequence[float]


@dataclass
class Parts:
    """Texts of real pages by what they serve for."""

    mains: list[tuple[str, list[tuple[str, int]]]] = field(default_factory=list)
    menu: list[str] = field(default_factory=list)
    footer: list[str] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)
    teasers: list[str] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)


def sort_parts(pages: Sequence[Labelled]) -> Parts:
    """Take pages apart."""
    parts = Parts()
    for page in pages:
        good = []
        for place, (raw, words, label) in enumerate(zip(page.texts, page.words, page.labels, strict=True)):
            text = raw.replace("\n", " ")
            if label > 0.9 and words >= 2:
                good.append((text, words))
            if label >= 0.05:
                continue
            for wanted, pool in (
                (1 <= words <= 4, parts.menu),
                (place > 0.9 * len(page.texts) and 3 <= words <= 30, parts.footer),
                ("cookie" in text.lower() and words > 5, parts.cookies),
                (5 <= words <= 14, parts.teasers),
                (words <= 8 and re.search(r"\d{4}", text) is not None, parts.dates),
                (15 <= words <= 60, parts.comments),
            ):
                if wanted:
                    pool.append(text[:300])
        if sum(words for _, words in good) > 80:
            parts.mains.append((page.host, good))
    return parts


def escape(text: str) -> str:
    """Text as HTML."""
    return html.escape(text, quote=False)


class Composer:
    """Composes pages from parts, by the draws of one generator."""

    def __init__(self, parts: Parts, draw: random.Random) -> None:
        self.parts, self.draw = parts, draw
        self.kept: list[str] = []

    def page(self) -> tuple[str, str, list[str]]:
        """Host of the text, HTML, and the texts that are main text."""
        draw, parts = self.draw, self.parts
        self.kept = []
        host, good = draw.choice(parts.mains)
        long = [part for part in good if part[1] >= 8] or good
        heads = [text for text, words in good if words <= 8]
        start = draw.randrange(len(long))
        chosen = long[start : start + draw.choice([1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 12])]
        title = draw.choice(heads) if heads else chosen[0][0][:40]
        main = f"<h1>{self.keep(title)}</h1>" if draw.random() < 0.8 else ""
        if main and draw.random() < 0.3:
            name = draw.choice(["date", "byline", "meta", "post-meta", "info"])
            main += f'<{draw.choice(["p", "div"])} class="{name}">{escape(draw.choice(parts.dates))}</p>'
        main += "".join(self.paragraph(text, heads, first=not place) for place, (text, _) in enumerate(chosen))
        site = escape(draw.choice(parts.menu))
        full = escape(title) + draw.choice(["", f" | {site}", f" - {site}"])
        head = f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{full}</title></head>'
        return host, f"{head}<body>{self.layout(main)}</body></html>", self.kept

    def keep(self, text: str) -> str:
        """Note a text as main text and give its HTML."""
        self.kept.append(text)
        return escape(text)

    def paragraph(self, text: str, heads: list[str], first: bool) -> str:
        """One paragraph of the main text, in one of the forms that text takes."""
        draw, before = self.draw, ""
        if not first and heads and draw.random() < 0.25:
            before = f"<h2>{self.keep(draw.choice(heads))}</h2>"
        form, words = draw.random(), text.split()
        sentences = [part for part in re.split(r"(?<=[.!?])\s+", text) if len(part.split()) > 2]
        if form < 0.06 and len(sentences) > 1:
            tag = draw.choice(["ul", "ol"])
            return f"{before}<{tag}>{''.join(f'<li>{self.keep(part)}</li>' for part in sentences)}</{tag}>"
        if form < 0.09:
            return f"{before}<blockquote><p>{self.keep(text)}</p></blockquote>"
        if form < 0.13:
            lines = (
                f"{draw.choice('xyn')} = {draw.choice(['read', 'get', 'f'])}({draw.randrange(99)})" for _ in range(4)
            )
            before += f"<pre><code>{self.keep(chr(10).join(lines))}</code></pre>"
        elif form < 0.16:
            rows = [[draw.choice(words), str(draw.randrange(999)), draw.choice(words)] for _ in range(3)]
            self.kept += [" ".join(row) for row in rows]
            cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
            before += f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
        elif form > 0.9 and len(words) > 12:
            at = draw.randrange(len(words) - 3)
            self.kept.append(text)
            linked = f'<a href="/x">{escape(" ".join(words[at : at + 2]))}</a>'
            return f"{before}<p>{escape(' '.join(words[:at]))} {linked} {escape(' '.join(words[at + 2 :]))}</p>"
        return f"{before}<p>{self.keep(text)}</p>"

    def some(self, pool: list[str], least: int, most: int) -> list[str]:
        """A few of a pool."""
        return [self.draw.choice(pool) for _ in range(self.draw.randint(least, most))]

    def links(self, texts: Sequence[str], between: str = " ") -> str:
        """Links in a row."""
        return between.join(f'<a href="/{place}">{escape(text)}</a>' for place, text in enumerate(texts))

    def listed(self, texts: Sequence[str]) -> str:
        """Links in a list."""
        return f"<ul>{''.join(f'<li>{self.links([text])}</li>' for text in texts)}</ul>"

    def layout(self, main: str) -> str:
        """The main text among the furniture of a page."""
        draw, parts = self.draw, self.parts
        menu = self.some(parts.menu, 2, 12)
        navigation = self.listed(menu) if draw.random() < 0.5 else self.links(menu, draw.choice([" ", " | ", " · "]))
        brand, footer = (
            escape(draw.choice(parts.menu)),
            "".join(f"<p>{escape(text)}</p>" for text in self.some(parts.footer, 1, 3)),
        )
        if draw.random() < 0.4:
            footer = escape(draw.choice(parts.footer)) + self.links(self.some(parts.menu, 1, 5))
        related = ""
        if draw.random() < 0.6:
            name, level = draw.choice(RELATED), draw.choice("234")
            related = f"<h{level}>{name}</h{level}>{self.listed(self.some(parts.teasers, 2, 8))}"
            if draw.random() < 0.25:
                related = f"{name}: {escape(draw.choice(parts.teasers))}"
        cookies = ""
        if draw.random() < 0.4:
            name = draw.choice(["cookie-banner", "cookies", "consent", "cc-window", "notice"])
            said = escape(draw.choice(parts.cookies)) if draw.random() < 0.5 else "We use cookies."
            cookies = f'<div class="{name}">{said} <button>OK</button></div>'
        below = ""
        if draw.random() < 0.2:
            below += f'<div class="share">{self.links(["Facebook", "Twitter", "E-Mail"])}</div>'
        if draw.random() < 0.2:
            comments = (f"<p>{escape(text)}</p>" for text in self.some(parts.comments, 1, 4))
            below += f'<div id="comments" class="comments"><h3>Comments</h3>{"".join(comments)}</div>'
        pager = f"<p>{self.links(draw.choice(PAGERS))}</p>" if draw.random() < 0.25 else ""
        style = draw.choice(["semantic", "semantic", "id", "class", "table", "bare"])
        if style == "semantic":
            inner = f"<article>{main}</article>" if draw.random() < 0.5 else main
            inner = f"<main>{inner}{pager}</main>" if draw.random() < 0.8 else f"<div>{inner}</div>{pager}"
            header = (
                f"<header>{draw.choice(['<b>{}</b>', '<p>{}</p>', '{}']).format(brand)}<nav>{navigation}</nav></header>"
            )
            aside = f"<aside>{related}</aside>" if related else ""
            return f"{cookies}{header}{inner}{below}{aside}<footer>{footer}</footer>"
        if style == "table":
            left = navigation if draw.random() < 0.5 else "<br>".join(self.links([text]) for text in menu)
            right = f"<td>{related}</td>" if related else ""
            row = f"<tr><td width=120 valign=top>{left}</td><td>{main}{pager}</td>{right}</tr>"
            last = f"<tr><td colspan=3><font size=1>{footer}</font></td></tr>"
            return f"<table><tr><td colspan=3>{brand}</td></tr>{row}{last}</table>"
        if style == "bare":
            if draw.random() < 0.4:
                main = main.replace("<p>", "").replace("</p>", "<br><br>")
            top = f"<p>{navigation}</p><hr>" if draw.random() < 0.6 else ""
            return top + main + pager + (f"<hr><address>{footer}</address>" if draw.random() < 0.6 else "")

        def part(names: Sequence[str], content: str) -> str:
            return f'<div {style}="{draw.choice(names)}">{content}</div>' if content else ""

        side = part(SIDES, related)
        body = part(CONTENTS, main + pager) + below
        body = side + body if draw.random() < 0.5 else body + side
        return part(HEADERS, brand) + part(NAVIGATION, navigation) + body + part(FOOTERS, footer) + cookies

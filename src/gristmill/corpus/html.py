"""The main text of an HTML page: one walk over Resiliparse's tree, then a choice among the blocks of text it found.

A block is left out where it sits in a part of the page that names itself navigation, header, footer, sidebar and the
like, or where it is mostly links (Kohlschütter et al. 2010, "Boilerplate Detection using Shallow Text Features", §4:
link density is the feature that tells most). If that leaves next to nothing, the parts that only *look* like
boilerplate by their class names are taken back: names lie more often than a whole page is empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import HTMLTree

SKIPPED = frozenset(
    (
        "script style noscript template nav footer iframe button select textarea svg math object canvas audio video "
        "dialog head title option datalist map"
    ).split()
)
BLOCKS = frozenset(
    (
        "address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure form h1 "
        "h2 h3 h4 h5 h6 header hgroup hr legend li main ol p pre section summary table tbody tfoot thead tr ul"
    ).split()
)
HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
SKIPPED_ROLES = frozenset(
    ["navigation", "banner", "contentinfo", "complementary", "search", "dialog", "menu", "menubar", "alert", "toolbar"]
)
# Whole words of class names and ids, after splitting at hyphens, underscores and camel case.
BOILERPLATE = frozenset(
    (
        "nav navbar navi navigation menu submenu footer sidebar widget widgets breadcrumb breadcrumbs cookie cookies "
        "consent gdpr banner share sharing shares social related comment comments disqus newsletter subscribe "
        "subscription promo popup modal overlay advert advertisement ad ads adsense sponsor sponsored pagination "
        "pager paging tags tagcloud byline meta metadata copyright skip masthead toolbar login search recommend "
        "recommended recommendations teaser teasers print rating topbar respond credits credit infobox toc pagenav "
        "noprint hidden visually sr"
    ).split()
)
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
SPACE = re.compile(r"[ \t\r\n\f\xa0]+")
SENTENCE_END = re.compile(r"[.!?…:;,][\"'”’»)\]]*$")
MAX_LINK_SHARE = 0.4  # of a block's characters
LONG = 40  # characters without links, from which a block looks like running text
LEAST = 0.2  # of a page's running text: where less is left, the doubtful parts are taken back
INNER = 0.4  # of the running text: where <main> or <article> hold as much, the rest goes
SHORT = 40  # characters: what is shorter and loose (in no paragraph) is a label, not text
SEPARATOR = re.compile(r"\s+[|–—·»:]+\s+|\s+-+\s+")


@dataclass
class Block:
    """A run of text between two block-level tags."""

    text: str
    tag: str  # nearest enclosing block-level tag
    linked: int  # characters inside links
    group: int  # number of the list that it is an item of; 0: none
    doubtful: bool  # in a part whose class names say boilerplate
    place: int  # 2: in an <article>, 1: in <main>, 0: neither


def decode_html(body: bytes, charset: str = "") -> str:
    """Bytes → text by BOM, the HTTP header's charset, the page's own meta tag, then detection (WHATWG order)."""
    for mark, name in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    if charset:
        try:
            return body.decode(charset)
        except (LookupError, UnicodeDecodeError):
            pass  # a wrong header is common: the page itself knows better
    return bytes_to_str(body, detect_encoding(body, from_html_meta=True) or "utf-8")


def extract_html(html: str) -> tuple[str, str]:
    """Title and main text of a page; paragraphs are separated by blank lines, the items of a list by line ends."""
    tree = HTMLTree.parse(html)
    if tree.body is None:
        return "", ""
    walker = Walker()
    walker.walk(tree.body)
    return page_title(tree.title or "", walker.first_heading), render(choose(walker.blocks))


@dataclass
class Walker:
    """Collects the blocks of a page in document order, without recursion: pages may nest ten thousand deep."""

    blocks: list[Block] = field(default_factory=list)
    first_heading: str = ""
    parts: list[str] = field(default_factory=list)
    linked: int = 0
    in_link: int = 0
    in_pre: int = 0
    doubtful: int = 0
    articles: int = 0
    mains: int = 0
    tags: list[str] = field(default_factory=lambda: ["body"])
    lists: list[list[int]] = field(default_factory=list)  # [number of the list, item counter or -1]
    lists_seen: int = 0
    marker: str = ""

    def walk(self, root: Any) -> None:
        """Visit every node below `root` once."""
        stack: list[tuple[Any, str, bool]] = []
        node: Any = root.first_child
        while True:
            if node is None:
                if not stack:
                    break
                node, tag, doubtful = stack.pop()
                self.leave(tag, doubtful)
            else:
                tag = node.tag
                if tag == "#text":
                    self.take(node.value or "")
                elif tag and tag[0] not in "#!" and tag not in SKIPPED:
                    entered = self.enter(node, tag)
                    if entered is not None:
                        stack.append((node, tag, entered))
                        node = node.first_child
                        continue
            node = node.next
        self.flush()

    def take(self, text: str) -> None:
        """Add a text node to the current block."""
        if not self.in_pre:
            text = SPACE.sub(" ", text)
        self.parts.append(text)
        if self.in_link:
            self.linked += len(text.strip())

    def enter(self, node: Any, tag: str) -> bool | None:
        """Begin an element; returns whether it is doubtful, or None where it is to be passed over."""
        if tag == "br":
            self.parts.append("\n")
            return None
        if tag == "a":
            self.in_link += 1
            return False
        if tag in ("td", "th"):
            if "".join(self.parts).strip():
                self.parts.append(" | ")
            self.tags.append(tag)
            return self.judge(node, tag)
        if tag not in BLOCKS:
            return False
        doubtful = self.judge(node, tag)
        if doubtful is None:
            return None
        self.flush()
        self.tags.append(tag)
        if tag == "pre":
            self.in_pre += 1
        elif tag == "article":
            self.articles += 1
        elif tag == "main":
            self.mains += 1
        elif tag in ("ul", "ol"):
            self.lists_seen += 1
            self.lists.append([self.lists_seen, 0 if tag == "ol" else -1])
        elif tag == "li" and self.lists:
            self.mark_item()
        self.doubtful += doubtful
        return doubtful

    def mark_item(self) -> None:
        """Set what the next block of a list item begins with."""
        current = self.lists[-1]
        if current[1] >= 0:
            current[1] += 1
        self.marker = "  " * (len(self.lists) - 1) + (f"{current[1]}. " if current[1] >= 0 else "- ")

    def judge(self, node: Any, tag: str) -> bool | None:
        """Whether an element calls itself boilerplate; None where it is sure to be."""
        attributes = node.attrs or ()
        if not attributes:
            return tag == "aside" or (tag == "header" and not self.articles and not self.mains)
        get = node.get_attribute
        if "hidden" in attributes or (get("role") or "") in SKIPPED_ROLES or get("aria-hidden") == "true":
            return None
        if "style" in attributes and "display:none" in get("style").replace(" ", "").lower():
            return None
        if tag == "aside" or (tag == "header" and not self.articles and not self.mains):
            return True
        return tag not in ("main", "article", "body") and (
            names_boilerplate(get("class") or "") or names_boilerplate(get("id") or "")
        )

    def leave(self, tag: str, doubtful: bool) -> None:
        """End an element."""
        if tag == "a":
            self.in_link -= 1
        elif tag in ("td", "th"):
            self.tags.pop()
        elif tag in BLOCKS:
            self.flush()
            self.tags.pop()
            self.doubtful -= doubtful
            if tag == "pre":
                self.in_pre -= 1
            elif tag == "article":
                self.articles -= 1
            elif tag == "main":
                self.mains -= 1
            elif tag in ("ul", "ol"):
                self.lists.pop()
            elif tag == "li":
                self.marker = ""

    def flush(self) -> None:
        """End the current block."""
        if not self.parts:
            return
        text = tidy("".join(self.parts), bool(self.in_pre))
        linked, self.parts, self.linked = self.linked, [], 0
        if not text:
            return
        tag = next((tag for tag in reversed(self.tags) if tag not in ("div", "section")), "body")
        tag = self.tags[-1] if self.tags[-1] in ("div", "section") and tag not in ("li", "blockquote") else tag
        if tag in HEADINGS and not self.first_heading and tag == "h1":
            self.first_heading = text
        group = self.lists[-1][0] if self.lists else 0
        place = 2 if self.articles else 1 if self.mains else 0
        self.blocks.append(Block(self.marker + text, tag, linked, group, self.doubtful > 0, place))
        self.marker = ""


@lru_cache(maxsize=65_536)  # sites repeat their class names on every page
def names_boilerplate(names: str) -> bool:
    """Whether a class or id attribute says that its element is not main text."""
    return any(word.lower() in BOILERPLATE for word in WORD.findall(names))


def tidy(text: str, preformatted: bool) -> str:
    """A block's text without stray spaces and empty lines."""
    if preformatted:
        return "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").strip("\n").split("\n")).rstrip()
    lines = [
        SPACE.sub(" ", line).strip(" |") if "|" in line else SPACE.sub(" ", line).strip() for line in text.split("\n")
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def size(blocks: list[Block]) -> int:
    """Characters that are probably running text: in no link, in blocks of some length."""
    return sum(len(block.text) - block.linked for block in blocks if len(block.text) > 2 * block.linked + LONG)


def choose(blocks: list[Block]) -> list[Block]:
    """The blocks that are main text."""
    clean = [block for block in blocks if not block.doubtful]
    if size(clean) < LEAST * size(blocks):
        clean = blocks
    for place in (1, 2):
        inner = [block for block in clean if block.place >= place]
        if inner and size(inner) >= INNER * size(clean):
            clean = inner
    return drop_stray_headings([block for block in drop_links(clean) if not is_label(block)])


def drop_links(blocks: list[Block]) -> list[Block]:
    """Blocks without those that are mostly links; the items of a list stand or fall together."""
    lengths: dict[int, list[int]] = {}
    for block in blocks:
        if block.group:
            pair = lengths.setdefault(block.group, [0, 0])
            pair[0] += block.linked
            pair[1] += len(block.text)
    kept = []
    for block in blocks:
        linked, length = lengths[block.group] if block.group else (block.linked, len(block.text))
        if linked <= MAX_LINK_SHARE * length or block.tag in HEADINGS:
            kept.append(block)
    return kept


def is_label(block: Block) -> bool:
    """Whether a block is a loose scrap, as a date, a button or a counter beside the text."""
    return (
        block.tag in ("div", "section", "body", "form", "article", "main", "header", "legend", "address")
        and len(block.text) < SHORT
        and not SENTENCE_END.search(block.text)
    )


def drop_stray_headings(blocks: list[Block]) -> list[Block]:
    """Blocks without the headings that nothing follows."""
    while blocks and blocks[-1].tag in HEADINGS:
        blocks.pop()
    return blocks


def render(blocks: list[Block]) -> str:
    """Blocks as plain text."""
    parts: list[str] = []
    before = 0
    for block in blocks:
        if parts:
            parts.append("\n" if block.group and block.group == before else "\n\n")
        parts.append(block.text)
        before = block.group
    return "".join(parts)


def page_title(title: str, heading: str) -> str:
    """The page's title without the site's name: the first heading where the title contains it, else its first part."""
    title, heading = " ".join(title.split()), " ".join(heading.split())
    if not title or (heading and heading in title):
        return heading or title
    parts = SEPARATOR.split(title)
    return parts[0] if len(parts) > 1 and len(parts[0]) >= len(parts[-1]) else title

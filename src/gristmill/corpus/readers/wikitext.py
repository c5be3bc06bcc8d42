"""MediaWiki markup → plain text with Markdown's headings, lists, code and formulas.

Templates cannot be expanded without the wiki that defines them: they are left out, but for the few that only dress a
text. Tables, references, files and categories are left out too. Every step is linear in the text, and nothing recurses.
"""

from __future__ import annotations

import html
import re

COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
DROPPED = (
    "ref|references|gallery|timeline|score|imagemap|mapframe|maplink|graph|templatestyles|inputbox|noinclude|hiero"
)
DROPPED_TAG = re.compile(rf"<({DROPPED})\b[^<>]*?(?:/>|>(?:(?!<\1\b).)*?</\1\s*>)", re.DOTALL | re.IGNORECASE)
MATHS = re.compile(
    r"<(?:math|chem)\b([^<>]*)>((?:(?!<(?:math|chem)\b).)*?)</(?:math|chem)\s*>", re.DOTALL | re.IGNORECASE
)
CODE = re.compile(r"<(syntaxhighlight|source|pre)\b([^<>]*)>((?:(?!<\1\b).)*?)</\1\s*>", re.DOTALL | re.IGNORECASE)
VERBATIM = re.compile(r"<nowiki\s*>((?:(?!<nowiki\s*>).)*?)</nowiki\s*>", re.DOTALL | re.IGNORECASE)
TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
BREAK = re.compile(r"<(?:br|/p|/div|/tr)\b[^<>]*>", re.IGNORECASE)
BRACKETS = re.compile(r"\{\{|\}\}|\{\||\n\|\}|\[\[|\]\]")
EXTERNAL = re.compile(r"\[(?:https?:|ftp:|mailto:|//)[^\s\[\]]++\s*+([^\[\]\n]*+)\]")
HEADING = re.compile(r"^(={1,6})\s*+(.+?)(?<!\s)\s*+\1\s*$", re.MULTILINE)
QUOTES = re.compile(r"'{2,5}")
MAGIC = re.compile(r"__[A-Z]{3,}__")
LIST = re.compile(r"^([*#:;]+)\s*(.*)$")
KEPT = re.compile(r"\x00(\d+)\x00")
DRESSED = {  # template → the argument that is its text
    **dict.fromkeys(
        ("lang", "transl", "transliteration", "script", "audio", "ipa", "color", "colour", "fontcolor"), -1
    ),
    **dict.fromkeys(("nowrap", "nobr", "small", "big", "nihongo", "abbr", "quote", "blockquote", "cquote", "val"), 1),
    **dict.fromkeys(("em", "strong", "mvar", "math", "smallcaps", "sc", "linktext", "ill", "interlanguage link"), 1),
}
DASHES = {"snd": " – ", "spnd": " – ", "ndash": "–", "mdash": "—", "nbsp": " ", "spaces": " ", "dash": " – ", "!": "|"}
FILES = frozenset(
    ("file", "image", "category", "datei", "bild", "kategorie", "fichier", "catégorie", "archivo", "media")
)
DEEPEST = 100  # nested brackets, as MediaWiki's $wgMaxPPExpandDepth has it; what is deeper is left out
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*")


def plain_text(markup: str, namespaces: frozenset[str] = frozenset()) -> str:
    """The text of a page; `namespaces` are the wiki's names for files, categories and the like, in lower case."""
    kept: list[str] = []

    def keep(text: str) -> str:
        kept.append(text)
        return f"\x00{len(kept) - 1}\x00"

    text = COMMENT.sub("", markup.replace("\x00", ""))
    text = CODE.sub(lambda found: keep("\n```\n" + found.group(3).strip("\n") + "\n```\n"), text)
    text = VERBATIM.sub(lambda found: keep(found.group(1)), text)
    text = MATHS.sub(lambda found: keep(formula(found.group(1), found.group(2))), text)
    text = DROPPED_TAG.sub("", text)
    text = resolve_brackets(text, namespaces)
    text = EXTERNAL.sub(r"\1", text)
    text = TAG.sub("", BREAK.sub("\n", text))
    text = html.unescape(MAGIC.sub("", QUOTES.sub("", text)))
    text = "\n".join(map(list_item, text.split("\n")))
    text = HEADING.sub(lambda found: "#" * len(found.group(1)) + " " + found.group(2), text)
    text = KEPT.sub(lambda found: kept[int(found.group(1))] if int(found.group(1)) < len(kept) else "", text)
    return tidy(text)


def formula(attributes: str, tex: str) -> str:
    """TeX between dollar signs."""
    mark = "$$" if "block" in attributes else "$"
    return f"{mark}{' '.join(tex.split())}{mark}"


def resolve_brackets(text: str, namespaces: frozenset[str]) -> str:
    """Replace links by their label; leave out templates, tables, files and categories, however they are nested."""
    open_parts: list[tuple[str, list[str]]] = [("", [])]  # opening bracket and what has come since
    heights = [0]  # of each: how many brackets lie within each other in what has come
    at = 0
    for found in BRACKETS.finditer(text):
        mark = found.group().strip()
        open_parts[-1][1].append(text[at : found.start()])
        at = found.end()
        if mark in ("{{", "{|", "[["):
            open_parts.append((mark, []))
            heights.append(0)
            continue
        opener = {"}}": "{{", "|}": "{|", "]]": "[["}[mark]
        if open_parts[-1][0] != opener:
            if opener == "{{" and any(part[0] == opener for part in open_parts[-3:]):  # a link that nobody closed
                while open_parts[-1][0] != opener:
                    begun, inner = open_parts.pop()
                    open_parts[-1][1].append(begun + "".join(inner))
                    height = heights.pop()
                    heights[-1] = max(heights[-1], height)
            else:
                open_parts[-1][1].append("\n" if mark == "|}" else "")
                continue
        content, height = "".join(open_parts.pop()[1]), heights.pop()
        content = content if height < DEEPEST else ""
        heights[-1] = max(heights[-1], height + 1)
        resolved = "" if opener == "{|" else template(content) if opener == "{{" else link(content, namespaces)
        open_parts[-1][1].append(resolved)
    open_parts[-1][1].append(text[at:])
    return "".join(
        ("" if begun in ("{|", "{{") and place else begun) + ("" if begun == "{|" else "".join(parts))
        for place, (begun, parts) in enumerate(open_parts)
    )


def template(content: str) -> str:
    """What takes a template's place."""
    name, *arguments = content.split("|")
    name = name.strip().lower()
    if name in DASHES:
        return DASHES[name]
    values = [argument.strip() for argument in arguments if "=" not in argument.split("[[")[0]]
    place = DRESSED.get(name, -1 if name.startswith(("lang-", "ipa-", "ipac-")) else None)
    if place is None or not values:
        return ""
    return values[-1] if place < 0 else values[place - 1] if len(values) >= place else ""


def link(content: str, namespaces: frozenset[str]) -> str:
    """A link's label; nothing for files, categories and links to other languages."""
    target, bar, label = content.partition("|")
    prefix, colon, _ = target.strip().partition(":")
    if colon and prefix:
        known = prefix.strip().lower().replace("_", " ")
        if known in namespaces or known in FILES or (not bar and LANGUAGE.fullmatch(known)):
            return ""
    return label.rpartition("|")[2] if bar and label else target.strip().removeprefix(":")


def list_item(line: str) -> str:
    """A line of a list as Markdown has it."""
    found = LIST.match(line)
    if not found:
        return line
    marks, text = found.groups()
    if marks[-1] in ":;":
        return text
    return "  " * (len(marks) - 1) + ("- " if marks[-1] == "*" else "1. ") + text


def tidy(text: str) -> str:
    """Text without stray spaces, empty brackets, and headings that nothing follows."""
    text = re.sub(r"\(\s*+(?:[,;]\s*+)?\)", "", text)
    lines = [line.rstrip() for line in re.sub(r"(?<=\S) {2,}", " ", text).split("\n")]
    kept: list[str] = []
    after = ""  # the next line that holds anything
    for line in reversed(lines):
        level = len(line) - len(line.lstrip("#")) if line.startswith("#") and " " in line else 0
        depth = len(after) - len(after.lstrip("#"))
        if level and (not after or (after.startswith("#") and depth <= level)):
            continue
        kept.append(line)
        after = line or after
    return re.sub(r"\n{3,}", "\n\n", "\n".join(reversed(kept))).strip()

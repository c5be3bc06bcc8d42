"""reStructuredText to Markdown, as far as text to read goes: headings, code, lists, links' words, directives' content.

docutils is the format's own parser. It is not used here, for nearly all large manuals are written for Sphinx, whose
directives and roles docutils does not know and drops with their content. Syntax after the reStructuredText
specification (https://docutils.sourceforge.io/docs/ref/rst/restructuredtext.html). What is not understood stays as it
is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import dropwhile
from operator import not_
from pathlib import Path

from gristmill.corpus.readers.source_code import fenced, text_of
from gristmill.record import Record

ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1++\s*+$")
DIRECTIVE = re.compile(r"\.\.\s+(?:\|(?P<key>[^|]+)\|\s+)?(?P<name>[\w:.+-]+)::(?:\s+(?P<argument>.*))?$")
NOTE = re.compile(r"\.\.\s+\[(?P<label>[^\]]+)\]\s*(?P<text>.*)$")
OPTION = re.compile(r":[\w -]+:(?:\s|$)")
CODE = frozenset(
    "code code-block sourcecode highlight-block parsed-literal literalinclude prompt doctest testcode testoutput "
    "productionlist ipython jupyter-execute console".split()
)
SILENT = frozenset(
    "toctree index contents raw include highlight currentmodule module py:module py:currentmodule meta image "
    "tabularcolumns default-role role sectnum target-notes header footer class unicode date testsetup testcleanup "
    "automodule autoclass autofunction autosummary replace".split()
)
INLINE = (
    (re.compile(r"``(.+?)``"), r"\1"),
    (re.compile(r":[\w:+.-]{1,60}:`([^`<]{0,500}?)\s*<[^`>]*>`", re.DOTALL), r"\1"),  # :ref:`words <target>`
    (re.compile(r":[\w:+.-]{1,60}:`~(?:[^`]*?\.)?([^`.]*)`"), r"\1"),  # :class:`~package.Name`
    (re.compile(r":[\w:+.-]{1,60}:`!?([^`]*)`"), r"\1"),
    (re.compile(r"`([^`<]{0,500}?)\s*<[^`>]*>`__?"), r"\1"),
    (re.compile(r"`([^`]+)`(?:__?)?"), r"\1"),
    (re.compile(r"\[([\w#*.-]+)\]_\b"), r"[\1]"),
    (re.compile(r"\b(\w+)__?(?=[\s.,;:!?)]|$)(?<!__)"), r"\1"),
    (re.compile(r"(?<![\w*\\])\*\*?(?=\S)([^*]+?)(?<=\S)\*\*?(?![\w*])"), r"\1"),
    (re.compile(r"\\(\s|$)"), ""),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)


def read_rst(path: Path, name: str) -> Iterator[Record]:
    """One record."""
    yield Record(Converter().convert(text_of(path)).encode(), "text/markdown", name, name, "utf-8")


class Converter:
    """Converts one document: the order in which styles of headings occur gives their levels."""

    def __init__(self) -> None:
        self.styles: list[str] = []
        self.words: dict[str, str] = {}  # substitutions

    def convert(self, text: str) -> str:
        """The document as Markdown."""
        lines = [line.rstrip() for line in text.expandtabs(8).splitlines()]
        for line in lines:
            found = DIRECTIVE.match(line)
            if found and found["key"] and found["name"] == "replace":
                self.words[found["key"]] = found["argument"] or ""
        return re.sub(r"\n{3,}", "\n\n", "\n".join(self.block(lines))).strip("\n") + "\n"

    def block(self, lines: list[str]) -> Iterator[str]:
        """The lines of a block that begins at the margin, converted."""
        at, literal = 0, False
        while at < len(lines):
            line = lines[at]
            if line.startswith(" "):  # literal text, a quotation, or what belongs to a list's item
                end = indented(lines, at)
                inner = dedented(lines[at:end])
                if literal:
                    yield fenced("\n".join(inner))
                else:
                    margin = " " * min(len(line) - len(line.lstrip()), 4)
                    yield from (margin + each if each else "" for each in self.block(inner))
                at, literal = end, False
            elif line.startswith(".. ") or line == "..":
                end = indented(lines, at + 1)
                yield from self.explicit(line, lines[at + 1 : end])
                at = end
            elif line.startswith(">>> "):
                end = next((n for n in range(at, len(lines)) if not lines[n].strip()), len(lines))
                yield fenced("\n".join(lines[at:end]))
                at = end
            elif heading := self.heading(lines, at):
                yield from ("", heading[0], "")
                at = heading[1]
            else:
                literal = (literal and not line.strip()) or line.endswith("::")
                yield self.inline(line[: -2 if line.strip() == "::" else -1] if line.endswith("::") else line)
                at += 1

    def heading(self, lines: list[str], at: int) -> tuple[str, int] | None:
        """A heading at a line, and the line after it; an empty one for a transition."""
        line, second, third = (*lines[at : at + 3], "", "", "")[:3]
        before = lines[at - 1].strip() if at else ""
        alone = not before and ADORNMENT.match(line)
        if alone and len(line) >= 3 and second.strip() and ADORNMENT.match(third) and third[0] == line[0]:
            return self.marked(line[0] * 2, second.strip()), at + 3
        underlined = line and not line.startswith(" ") and ADORNMENT.match(second) and not ADORNMENT.match(line)
        if underlined and len(second) >= min(len(line), 4) and (not before or before.startswith("..")):
            return self.marked(second[0], line.strip()), at + 2
        return ("", at + 1) if alone and len(line) >= 4 and not second.strip() else None

    def marked(self, style: str, title: str) -> str:
        """A heading of the level that its style stands for."""
        if style not in self.styles:
            self.styles.append(style)
        return f"{'#' * min(6, self.styles.index(style) + 1)} {self.inline(title)}"

    def explicit(self, first: str, lines: list[str]) -> Iterator[str]:
        """A directive, footnote, target or comment."""
        if note := NOTE.match(first):
            yield from ("", f"[{note['label']}] {self.inline(note['text'])}", *self.block(dedented(lines)))
            return
        found = DIRECTIVE.match(first)
        if not found or found["key"]:
            return
        name, argument = found["name"].lower(), (found["argument"] or "").strip()
        content = list(dropwhile(OPTION.match, dedented(lines)))
        if name in SILENT:
            return
        if name in CODE:
            yield from ("", fenced("\n".join(content).strip("\n")), "") if any(content) else ()
        elif name == "math":
            yield from ("", "$$" + " ".join([argument, *content]).strip() + "$$", "")
        else:
            shown = argument if name not in ("figure", "only", "container", "list-table", "csv-table") else ""
            goes_on = bool(shown and lines and lines[0].strip())  # `.. note:: words` over several lines
            yield from ("", self.inline(shown), *[""] * (not goes_on), *self.block(content), "")

    def inline(self, text: str) -> str:
        """A line without its inline marks."""
        text = re.sub(r"^(\s*)[*+•‣] ", r"\1- ", text)
        text = re.sub(r"^(\s*)#\. ", r"\g<1>1. ", text)
        text = re.sub(r"^(\s*)\| ?", r"\1", text) if not text.endswith("|") else text
        text = re.sub(r"^:([\w -]+(?: [\w*.]+)*):(?=\s)", r"\1:", text)
        text = re.sub(r"\|([\w .-]+)\|", lambda found: self.words.get(found[1], found[0]), text)
        for pattern, replacement in INLINE if set(text) & set("`*\\_") else ():
            text = pattern.sub(replacement, text)
        return text


def indented(lines: list[str], at: int) -> int:
    """The line after an indented block that begins at a line; empty lines at its end are not of it."""
    end = at
    for number in range(at, len(lines)):
        if lines[number].startswith(" "):
            end = number + 1
        elif lines[number]:
            break
    return end


def dedented(lines: list[str]) -> list[str]:
    """Lines without the margin that they share, and without empty ones before them."""
    margin = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return [line[margin:] for line in dropwhile(not_, lines)]

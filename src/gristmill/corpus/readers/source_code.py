"""Source code: a file is a document, kept as it is in a Markdown fence, with its path as title."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gristmill.html.charset import to_utf8
from gristmill.inputs.text_files import whole_file
from gristmill.record import Record, unread

ENDINGS = tuple(
    f".{name}"
    for name in (
        "py pyi pyx js mjs cjs jsx ts tsx c h cc cpp cxx hpp hh hxx cs java kt kts scala groovy go rs rb php pl pm lua "
        "r jl swift m mm sh bash zsh fish ps1 sql hs lhs ml mli fs fsx clj cljs ex exs erl hrl dart f f90 f95 for pas "
        "vb asm s vue svelte cmake mk proto graphql tcl lisp el scm rkt zig nim v sv vhd vhdl awk d cu cuh"
    ).split()
)
NAMES = ("makefile", "dockerfile", "cmakelists.txt", "rakefile", "gemfile", "jenkinsfile")
# StarCoder's signs of code that no person wrote or reads (Li et al. 2023, arXiv:2305.06161, §3.1)
LONGEST_LINE = 1_000
MEAN_LINE = 100


def read_code(path: Path, name: str) -> Iterator[Record]:
    """One record; `minified` where its lines are too long for a person to have written them."""
    text = text_of(path).replace("\r\n", "\n")
    lines = text.split("\n")
    longest = max(map(len, lines))
    if longest > LONGEST_LINE or len(text) > MEAN_LINE * len(lines):
        yield unread(name, "minified", f"a line of {longest:,} characters")
        return
    body = fenced(text.strip("\n")) if text.strip() else ""
    yield Record(body.encode(), "text/plain", name, name, "utf-8", name)


def text_of(path: Path) -> str:
    """A text file, in whatever encoding it is."""
    return to_utf8(whole_file(path)).decode("utf-8")


def fenced(code: str) -> str:
    """Code in a fence longer than any run of backquotes in it (CommonMark 0.31, §4.5)."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}\n{code}\n{fence}"

"""LaTeX to Markdown, as far as text to read goes: headings, lists, code, formulas as written, words without commands.

TeX can only be read by TeX, so this knows the usual commands; of one that it does not know the braces' content stays
and the command goes. Definitions of new commands are not followed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from gristmill.corpus.readers.source_code import fenced, text_of
from gristmill.record import Record

HEADINGS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5}
VERBATIM = re.compile(
    r"\\begin\{(?P<name>verbatim\*?|Verbatim|lstlisting|minted|alltt|comment|thebibliography|tikzpicture)\}|(?P<sign>(?!))"
)
DROPPED = ("comment", "thebibliography", "tikzpicture")
COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%.*(?:\n[ \t]*)?")
MATH = re.compile(  # what begins a formula; before it what only looks so: a line's end with an option, a dollar sign
    r"\\\\|\\\$|\\begin\{(?P<name>(?:equation|align|gather|multline|eqnarray|displaymath|math|flalign|alignat)\*?)\}"
    r"|(?P<sign>\$\$?|\\\[|\\\()"
)
CLOSERS = {
    "$$": re.compile(r"\$\$"),
    "$": re.compile(r"(?<!\\)\$"),
    r"\[": re.compile(r"\\\]"),
    r"\(": re.compile(r"\\\)"),
}
INLINE_CODE = re.compile(r"\\(?:verb|lstinline)\*?([^\w\s{*])(.*?)\1")
TOKEN = re.compile(r"\\([A-Za-z@]+)\*?[ \t]*|\\([^A-Za-z])|([{}~&])")
TAKING = {  # braces that a command takes with it → commands that say nothing to a reader
    1: "label ref eqref pageref cref Cref autoref cite citep citet citeauthor citeyear parencite textcite footcite "
    "nocite vspace hspace includegraphics input include index pagestyle thispagestyle bibliography bibliographystyle "
    "usepackage documentclass hypersetup vskip pagenumbering addbibresource graphicspath geometry color date author "
    "end footnotemark",
    2: "newcommand renewcommand providecommand setlength addtolength setcounter newtheorem",
    3: "addcontentsline newenvironment",
}
ARGUMENTS = {command: count for count, commands in TAKING.items() for command in commands.split()}
MARKS = (
    "\u0300 \u0301 \u0302 \u0308 \u0303 \u0304 \u0307 \u0306 \u030c \u030b \u0327 \u0323 \u0331 \u0328 \u030a \u0361"
)
ACCENTS = dict(zip("`'^\"~=.uvHcdbkrt", MARKS.split(" "), strict=True))  # command → combining character
SYMBOLS = {
    **{"ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "o": "ø", "O": "Ø", "aa": "å", "AA": "Å", "l": "ł"},
    **{"L": "Ł", "i": "ı", "j": "ȷ", "ldots": "…", "dots": "…", "textellipsis": "…", "LaTeX": "LaTeX", "TeX": "TeX"},
    **{"textendash": "–", "textemdash": "—", "textbackslash": "\\", "textasciitilde": "~", "S": "§", "P": "¶"},
    **{"copyright": "©", "pounds": "£", "euro": "€", "textdegree": "°", "quad": " ", "qquad": " ", "par": "\n\n"},
    **{"newline": "\n", "hline": "", "item": "\n- ", "textbar": "|", "textless": "<", "textgreater": ">"},
}
HELD = "\ue000%d\ue001"  # stands for a part that is kept as it is; private use, cleaned from the input


def read_latex(path: Path, name: str) -> Iterator[Record]:
    """One record."""
    title, body = to_markdown(text_of(path))
    yield Record(body.encode(), "text/markdown", name, name, "utf-8", title)


def to_markdown(source: str) -> tuple[str, str]:
    """A document's title, where it has one, and its text."""
    held: list[str] = []

    def hold(text: str) -> str:
        held.append(text)
        return HELD % (len(held) - 1)

    def verbatim(name: str, inner: str) -> str:
        code = re.sub(r"\A(?:\[[^\]\n]*\])?(?:\{[^}\n]*\})?[ \t]*\n", "", inner)
        return "" if name in DROPPED else hold("\n\n" + fenced(code.strip("\n")) + "\n\n")

    def formula(name: str, inner: str) -> str | None:
        if name in ("$", r"\("):
            return None if "\n\n" in inner else hold(f"${inner.strip()}$")  # a lone dollar sign
        whole = re.sub(r"\\label\{[^}]*\}", "", inner)
        return hold(f"\n\n$${' '.join(whole.split())}$$\n\n")

    text = re.sub("[\ue000\ue001]", "", source.replace("\r\n", "\n"))
    text = replaced(text, VERBATIM, verbatim)
    text = INLINE_CODE.sub(lambda found: hold(found[2]), text)
    text = COMMENT.sub(r"\1", text)
    text = replaced(text, MATH, formula)
    head, begun, body = text.partition("\\begin{document}")
    body = body.partition("\\end{document}")[0] if begun else head
    named = re.search(r"\\title\s*+(?:\[[^\]\[]*\]\s*+)?(?=\{)", text)
    title = " ".join(without_commands(argument(text, named.end())[0]).split()) if named else ""
    made = re.sub(r"\n[ \t]+", "\n", without_commands(body))
    made = re.sub(r"(?<=\S)[ \t]{2,}", " ", made)
    made = re.sub(r"\ue000(\d+)\ue001", lambda found: held[int(found[1])], made)
    made = re.sub(r"(?<![ \t])[ \t]++\n", "\n", made)
    return title, re.sub(r"\n{3,}", "\n\n", made).strip("\n") + "\n"


def replaced(text: str, opener: re.Pattern[str], handle: Callable[[str, str], str | None]) -> str:
    """Text in which `handle(name, inner)` stands for every part between an opener and its closer; None leaves it.

    Takes time in proportion to the text: a closer that is missing is looked for once.
    """
    out, done, at = [], 0, 0
    missing = set[str]()
    while found := opener.search(text, at):
        at = found.end()
        name = found["name"] or found["sign"]
        if not name or name in missing:
            continue
        closer = CLOSERS.get(name) or re.compile(re.escape(f"\\end{{{name}}}"))
        end = closer.search(text, at)
        if not end:
            missing.add(name)
            continue
        shown = handle(name, text[at : end.start()])
        if shown is not None:
            out += [text[done : found.start()], shown]
            done = at = end.end()
    return "".join([*out, text[done:]])


def without_commands(text: str) -> str:
    """Text without commands."""
    out, at = [], 0
    while found := TOKEN.search(text, at):
        out.append(plain(text[at : found.start()]))
        at = found.end()
        command, escaped, sign = found.groups()
        if sign:
            out.append({"~": " ", "&": " | "}.get(sign, ""))
        elif escaped:
            shown, at = character(text, escaped, at)
            out.append(shown)
        else:
            shown, at = command_text(text, command, at)
            out.append(shown)
    out.append(plain(text[at:]))
    return "".join(out)


def command_text(text: str, command: str, at: int) -> tuple[str, int]:
    """What a named command leaves, and where reading goes on."""
    if command in SYMBOLS:
        end = skip_option(text, at) if command in ("item", "newline") else at
        label = text[at + 1 : end - 1] if command == "item" and end > at else ""
        return SYMBOLS[command] + (f"{without_commands(label)} " if label else ""), end
    if command in ACCENTS and len(command) == 1:
        return character(text, command, at)
    at = skip_option(text, at)
    if command in HEADINGS:
        title, at = argument(text, at)
        return f"\n\n{'#' * HEADINGS[command]} {' '.join(without_commands(title).split())}\n\n", at
    if command == "begin":
        name, at = argument(text, at)
        at = skip_option(text, at)
        return "\n", argument(text, at)[1] if name.startswith(("tabular", "minipage", "longtable", "array")) else at
    if command in ("footnote", "thanks"):
        note, at = argument(text, at)
        return f" ({without_commands(note).strip()})", at
    if command in ("caption", "title"):
        shown, at = argument(text, at)
        return f"\n\n{without_commands(shown)}\n\n" if command == "caption" else "", at
    if command == "href":
        at = argument(text, at)[1]
        return "", at  # the words of the link are in the next braces
    for _ in range(ARGUMENTS.get(command, 0)):
        at = skip_option(text, argument(text, at)[1])
    return "", at


def character(text: str, escaped: str, at: int) -> tuple[str, int]:
    """What a command of one character leaves: an accented letter, a line's end, or the character itself."""
    if escaped == "\\":
        return "\n", skip_option(text, at)
    if escaped in ACCENTS:
        letter, end = argument(text, at)
        letter = {"\\i": "i", "\\j": "j"}.get(letter.strip(), letter)
        return (unicodedata.normalize("NFC", letter[0] + ACCENTS[escaped] + letter[1:]), end) if letter else ("", end)
    return {" ": " ", ",": "\u202f", "-": "", "/": "", "@": "", ";": " ", ":": " ", "!": "", "\n": " "}.get(
        escaped, escaped
    ), at


def argument(text: str, at: int) -> tuple[str, int]:
    """The next argument (in braces, or one character or command), and where it ends."""
    while at < len(text) and text[at] in " \t\n":
        at += 1
    if not text.startswith("{", at):
        found = re.compile(r"\\[A-Za-z]+|\\?.", re.DOTALL).match(text, at)
        return (found[0], found.end()) if found else ("", at)
    depth = 0
    for found in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, at):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return text[at + 1 : found.start()], found.end()
    return text[at + 1 :], len(text)


def skip_option(text: str, at: int) -> int:
    """The place after an option in brackets, if there is one."""
    found = re.compile(r"\[[^\[\]]*\]").match(text, at)
    return found.end() if found else at


def plain(text: str) -> str:
    """TeX's ways to write dashes and quotation marks."""
    for written, meant in (("---", "—"), ("--", "–"), ("``", "“"), ("''", "”")):
        text = text.replace(written, meant)
    return text

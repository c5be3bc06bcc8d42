"""How much of public test suites passes, as one table. Each suite is a checkout that is named; none is stored here.

    python benchmarks/conformance.py --encoding whatwg/encoding --prescan html5lib-tests --robots google/robotstxt \
        --url ada/tests/wpt --tree html5lib-tests --tokens html5lib-tests [--verbose]

The tests of tree construction left html5lib-tests for web-platform-tests: take its commit 9329e64 or an older one.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from gristmill.crawl.robots import parse_robots
from gristmill.crawl.urls import normalise, target_of
from gristmill.html.charset import declared_encoding
from gristmill.html.content.main_text import extract_html
from gristmill.html.encodings import decode, encoding_of

Case = tuple[str, object, object]  # what it is, what comes out, what should
DIVIDED = {"big5": (157, 0x81), "gb18030": (190, 0x81), "euc-kr": (190, 0x81), "jis0212": (94, 0xA1)}
LITERALS = r'(?:"(?:[^"\\]|\\.)*"\s*)+'
HIDDEN = r"<(svg |script|style|template|select|iframe|textarea|title|head|rp|rt|rtc|noembed|noframes|datalist)\b|<!--"
MARKS = re.compile(r"^ *(?:- |\d+\. |#+ |`{3,}$|\| --- .*)+|</?su[bp]>", re.MULTILINE)
ROBOTS = re.compile(
    rf"string(?:_view)? (\w+)\s*=\s*({LITERALS});"
    rf"|EXPECT_(TRUE|FALSE)\(\s*IsUserAgentAllowed\(\s*({LITERALS}|\w+),\s*({LITERALS}|\w+),\s*({LITERALS}|\w+)\)\)"
)


def encodings(root: Path) -> Iterator[Case]:
    """Every label, and every code of every index of the Encoding standard (github.com/whatwg/encoding)."""
    for group in json.loads((root / "encodings.json").read_text()):
        for each in group["encodings"]:
            for label in each["labels"]:
                yield f"label {label}", encoding_of(label), each["name"].lower().removesuffix("-i")
    for path in sorted(root.glob("index-*.txt")):
        name = path.stem.removeprefix("index-")
        if name in ("gb18030-ranges", "iso-2022-jp-katakana"):
            continue
        for line in path.read_text().splitlines():
            if "\t" in line and not line.startswith("#"):
                pointer, code_point = line.split("\t")[:2]
                for encoding, code in codes(name, int(pointer)):
                    yield f"{encoding} {code.hex()}", decode(code, encoding), chr(int(code_point, 16))


def codes(index: str, pointer: int) -> Iterator[tuple[str, bytes]]:
    """The encodings that use an index, and the bytes that stand for a pointer in each."""
    if index == "jis0208":
        lead, trail = divmod(pointer, 188)
        yield "shift_jis", bytes((lead + (0x81 if lead < 0x1F else 0xC1), trail + (0x40 if trail < 0x3F else 0x41)))
        row, cell = divmod(pointer, 94)
        if row < 94:
            yield "euc-jp", bytes((row + 0xA1, cell + 0xA1))
            yield "iso-2022-jp", b"\x1b$B" + bytes((row + 0x21, cell + 0x21))
    elif index in DIVIDED:
        width, first = DIVIDED[index]
        row, cell = divmod(pointer, width)
        gap = {"big5": 0x62 if cell > 0x3E else 0x40, "gb18030": 0x41 if cell > 0x3E else 0x40}
        code = bytes((row + first, cell + gap.get(index, 0xA1 if index == "jis0212" else 0x41)))
        yield ("euc-jp", b"\x8f" + code) if index == "jis0212" else (index, code)
    else:
        yield index, bytes((pointer + 0x80,))


def prescan(root: Path) -> Iterator[Case]:
    """The encoding that a page declares (github.com/html5lib/html5lib-tests)."""
    for path in sorted(root.glob("encoding/**/*.dat")):
        for test in re.split(rb"(?:^|\n)#data\n", path.read_bytes())[1:]:
            page, _, wanted = test.rpartition(b"#encoding\n")
            page = page.removesuffix(b"\n")
            found = "utf-8" if page.startswith(b"\xef\xbb\xbf") else declared_encoding(page) or "windows-1252"
            yield f"{path.name} {page[:60]!r}", found, encoding_of(wanted.split(b"\n")[0].decode())


def robots(root: Path) -> Iterator[Case]:
    """What a robots.txt allows, but for lines longer than any (github.com/google/robotstxt)."""
    known: dict[str, str] = {}
    for name, text, verdict, *given in ROBOTS.findall((root / "robots_test.cc").read_text()):
        if name:
            known[name] = literal(text)
        else:
            file, agent, url = (literal(each) if each.startswith('"') else known[each] for each in given)
            allowed = parse_robots(file, agent).decide(target_of(url))[0]
            yield f"{agent} {url} in {file!r}", allowed, verdict == "TRUE"


def literal(text: str) -> str:
    """The value of C string literals in a row."""
    return "".join(ast.literal_eval(each) for each in re.findall(r'"(?:[^"\\]|\\.)*"', text))


def urls(root: Path) -> Iterator[Case]:
    """What http and https URLs become, without what we take out (urltestdata.json of web-platform-tests)."""
    for test in json.loads((root / "urltestdata.json").read_text(encoding="utf-8")):
        if isinstance(test, str):
            continue
        wanted = None if test.get("failure") or not test["href"].startswith(("http:", "https:")) else test["href"]
        if wanted:
            parts = urlsplit(wanted.partition("#")[0])
            wanted = wanted.partition("#")[0].replace(parts.netloc, parts.netloc.rpartition("@")[2], 1)
        yield f"{test['input']!r} at {test['base']}", normalise(test["input"], test["base"] or ""), wanted


def tree(root: Path) -> Iterator[Case]:
    """The text of documents in order, without spaces, of what is shown (github.com/html5lib/html5lib-tests)."""
    for path in sorted(root.glob("tree-construction/*.dat")):
        for test in re.split(r"(?:^|\n)#data\n", path.read_text(encoding="utf-8", errors="surrogatepass"))[1:]:
            page, _, rest = test.partition("\n#errors\n")
            if not re.search(r"\n#(document-fragment|script-on)\n", test):
                found = extract_html(page, whole=True).text
                yield (
                    f"{path.name} {page!r}",
                    squeeze(MARKS.sub("", found)),
                    squeeze(shown(rest.partition("#document\n")[2])),
                )


def is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates, which no page of bytes can hold."""
    return text.encode("utf-8", "replace").decode() == text


def shown(dump: str) -> str:
    """The text of a dumped tree, whose lines begin with "| " and two spaces a level."""
    out, hidden = [], 99
    for line in re.split(r"\n(?=\| )", dump.removeprefix("| ")):
        line = line.removeprefix("| ")
        level = len(line) - len(line.lstrip(" "))
        if level <= hidden:
            hidden = level if re.match(HIDDEN, line.strip()) else 99
        if hidden == 99 and line.strip().startswith('"'):
            out.append(line.strip()[1:].removesuffix('"'))
    return "".join(out)


def squeeze(text: str) -> str:
    """A text without what extraction makes of spaces, and without invisible characters."""
    return "".join(letter for letter in text if not letter.isspace() and letter.isprintable() and letter not in "$|")


def tokens(root: Path) -> Iterator[Case]:
    """The text and the character references of pages without elements whose content is not text (html5lib-tests)."""
    for path in sorted(root.glob("tokenizer/*.test")):
        for test in json.loads(path.read_text(encoding="utf-8")).get("tests", ()):
            page, wanted = test["input"], [token for token in test["output"] if isinstance(token, list)]
            if test.get("doubleEscaped"):
                page, wanted = json.loads(json.dumps([page, wanted]).replace("\\\\u", "\\u"))
            names = {token[1].lower() for token in wanted if token[0] == "StartTag"}
            data = "Data state" in test.get("initialStates", ["Data state"])
            if data and not re.search(HIDDEN, " ".join(f"<{name} " for name in names)) and is_unicode(page):
                text = "".join(token[1] for token in wanted if token[0] == "Character")
                yield (
                    f"{path.name} {page!r}",
                    squeeze(MARKS.sub("", extract_html(page, whole=True).text)),
                    squeeze(text),
                )


SUITES: dict[str, Callable[[Path], Iterator[Case]]] = {
    "encoding": encodings,
    "prescan": prescan,
    "robots": robots,
    "url": urls,
    "tree": tree,
    "tokens": tokens,
}


def main() -> None:
    """Run the suites that are named and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    for name, suite in SUITES.items():
        parser.add_argument(f"--{name}", type=Path, metavar="CHECKOUT", help=suite.__doc__)
    parser.add_argument("--verbose", action="store_true", help="list what fails")
    given = vars(parser.parse_args())
    table, console = Table("suite", "passed", "of"), Console()
    for name, suite in SUITES.items():
        if given[name]:
            results = list(suite(given[name]))
            failed = [case for case in results if case[1] != case[2]]
            table.add_row(name, f"{len(results) - len(failed):,}", f"{len(results):,}")
            for what, found, wanted in failed if given["verbose"] else ():
                console.print(f"{name}: {what}: {found!r} instead of {wanted!r}", markup=False, soft_wrap=True)
    console.print(table)


if __name__ == "__main__":
    main()

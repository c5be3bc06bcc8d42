"""The hand-written splitters against the regular expressions that they stand for, in two libraries."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

import gristmill.tokenizer
from gristmill.tokenizer.patterns import PATTERNS, SPLIT, classes, split

# Upper and title case, lower case, other letters, marks, numbers, white space, line ends: as `split.h` numbers them.
CLASSES = (r"[\p{Lu}\p{Lt}]", r"\p{Ll}", r"[\p{Lm}\p{Lo}]", r"\p{M}", r"\p{N}", r"[\s--[\r\n]]", r"[\r\n]")
TRICKY = list("aAbBsStTmMlLrReEvVdD'''     \n\r\t/.,0123456789") + (
    "ſ K é É ǅ ʰ 日 本 ा ́ ‿ 😀 ² Ⅷ ٣ 's 'LL 'ſ ß İ ı ‍ \ufeff \u00a0 \u2028 \u3000 \x85 \0 \ue000".split(" ")
)
SPLITTERS = {name: pre_tokenizers.Split(Regex(pattern), "isolated") for name, pattern in PATTERNS.items()}


def theirs(text: str, pattern: str) -> list[bytes]:
    """The pieces by Hugging Face's regular expression engine."""
    return [piece.encode() for piece, _ in SPLITTERS[pattern].pre_tokenize_str(text)]


def classes_of_tiktoken() -> np.ndarray:
    """The class of every code point as tiktoken's regular expressions know it."""
    every = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    found, ranks = np.zeros(0x110000, np.uint8), {bytes([value]): value for value in range(256)}
    for number, pattern in enumerate(CLASSES, 1):
        matcher = tiktoken.Encoding("class", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        for character in bytes(matcher.encode_ordinary(every)).decode():
            found[ord(character)] = number
    return found


def write_classes(path: Path) -> None:
    """Make `unicode_classes.txt` anew: `python -c "import test_split; test_split.write_classes(…)"` in this folder."""
    found = classes_of_tiktoken()
    starts = np.flatnonzero(np.diff(found, prepend=255))
    path.write_text("".join(f"{start:x} {found[start]}\n" for start in starts))


def test_the_classes_of_all_characters_are_those_of_tiktoken(tmp_path: Path) -> None:
    assert np.array_equal(classes(), classes_of_tiktoken())
    write_classes(tmp_path / "unicode_classes.txt")
    ours = Path(gristmill.tokenizer.__path__[0]) / "unicode_classes.txt"
    assert ours.read_text() == (tmp_path / "unicode_classes.txt").read_text()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pieces_equal_the_expression_on_tricky_text(pattern: str) -> None:
    draw = random.Random(pattern)
    for _ in range(8000):
        text = "".join(draw.choice(TRICKY) for _ in range(draw.randrange(1, 14)))
        assert split(text.encode(), pattern) == theirs(text, pattern), ascii(text)


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=st.text(max_size=40))
def test_pieces_equal_the_expression_on_any_text(pattern: str, text: str) -> None:
    assert split(text.encode(), pattern) == theirs(text, pattern)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pieces_equal_the_expression_on_real_text(pattern: str, real: list[str], hard: list[str]) -> None:
    for text in [*real[:12], *hard]:
        assert split(text.encode(), pattern) == theirs(text, pattern)


@pytest.mark.parametrize("pattern", PATTERNS)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_cut_whole(pattern: str, data: bytes) -> None:
    pieces = split(data, pattern)
    assert b"".join(pieces) == data and all(pieces)


def test_nothing_is_read_past_the_end() -> None:
    """A piece at the very end of a text, where a wide load would read beyond it: what follows must not matter."""
    for length in range(1, 40):
        text = ("ab" * 20)[:length].encode()
        beyond = np.frombuffer(text + b"zzzzzzzzzzzzzzzzzzzz", np.uint8)
        ends = np.empty(64, np.uint64)
        count = SPLIT(classes(), 0, beyond, length, ends)
        assert ends[:count].tolist() == [length]

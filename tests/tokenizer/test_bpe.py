"""Merges: the same as a plain implementation's, as rustbpe's and, but for its order of bytes, as Hugging Face's."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rustbpe
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from gristmill.tokenizer.bpe import learn_merges, pieces_of
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import CHARACTERS, to_characters
from gristmill.tokenizer.patterns import PATTERNS
from gristmill.tokenizer.pretokens import PretokenList, count_pretokens

TEXTS = st.lists(st.text(alphabet="ab c", max_size=40) | st.text(alphabet="abé日", max_size=20), max_size=12)


def word_list(words: dict[bytes, int]) -> PretokenList:
    """Words and counts as arrays."""
    offsets = np.cumsum([0, *map(len, words)])
    return PretokenList(np.frombuffer(b"".join(words), np.uint8), offsets, np.array([*words.values()], np.uint64))


def words_of(texts: list[str], pattern: str, folder: Path) -> PretokenList:
    """The words of texts."""
    return count_pretokens([pa.array(texts, pa.large_string())], pattern, folder, 1).words


def plain_merges(words: dict[bytes, int], size: int) -> list[list[int]]:
    """Count all pairs anew at every step."""
    texts = [(list(word), count) for word, count in words.items()]
    merges: list[list[int]] = []
    while 256 + len(merges) < size:
        pairs = Counter[tuple[int, int]]()
        for symbols, count in texts:
            for pair in pairwise(symbols):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        texts = [(merged(symbols, best, 256 + len(merges)), count) for symbols, count in texts]
        merges.append(list(best))
    return merges


def merged(symbols: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """Replace a pair from left to right."""
    out: list[int] = []
    at = 0
    while at < len(symbols):
        found = tuple(symbols[at : at + 2]) == pair
        out.append(new if found else symbols[at])
        at += 1 + found
    return out


@given(words=st.dictionaries(st.text("abc", min_size=1, max_size=12).map(str.encode), st.integers(1, 50), max_size=25))
def test_merges_are_those_of_a_plain_implementation(words: dict[bytes, int]) -> None:
    assert learn_merges(word_list(words), 256 + 40).tolist() == plain_merges(words, 256 + 40)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_merges_equal_rustbpe_on_real_text(pattern: str, real: list[str], tmp_path: Path) -> None:
    peer = rustbpe.Tokenizer()
    peer.train_from_iterator(iter(real), 5000, pattern=PATTERNS[pattern])
    ours = pieces_of(learn_merges(words_of(real, pattern, tmp_path), 5000))
    assert ours == [bytes(piece) for piece, _ in peer.get_mergeable_ranks()]
    assert len(set(ours)) == 5000


def test_merges_equal_hugging_face_on_real_text(real: list[str], tmp_path: Path) -> None:
    """It numbers bytes by their printable characters, which decides between equally common pairs: so do we, here."""
    splitter = tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERNS["qwen2"]), "isolated")
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([splitter, byte_level])
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, show_progress=False)
    peer.train_from_iterator(real, trainer)
    order = sorted(range(256), key=lambda value: CHARACTERS[value])
    numbers = np.argsort(order).astype(np.uint8)
    words = words_of(real, "qwen2", tmp_path)
    merges = learn_merges(PretokenList(numbers[words.data], words.offsets, words.counts), 4000)
    ours = [to_characters(bytes(order[value] for value in piece)) for piece in pieces_of(merges)]
    theirs = peer.get_vocab()
    assert ours == sorted(theirs, key=theirs.__getitem__)


@given(texts=TEXTS)
def test_what_training_merges_encoding_merges(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Encoding a word by rank gives the tokens that training left it with; smaller vocabularies are the beginning."""
    words = words_of(texts, "qwen2", tmp_path_factory.getbasetemp())
    merges = learn_merges(words, 300)
    tokenizer = Tokenizer(pieces_of(merges), "qwen2")
    assert tokenizer.vocabulary.merges() == [tuple(pair) for pair in merges.tolist()]
    for text in texts:
        symbols = [int(token) for word in [text] for token in tokenizer.encode(word)]
        assert tokenizer.decode(symbols) == text
    half = 256 + len(merges) // 2
    assert learn_merges(words, half).tolist() == merges[: half - 256].tolist()


def test_memory_and_progress(tmp_path: Path) -> None:
    words = words_of(["the cat sat on the mat with the hat"] * 3, "qwen2", tmp_path)
    steps: list[int] = []
    merges = learn_merges(words, 1000, steps.append)
    assert sum(steps) == len(merges) < 60
    assert len(learn_merges(words, 256)) == 0 == len(learn_merges(words.head(0), 300))

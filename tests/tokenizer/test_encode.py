"""Encoding: ids equal to tiktoken's, Hugging Face's and llama.cpp's on any text; control tokens never from text."""

from __future__ import annotations

import random
import time
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiktoken
import tiktoken.load
import tokenizers
import transformers
from hypothesis import given
from hypothesis import strategies as st

from gristmill.errors import UserError
from gristmill.export.check import LlamaCpp
from gristmill.export.gguf import write_gguf
from gristmill.export.trained import Trained
from gristmill.manifest import Manifest
from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.tokenizer.bpe import learn_merges, pieces_of
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import CONTROL, write_ranks, write_tokenizer_json
from gristmill.tokenizer.patterns import PATTERNS
from gristmill.tokenizer.pretokens import count_pretokens

FORGED = st.lists(st.sampled_from([*CONTROL, " ", "a", "|", "<", ">", "im_start", "\n"]), max_size=8).map("".join)


def write(folder: Path, texts: Sequence[str], pattern: str, size: int = 3000) -> Path:
    """Train on texts and write a tokenizer's folder."""
    words = count_pretokens([pa.array(texts, pa.large_string())], pattern, folder, 1).words
    merges = learn_merges(words, size)
    write_tokenizer_json(folder / "tokenizer.json", pieces_of(merges), merges.tolist(), pattern)
    write_ranks(folder / "tokenizer.tiktoken", pieces_of(merges))
    return folder


@pytest.fixture(scope="module", params=PATTERNS)
def folder(request: pytest.FixtureRequest, real: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of each pattern, trained on half of the real pages."""
    return write(tmp_path_factory.mktemp(request.param), real[::2], request.param)


def by_tiktoken(folder: Path, pattern: str) -> tiktoken.Encoding:
    """The `.tiktoken` file in tiktoken."""
    ranks = tiktoken.load.load_tiktoken_bpe(str(folder / "tokenizer.tiktoken"))
    return tiktoken.Encoding("ours", pat_str=PATTERNS[pattern], mergeable_ranks=ranks, special_tokens={})


def by_hugging_face(folder: Path) -> tokenizers.Tokenizer:
    """The `tokenizer.json` in `tokenizers`, control tokens in text read as text, as ours does."""
    found = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    found.encode_special_tokens = True
    return found


def test_ids_equal_tiktoken_and_hugging_face(folder: Path, real: list[str], hard: list[str]) -> None:
    ours = Tokenizer.load(folder)
    theirs, hugging = by_tiktoken(folder, ours.pattern), by_hugging_face(folder)
    texts = [*hard, *real]
    for text, batched in zip(texts, ours.encode_batch(texts), strict=True):
        ids = ours.encode(text)
        assert ids == batched == theirs.encode_ordinary(text) == hugging.encode(text).ids
        assert ours.decode(ids) == text == hugging.decode(ids, skip_special_tokens=False)


def test_ids_equal_transformers(folder: Path, real: list[str], hard: list[str]) -> None:
    ours = Tokenizer.load(folder)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    for text in [*hard, *real[:10]]:
        if not any(token in text for token in CONTROL):
            assert ours.encode(text) == theirs(text)["input_ids"]
    assert theirs.convert_tokens_to_ids(list(CONTROL)) == [ours.end_of_text, ours.im_start, ours.im_end]


def test_ids_equal_llama_cpp(folder: Path, real: list[str], hard: list[str], tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    ours = Tokenizer.load(folder)
    trained = Trained(Transformer(ModelConfig(ours.vocab_size, 1, 32, 1, 1, 32, 32, 64)), ours, Manifest())
    write_gguf(trained, tmp_path, "q8_0")
    theirs = LlamaCpp(tmp_path, "q8_0", trained)
    for text in [*hard, *real]:
        # llama.cpp's `gpt-4o` lets a combining mark end a word
        if ours.pattern != "gpt-4o" or not any(unicodedata.category(character)[0] == "M" for character in text):
            assert theirs.ids(text) == ours.encode(text)


@given(text=st.text(max_size=120))
def test_any_text_equals_tiktoken_and_comes_back(tokenizer: Tokenizer, tokenizer_folder: Path, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids == by_tiktoken(tokenizer_folder, tokenizer.pattern).encode_ordinary(text)
    assert tokenizer.decode(ids) == text


@given(data=st.binary(max_size=120))
def test_any_bytes_come_back(tokenizer: Tokenizer, data: bytes) -> None:
    bounds = np.array([0, len(data)])
    ids, counts = tokenizer.encode_bytes(np.frombuffer(data, np.uint8), bounds, None)
    assert tokenizer.decode_bytes(ids.tolist()) == data and counts.tolist() == [len(ids)]


@pytest.mark.parametrize("text", ["a\ud800b", "\udfff", "\ud83d\ude00 pair", "\ude00\ud83d"])
def test_surrogates_as_in_tiktoken(tokenizer: Tokenizer, tokenizer_folder: Path, text: str) -> None:
    assert tokenizer.encode(text) == by_tiktoken(tokenizer_folder, tokenizer.pattern).encode_ordinary(text)


@given(text=FORGED)
def test_no_text_makes_a_control_token(tokenizer: Tokenizer, text: str) -> None:
    column = pa.array([text])
    for ids in (tokenizer.encode(text), tokenizer.encode_batch([text])[0], tokenizer.encode_documents(column)[0][:-1]):
        assert not {tokenizer.end_of_text, tokenizer.im_start, tokenizer.im_end} & set(ids)
        assert tokenizer.decode(ids) == text


def test_what_is_no_id_is_named(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([*tokenizer.encode("a"), tokenizer.im_end]) == "a"
    for wrong in (tokenizer.vocab_size, -1):
        with pytest.raises(UserError, match=f"{wrong} is no token"):
            tokenizer.decode([wrong])


def test_a_megabyte_without_spaces_takes_no_time(tokenizer: Tokenizer, tokenizer_folder: Path) -> None:
    draw = random.Random(0)
    words = ["river", "mill", "aaaa", "th"]
    text = "".join(draw.choice(words) for _ in range(300_000))[: 1 << 20]
    started = time.process_time()
    tokenizer.encode(text[: len(text) // 16])
    part = time.process_time() - started
    ids = tokenizer.encode(text)
    assert time.process_time() - started - part < 64 * part + 1  # quadratic: 256 times, hours
    assert ids == by_tiktoken(tokenizer_folder, tokenizer.pattern).encode_ordinary(text)


def test_a_full_cache_gives_the_same_ids(tokenizer: Tokenizer) -> None:
    """More different words than the cache has places, twice over, and words that fall on the same place."""
    draw = random.Random(1)
    texts = [
        " ".join("".join(draw.choices("abcdefgh", k=draw.randrange(1, 33))) for _ in range(4000)) for _ in range(60)
    ]
    first = tokenizer.encode_batch(texts)
    assert tokenizer.encode_batch(texts) == first
    fresh = Tokenizer(tokenizer.pieces, tokenizer.pattern)
    assert [fresh.encode(text) for text in reversed(texts)] == first[::-1]


def test_threads_share_a_tokenizer(tokenizer: Tokenizer, real: list[str]) -> None:
    expected = [tokenizer.encode(text) for text in real]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(tokenizer.encode, real)) == expected


def test_smaller_vocabularies_are_truncations(tokenizer: Tokenizer, real: list[str]) -> None:
    small = tokenizer.truncated(300)
    assert small.vocab_size == 300 and small.pieces == tokenizer.pieces[:297]
    ranks = {piece: rank for rank, piece in enumerate(small.pieces)}
    theirs = tiktoken.Encoding("s", pat_str=PATTERNS[small.pattern], mergeable_ranks=ranks, special_tokens={})
    assert small.encode(real[0]) == theirs.encode_ordinary(real[0])


def test_no_vocabularies_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="not every byte"):
        Tokenizer(tokenizer.pieces[1:], "qwen2")
    with pytest.raises(ValueError, match="make token 256, b'xyz'"):
        Tokenizer([*tokenizer.pieces[:256], b"xyz"], "qwen2")
    with pytest.raises(ValueError, match="make token 256, b''"):
        Tokenizer([*tokenizer.pieces[:256], b""], "qwen2")
    with pytest.raises(ValueError, match="more than 2,097,152 tokens"):
        Tokenizer([b"a"] * ((1 << 21) + 1), "qwen2")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:100],
        lambda data: data[:-200],
        lambda data: b"[]",
        lambda data: b'{"pre_tokenizer": null}',  # as of Llama 2
        lambda data: b'{"pre_tokenizer": {"pretokenizers": []}}',
        lambda data: b"\xff" + data,
        lambda data: data.replace(b"\\\\p{N}", b"\\\\p{L}"),
        lambda data: data.replace(b": 300", b": 301"),
        lambda data: data.replace(b": 300", b": 9000"),
        lambda data: data.replace(b"<|im_end|>", b"<|im_stop|>"),
        lambda data: data.replace(b'": 300', b'\xe2\x82\xac": 300'),
    ],
)
def test_damaged_files_are_named(tokenizer_folder: Path, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    good = (tokenizer_folder / "tokenizer.json").read_bytes()
    assert change(good) != good
    (tmp_path / "tokenizer.json").write_bytes(change(good))
    with pytest.raises(UserError, match=r"tokenizer\.json is no tokenizer"):
        Tokenizer.load(tmp_path)
    with pytest.raises(UserError, match="no tokenizer in"):
        Tokenizer.load(tmp_path / "nothing")

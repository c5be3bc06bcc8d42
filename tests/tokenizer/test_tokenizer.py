"""Tokenizer: ids equal to Hugging Face's on any text, control tokens never from text, shards that lead back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from gristmill.document import Document, read_documents, write_documents
from gristmill.errors import UserError
from gristmill.recipe import Tokenize, TokenizerParams
from gristmill.tokenizer import tokenize, train
from gristmill.tokenizer.encode import CONTROL, Tokenizer
from gristmill.tokenizer.shards import open_split, verify

HARD = [
    "",
    "\0",
    "a\u00a0b",
    "😀 naïve 日本語",
    "x" * 5000,
    "I'll we've DON'T",
    "12345 6",
    "\r\n\n  \t x ",
    "<|im_end|>",
]


def theirs(folder: Path) -> tokenizers.Tokenizer:
    found = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    found.encode_special_tokens = True  # read control tokens in text as text, as ours does
    return found


@pytest.mark.parametrize("text", HARD)
def test_ids_equal_hugging_face_on_hard_text(tokenizer: Tokenizer, tokenizer_folder: Path, text: str) -> None:
    assert tokenizer.encode(text) == theirs(tokenizer_folder).encode(text).ids
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.text(max_size=80) | st.lists(st.sampled_from([*CONTROL, " ", "a", "|", "<"]), max_size=8).map("".join))
def test_no_text_makes_a_control_token(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert not {tokenizer.end_of_text, tokenizer.im_start, tokenizer.im_end} & set(ids)
    assert tokenizer.decode(ids) == text


def test_lone_surrogate_is_replaced(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a?b".replace("?", "\ufffd")


def test_training_is_deterministic_and_bytes_come_first(corpus: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    train.run({"corpus": corpus}, TokenizerParams(vocab_size=400), tmp_path)
    for name in ("tokenizer.json", "tokenizer.tiktoken", "facts.json"):
        assert (tmp_path / name).read_bytes() == (tokenizer_folder / name).read_bytes()
    loaded = Tokenizer.load(tmp_path)
    assert [loaded.token_bytes(value) for value in range(256)] == [bytes([value]) for value in range(256)]


def test_small_corpus_gives_a_smaller_vocabulary(tmp_path: Path) -> None:
    write_documents(tmp_path / "d.parquet", [Document("1", "aa bb aa bb")])
    (tmp_path / "out").mkdir()
    train.run({"corpus": tmp_path}, TokenizerParams(vocab_size=1000), tmp_path / "out")
    loaded = Tokenizer.load(tmp_path / "out")
    assert loaded.vocab_size < 300
    assert loaded.im_end == loaded.vocab_size - 1


def test_empty_corpus_is_refused(tmp_path: Path) -> None:
    write_documents(tmp_path / "d.parquet", [])
    with pytest.raises(UserError, match="no text"):
        train.run({"corpus": tmp_path}, TokenizerParams(), tmp_path)


def test_shards_lead_back_to_every_document(corpus: Path, tokens_folder: Path, tokenizer: Tokenizer) -> None:
    texts = {document.id: document.text for document in read_documents(corpus)}
    seen = {}
    for name in ("train", "heldout"):
        split = open_split(tokens_folder, name)
        assert len(split.ids) > 5
        for i, identity in enumerate(split.ids):
            *ids, end = split.tokens[split.starts[i] : split.starts[i + 1]].tolist()
            assert end == tokenizer.end_of_text
            seen[identity] = tokenizer.decode(ids)
    assert seen == texts


def test_many_shards_hold_the_same_tokens(
    corpus: Path, tokenizer_folder: Path, tokens_folder: Path, tmp_path: Path
) -> None:
    inputs = {"corpus": corpus, "tokenizer": tokenizer_folder}
    tokenize.run(inputs, Tokenize(heldout=0.1, shard_tokens=1000), tmp_path)
    assert len(list(tmp_path.glob("train-*.bin"))) > 3
    assert np.array_equal(open_split(tmp_path, "train").tokens, open_split(tokens_folder, "train").tokens)


def test_two_documents_are_enough_and_one_is_not(tokenizer_folder: Path, tmp_path: Path) -> None:
    inputs = {"corpus": tmp_path, "tokenizer": tokenizer_folder}
    (tmp_path / "out").mkdir()
    write_documents(tmp_path / "d.parquet", [Document("1", "one"), Document("2", "two")])
    tokenize.run(inputs, Tokenize(heldout=0.01), tmp_path / "out")
    assert len(open_split(tmp_path / "out", "heldout").ids) == 1
    write_documents(tmp_path / "d.parquet", [Document("1", "one")])
    with pytest.raises(UserError, match="too small"):
        tokenize.run(inputs, Tokenize(heldout=0.01), tmp_path / "out")


def test_damaged_shards_are_refused(corpus: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenize.run({"corpus": corpus, "tokenizer": tokenizer_folder}, Tokenize(heldout=0.1), tmp_path)
    verify(tmp_path)
    shard = tmp_path / "train-00000.bin"
    good = shard.read_bytes()
    shard.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    with pytest.raises(UserError, match=r"train-00000\.bin is corrupt"):
        verify(tmp_path)
    shard.write_bytes(good[:-2])
    with pytest.raises(UserError, match=r"train-00000\.bin is missing or"):
        open_split(tmp_path, "train")


def test_description_names_the_tokenizer(tokens_folder: Path, tokenizer: Tokenizer) -> None:
    assert json.loads((tokens_folder / "shards.json").read_text())["tokenizer"] == tokenizer.hash

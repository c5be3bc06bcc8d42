"""The tokenizer's part of a GGUF file, as llama.cpp reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gristmill.errors import UserError
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import to_characters

NORMAL, CONTROL_TYPE = 1, 3  # llama.cpp's token types


def add_tokenizer(writer: Any, tokenizer: Tokenizer) -> None:
    """Add the keys of a tokenizer to a `gguf.GGUFWriter`.

    `tokenizer.ggml.pre` names the split pattern. llama.cpp then gives the ids that `Tokenizer.encode` gives; but its
    `gpt-4o` lets combining marks end a word, so that Hindi, Thai or vowelled Arabic is cut otherwise.
    """
    written = [to_characters(piece) for piece in tokenizer.pieces]
    merges = [f"{written[left]} {written[right]}" for left, right in tokenizer.vocabulary.merges()]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.pattern)
    writer.add_token_list([*written, *tokenizer.controls])
    writer.add_token_types([NORMAL] * len(written) + [CONTROL_TYPE] * len(tokenizer.controls))
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokenizer.im_end)
    writer.add_eot_token_id(tokenizer.im_end)
    writer.add_pad_token_id(tokenizer.end_of_text)
    writer.add_add_bos_token(False)


def write_vocabulary(path: Path, tokenizer: Tokenizer) -> None:
    """Write a GGUF file that holds a tokenizer only (llama.cpp opens it with `vocab_only`).

    Raises UserError where the package `gguf` is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise UserError("GGUF files need the package gguf", "pip install 'gristmill[gguf]'") from error
    writer = gguf.GGUFWriter(str(path), "qwen3")
    writer.add_vocab_size(tokenizer.vocab_size)
    add_tokenizer(writer, tokenizer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()

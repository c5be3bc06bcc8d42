"""The files that a tokenizer is kept in: `.tiktoken` and Hugging Face's `tokenizer.json`."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gristmill.manifest import atomic_path, write_text
from gristmill.tokenizer.patterns import PATTERNS

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_characters() -> list[str]:
    """GPT-2's printable character for each byte: Latin-1's printable ones stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(value if value in plain else next(others)) for value in range(256)]


CHARACTERS = byte_characters()


def to_characters(piece: bytes) -> str:
    """A token as GPT-2 writes it: one printable character a byte."""
    return "".join(CHARACTERS[value] for value in piece)


def read_ranks(path: Path) -> list[bytes]:
    """The tokens of a `.tiktoken` file (base64 of the token's bytes, a space, its rank) in order of rank.

    Raises ValueError where the ranks are not 0, 1, 2 … .
    """
    ranks = {}
    for line in path.read_bytes().splitlines():
        token, rank = line.split()
        ranks[int(rank)] = base64.b64decode(token, validate=True)
    if sorted(ranks) != list(range(len(ranks))):
        raise ValueError(f"{path.name} has gaps in its ranks")
    return [ranks[rank] for rank in range(len(ranks))]


def write_ranks(path: Path, pieces: Sequence[bytes]) -> None:
    """Write a `.tiktoken` file."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(base64.b64encode(piece) + b" %d\n" % rank for rank, piece in enumerate(pieces)))


def write_tokenizer_json(
    path: Path, pieces: Sequence[bytes], merges: Sequence[tuple[int, int]], pattern: str
) -> None:
    """Write a `tokenizer.json`: the tokens, the two that each merge joins, the split pattern, the control tokens."""
    written = [to_characters(piece) for piece in pieces]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": PATTERNS[pattern]}, "behavior": "Isolated", "invert": False}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [control_token(len(pieces) + number, token) for number, token in enumerate(CONTROL)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: rank for rank, token in enumerate(written)},
            "merges": [[written[left], written[right]] for left, right in merges],
        },
    }
    write_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def control_token(rank: int, token: str) -> dict[str, Any]:
    """An entry of `added_tokens`."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": rank, "content": token, **flags, "special": True}

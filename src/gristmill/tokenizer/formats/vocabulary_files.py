"""The files that a tokenizer is kept in: `.tiktoken` and Hugging Face's `tokenizer.json`."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from gristmill.files import atomic_path, write_text
from gristmill.tokenizer.patterns import PATTERNS

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ENDS = ("<|endoftext|>", "<|end_of_text|>")  # what ends a document in Qwen and GPT, in Llama 3
TURNS = (CONTROL[1:], ("<|start_header_id|>", "<|eot_id|>"))  # ChatML's, Llama 3's: what opens and ends a turn
CALLED = ("<|eom_id|>",)  # ends a turn of Llama 3.1's that calls a function
THOUGHT, OVER = "<think>", "</think>"  # around what a model thinks, where these are tokens: Qwen3, DeepSeek
TEMPLATE = "chat_template.jinja"  # next to a `tokenizer.json`


def byte_characters() -> list[str]:
    """GPT-2's printable character for each byte: Latin-1's printable ones stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(value if value in plain else next(others)) for value in range(256)]


CHARACTERS = byte_characters()
VALUES = {character: value for value, character in enumerate(CHARACTERS)}


def to_characters(piece: bytes) -> str:
    """A token as GPT-2 writes it: one printable character a byte."""
    return "".join(CHARACTERS[value] for value in piece)


def write_ranks(path: Path, pieces: Sequence[bytes]) -> None:
    """Write a `.tiktoken` file."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(base64.b64encode(piece) + b" %d\n" % rank for rank, piece in enumerate(pieces)))


def read_tokenizer_json(path: Path) -> tuple[list[bytes], str, list[str], list[str]]:
    """The tokens in order of rank, the name of the split pattern, the control tokens, and those of them that are text,
    of a `tokenizer.json` of byte-level BPE: ids are the ranks, then those of the control tokens.

    Raises OSError where it cannot be read, and ValueError, LookupError, TypeError or AttributeError where it is
    something else.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    pattern = split_pattern(content["pre_tokenizer"])
    added = sorted((token["id"], token["content"]) for token in content["added_tokens"])
    names = {name for _, name in added}
    ranks: dict[str, int] = {token: rank for token, rank in content["model"]["vocab"].items() if token not in names}
    written = sorted(ranks, key=ranks.__getitem__)
    if [ranks[token] for token in written] != list(range(len(written))):
        raise ValueError("there are gaps in its ranks")
    if [number for number, _ in added] != list(range(len(written), len(written) + len(added))):
        raise ValueError("its control tokens do not follow its other tokens")
    pieces = [bytes(map(VALUES.__getitem__, token)) for token in written]
    return pieces, pattern, [name for _, name in added], shown_tokens(content)


def shown_tokens(content: dict[str, Any]) -> list[str]:
    """The added tokens of a `tokenizer.json` that are text: those that are not called special."""
    return [token["content"] for token in content["added_tokens"] if not token.get("special", True)]


def split_pattern(pre_tokenizer: dict[str, Any]) -> str:
    """The name of the pattern by which a `tokenizer.json` cuts text. Raises ValueError where we do not know it."""
    parts = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    kinds = [part["type"] for part in parts]
    single = kinds[:-1] == ["Digits"] and parts[0]["individual_digits"]
    by_expression = kinds[-1] == "ByteLevel" and parts[-1].get("use_regex", True)
    if by_expression and not parts[-1]["add_prefix_space"] and (single or len(kinds) == 1):
        return "smollm" if single else "gpt-2"
    if kinds == ["Split", "ByteLevel"] and not parts[1].get("use_regex", True):
        for name, expression in PATTERNS.items():
            if parts[0]["pattern"].get("Regex") == expression:
                return name
    raise ValueError(f"it splits text in another way than {', '.join(PATTERNS)}")


def end_of_text(controls: Sequence[str]) -> str | None:
    """Which of the control tokens ends a document."""
    return next((name for name in ENDS if name in controls), None)


def turn_tokens(controls: Sequence[str], chat_template: str) -> tuple[str, str]:
    """Which of the control tokens open and end a turn: those of the chat template, else ChatML's."""
    return next((pair for pair in TURNS if {*pair} <= {*controls} and pair[0] in chat_template), TURNS[0])


def write_tokenizer_json(
    path: Path,
    pieces: Sequence[bytes],
    merges: Sequence[tuple[int, int]],
    pattern: str,
    controls: Sequence[str] = CONTROL,
    shown: Collection[str] = (),
) -> None:
    """Write a `tokenizer.json`: the tokens, the two that each merge joins, the split pattern, the control tokens, and
    which of them are text."""
    written = [to_characters(piece) for piece in pieces]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": PATTERNS[pattern]}, "behavior": "Isolated", "invert": False}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            control_token(number, token, token not in shown) for number, token in enumerate(controls, len(pieces))
        ],
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


def control_token(rank: int, token: str, special: bool = True) -> dict[str, Any]:
    """An entry of `added_tokens`."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": rank, "content": token, **flags, "special": special}

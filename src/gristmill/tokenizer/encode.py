"""Text to token ids and back. Text never yields a control token: those are put in by structure alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import tiktoken

from gristmill.errors import UserError
from gristmill.manifest import sha256_file

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Split patterns by the names under which llama.cpp knows them; each is the published pattern of that model family.
PATTERNS = {
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "gpt-2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}


class Tokenizer:
    """A trained byte-level BPE. Ids: 256 bytes, then merges in order, then the three control tokens."""

    def __init__(self, ranks: dict[bytes, int], pattern: str, digest: str = "") -> None:
        self.hash = digest
        self.pieces = sorted(ranks, key=ranks.__getitem__)
        self.end_of_text, self.im_start, self.im_end = range(len(ranks), len(ranks) + len(CONTROL))
        self.vocab_size = len(ranks) + len(CONTROL)
        self.encoding = tiktoken.Encoding(
            "gristmill", pat_str=PATTERNS[pattern], mergeable_ranks=ranks, special_tokens={}
        )

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a tokenizer stage folder, or the `tokenizer.json` in one.

        Raises UserError where it is missing, damaged, or no tokenizer of ours.
        """
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            ranks = read_ranks(file.with_name("tokenizer.tiktoken"))
            expression = json.loads(file.read_text(encoding="utf-8"))["pre_tokenizer"]["pretokenizers"][0]["pattern"]
            pattern = {value: name for name, value in PATTERNS.items()}[expression["Regex"]]
        except OSError as error:
            raise UserError(f"no tokenizer in {path}: {error.strerror}", "run the tokenizer stage first") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{file} is no tokenizer that gristmill wrote: {error}", "run the tokenizer stage"
            ) from error
        return cls(ranks, pattern, sha256_file(file))

    def encode(self, text: str) -> list[int]:
        """Ids of a text; control tokens written out in it are ordinary text. Lone surrogates become U+FFFD."""
        try:
            return self.encoding.encode_ordinary(text)
        except UnicodeEncodeError:
            return self.encoding.encode_ordinary(text.encode("utf-8", "replace").decode())

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts."""
        return [self.encode(text) for text in texts]

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token; none for a control token."""
        return self.pieces[token] if 0 <= token < len(self.pieces) else b""

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        """The bytes of a sequence, control tokens left out."""
        return b"".join(map(self.token_bytes, tokens))

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of a sequence; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(tokens).decode("utf-8", "replace")


def read_ranks(path: Path) -> dict[bytes, int]:
    """Read a `.tiktoken` file: base64 of the token's bytes, a space, its rank."""
    ranks = {}
    for line in path.read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    return ranks


def write_ranks(path: Path, pieces: Sequence[bytes]) -> None:
    """Write a `.tiktoken` file."""
    path.write_bytes(b"".join(base64.b64encode(piece) + b" %d\n" % rank for rank, piece in enumerate(pieces)))

"""Text to token ids and back. Text never yields a control token: those are put in by structure alone."""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gristmill import native
from gristmill.errors import UserError
from gristmill.files import sha256_file
from gristmill.manifest import intact, within
from gristmill.native import I64, INT, POINTER, SIZE, U8, U32, U64, Owned, utf8
from gristmill.tokenizer.formats.vocabulary_files import (
    CALLED,
    CONTROL,
    TEMPLATE,
    end_of_text,
    read_tokenizer_json,
    turn_tokens,
)
from gristmill.tokenizer.patterns import INDEX, classes

if TYPE_CHECKING:
    import pyarrow as pa

ENCODE = native.Function(
    "gm_encode", ctypes.c_int64, POINTER, POINTER, U8, INT, U8, I64, SIZE, ctypes.c_int64, U32, I64
)
VOCABULARY_NEW = native.Function("gm_vocabulary_new", POINTER, U8, I64, SIZE, U64, I64)
VOCABULARY_FREE = native.Function("gm_vocabulary_free", None, POINTER)
# of pieces encoded lately
CACHE_NEW = native.Function("gm_cache_new", POINTER)
CACHE_FREE = native.Function("gm_cache_free", None, POINTER)
MOST_TOKENS = 1 << 21
SPARE = 4  # places for tokens that the encoder needs beyond one a byte


class Tokenizer:
    """A trained byte-level BPE: text to token ids and back, without loss.

    Ids are integers from 0 up to `vocab_size`: 256 bytes, then merges in order of rank, then the control tokens
    `<|endoftext|>`, `<|im_start|>` and `<|im_end|>`, whose ids are the attributes `end_of_text`, `im_start` and
    `im_end`; of another's model those that do the same in its `chat_template`, if it has one (Jinja). `pieces` has the
    bytes of every other token. Threads may share one.
    """

    def __init__(
        self,
        pieces: Sequence[bytes],
        pattern: str,
        digest: str = "",
        controls: Sequence[str] = CONTROL,
        chat_template: str = "",
        shown: Collection[str] = (),
    ) -> None:
        """`pieces` are the tokens in order of rank; `shown` are those of `controls` that are text all the same, as
        `<tool_call>` in Qwen3. Raises ValueError where they are no BPE vocabulary, or where a control token that we
        need is missing."""
        self.hash, self.pattern, self.pieces, self.controls = digest, pattern, list(pieces), list(controls)
        self.chat_template, turn = chat_template, turn_tokens(controls, chat_template)
        numbers = {name: number for number, name in enumerate(controls, len(pieces))}
        missing = [name for name in turn if name not in numbers]
        end = end_of_text(controls)
        if missing or end is None:
            raise ValueError(f"it has no {' and no '.join(missing or [CONTROL[0]])}")
        self.end_of_text, self.im_start, self.im_end = (numbers[name] for name in (end, *turn))
        self.stops = frozenset([self.end_of_text, self.im_end, *(numbers[name] for name in CALLED if name in numbers)])
        self.shown = {name: numbers[name] for name in controls if name in {*shown} - {end, *turn}}
        self.texts = {number: name.encode() for name, number in self.shown.items()}
        longest = sorted(self.shown, key=len, reverse=True)
        self.in_text = re.compile(f"({'|'.join(map(re.escape, longest))})") if longest else None
        self.vocab_size = len(pieces) + len(controls)
        self.vocabulary = Vocabulary(self.pieces)
        self.caches = threading.local()

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Read a tokenizer stage folder, or the `tokenizer.json` in one.

        Raises UserError where it is missing, damaged, or no tokenizer of ours.
        """
        path = Path(path)
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            pieces, pattern, controls, shown = read_tokenizer_json(intact(file))
            template = file.with_name(TEMPLATE)
            own = intact(template).read_text(encoding="utf-8") if template.exists() else ""
            return cls(pieces, pattern, sha256_file(file), controls, own, shown)
        except OSError as error:
            remedy = within(path, "tokenizer.json") or "run the tokenizer stage first"
            raise UserError(f"no tokenizer in {path}: {error.strerror}", remedy) from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            problem = f"{file} is no tokenizer that gristmill can use: {error}"
            raise UserError(
                problem, "name the folder of tokenizer; that of a model by others, find_model makes"
            ) from error

    def truncated(self, size: int) -> Tokenizer:
        """The tokenizer that training would have given for a smaller vocabulary (control tokens included)."""
        pieces = self.pieces[: max(256, size - len(self.controls))]
        return Tokenizer(pieces, self.pattern, controls=self.controls, shown=self.shown)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; control tokens written out in it are ordinary text, but for those that are `shown`. Lone
        surrogates become U+FFFD."""
        if self.in_text and len(parts := self.in_text.split(text)) > 1:
            return [
                token
                for one in parts
                if one
                for token in ([self.shown[one]] if one in self.shown else self.encode(one))
            ]
        data = to_utf8(text)
        bounds = np.array([0, len(data)])
        ids: list[int] = self.encode_bytes(np.frombuffer(data, np.uint8), bounds, None)[0].tolist()
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, a list each: as `encode` has them, and faster."""
        if self.in_text and any(map(self.in_text.search, texts)):
            return [self.encode(text) for text in texts]
        parts = [to_utf8(text) for text in texts]
        bounds = np.cumsum([0, *map(len, parts)])
        tokens, counts = self.encode_bytes(np.frombuffer(b"".join(parts), np.uint8), bounds, None)
        ends = np.cumsum(counts).tolist()
        return [tokens[start:end].tolist() for start, end in zip([0, *ends], ends, strict=False)]

    def encode_documents(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts of a column, each followed by `<|endoftext|>`, uint32, and how many each has, int64."""
        return self.encode_bytes(*utf8(texts), self.end_of_text)

    def encode_bytes(self, data: np.ndarray, bounds: np.ndarray, end: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Ids (uint32) of the UTF-8 texts between `bounds` (int64 [texts + 1]) in `data` (uint8), each followed by the
        token `end`, and how many each has (int64 [texts]). Bytes that are no UTF-8 are encoded as they are."""
        texts = len(bounds) - 1
        counts, needed = np.empty(texts, np.int64), int(bounds[-1] - bounds[0]) + texts + SPARE
        own = self.caches
        if not hasattr(own, "cache"):
            own.cache, own.tokens = Owned(CACHE_NEW(), CACHE_FREE), np.empty(0, np.uint32)  # a thread's own
        if len(own.tokens) < needed:
            own.tokens = np.empty(needed, np.uint32)
        arguments = classes(), INDEX[self.pattern], data, bounds, texts, -1 if end is None else end, own.tokens, counts
        written = ENCODE(self.vocabulary.handle, own.cache.handle, *arguments)
        if written < 0:
            raise MemoryError
        return own.tokens[:written].copy(), counts

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token; none for a control token that is not shown. Raises UserError for what is no id."""
        if not 0 <= token < self.vocab_size:
            raise UserError(f"{token} is no token of this tokenizer (0 to {self.vocab_size - 1})", "name its own ids")
        return self.pieces[token] if token < len(self.pieces) else self.texts.get(token, b"")

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        """The bytes of a sequence, control tokens left out. Raises UserError for what is no id."""
        return b"".join(map(self.token_bytes, tokens))

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of a sequence, control tokens left out; bytes that are no UTF-8 become U+FFFD. Raises UserError for
        what is no id."""
        return self.decode_bytes(tokens).decode("utf-8", "replace")


class Vocabulary(Owned):
    """The native tables of a vocabulary: read only, shared by threads."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        if len(pieces) > MOST_TOKENS:
            raise ValueError(f"more than {MOST_TOKENS:,} tokens")
        self.pairs = np.empty(len(pieces), np.uint64)  # the two tokens that make each, left << 32 | right
        bounds, wrong = np.cumsum([0, *map(len, pieces)]), np.zeros(1, np.int64)
        self.merged = np.diff(bounds) > 1
        handle = VOCABULARY_NEW(np.frombuffer(b"".join(pieces), np.uint8), bounds, len(pieces), self.pairs, wrong)
        if handle is None and wrong[0] == -1:
            raise ValueError("not every byte is a token")
        if handle is None and wrong[0] >= 0:
            raise ValueError(f"no two tokens before it make token {wrong[0]}, {pieces[wrong[0]]!r}")
        super().__init__(handle, VOCABULARY_FREE)

    def merges(self) -> list[tuple[int, int]]:
        """The two tokens that make each token after the bytes."""
        return [(pair >> 32, pair & 0xFFFFFFFF) for pair in self.pairs[self.merged].tolist()]


def to_utf8(text: str) -> bytes:
    """UTF-8 of a text. Surrogates that form a pair are joined, lone ones become U+FFFD, as in tiktoken."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()

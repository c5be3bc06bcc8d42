"""Answers that must have a form: which tokens may come next, by llguidance (MIT, https://github.com/guidance-ai/llguidance).

A grammar counts in bytes, so any split of a text into tokens will do; its end is one of the tokenizer's stop tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gristmill.errors import UserError, from_extra
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import OVER, THOUGHT

# a model that has not learned JSON may put blanks without end
COMPACT: Any = {"whitespace_flexible": False}


class BadGrammar(UserError):
    """A form that cannot be held to."""


class Grammar:
    """How far one answer has come in its form. A step of the scheduler asks it before and after each token."""

    def __init__(self, matcher: Any, vocabulary: int, never: Sequence[int] = ()) -> None:
        """`never`: tokens that do not come, though the form has room for their text."""
        self.matcher, self.never, self.bits = matcher, never, np.zeros(-(-vocabulary // 32), np.uint32)

    def copy(self) -> Grammar:
        """The same place, for another answer."""
        return Grammar(self.matcher.deep_copy(), 32 * len(self.bits), self.never)

    def allowed(self) -> np.ndarray:
        """The tokens that may come next, a bit each, uint32 [⌈V / 32⌉]; it holds until the next call.

        Raises BadGrammar where the form takes too long to follow.
        """
        self.matcher.unsafe_compute_mask_ptr(self.bits.ctypes.data, self.bits.nbytes)
        if self.matcher.is_error():
            raise BadGrammar(f"the form of the answer cannot be followed: {self.matcher.get_error()}", "simplify it")
        for token in self.never:
            self.bits[token // 32] &= ~np.uint32(1 << (token % 32))
        return self.bits

    def accept(self, token: int) -> None:
        """This token came."""
        self.matcher.consume_token(token)


class Grammars:
    """Makes grammars for a tokenizer. Raises UserError where the library is missing."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        with from_extra("json", "answers of a given form need llguidance"):
            import llguidance
        self.matcher, self.vocabulary = llguidance.LLMatcher, tokenizer.vocab_size
        self.marks = [tokenizer.shown[mark] for mark in (THOUGHT, OVER) if mark in tokenizer.shown]
        self.tokenizer = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(TokenList(tokenizer)),
            n_vocab=tokenizer.vocab_size,
            eos_token=[tokenizer.im_end, tokenizer.end_of_text],
        )

    def json(self, schema: dict[str, Any]) -> Grammar:
        """JSON that fits a schema, without blanks between its parts. Raises BadGrammar for a schema that is none, or of
        which something is not supported."""
        return self.made(self.matcher.grammar_from_json_schema(json.dumps(schema), overrides=COMPACT), thoughts=False)

    def made(self, text: str, *, thoughts: bool = True) -> Grammar:
        """What a grammar of llguidance's says, with or without room for thoughts in its texts. Raises BadGrammar."""
        wrong, messages = self.matcher.validate_grammar_with_warnings(text, self.tokenizer)
        matcher = None if wrong else self.matcher(self.tokenizer, text, log_level=0)
        if matcher is None or matcher.is_error():
            why = messages[0] if matcher is None else matcher.get_error()
            raise BadGrammar(why.strip().replace("\n", " "), "leave it out, or say it otherwise")
        return Grammar(matcher, self.vocabulary, () if thoughts else self.marks)


class TokenList:
    """A tokenizer as llguidance looks at one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokens = [*tokenizer.pieces, *(name.encode() for name in tokenizer.controls)]
        self.special_token_ids = [
            number for number in range(len(tokenizer.pieces), tokenizer.vocab_size) if not tokenizer.token_bytes(number)
        ]
        self.eos_token_id, self.bos_token_id, self.encode = tokenizer.im_end, None, tokenizer.encode

    def __call__(self, text: str | bytes) -> list[int]:
        """The ids of a text."""
        return self.encode(text if isinstance(text, str) else text.decode("utf-8", "replace"))


class OneOf(Grammar):
    """The form of an answer that is one of some texts, each given as the tokens that it is encoded in."""

    def __init__(self, texts: Iterable[Sequence[int]], end: int, vocabulary: int) -> None:
        """`end`: the token that ends an answer. Raises ValueError where there is no text."""
        super().__init__(None, vocabulary)
        self.end, self.left = end, [[*text, end] for text in texts]
        if not self.left:
            raise ValueError("no text to choose from")

    def copy(self) -> OneOf:
        """The same place, for another answer."""
        return OneOf((text[:-1] for text in self.left), self.end, 32 * len(self.bits))

    def allowed(self) -> np.ndarray:
        """The next tokens of the texts that begin as the answer does."""
        self.bits[:] = 0
        for token in {text[0] for text in self.left if text}:
            self.bits[token // 32] |= np.uint32(1 << (token % 32))
        return self.bits

    def accept(self, token: int) -> None:
        """This token came: only texts that go on with it are left."""
        self.left = [text[1:] for text in self.left if text[:1] == [token]]

"""The vocabulary, and how it cuts a text."""

from __future__ import annotations

from gristmill.report.blocks import Block, Prose, Quote, Section, Table, TokenText
from gristmill.report.plot import number
from gristmill.report.reading import Folders, manifest
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split

SHOWN_TOKENS = 120  # of the sample text
LONGEST = 24  # longest tokens that are shown
SAYS = (
    "A model reads numbers, so text is cut into tokens: pieces of up to a word or more, each with a number. Byte-pair "
    "encoding finds them by joining the commonest pair of neighbours again and again, until what is frequent here is "
    "one token each. Some documents are held out: no model trains on them, so that they can measure what was learned."
)


def vocabulary(folders: Folders) -> Section | None:
    """The tokenizer's figures and longest tokens, and a held-out text cut by it."""
    found = manifest(folders, "tokenizer")
    if not found:
        return None
    tokenizer = Tokenizer.load(folders["tokenizer"])
    longest = sorted(tokenizer.pieces, key=len, reverse=True)[:LONGEST]
    shown = " · ".join(piece.decode("utf-8", "replace").strip() for piece in longest)
    facts = [("vocabulary, tokens", number(tokenizer.vocab_size))]
    cut: list[Block] = []
    tokens = manifest(folders, "tokenize")
    if tokens:
        facts += [(name.replace("_", " "), number(value)) for name, value in tokens.metrics.items()]
        sample = open_split(folders["tokenize"], "heldout").tokens[:SHOWN_TOKENS]
        pieces = [tokenizer.decode([int(token)]) for token in sample]
        cut = [Prose("A held-out text, each of its tokens on a ground of its own:"), TokenText(pieces)]
    table = Table("The tokenizer and the tokens that it made", ("figure", "value"), facts)
    return Section("Tokens", SAYS, [*cut, table, Quote("longest tokens", shown)])

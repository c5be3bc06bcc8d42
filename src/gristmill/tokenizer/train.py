"""Stage `tokenizer`: documents → byte-level BPE vocabulary (Sennrich et al. 2016, arXiv:1508.07909)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Trainee

from gristmill.document import count_documents, read_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest, write_text
from gristmill.progress import Progress, console
from gristmill.recipe import TokenizerParams
from gristmill.tokenizer.encode import CONTROL, PATTERNS, Tokenizer, write_ranks

MEASURE_BYTES = 5_000_000  # of text on which the figures are measured
LONGEST = 20


def run(inputs: Mapping[str, Path], params: TokenizerParams, out: Path) -> Manifest:
    """Train on every document, write both formats, and measure what the vocabulary does on the corpus."""
    if params.pattern not in PATTERNS:
        raise UserError(f"unknown split pattern {params.pattern!r}", f"choose one of {', '.join(PATTERNS)}")
    documents = count_documents(inputs["corpus"])
    with Progress("tokenizer", documents, "documents") as bar:
        pieces = train(texts(inputs["corpus"], bar), params.vocab_size - len(CONTROL), params.pattern)
    save(pieces, params.pattern, out)
    tokenizer = Tokenizer.load(out)
    if tokenizer.vocab_size < params.vocab_size:
        console.print(f"           the corpus yields only {tokenizer.vocab_size} of {params.vocab_size} tokens")
    facts = measure(tokenizer, inputs["corpus"])
    write_text(out / "facts.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    metrics = {"vocab_size": tokenizer.vocab_size, "bytes_per_token": facts["bytes_per_token"]}
    return Manifest(counts={"documents": documents}, metrics=metrics)


def texts(corpus: Path, bar: Progress) -> Iterator[str]:
    """The texts of a corpus, counted as they pass."""
    for document in read_documents(corpus):
        yield document.text
        bar.advance()


def train(documents: Iterator[str], size: int, pattern: str) -> list[bytes]:
    """The tokens of a vocabulary of at most `size`, in rank order: the 256 bytes, then merges.

    Raises UserError where there is no text to learn from.
    """
    trainee = Trainee(models.BPE())
    trainee.pre_tokenizer = pre_tokenizer(pattern)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    trainee.train_from_iterator(documents, trainer)
    model = json.loads(trainee.to_str())["model"]
    if not model["merges"]:
        raise UserError("the corpus holds no text to learn tokens from", "look at what the stages before dropped")
    pieces = [bytes([value]) for value in range(256)]
    return pieces + [b"".join(to_bytes(part) for part in merge) for merge in model["merges"]]


def pre_tokenizer(pattern: str) -> pre_tokenizers.PreTokenizer:
    """Split by the pattern, then write every byte as one printable character."""
    split = pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_characters() -> list[str]:
    """GPT-2's printable character for each byte: Latin-1's printable ones stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(value if value in plain else next(others)) for value in range(256)]


CHARACTERS = byte_characters()
BYTES = {character: value for value, character in enumerate(CHARACTERS)}


def to_bytes(written: str) -> bytes:
    """A token's bytes from its printable form."""
    return bytes(BYTES[character] for character in written)


def to_characters(piece: bytes) -> str:
    """A token's printable form from its bytes."""
    return "".join(CHARACTERS[value] for value in piece)


def save(pieces: list[bytes], pattern: str, out: Path) -> None:
    """Write `tokenizer.json` (Hugging Face) and `tokenizer.tiktoken`."""
    known = {piece: rank for rank, piece in enumerate(pieces)}
    if len(known) < len(pieces):  # two merges may make the same bytes: keep the first
        pieces = list(known)
        known = {piece: rank for rank, piece in enumerate(pieces)}
    vocabulary = {to_characters(piece): rank for piece, rank in known.items()}
    pairs = [halves(piece, known) for piece in pieces[256:]]
    merges = [(to_characters(first), to_characters(second)) for first, second in pairs]
    tokenizer = Trainee(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizer(pattern)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    tokenizer.save(str(out / "tokenizer.json"))
    write_ranks(out / "tokenizer.tiktoken", pieces)


def halves(piece: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens whose merge makes a token: what is left when lower-ranked merges have run on its bytes."""
    limit, parts = ranks[piece], [piece[i : i + 1] for i in range(len(piece))]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, limit) for a, b in pairwise(parts)]
        best = min(range(len(pairs)), key=pairs.__getitem__)
        if pairs[best] >= limit:
            raise ValueError(f"no merges make the token {piece!r}")
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts[0], parts[1]


def measure(tokenizer: Tokenizer, corpus: Path) -> dict[str, Any]:
    """Bytes per token, unused and longest tokens, on the corpus's first megabytes."""
    used: Counter[int] = Counter()
    size = 0
    for document in read_documents(corpus):
        used.update(tokenizer.encode(document.text))
        size += len(document.text.encode("utf-8", "replace"))
        if size > MEASURE_BYTES:
            break
    longest = sorted(used, key=lambda token: (-len(tokenizer.token_bytes(token)), token))[:LONGEST]
    return {
        "bytes_per_token": round(size / max(1, used.total()), 4),
        "unused": len(tokenizer.pieces) - len(used),
        "longest": [tokenizer.decode([token]) for token in longest],
    }

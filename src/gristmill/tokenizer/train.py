"""Stage `tokenizer`: documents → byte-level BPE vocabulary (Sennrich et al. 2016, arXiv:1508.07909)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from gristmill.corpus.execution.documents import fault_log, piecewise
from gristmill.corpus.execution.drop_log import DropLog
from gristmill.document import count_documents, read_columns
from gristmill.errors import UserError
from gristmill.files import write_json
from gristmill.manifest import Manifest
from gristmill.progress import Progress, console
from gristmill.recipe import TokenizerParams
from gristmill.tokenizer.batches import threads
from gristmill.tokenizer.bpe import learn_merges, pieces_of
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.import_hf import adopt
from gristmill.tokenizer.formats.vocabulary_files import CONTROL, OVER, THOUGHT, write_ranks, write_tokenizer_json
from gristmill.tokenizer.heldout import positions
from gristmill.tokenizer.pretokens import count_pretokens
from gristmill.tokenizer.vocabulary_statistics import Sample, describe

HELD_OUT = 0.01  # share of the documents that is measured on and not learned from; `tokenize` holds these out first too
ENOUGH = 1000  # documents from which on some are held out
BATCH = 256  # documents that one thread takes at once
COLUMNS = ("id", "text", "cluster", "language", "host", "url", "source")


def run(inputs: Mapping[str, Path], params: TokenizerParams, out: Path) -> Manifest:
    """Learn from all documents but a held-out share, write both formats, and measure the vocabulary on that share.

    Takes time in proportion to the text and memory up to a bound (see `count_pretokens`). The result depends neither on
    the order of the documents nor on the number of processors.
    """
    if params.init_from:
        return take_along(inputs["corpus"], Path(params.init_from), out)
    documents, sample = count_documents(inputs["corpus"]), Sample()
    share = HELD_OUT if documents >= ENOUGH else 0.0
    with Progress("tokenizer", documents, "documents") as bar, fault_log(out) as log:
        counted = count_pretokens(learned(inputs["corpus"], share, sample, bar, log), params.pattern, out, threads())
    shown = (THOUGHT, OVER) if params.thoughts else ()
    size = params.vocab_size - len(CONTROL) - len(shown)
    with Progress("tokenizer", size - 256, "merges") as bar:
        merges = learn_merges(counted.words, size, bar.advance)
    if not len(merges):
        raise UserError("the corpus holds no text to learn tokens from", "look at what the stages before dropped")
    save(merges, params.pattern, out, shown)
    tokenizer = Tokenizer.load(out)
    if tokenizer.vocab_size < params.vocab_size:
        console.print(f"           the corpus yields only {tokenizer.vocab_size} of {params.vocab_size} tokens")
    if counted.rare:
        lost = counted.rare_occurrences / counted.occurrences
        console.print(
            f"           {counted.rare:,} of {counted.distinct:,} words were left out, {lost:.2%} of the text"
        )
    facts = describe(tokenizer, sample, counted.words)
    write_json(out / "facts.json", facts, ensure_ascii=False)
    counts = {"documents": documents, "distinct_words": counted.distinct, "words_left_out": counted.rare}
    return Manifest(
        counts=counts,
        dropped=dict(log.rules),
        metrics={"vocab_size": tokenizer.vocab_size, "bytes_per_token": facts["bytes_per_token"]},
    )


def take_along(corpus: Path, folder: Path, out: Path) -> Manifest:
    """Write the tokenizer of a Hugging Face folder, with the control tokens that it lacks, and measure it.

    Raises UserError where it is none that we can use.
    """
    adopt(folder, out / "tokenizer.json")
    tokenizer = Tokenizer.load(out)
    write_ranks(out / "tokenizer.tiktoken", tokenizer.pieces)
    documents, sample = count_documents(corpus), Sample()
    with Progress("tokenizer", documents, "documents") as bar, fault_log(out) as log:
        for _ in learned(corpus, HELD_OUT if documents >= ENOUGH else 0.0, sample, bar, log):
            pass
    facts = describe(tokenizer, sample)
    write_json(out / "facts.json", facts, ensure_ascii=False)
    metrics = {"vocab_size": tokenizer.vocab_size, "bytes_per_token": facts["bytes_per_token"]}
    return Manifest(counts={"documents": documents}, dropped=dict(log.rules), metrics=metrics)


def learned(corpus: Path, share: float, sample: Sample, bar: Progress, log: DropLog) -> Iterator[pa.Array]:
    """The texts to learn from. The others go to `sample`; all do where none is held out."""

    def texts(batch: pa.RecordBatch) -> pa.Array:
        places = positions(batch)
        sample.add(batch, places, share or 1.0)
        return batch.filter(pa.array(places >= share))["text"]

    for batch in read_columns(corpus, COLUMNS, BATCH):
        yield from (found for _, found in piecewise(texts, [batch], log))
        bar.advance(len(batch))


def save(merges: np.ndarray, pattern: str, out: Path, shown: Sequence[str] = ()) -> None:
    """Write `tokenizer.json` (Hugging Face), with `shown` as tokens of their own that are text, and
    `tokenizer.tiktoken`."""
    pieces = pieces_of(merges)
    write_tokenizer_json(out / "tokenizer.json", pieces, merges.tolist(), pattern, (*CONTROL, *shown), shown)
    write_ranks(out / "tokenizer.tiktoken", pieces)

"""Stage `tokenizer`: documents → byte-level BPE vocabulary (Sennrich et al. 2016, arXiv:1508.07909)."""

from __future__ import annotations

from collections import deque
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
from gristmill.processes import threads
from gristmill.progress import Progress, console
from gristmill.recipe import TokenizerParams
from gristmill.tokenizer.bpe import learn_merges, pieces_of
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.import_hf import adopt
from gristmill.tokenizer.formats.vocabulary_files import CONTROL, OVER, THOUGHT, write_ranks, write_tokenizer_json
from gristmill.tokenizer.heldout import positions
from gristmill.tokenizer.pretokens import Counted, count_pretokens
from gristmill.tokenizer.vocabulary_statistics import Sample, describe

HELD_OUT = 0.01  # share of the documents that is measured on and not learned from; `tokenize` holds these out first too
ENOUGH = 1000  # documents from which on some are held out
BATCH = 256  # documents that one thread takes at once
COLUMNS = ("id", "text", "cluster", "language", "host", "url", "source")


def run(inputs: Mapping[str, Path], params: TokenizerParams, out: Path) -> Manifest:
    """Learn from all documents but a held-out share, write both formats, and measure the vocabulary on that share. One
    by others is taken along instead, with the control tokens that it lacks; UserError where it is none that we can use.

    Takes time in proportion to the text and memory up to a bound (see `count_pretokens`). The result depends neither on
    the order of the documents nor on the number of processors.
    """
    if params.init_from:
        adopt(Path(params.init_from), out / "tokenizer.json")
        write_ranks(out / "tokenizer.tiktoken", Tokenizer.load(out).pieces)
    documents, sample = count_documents(inputs["corpus"]), Sample()
    with Progress("tokenizer", documents, "documents") as bar, fault_log(out) as log:
        texts = learned(inputs["corpus"], HELD_OUT if documents >= ENOUGH else 0.0, sample, bar, log)
        counted = None if params.init_from else count_pretokens(texts, params.pattern, out, threads())
        deque(texts, 0)  # where nothing is learned from them, they are only measured
    if counted:
        learn(counted, params, out)
    tokenizer = Tokenizer.load(out)
    facts = describe(tokenizer, sample, counted.words if counted else None)
    write_json(out / "facts.json", facts, ensure_ascii=False)
    words = {"distinct_words": counted.distinct, "words_left_out": counted.rare} if counted else {}
    metrics = {"vocab_size": tokenizer.vocab_size, "bytes_per_token": facts["bytes_per_token"]}
    return Manifest(counts={"documents": documents, **words}, dropped=dict(log.rules), metrics=metrics)


def learn(counted: Counted, params: TokenizerParams, out: Path) -> None:
    """Learn the merges and write the vocabulary; says where it is smaller than asked for, or words were left out."""
    shown = (THOUGHT, OVER) if params.thoughts else ()
    size = params.vocab_size - len(CONTROL) - len(shown)
    with Progress("tokenizer", size - 256, "merges") as bar:
        merges = learn_merges(counted.words, size, bar.advance)
    if not len(merges):
        raise UserError("the corpus holds no text to learn tokens from", "look at what the stages before dropped")
    save(merges, params.pattern, out, shown)
    if less := size - 256 - len(merges):
        console.print(f"           the corpus yields only {params.vocab_size - less} of {params.vocab_size} tokens")
    if counted.rare:
        lost = f"{counted.rare_occurrences / counted.occurrences:.2%} of the text"
        console.print(f"           {counted.rare:,} of {counted.distinct:,} words were left out, {lost}")


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

"""The index of training text against others: building a suffix array, and finding the spans of an answer.

    python benchmarks/trace.py [--tokens 10000000] [--text FILE|FOLDER …] [--repeats 3]

Without `--text`, numbers are drawn as text has them (`drawn`). With it, files of text and HTML pages are tokenized (BPE
of 16,384 tokens, trained on them) and repeated with changes (`repeated`) until there are enough. Peers: pydivsufsort (a
suffix array of the same numbers) and infini-gram's own indexer and engine, both from PyPI, and searches by numpy, in
the same table for all tokens at once, and without an index; in one run, each on one thread, the least of the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.audit.trace.corpus_index import CorpusIndex, pointer_bytes, sort_numbers, write_array, write_table
from gristmill.audit.trace.suffix_array import SuffixArray, suffix_table
from gristmill.document import Document, write_documents
from gristmill.html.content.main_text import extract_html
from gristmill.recipe import TokenizerParams
from gristmill.tokenizer import train
from gristmill.tokenizer.encode import Tokenizer

DOCUMENT = 1000  # tokens
QUERY = 200  # tokens of an answer
COUNTS = 8_000  # runs that are counted
BLOCK = 1 << 20  # tokens that numpy looks at together
WINDOW = 16  # tokens of a suffix that numpy compares first: most matches are shorter


def drawn(tokens: int, vocabulary: int = 32_000) -> np.ndarray:
    """Numbers as text has them: drawn by Zipf's law, a third of them runs that stood before (uint16)."""
    draw = np.random.default_rng(0)
    found = (draw.zipf(1.2, tokens) % vocabulary).astype(np.uint16)
    for at in draw.integers(DOCUMENT, tokens - 100, tokens // 150):
        source, length = draw.integers(0, at - 50), draw.integers(5, 100)
        found[at : at + length] = found[source : source + length][: len(found[at : at + length])]
    found[::DOCUMENT] = np.iinfo(np.uint16).max
    return found


def tokens_of(sources: list[Path]) -> tuple[np.ndarray, int]:
    """The tokens of files and of what folders hold, uint16, and how many bytes of text those were."""
    files = [path for source in sources for path in (sorted(source.rglob("*.*")) if source.is_dir() else [source])]
    texts = []
    for path in files:
        found = path.read_bytes()
        page = extract_html(found).text if path.suffix in (".html", ".xhtml") else found.decode()
        texts += [page[at : at + 20_000] for at in range(0, len(page), 20_000)]
    with tempfile.TemporaryDirectory() as place:
        write_documents(Path(place) / "documents.parquet", (Document(str(n), text) for n, text in enumerate(texts)))
        train.run({"corpus": Path(place)}, TokenizerParams(vocab_size=16_384), Path(place))
        encoded = Tokenizer.load(place).encode_batch(texts)
    return np.concatenate([np.array(one, np.uint16) for one in encoded]), sum(len(text.encode()) for text in texts)


def repeated(text: np.ndarray, tokens: int) -> np.ndarray:
    """A text as often as needed, cut elsewhere into documents of 1,000 tokens each time, which come in any order, one
    token in twenty replaced by another of the text (uint16): copies agree in some ten tokens in a row."""
    draw, parts = np.random.default_rng(0), []
    for _ in range(-(-tokens // (len(text) - DOCUMENT))):
        begun = int(draw.integers(DOCUMENT))
        rows = text[begun : begun + (len(text) - begun) // DOCUMENT * DOCUMENT].reshape(-1, DOCUMENT)
        rows = rows[draw.permutation(len(rows))]
        changed = draw.random(rows.shape) < 1 / 20
        rows[changed] = text[draw.integers(len(text), size=int(changed.sum()))]
        parts.append(rows.ravel())
    found = np.concatenate(parts)[:tokens]
    found[::DOCUMENT] = np.iinfo(np.uint16).max
    return found


def least(repeats: int, work: Callable[[], float]) -> float:
    """The least of some measurements."""
    return min(work() for _ in range(repeats))


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a call, of this process and its children."""
    before = os.times()
    work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def infini_gram(folder: Path) -> float:
    """CPU seconds of infini-gram's indexer on `tokenized.0`, its temporary files included."""
    import infini_gram

    size, home = (folder / "tokenized.0").stat().st_size, Path(infini_gram.__file__).parent
    program, parts, merged = home / "rust_indexing", folder / "parts", folder / "merged"
    for path in (parts, merged):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    widths = ["--ratio", str(pointer_bytes(size)), "--token-width", "2"]
    common = ["--data-file", str(folder / "tokenized.0"), *widths]
    steps = (
        ["make-part", "--parts-dir", str(parts), "--start-byte", "0", "--end-byte", str(size)],
        ["merge", "--parts-dir", str(parts), "--merged-dir", str(merged), "--num-threads", "1", "--hacksize", "100000"],
        ["concat", "--merged-dir", str(merged), "--merged-file", str(folder / "theirs"), "--num-threads", "1"],
    )

    def work() -> None:
        for name, *arguments in steps:
            subprocess.run([str(program), name, *common, *arguments], check=True, stdout=subprocess.DEVNULL)

    return seconds(work)


def windows(text: np.ndarray, tokens: list[int]) -> int:
    """A batched search without an index: where the text holds any run of three of the tokens."""
    query = np.asarray(tokens, np.int64)
    wanted, found = np.unique(query[:-2] << 32 | query[1:-1] << 16 | query[2:]), 0
    for at in range(0, len(text) - 2, BLOCK):
        part = text[at : at + BLOCK + 2].astype(np.int64)
        packed = part[:-2] << 32 | part[1:-1] << 16 | part[2:]
        places = np.minimum(np.searchsorted(wanted, packed), len(wanted) - 1)
        found += int((wanted[places] == packed).sum())
    return found


class Halving:
    """A batched search by numpy in a suffix array in memory: the longest match from every token, halving for all of
    them at once. Tokens are numbers in the table's order."""

    def __init__(self, numbers: np.ndarray, table: np.ndarray) -> None:
        self.numbers = np.concatenate([numbers, np.full(QUERY, np.iinfo(numbers.dtype).max - 1, numbers.dtype)])
        self.table, self.size = table, len(numbers)

    def agreement(self, places: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """In how many tokens each query agrees with the suffix in a place."""
        starts = self.table[places]
        same = self.numbers[starts[:, None] + np.arange(queries.shape[1])] == queries
        found: np.ndarray = np.where(same.all(1), queries.shape[1], same.argmin(1))
        return found

    def longest(self, numbers: np.ndarray) -> np.ndarray:
        """The longest match from each token on. What agrees in WINDOW tokens is compared whole."""
        padded = np.concatenate([numbers, np.full(QUERY, np.iinfo(numbers.dtype).max, numbers.dtype)])
        queries = np.lib.stride_tricks.sliding_window_view(padded, QUERY)[: len(numbers)]
        low, high = np.zeros(len(numbers), np.int64), np.full(len(numbers), self.size)
        while (going := np.flatnonzero(low < high)).size:
            middle = (low[going] + high[going]) // 2
            same = self.agreement(middle, queries[going, :WINDOW])
            long = np.flatnonzero(same == WINDOW)
            if long.size:
                same[long] = self.agreement(middle[long], queries[going[long]])
            at = np.minimum(same, QUERY - 1)
            above = queries[going, at] > self.numbers[self.table[middle] + at]
            low[going[above]], high[going[~above]] = middle[above] + 1, middle[~above]
        beside = [np.clip(low + step, 0, self.size - 1) for step in (-1, 0)]
        found: np.ndarray = np.max([self.agreement(places, queries) for places in beside], axis=0)
        return found


def built(text: np.ndarray, folder: Path, repeats: int) -> tuple[list[dict[str, object]], bool]:
    """Build the index with each; whether ours is infini-gram's, byte for byte."""
    from pydivsufsort import divsufsort

    numbers, results = sort_numbers(text), list[dict[str, object]]()
    small = numbers.astype(np.uint16)
    write_array(folder / "tokenized.0", text)
    write_array(folder / "offset.0", (np.flatnonzero(text == np.iinfo(np.uint16).max) * 2).astype("<u8"))

    def whole() -> None:
        write_table(folder / "table.0", suffix_table(sort_numbers(text)), 2)

    peers = {
        "pydivsufsort": (lambda: seconds(lambda: suffix_table(numbers)), lambda: seconds(lambda: divsufsort(small))),
        "infini-gram": (lambda: seconds(whole), lambda: infini_gram(folder)),
    }
    for peer, (own, other) in peers.items():
        ours, theirs = least(repeats, own), least(repeats, other)
        print(f"build, {len(text):,} tokens: ours {ours:.2f}, {peer} {theirs:.2f} CPU seconds", flush=True)
        results.append(result(f"building the index of {len(text):,} tokens", "CPU seconds", ours, peer, theirs))
    ours, theirs = (
        sum((folder / name).stat().st_size for name in ("tokenized.0", "offset.0", table)) / len(text)
        for table in ("table.0", "theirs")
    )
    print(f"bytes a token: ours {ours:.3f}, infini-gram {theirs:.3f}")
    results.append(result("size, text included", "bytes a token", ours, "infini-gram", theirs))
    return results, (folder / "theirs").read_bytes() == (folder / "table.0").read_bytes()


def asked(text: np.ndarray, folder: Path, repeats: int) -> tuple[list[dict[str, object]], bool]:
    """Spans of an answer, and counts of runs; whether numpy finds and infini-gram counts the same."""
    from infini_gram.engine import InfiniGramEngine

    count, draw = len(text), np.random.default_rng(1)
    mapped, table = (np.memmap(folder / name, np.uint8, mode="r") for name in ("tokenized.0", "table.0"))
    index = object.__new__(CorpusIndex)
    index.dtype, index.arrays = np.dtype(np.uint16), [SuffixArray(mapped, table, pointer_bytes(2 * count))]
    at = int(draw.integers(count - QUERY))
    tokens = np.where(draw.random(QUERY) < 0.1, text[draw.integers(count, size=QUERY)], text[at : at + QUERY]).tolist()
    own = least(5, lambda: seconds_of(lambda: index.longest(tokens)))
    plain = least(repeats, lambda: seconds_of(lambda: windows(text, tokens)))
    halving = Halving(sort_numbers(text), index.arrays[0].pointers(range(count)) // 2)
    ids, first = np.unique(text, return_index=True)
    ranks = halving.numbers[first[np.searchsorted(ids, tokens)]]
    batched = least(5, lambda: seconds_of(lambda: halving.longest(ranks)))
    same = halving.longest(ranks).tolist() == index.longest(tokens)
    print(
        f"spans of {QUERY} tokens: ours {own * 1e3:.2f} ms, halving by numpy {batched * 1e3:.2f} ms (the same: {same})"
    )
    print(f"three tokens in a row by numpy, without an index: {plain * 1e3:.1f} ms")
    runs = [
        text[at : at + length].tolist() for at in draw.integers(count - 8, size=COUNTS // 8) for length in range(1, 9)
    ]
    runs = [run for run in runs if max(run) < np.iinfo(np.uint16).max]
    (folder / "theirs").unlink()
    shutil.rmtree(folder / "parts")
    shutil.rmtree(folder / "merged")
    settings: dict[str, Any] = {
        "eos_token_id": 65_534,
        "vocab_size": 65_535,
        "token_dtype": "u16",
    }  # an end that is nowhere
    engine: Any = InfiniGramEngine(index_dir=str(folder), **settings)
    ours, theirs = ([index.count(run) for run in runs], [engine.count(input_ids=run)["count"] for run in runs])
    mine = least(5, lambda: seconds_of(lambda: [index.count(run) for run in runs])) / len(runs)
    other = least(5, lambda: seconds_of(lambda: [engine.count(input_ids=run) for run in runs])) / len(runs)
    print(f"counting a run of 1 to 8 tokens: ours {mine * 1e6:.1f} µs, infini-gram {other * 1e6:.1f} µs")
    return [
        result(f"spans of {QUERY} tokens", "seconds", own, "numpy, batched halving", batched),
        result(f"spans of {QUERY} tokens", "seconds", own, "numpy, no index", plain),
        result("counting a run of 1 to 8 tokens", "microseconds", mine * 1e6, "infini-gram", other * 1e6),
    ], same and ours == theirs


def main() -> None:
    """Measure, print each figure, then one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="files of text, HTML pages, folders of them")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a million tokens")
    given = parser.parse_args()
    count = 1_000_000 if given.quick else given.tokens
    if given.text:
        real, size = tokens_of(given.text)
        print(f"{len(real):,} tokens of {size:,} bytes of text, {count / len(real):.1f} times")
        text = repeated(real, count)
    else:
        text = drawn(count)
    with tempfile.TemporaryDirectory() as place:
        results, same = built(text, Path(place), given.repeats)
        print(f"the table is infini-gram's, byte for byte: {same}")
        more, agree = asked(text, Path(place), given.repeats)
        print(f"all spans are numpy's, all counts infini-gram's: {agree}")
    print(json.dumps({"benchmark": "trace", "results": results + more}))
    sys.exit(0 if same and agree else 1)


def seconds_of(work: Callable[[], object]) -> float:
    """Wall seconds of a short call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def result(claim: str, unit: str, ours: float, peer: str, theirs: float) -> dict[str, object]:
    """One line of the results; a ratio above 1 is ours."""
    figures = {"ours": round(ours, 5), "peer": peer, "theirs": round(theirs, 5), "ratio": round(theirs / ours, 2)}
    return {"claim": claim, "unit": unit, **figures, "goal": 1.0, "better": "lower"}


if __name__ == "__main__":
    main()

"""The index of training text against others: building a suffix array, and finding the spans of an answer.

Text is the tokens of real books, repeated with changes until there are enough. Peers: pydivsufsort (a suffix array of
the same numbers) and infini-gram's own indexer and engine, both from PyPI, in this run, on this machine, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gristmill.audit.trace.corpus_index import CorpusIndex, pointer_bytes, sort_numbers, write_array, write_table
from gristmill.audit.trace.suffix_array import SuffixArray, suffix_table

DOCUMENT = 1000  # tokens
QUERY = 200  # tokens of an answer


def text_of(tokens: int, vocabulary: int = 32_000) -> np.ndarray:
    """Numbers as text has them: drawn by Zipf's law, a third of them runs that stood before (uint16)."""
    draw = np.random.default_rng(0)
    found = (draw.zipf(1.2, tokens) % vocabulary).astype(np.uint16)
    for at in draw.integers(DOCUMENT, tokens - 100, tokens // 150):
        source, length = draw.integers(0, at - 50), draw.integers(5, 100)
        found[at : at + length] = found[source : source + length][: len(found[at : at + length])]
    found[::DOCUMENT] = np.iinfo(np.uint16).max
    return found


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
    parts.mkdir()
    merged.mkdir()
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


def spans(index: CorpusIndex, tokens: list[int]) -> list[int]:
    """The longest match from every token."""
    return [index.longest(tokens[at:]) for at in range(len(tokens))]


def windows(text: np.ndarray, tokens: list[int], length: int = 3) -> int:
    """A batched search without an index: where the text holds any run of three of the tokens."""
    packed = text[:-2].astype(np.int64) << 32 | text[1:-1].astype(np.int64) << 16 | text[2:]
    wanted = np.asarray(tokens, np.int64)
    return int(np.isin(packed, wanted[:-2] << 32 | wanted[1:-1] << 16 | wanted[2:]).sum())


def main() -> None:
    """Measure, print each figure, then one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--quick", action="store_true", help="a million tokens")
    count = 1_000_000 if (given := parser.parse_args()).quick else given.tokens
    text = text_of(count)
    from pydivsufsort import divsufsort

    numbers = sort_numbers(text)
    results = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_array(folder / "tokenized.0", text)
        write_array(folder / "offset.0", (np.flatnonzero(text == np.iinfo(np.uint16).max) * 2).astype("<u8"))
        ours = seconds(lambda: write_table(folder / "table.0", suffix_table(sort_numbers(text)), 2))
        sorting = seconds(lambda: suffix_table(numbers))
        peers = {
            "pydivsufsort": (sorting, seconds(lambda: divsufsort(numbers.astype(np.int64)))),
            "infini-gram": (ours, infini_gram(folder)),
        }
        same = (folder / "theirs").read_bytes() == (folder / "table.0").read_bytes()
        for peer, (own, other) in peers.items():
            print(f"build, {count:,} tokens: ours {own:.2f}, {peer} {other:.2f} CPU seconds")
            results.append(result("building the index", "CPU seconds", own, peer, other))
        print(f"the table is infini-gram's, byte for byte: {same}")
        mapped, table = (np.memmap(folder / name, np.uint8, mode="r") for name in ("tokenized.0", "table.0"))
        array = SuffixArray(mapped, table, pointer_bytes(2 * count))
        index = object.__new__(CorpusIndex)
        index.dtype, index.arrays = np.dtype(np.uint16), [array]
        draw = np.random.default_rng(1)
        at = int(draw.integers(count - QUERY))
        tokens = np.where(draw.random(QUERY) < 0.1, 17, text[at : at + QUERY]).tolist()
        own = min(seconds_of(lambda: spans(index, tokens)) for _ in range(5))
        plain = min(seconds_of(lambda: windows(text, tokens)) for _ in range(3))
        print(f"spans of {QUERY} tokens: ours {own * 1e3:.2f} ms, three tokens by numpy {plain * 1e3:.1f} ms")
        results.append(result(f"spans of {QUERY} tokens", "seconds", own, "numpy, batched", plain))
    print(json.dumps({"benchmark": "trace", "results": results}))
    sys.exit(0 if same else 1)


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

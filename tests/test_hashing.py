"""Hash tables of texts: none can be made to crowd into few slots, and what comes out does not depend on the slots."""

from __future__ import annotations

import ctypes
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import python

from gristmill import native
from gristmill.corpus.dedup import index
from gristmill.corpus.filter import statistics
from gristmill.tokenizer import patterns, pretokens

N = 1 << 13  # texts
SLOTS = 1 << 15  # at least as many as the tables below have
CROWDED = SLOTS >> 8  # where an adversary wants them all
KNOWN = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)  # the seed where none is set
LETTERS, LENGTH = 26, 8
Work = Callable[[ctypes.CDLL, np.ndarray], Callable[[], Any]]


def place(low: np.ndarray, high: np.ndarray | int, seed: tuple[int, int] = KNOWN) -> np.ndarray:
    """The halves of a 128-bit product, as hashing.h has it, uint64 [n]."""
    a, b = low ^ np.uint64(seed[0]), np.asarray(high, np.uint64) ^ np.uint64(seed[1])
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    low_low, low_high = (a & mask) * (b & mask), (a & mask) * (b >> half)
    high_low, high_high = (a >> half) * (b & mask), (a >> half) * (b >> half)
    middle = (low_low >> half) + (low_high & mask) + (high_low & mask)
    found: np.ndarray = a * b ^ (high_high + (low_high >> half) + (high_low >> half) + (middle >> half))
    return found


def spelt(numbers: np.ndarray) -> np.ndarray:
    """Numbers as words of lower-case letters, uint8 [n, LENGTH]."""
    return (numbers[:, None] // LETTERS ** np.arange(LENGTH) % LETTERS + ord("a")).astype(np.uint8)


def mixed(hashes: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64."""
    hashes = (hashes ^ hashes >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ hashes >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(31)
    return hashes


def places_of_pieces(numbers: np.ndarray) -> np.ndarray:
    """Where the tokenizer's table has " word"."""
    padded = np.zeros((len(numbers), 16), np.uint8)
    padded[:, 0], padded[:, 1 : 1 + LENGTH], padded[:, 15] = ord(" "), spelt(numbers), 1 + LENGTH
    low, high = padded.view("<u8").T
    return place(low, high)


def places_of_words(numbers: np.ndarray) -> np.ndarray:
    """Where the quality statistics have a word: FNV-1a, mixed."""
    hashes = np.full(len(numbers), 0xCBF29CE484222325, np.uint64)
    for letter in spelt(numbers).T:
        hashes = (hashes ^ letter) * np.uint64(0x100000001B3)
    return place(mixed(hashes), 0)


def places_of_keys(numbers: np.ndarray) -> np.ndarray:
    """Where dedup has the key of a text."""
    return place(numbers.astype(np.uint64) + np.uint64(KNOWN[0]), 0)


def counting(library: ctypes.CDLL, numbers: np.ndarray) -> Callable[[], Any]:
    """Count the words in a new table."""
    new, count, free = (made.bound(library) for made in (pretokens.NEW, pretokens.COUNT, pretokens.FREE))
    text = b"".join(b" " + word.tobytes() for word in spelt(numbers))
    data, offsets = np.frombuffer(text, np.uint8), np.array([0, len(text)])

    def work() -> None:
        table = new()
        assert count(table, patterns.classes(), 0, data, offsets, 1)
        free(table)

    return work


def measuring(library: ctypes.CDLL, numbers: np.ndarray) -> Callable[[], Any]:
    """Count what the quality rules count."""
    measure, counts = statistics.MEASURE.bound(library), np.empty(len(statistics.Measures._fields), np.int64)
    text = b" ".join(word.tobytes() for word in spelt(numbers))
    return lambda: measure(text, len(text), statistics.character_classes(), counts)


def settling(library: ctypes.CDLL, numbers: np.ndarray) -> Callable[[], Any]:
    """Look documents up in each other."""
    settle, n = index.SETTLE.bound(library), len(numbers)
    keys = np.stack((np.zeros(n, np.uint64), numbers.astype(np.uint64)), 1)
    checks, signatures = np.zeros((n, 2), np.uint64), np.zeros((n, 1), np.uint16)

    def work() -> None:
        out = np.zeros(n, np.uint8), np.zeros(n, np.uint32), np.zeros(n, np.uint16)
        assert settle(keys, checks, signatures, n, 2, 1, 2, 0, 0, *out)
        assert not out[0].any()

    return work


def seconds(work: Callable[[], Any]) -> float:
    """CPU time, the least of several tries."""
    times = []
    for _ in range(10):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize(
    ("work", "places"),
    [(counting, places_of_pieces), (measuring, places_of_words), (settling, places_of_keys)],
)
def test_texts_that_would_crowd_cost_no_more_than_others(
    work: Work, places: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    random, chosen = np.random.default_rng(0), [np.empty(0, np.int64)]
    while sum(map(len, chosen)) < N:
        drawn = random.integers(0, LETTERS**LENGTH, 1 << 18)
        chosen.append(drawn[places(drawn) % SLOTS < CROWDED])
    crowd, others = (np.unique(numbers)[: N - 100] for numbers in (np.concatenate(chosen), drawn[: N + 100]))
    shutil.copy(native.built(), tmp_path / "unseeded.so")
    unseeded = ctypes.CDLL(str(tmp_path / "unseeded.so"))
    assert seconds(work(unseeded, crowd)) > 10 * seconds(work(unseeded, others))  # they would
    assert seconds(work(native.library(), crowd)) < 4 * seconds(work(native.library(), others))


RESULTS = """
import numpy as np, pyarrow as pa
from gristmill import native
from gristmill.corpus.filter.statistics import measure
from gristmill.tokenizer.bpe import learn_merges, pieces_of
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.pretokens import PretokenTable

texts = [" ".join(f"word{n ** 3 % 701} {'long' * (n % 9)}" for n in range(k, k + 400)) for k in range(40)]
column, table = pa.array(texts, pa.large_string()), PretokenTable()
table.count(column, "qwen2")
words = table.words()
bounds = zip(words.offsets, words.offsets[1:])
print(sorted((bytes(words.data[a:b]), int(n)) for (a, b), n in zip(bounds, words.counts)))
merges = learn_merges(words, 600)
print(merges.tolist(), [measure(text) for text in texts])
print(*(part.tolist() for part in Tokenizer(pieces_of(merges), "qwen2").encode_documents(column)))
"""


def test_results_do_not_depend_on_the_seed() -> None:
    """Which every process draws anew."""
    runs = [python(RESULTS) for _ in range(2)]
    assert all(run.returncode == 0 for run in runs), runs[0].stderr
    one, two = (run.stdout.splitlines() for run in runs)
    assert one == two and len(one) == 3

"""Counting words: exact whatever the number of threads, the order of the texts, and what went to disk."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.tokenizer.patterns import PATTERNS, split
from gristmill.tokenizer.pretokens import Counted, PretokenList, count_pretokens


def texts(seed: int, count: int = 60) -> list[str]:
    """Texts with short, long and repeated words."""
    draw = random.Random(seed)
    words = ["".join(draw.choice("abcdé日 ") for _ in range(draw.randrange(1, 40))) for _ in range(400)]
    return [" ".join(draw.choices(words, k=draw.randrange(50))) for _ in range(count)]


def counted(found: list[str], pattern: str, folder: Path, workers: int = 1, **limits: int) -> Counted:
    """Count in batches of seven texts."""
    batches = (pa.array(found[at : at + 7], pa.large_string()) for at in range(0, len(found), 7))
    return count_pretokens(batches, pattern, folder, workers, **limits)


def as_dict(words: PretokenList) -> dict[bytes, int]:
    """Words and counts; no word may come twice."""
    bounds = words.offsets.tolist()
    found = {bytes(words.data[bounds[i] : bounds[i + 1]]): int(words.counts[i]) for i in range(len(words))}
    assert len(found) == len(words)
    return found


@pytest.mark.parametrize("pattern", PATTERNS)
def test_counts_are_exact(pattern: str, tmp_path: Path) -> None:
    found = texts(0)
    expected = Counter(piece for text in found for piece in split(text.encode(), pattern))
    result = counted(found, pattern, tmp_path)
    assert as_dict(result.words) == expected
    assert (result.distinct, result.occurrences, result.rare) == (len(expected), expected.total(), 0)
    assert result.words.counts.tolist() == sorted(expected.values(), reverse=True)


def test_threads_order_and_spilling_change_nothing(tmp_path: Path) -> None:
    found = texts(1)
    expected = as_dict(counted(found, "qwen2", tmp_path).words)
    for workers, table_bytes in ((2, 1 << 30), (1, 1), (3, 1)):
        random.Random(workers).shuffle(found)
        result = counted(found, "qwen2", tmp_path, workers, table_bytes=table_bytes)
        assert as_dict(result.words) == expected
        assert result.occurrences == sum(expected.values())
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_nothing_ends_all_threads(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        counted(texts(0), "qwen2", tmp_path / "missing", workers=4, table_bytes=0)


def test_only_the_rarest_words_are_left_out_where_memory_is_short(tmp_path: Path) -> None:
    found = texts(2)
    whole = as_dict(counted(found, "qwen2", tmp_path).words)
    budget = int(counted(found, "qwen2", tmp_path).words.cost().sum()) // 2
    results = [counted(found, "qwen2", tmp_path, table_bytes=size, budget=budget) for size in (1 << 30, 1)]
    for result in results:
        kept = as_dict(result.words)
        least = min(kept.values())
        assert kept == {word: count for word, count in whole.items() if count >= least}
        assert result.words.cost().sum() <= budget and 0 < len(kept) < len(whole)
        assert result.rare == len(whole) - len(kept)
        assert result.rare_occurrences == sum(whole.values()) - sum(kept.values())


def test_missing_texts_other_types_and_slices(tmp_path: Path) -> None:
    found = ["one", None, "two words", ""]
    expected = {b"one": 1, b"two": 1, b" words": 1}
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        assert as_dict(count_pretokens([pa.array(found, kind)], "qwen2", tmp_path, 1).words) == expected
    sliced = pa.array(["not", *found, "this"], pa.large_string()).slice(1, 4)
    assert as_dict(count_pretokens([sliced], "qwen2", tmp_path, 1).words) == expected


def test_a_word_of_a_megabyte(tmp_path: Path) -> None:
    result = counted(["x" * (1 << 20), "x" * (1 << 20), "y" * (1 << 20)], "qwen2", tmp_path)
    assert as_dict(result.words) == {b"x" * (1 << 20): 2, b"y" * (1 << 20): 1}

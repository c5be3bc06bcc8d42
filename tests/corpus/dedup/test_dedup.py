"""Deduplication against slow, plain versions of itself, and against what a person would call a copy."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.corpus.dedup import index
from gristmill.corpus.dedup import stage as dedup
from gristmill.corpus.dedup.index import Index, IndexWriter, Prints, read_ids
from gristmill.corpus.dedup.minhash import MinHash, digests, permutations
from gristmill.corpus.execution import executor
from gristmill.corpus.text.words import ALONE, WORD, fold_table, lower, words
from gristmill.document import Document, read_documents
from gristmill.errors import UserError
from gristmill.manifest import WORK, Manifest
from gristmill.recipe import Dedup

SHARED = Path(__file__).parents[4] / "shared" / "data"
RunDedup = Callable[[Path, list[Document], Dedup], Manifest]
MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
TEXTS = st.lists(st.text(), min_size=1, max_size=6)


def strings(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def mix(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def word_hash(word: str) -> int:
    value = GOLDEN
    for character in word:
        value = (value ^ (ord(character) | int(fold_table()[ord(character)]) & ALONE)) * GOLDEN & MASK
        value ^= value >> 32
    return value


def plain_signature(text: str, minhash: MinHash) -> list[int]:
    """The smallest values of all permutations, by the definition; for texts of `ngram` words or more."""
    hashes = [word_hash(word) for word in words(text)]
    shingles = []
    for i in range(len(hashes) - minhash.ngram + 1):
        value = 0
        for hashed in hashes[i : i + minhash.ngram]:
            value = (value * GOLDEN + hashed) & MASK
        shingles.append(mix(value) >> 32)
    count = minhash.bands * minhash.rows
    pairs = list(zip(*permutations(count, minhash.seed), strict=True))[:count]
    return [min((int(a) * x + int(b)) % 2**32 for x in shingles) for a, b in pairs]


def test_the_table_says_of_every_character_what_python_says() -> None:
    table = fold_table().tolist()
    for point in [*range(0xD800), *range(0xE000, 0x110000)]:
        character = chr(point)
        found = WORD.fullmatch(character)
        if not found:
            assert table[point] == 0, hex(point)
        elif point < 0x20000 or table[point] & ~ALONE != point:
            assert len(lower(character)) == 1
            assert table[point] & ~ALONE == ord(lower(character)), hex(point)
    assert [bool(table[ord(c)] & ALONE) for c in "東かアภe_"] == [True] * 4 + [False] * 2


@settings(max_examples=200)
@given(TEXTS, st.integers(1, 4))
def test_signatures_are_their_definition(texts: list[str], ngram: int) -> None:
    minhash = MinHash(ngram, 3, 2, 1)
    keys, _, signatures = minhash(strings(texts))
    for text, signature in zip(texts, signatures, strict=True):
        if len(words(text)) >= ngram:
            assert signature.tolist() == [value & 0xFFFF for value in plain_signature(text, minhash)]
    assert keys.shape == (len(texts), 3)
    for i, one in enumerate(texts):  # keys are equal just where the band's rows are
        for j, two in enumerate(texts):
            if min(len(words(one)), len(words(two))) >= ngram:
                a, b = (np.array(plain_signature(text, minhash)).reshape(3, 2) for text in (one, two))
                assert ((a == b).all(1) == (keys[i] == keys[j])).all()


@settings(max_examples=200)
@given(TEXTS)
def test_digests_are_equal_just_where_the_words_are(texts: list[str]) -> None:
    texts = [*texts, *(text.upper() for text in texts if len(text.upper()) == len(text))]
    _, found, _ = MinHash(5, 1, 1, 0)(strings(texts))
    bytewise = digests(strings(texts))
    for i, one in enumerate(texts):
        for j, two in enumerate(texts):
            same = words(one) == words(two) and (bool(words(one)) or one == two)
            assert (found[i] == found[j]).all() == same
            assert (bytewise[i] == bytewise[j]).all() == (one == two)


def test_slices_and_damaged_utf8_are_read_within_their_bounds() -> None:
    minhash = MinHash(2, 2, 2, 0)
    texts = strings(["zero", "one two three", "", "vier fünf sechs"])
    for whole, part in zip(minhash(texts), minhash(texts[1:3]), strict=True):
        assert (whole[1:3] == part).all()
    damaged = [b"one \xff two", b"\xe4\xb8", b"\xf0\x9f", b"\xc3", b"x\x80\x80", b"\xed\xa0\x80", b"\xf4\xbf\xbf\xbf"]
    raw = pa.Array.from_buffers(
        pa.large_string(),
        len(damaged),
        [None, pa.py_buffer(np.cumsum([0, *map(len, damaged)]).astype(np.int64)), pa.py_buffer(b"".join(damaged))],
    )
    _, found, _ = minhash(raw)
    _, clean, _ = minhash(strings(["one two", "x"]))
    assert (found[0] == clean[0]).all() and (found[4] == clean[1]).all()


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_minhash_estimates_jaccard(seed: int, keep: float) -> None:
    draw = random.Random(seed)
    first = [str(draw.random())[2:] for _ in range(300)]
    second = [word if draw.random() < keep else str(draw.random())[2:] for word in first]
    a, b = set(first), set(second)
    _, _, signatures = MinHash(1, 64, 8, 0)(strings([" ".join(first), " ".join(second)]))
    exact = len(a & b) / len(a | b)
    assert abs(float((signatures[0] == signatures[1]).mean()) - exact) < 5 * (0.25 / 512) ** 0.5


def test_the_estimate_is_unbiased_and_as_sharp_as_independent_permutations() -> None:
    draw, errors = random.Random(1), []
    for seed in range(150):
        shared, apart = draw.randrange(5, 400), draw.randrange(1, 200)
        common = [f"c{seed}w{i}" for i in range(shared)]
        one = common + [f"a{seed}w{i}" for i in range(apart)]
        two = common + [f"b{seed}w{i}" for i in range(apart)]
        exact = shared / (shared + 2 * apart)
        _, _, signatures = MinHash(1, 14, 8, seed)(strings([" ".join(one), " ".join(two)]))
        errors.append((float((signatures[0] == signatures[1]).mean()) - exact) / (exact * (1 - exact) / 112) ** 0.5)
    assert abs(np.mean(errors)) < 0.35
    assert 0.8 < np.std(errors) < 1.25


def plain_dedup(documents: list[Document], params: Dedup, older: list[list[Document]]) -> list[tuple[str, str]]:
    """(rule, id of the original) of each document, by comparing all with all that are kept."""
    minhash = MinHash(params.ngram, params.bands, params.rows, params.seed)
    kept: list[tuple[Document, np.ndarray, np.ndarray, np.ndarray]] = []
    verdicts = []
    for number, corpus in enumerate([*older, documents]):
        for document in corpus:
            (keys,), (digest,), (signature,) = minhash(strings([document.text]))
            found = ("", "")
            for rule in ("url_copy", "exact_copy", "near_copy"):
                for other, other_keys, other_digest, other_signature in kept:
                    if {
                        "url_copy": params.urls and document.host and document.url == other.url,
                        "exact_copy": (digest == other_digest).all(),
                        "near_copy": (keys == other_keys).any()
                        and (signature == other_signature).mean() >= minhash.threshold,
                    }[rule]:
                        found = (rule, other.id)
                        break
                if found[0]:
                    break
            if not found[0] or number < len(older):
                kept.append((document, keys, digest, signature))
            if number == len(older):
                verdicts.append(found)
    return verdicts


def corpus_with_copies(seed: int, count: int, name: str = "") -> list[Document]:
    draw = random.Random(seed)
    vocabulary = [f"word{i}" for i in range(300)]
    texts = [" ".join(draw.choices(vocabulary, k=draw.choice((3, 40, 120)))) for _ in range(count)]
    for i in range(count):
        if draw.random() < 0.5:
            source = draw.choice(texts).split()
            for _ in range(draw.choice((0, 1, 2, 5))):
                source[draw.randrange(len(source))] = draw.choice(vocabulary)
            texts[i] = " ".join(source).upper() + "!" * draw.randrange(3)
    urls = [f"http://h.test/{draw.randrange(4 * count)}" for _ in texts]
    return [Document(f"{name}{i}", text, url, "h.test") for i, (text, url) in enumerate(zip(texts, urls, strict=True))]


def log_of(folder: Path) -> dict[str, tuple[str, str]]:
    lines = (folder / "out" / "dropped.jsonl").read_text().splitlines()
    return {record["id"]: (record["rule"], record["kept"]) for record in map(json.loads, lines)}


@pytest.mark.parametrize(("seed", "block"), [(0, 1), (1, 1), (2, 7), (3, 7), (4, 1000), (5, 1000)])
def test_verdicts_are_those_of_comparing_all_with_all(
    seed: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_dedup: RunDedup
) -> None:
    monkeypatch.setattr(dedup, "BLOCK", block)
    monkeypatch.setattr(executor, "SHARD_BYTES", 1)
    documents = corpus_with_copies(seed, 120)
    params = Dedup(urls=seed % 2 == 0, bands=8, rows=4)
    result = run_dedup(tmp_path, documents, params)
    expected = plain_dedup(documents, params, [])
    assert log_of(tmp_path) == {d.id: verdict for d, verdict in zip(documents, expected, strict=True) if verdict[0]}
    kept = list(read_documents(tmp_path / "out"))
    assert [d.id for d in kept] == [d.id for d, (rule, _) in zip(documents, expected, strict=True) if not rule]
    assert all(found.cluster == found.id for found in kept)
    assert result.dropped == {**Counter(rule for rule, _ in expected if rule)}
    assert len(result.dropped) == (3 if seed % 2 == 0 else 2)


def test_a_new_crawl_against_old_corpora(tmp_path: Path, run_dedup: RunDedup) -> None:
    one, two, new = (corpus_with_copies(seed, 90, name) for seed, name in ((1, "a"), (2, "b"), (3, "c")))
    draw = random.Random(4)
    new = [
        Document(d.id, draw.choice((one, two))[i % 90].text, d.url, d.host) if i % 3 == 0 else d
        for i, d in enumerate(new)
    ]
    run_dedup(tmp_path / "1", one, Dedup())
    run_dedup(tmp_path / "2", two, Dedup(against=[str(tmp_path / "1" / "out")]))
    older = [list(read_documents(tmp_path / name / "out")) for name in "12"]
    params = Dedup(against=[str(tmp_path / name / "out") for name in "12"])
    run_dedup(tmp_path / "3", new, params)
    expected = plain_dedup(new, params, older)
    log = log_of(tmp_path / "3")
    assert log == {d.id: verdict for d, verdict in zip(new, expected, strict=True) if verdict[0]}
    assert {original[0] for _, original in log.values()} == {"a", "b", "c"}
    with pytest.raises(UserError, match="same settings"):
        run_dedup(tmp_path / "4", new, Dedup(bands=13, against=[str(tmp_path / "1" / "out")]))
    with pytest.raises(UserError, match="no dedup index in"):
        run_dedup(tmp_path / "5", new, Dedup(against=[str(tmp_path)]))


def test_an_index_is_sorted_and_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_dedup: RunDedup) -> None:
    monkeypatch.setattr(dedup, "BLOCK", 16)
    documents = corpus_with_copies(5, 100)
    run_dedup(tmp_path, documents, Dedup())
    folder = tmp_path / "out" / "index"
    kept = list(read_documents(tmp_path / "out"))
    assert read_ids(folder).to_pylist() == [d.id for d in kept]
    keys, numbers = Index(folder, MinHash(5, 14, 8, 0)).run.arrays()
    assert (np.sort(keys, axis=1) == keys).all()
    assert (np.sort(numbers, axis=1) == np.arange(len(kept))).all()
    assert not (tmp_path / "out" / WORK / "index").exists()


def test_a_kill_between_or_within_passes_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_dedup: RunDedup
) -> None:
    documents = corpus_with_copies(6, 200)
    params = Dedup(passage_words=10, host_lines=2)
    whole = run_dedup(tmp_path / "whole", documents, params)
    names = ("print_shard", "line_shard", "anchor_shard", "window_shard", "write_shard")
    for name in names:
        folder, real, calls = tmp_path / name, getattr(dedup, name), Counter[str]()

        def dies(task: object, real: Callable[..., object] = real, calls: Counter[str] = calls) -> object:
            calls["all"] += 1
            if calls["all"] == 2:
                raise KeyboardInterrupt
            return real(task)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(dedup, name, dies)
            run_dedup(folder, documents, params)
        again = dedup.run({"corpus": folder / "in"}, params, folder / "out")
        assert again == whole
        for path in (tmp_path / "whole" / "out").rglob("*"):
            if path.is_file() and WORK not in path.parts:
                assert (folder / "out" / path.relative_to(tmp_path / "whole" / "out")).read_bytes() == path.read_bytes()


def test_words_of_scripts_without_spaces_are_compared(tmp_path: Path, run_dedup: RunDedup) -> None:
    draw = random.Random(4)
    text = "".join(chr(0x4E00 + draw.randrange(3000)) for _ in range(200))
    changed = text[:100] + "新" + text[101:]
    other = "".join(chr(0x4E00 + draw.randrange(3000)) for _ in range(200))
    result = run_dedup(tmp_path, [Document(str(i), t) for i, t in enumerate((text, changed, other))], Dedup())
    assert result.dropped == {"near_copy": 1}


def test_memory_of_the_writer_is_a_block(tmp_path: Path) -> None:
    minhash = MinHash(5, 2, 2, 0)
    writer = IndexWriter(tmp_path / "index", minhash)
    draw = np.random.default_rng(0)
    for block in range(9):
        keys = draw.integers(0, 2**64, (10, 4), np.uint64)
        prints = Prints(keys, draw.integers(0, 2**64, (10, 2), np.uint64), np.zeros((10, 4), np.uint16))
        writer.decide(prints, strings([f"{block}-{i}" for i in range(10)]))
        assert len(writer.runs) <= 1 + np.log2(block + 1)
    writer.close()
    assert Index(tmp_path / "index", minhash).run.size == 90
    assert index.read_ids(tmp_path / "index")[42].as_py() == "4-2"


@pytest.mark.skipif(not (SHARED / "storybooks").exists(), reason="needs the shared real site")
def test_recall_and_precision_on_real_pages(tmp_path: Path, run_dedup: RunDedup) -> None:
    """Real pages, some changed a little: found are those pairs whose true Jaccard similarity is high."""
    draw = random.Random(0)
    texts = []
    for path in sorted((SHARED / "storybooks").rglob("chapter-*.html"))[:150]:
        text = re.sub(r"<[^>]+>", " ", path.read_text(encoding="utf-8"))[2_000:6_000]
        texts.append(text)
        changed = text.split()
        for _ in range(draw.choice((1, 5, 12, 25, 60))):
            changed[draw.randrange(len(changed))] = "changed"
        texts.append(" ".join(changed))

    def grams(text: str) -> set[tuple[str, ...]]:
        found = words(text)
        return set(zip(*(found[i:] for i in range(5)), strict=False))

    sets = [grams(text) for text in texts]
    result = run_dedup(tmp_path, [Document(str(i), text) for i, text in enumerate(texts)], Dedup())
    dropped = log_of(tmp_path)
    truth = {str(i): len(sets[i] & sets[i - 1]) / len(sets[i] | sets[i - 1]) for i in range(1, len(texts), 2)}
    high = [name for name, value in truth.items() if value >= 0.85]
    low = [name for name, value in truth.items() if value <= 0.55]
    assert len(high) > 30 and len(low) > 20
    assert sum(name in dropped for name in high) >= 0.97 * len(high)
    assert sum(name in dropped for name in low) <= 0.03 * len(low)
    assert all(int(name) % 2 and kept == str(int(name) - 1) for name, (_, kept) in dropped.items())
    assert result.counts["documents_in"] == len(texts)

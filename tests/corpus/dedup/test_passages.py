"""Repeated passages and lines, against a sorted list of all suffixes."""

from __future__ import annotations

import itertools
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.corpus.dedup import passages
from gristmill.corpus.execution import executor
from gristmill.corpus.text.words import words
from gristmill.document import Document, read_documents
from gristmill.manifest import Manifest
from gristmill.recipe import Dedup

RunDedup = Callable[[Path, list[Document], Dedup], Manifest]


def strings(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def plain_repeats(texts: list[str], span: int) -> list[list[bool]]:
    """Which words of each text lie in a run of `span` words that occurred before: by a sorted list of all suffixes."""
    stream = [(t, i, word) for t, text in enumerate(texts) for i, word in enumerate(words(text))]
    suffixes = []
    for at, (t, i, _) in enumerate(stream):
        window = tuple(word for other, _, word in stream[at : at + span] if other == t)
        if len(window) == span:
            suffixes.append((window, t, i))
    suffixes.sort()
    marked = [[False] * len(words(text)) for text in texts]
    for (before, _, _), (window, t, i) in itertools.pairwise(suffixes):
        if before == window:
            marked[t][i : i + span] = [True] * span
    return marked


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 4), st.integers(1, 3))
def test_passages_are_those_of_a_suffix_array(seed: int, span: int, alphabet: int, shards: int) -> None:
    draw = random.Random(seed)
    alphabet *= 3
    texts = [" ".join(f"w{draw.randrange(alphabet)}" for _ in range(draw.randrange(60))) for _ in range(6)]
    for i in range(1, 6):
        if draw.random() < 0.5:
            pieces, source = texts[i].split(), draw.choice(texts[:i]).split()
            at = draw.randrange(len(pieces) + 1)
            texts[i] = " ".join(pieces[:at] + source[len(source) // 3 :] + pieces[at:])
    with tempfile.TemporaryDirectory() as folder:
        parts = [strings(list(part)) for part in np.array_split(np.array(texts, object), shards)]
        stems = [Path(folder) / str(number) for number in range(shards)]
        for part, stem in zip(parts, stems, strict=True):
            passages.write_keys(stem, passages.anchors(part, span))
        passages.repeated_keys(stems, Path(folder) / "repeated.npy")
        repeated = np.load(Path(folder) / "repeated.npy")
        found = [passages.windows(part, span, repeated) for part in parts]
        for spans, stem in zip(found, stems, strict=True):
            passages.write_keys(stem, spans.keys)
        passages.mark_repeats(stems, 2)
        marks = [np.load(f"{stem}-again.npy") for stem in stems]
    result = []
    for part, spans, again in zip(parts, found, marks, strict=True):
        for number, text in enumerate(part.to_pylist()):
            covered = [False] * len(words(text))
            starts = [match.start() for match in re.finditer(r"\S+", text)]
            for repeat in np.flatnonzero(again & (spans.texts == number)):
                at = int(repeat)
                first = starts.index(spans.starts[at])
                assert text[spans.starts[at] : spans.stops[at]].split() == text.split()[first : first + span]
                covered[first : first + span] = [True] * span
            result.append(covered)
    assert result == plain_repeats(texts, span)


def sentences(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(f"{draw.choice('abcdefgh')}{draw.randrange(999)}" for _ in range(9)) + "." for _ in range(count)]


def test_a_passage_of_ten_words_is_longer_in_characters_where_none_is_parted_by_spaces() -> None:
    japanese, thai = "昔々ある所にお爺さんとお婆さんが住んで", "หมู่บ้านนี้มีแม่น้ำสายหนึ่งและมีโรงสีเก่าอยู่ริม"
    texts = strings(["one two three", japanese * 2, thai * 2, f"a {japanese}" + " word" * 40])
    found = [len(passages.anchors(texts.slice(at, 1), 10)) > 0 for at in range(4)]
    assert found == [False, True, True, True]
    for text, characters in ((japanese, 20), (thai, 40)):
        units = words(text * 3)
        for length in (characters - 1, characters):
            part = strings(["".join(units[:length])])
            assert (len(passages.anchors(part, 10)) > 0) == (length == characters)


def test_a_repeated_passage_stays_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_dedup: RunDedup) -> None:
    monkeypatch.setattr(executor, "SHARD_BYTES", 1)
    monkeypatch.setattr(passages, "RANGE", 50)
    passage = " ".join(sentences(0, 7))
    own = [sentences(seed, 12) for seed in range(1, 5)]
    texts = [
        " ".join(own[0]),
        " ".join(own[1][:6]) + "\n\n" + passage + "\n\n" + " ".join(own[1][6:]),
        " ".join(own[2][:6]) + " " + passage.upper().replace(" ", "  ") + " " + " ".join(own[2][6:]),
        passage + "\n" + " ".join(own[3]),
        " ".join(sentences(9, 3)) + " " + " ".join(passage.split()[:40]),
    ]
    result = run_dedup(tmp_path, [Document(str(i), t) for i, t in enumerate(texts)], Dedup(passage_words=50))
    kept = [found.text for found in read_documents(tmp_path / "out")]
    assert kept[0] == texts[0] and kept[1] == texts[1] and kept[4] == texts[4]
    assert kept[2] == " ".join(own[2][:6]) + "\n" + " ".join(own[2][6:])
    assert kept[3] == " ".join(own[3])
    assert result.counts["passages_cut"] == 2
    counts = result.counts
    assert (
        counts["bytes_edited"] == sum(map(len, texts)) - sum(map(len, kept)) == counts["bytes_in"] - counts["bytes_out"]
    )


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text("ab é日.\n", max_size=12), st.sampled_from(["a.test", "b.test"])), max_size=8))
def test_lines_are_those_that_hold_words(pages: list[tuple[str, str]]) -> None:
    texts, hosts = ([page[part] for page in pages] for part in (0, 1))
    found = passages.lines(strings(texts), strings(hosts))
    plain = []
    for number, text in enumerate(texts):
        at = 0
        for line in text.split("\n"):
            size = len(line.encode())
            if words(line):
                plain.append(((tuple(words(line)), hosts[number]), number, at, at + size))
            at += size + 1
    assert [row[1:] for row in plain] == list(zip(*(part.tolist() for part in found[1:]), strict=True))
    keys = dict(zip((row[0] for row in plain), found.keys.tolist(), strict=True))
    assert [keys[row[0]] for row in plain] == found.keys.tolist() and len(set(keys.values())) == len(keys)


def test_repeated_lines_of_one_host_stay_once(tmp_path: Path, run_dedup: RunDedup) -> None:
    pages = [
        Document(
            f"{host}{i}",
            f"Share this page!\n\n{sentences(hash_of(host, i), 3)[0]}\nShare THIS page\n"
            + "\n".join(sentences(hash_of(host, i), 9)[3:]),
            f"http://{host}/{i}",
            host,
        )
        for host, count in (("a.test", 6), ("b.test", 3))
        for i in range(count)
    ]
    result = run_dedup(tmp_path, pages, Dedup(host_lines=4))
    kept = {found.id: found.text for found in read_documents(tmp_path / "out")}
    assert all(kept[f"b.test{i}"].lower().count("share this page") == 2 for i in range(3))
    assert kept["a.test0"] == pages[0].text
    for i in range(1, 6):
        assert kept[f"a.test{i}"] == "\n".join(line for line in pages[i].text.split("\n") if "hare" not in line).strip()
    assert result.counts["lines_cut"] == 10


def hash_of(host: str, number: int) -> int:
    return ord(host[0]) * 100 + number


def test_a_document_of_which_nothing_is_left_is_dropped(tmp_path: Path, run_dedup: RunDedup) -> None:
    passage = " ".join(sentences(0, 7))
    texts = [passage + " " + " ".join(sentences(1, 20)), " ".join(sentences(2, 20)), passage]
    result = run_dedup(tmp_path, [Document(str(i), text) for i, text in enumerate(texts)], Dedup(passage_words=50))
    assert result.dropped == {"nothing_new": 1}
    assert result.counts["documents_out"] == 2

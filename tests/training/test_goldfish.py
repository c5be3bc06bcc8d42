"""Goldfish loss: against its definition written plainly, and the same tokens at every reading."""

from __future__ import annotations

from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gristmill.model.loss import IGNORE
from gristmill.tokenizer.shards import Split, Tokens
from gristmill.training.data.loader import Loader

END, WINDOW, MASK = 500, 13, (1 << 64) - 1


def split_of(documents: list[list[int]], dtype: str, shards: int = 1) -> Split:
    """A split of these documents, each closed by its end token."""
    closed = [[*document, END] for document in documents]
    cuts = np.linspace(0, len(closed), shards + 1).astype(int)
    parts = [np.array(list(chain(*closed[a:b])), dtype) for a, b in pairwise(cuts) if b > a]
    starts = np.cumsum([0, *map(len, closed)])
    return Split(Path(), "train", Tokens(parts), starts, np.array([len(one) for one in closed]), END)


def dropped(before: list[int], every: int) -> bool:
    """The rule: a hash of the 13 tokens before, where the document has so many."""
    if len(before) < WINDOW:
        return False
    value = 0
    for token in before[-WINDOW:]:
        value = (value + token + 1) * 0x9E3779B97F4A7C15 & MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return (value ^ value >> 31) % every == 0


DOCUMENTS = st.lists(st.lists(st.integers(0, END - 1), max_size=120), min_size=1, max_size=12)


@given(
    documents=DOCUMENTS,
    every=st.integers(2, 5),
    context=st.integers(2, 50),
    dtype=st.sampled_from(["uint16", "uint32"]),
    shards=st.integers(1, 3),
)
def test_it_is_its_definition(documents: list[list[int]], every: int, context: int, dtype: str, shards: int) -> None:
    """Also where rows cut a document: what stands before the cut counts."""
    split = split_of(documents, dtype, shards)
    plain, loader = Loader(split, context, 1, 3), Loader(split, context, 1, 3, goldfish=every)
    for step in range(len(loader.epoch(0))):
        rows, (whole, batch) = loader.epoch(0).rows(step, 1), (plain(step), loader(step))
        expected = []
        for start, length in zip(rows.start.tolist(), rows.length.tolist(), strict=True):
            begins = int(split.starts[np.searchsorted(split.starts, start, side="right") - 1])
            text = split.tokens[begins : start + length].tolist()
            places = range(start - begins, start - begins + length)
            expected += [IGNORE if dropped(text[:place], every) else text[place] for place in places]
        assert batch.targets[0, : len(expected)].tolist() == expected
        assert (batch.targets[0, len(expected) :] == IGNORE).all()
        assert (batch.inputs == whole.inputs).all() and (batch.documents == whole.documents).all()


def test_a_passage_loses_the_same_tokens_wherever_it_stands() -> None:
    draw = np.random.default_rng(0)
    passage = draw.integers(0, END, 60).tolist()
    documents = [draw.integers(0, END, draw.integers(0, 150)).tolist() + passage for _ in range(30)]
    loader = Loader(split_of(documents, "uint16"), 64, 1, 0, goldfish=4)
    seen: dict[tuple[int, ...], set[bool]] = {}
    for step in range(3 * len(loader.epoch(0))):
        batch = loader(step)
        inputs, targets, numbers = (tensor[0].tolist() for tensor in vars(batch).values())
        for at in range(WINDOW - 1, len(inputs)):
            if (
                numbers[at] >= 0
                and numbers[at] == numbers[at - WINDOW + 1]
                and END not in inputs[at - WINDOW + 1 : at + 1]
            ):
                seen.setdefault(tuple(inputs[at - WINDOW + 1 : at + 1]), set()).add(targets[at] == IGNORE)
    assert all(len(verdicts) == 1 for verdicts in seen.values())
    assert 0.22 < np.mean([True in verdicts for verdicts in seen.values()]) < 0.28

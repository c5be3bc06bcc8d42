"""The loader: every token once an epoch, whole documents, one global order, exact resume, mixtures."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gristmill.document import Document, write_documents
from gristmill.errors import UserError
from gristmill.model.loss import IGNORE, cross_entropy
from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.recipe import Pretrain, Tokenize
from gristmill.tokenizer import tokenize
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import Split, Tokens, open_split
from gristmill.training import pretrain
from gristmill.training.data.loader import Batch, Loader
from gristmill.training.data.mixture import OTHERS

END = 60_000


def split_of(lengths: list[int], shards: int = 1, dtype: str = "uint16") -> Split:
    """Documents of these lengths (ends included) whose other tokens are all different, in some shards."""
    starts = np.cumsum([0, *lengths])
    tokens = np.arange(starts[-1]).astype(dtype)
    tokens[starts[1:] - 1] = END
    cuts = starts[np.linspace(0, len(lengths), shards + 1).astype(int)]
    parts = [np.ascontiguousarray(tokens[a:b]) for a, b in pairwise(cuts) if b > a]
    return Split(Path(), "train", Tokens(parts), starts, np.array(lengths), END)


def rows_of(loader: Loader, rows: int) -> list[Batch]:
    """The first batches, with that many rows at least."""
    return [loader(step) for step in range(-(-rows // loader.batch))]


LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=60)


@given(
    lengths=LENGTHS, context=st.integers(1, 40), shards=st.integers(1, 4), dtype=st.sampled_from(["uint16", "uint32"])
)
def test_an_epoch_predicts_every_token_once_from_the_one_before(
    lengths: list[int], context: int, shards: int, dtype: str
) -> None:
    split = split_of(lengths, shards, dtype)
    loader = Loader(split, context, 1, seed=1)
    found = []
    for step in range(len(loader.epoch(0))):
        batch = loader(step)
        for before, after, document in zip(*(t[0].tolist() for t in vars(batch).values()), strict=True):
            assert (document < 0) == (after == IGNORE)
            if after != IGNORE:
                found.append((before, after))
    expected: list[tuple[int, int]] = []
    for number in range(len(lengths)):
        document = split.document(number).tolist()
        expected += zip([END, *document], document, strict=False)
    assert Counter(found) == Counter(expected)


@given(lengths=LENGTHS, context=st.integers(1, 40))
def test_documents_that_fit_are_never_cut_and_longer_ones_as_little_as_possible(
    lengths: list[int], context: int
) -> None:
    loader = Loader(split_of(lengths), context, 1, seed=1)
    cuts = len(loader.epoch(0).start) - len(lengths)
    assert cuts == sum(-(-length // loader.context) - 1 for length in lengths)
    for step in range(len(loader.epoch(0))):
        documents = loader(step).documents[0].tolist()
        assert documents == sorted(documents, key=lambda number: (number < 0, number))  # runs, the padding last


def test_rows_are_full() -> None:
    """Documents as long as those of the web: log-normal. In the row-by-row way a third of the tokens would be lost."""
    lengths = np.maximum(30, np.random.default_rng(0).lognormal(6.3, 1.1, 20_000)).astype(int).tolist()
    for context in (256, 1024, 2048):
        loader = Loader(split_of(lengths), context, 1, seed=0)
        capacity = len(loader.epoch(0)) * context
        assert sum(lengths) <= capacity and 1 - sum(lengths) / capacity < 0.0007


def test_packing_is_best_fit_the_longest_first() -> None:
    """Against the definition, written plainly."""
    draw = random.Random(4)
    for _ in range(50):
        context = draw.randrange(2, 50)
        lengths = [draw.randrange(1, context + 1) for _ in range(draw.randrange(1, 120))]
        rooms: list[int] = []
        for length in sorted(lengths, reverse=True):
            fits = [room for room in rooms if room >= length]
            if fits:
                rooms[rooms.index(min(fits))] -= length
            else:
                rooms.append(context - length)
        loader = Loader(split_of(lengths), context, 1, seed=1)
        if loader.context == context:
            used = np.add.reduceat(loader.epoch(0).length, loader.epoch(0).first[:-1])
            assert sorted(used.tolist()) == sorted(context - room for room in rooms)


def test_the_order_is_a_pure_function_of_seed_and_row() -> None:
    split = split_of([random.Random(5).randrange(1, 50) for _ in range(100)], 3)
    loader, other = Loader(split, 32, 4, seed=2), Loader(split, 32, 4, seed=2)
    steps = 3 * len(loader.epoch(0)) // 4
    forward = [loader(step) for step in range(steps)]
    for step in reversed(range(steps)):
        again = other(step)
        for ours, theirs in zip(vars(forward[step]).values(), vars(again).values(), strict=True):
            assert torch.equal(ours, theirs)
    assert not torch.equal(forward[0].inputs, Loader(split, 32, 4, seed=3)(0).inputs)
    epochs = [loader.epoch(number) for number in range(2)]
    assert not np.array_equal(epochs[0].start, epochs[1].start)  # newly shuffled
    assert set(epochs[0].start.tolist()) != set(epochs[1].start.tolist())  # long documents are newly cut


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_global_order_is_the_same_whatever_the_world_size_also_after_a_change(world: int) -> None:
    split = split_of([random.Random(6).randrange(1, 70) for _ in range(80)], 2)
    alone = Loader(split, 16, 8, seed=7)
    ranks = [Loader(split, 16, 8, seed=7, rank=rank, world=world) for rank in range(world)]
    for step in (0, 1, 5, 40, 3):  # from the start, on, and resumed in the middle of an epoch
        parts = [rank(step) for rank in ranks]
        for name in ("inputs", "targets", "documents"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(alone(step), name))


def test_a_batch_must_divide_among_processes() -> None:
    with pytest.raises(UserError, match="a batch of 8 rows does not divide among 3"):
        Loader(split_of([5]), 4, 8, seed=0, world=3)


@pytest.mark.parametrize("lengths", [[1], [2], [5], [3, 1, 2], [40]])
def test_small_data_works(lengths: list[int]) -> None:
    """One document, one shard, fewer tokens than a batch or a row."""
    loader = Loader(split_of(lengths), 16, 8, seed=0)
    assert loader.context == min(16, sum(lengths))
    batch = loader(3)
    assert batch.inputs.shape == (8, loader.context) and (batch.targets != IGNORE).any()
    rows = len(loader.epoch(0))
    assert loader.steps(16.0) == 2 * rows and loader.passes(rows) == 8.0


def test_steps_and_passes_count_epochs() -> None:
    loader = Loader(split_of([20] * 100), 20, 10, seed=0)
    assert (loader.steps(1.0), loader.steps(2.5), loader.passes(25)) == (10, 25, 2.5)


@given(lengths=LENGTHS, context=st.integers(1, 40), batch=st.integers(1, 5), steps=st.integers(0, 40))
def test_tokens_of_steps_are_counted_without_reading_them(
    lengths: list[int], context: int, batch: int, steps: int
) -> None:
    loader = Loader(split_of(lengths), context, batch, seed=1)
    read = sum(int((loader(step).documents >= 0).sum()) for step in range(steps))
    assert Loader(split_of(lengths), context, batch, seed=1).tokens(steps) == read


def test_documents_of_a_row_begin_where_they_begin() -> None:
    batch = Loader(split_of([3, 4, 5, 9]), 8, 3, seed=0)(0)
    for starts, documents in zip(batch.starts().tolist(), batch.documents.tolist(), strict=True):
        assert starts == [documents.index(number) for number in documents]


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_packed_batch_has_the_loss_and_gradients_of_its_documents_alone(precision: torch.dtype) -> None:
    """With the kernels (float32) and without."""
    torch.manual_seed(0)
    model = Transformer(ModelConfig(2000, 2, 32, 4, 2, 16, 48, 64)).to(precision)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.2)
    found = Loader(split_of([3, 40, 11, 17, 30, 9, 22, 5]), 64, 2, seed=0)(0)
    targets = found.targets % 2000
    batch = Batch(found.inputs % 2000, targets.where(found.targets != IGNORE, IGNORE), found.documents)
    cross_entropy(model, batch.inputs, batch.targets, starts_BT=batch.starts()).backward()
    packed = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    borne = int((batch.targets != IGNORE).sum())
    for row, documents in enumerate(batch.documents):
        for number in range(int(documents.max()) + 1):
            own = documents == number
            alone = batch.inputs[row][own][None], batch.targets[row][own][None]
            (cross_entropy(model, *alone) * (int(own.sum()) / borne)).backward()
    tolerance = 1e-4 if precision == torch.float32 else 1e-5  # angles are float32
    for ours, weight in zip(packed, model.parameters(), strict=True):
        assert weight.grad is not None and (ours - weight.grad).abs().max() < tolerance * weight.grad.abs().max()


@pytest.fixture(scope="module")
def mixed(tokenizer: Tokenizer, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens of three sources: a site, another site, and files."""
    folder = tmp_path_factory.mktemp("mixed")
    kinds = [("a.wiki.test", "pages.warc.gz"), ("shop.test", "pages.warc.gz"), ("", "notes/mine.jsonl")]
    documents = [
        Document(f"{number}", f"document {number} of {host or file}", host=host, source=f"{file}:{number}")
        for number, (host, file) in enumerate(kinds * 40)
    ]
    write_documents(folder / "d.parquet", documents)
    (folder / "out").mkdir()
    tokenize.run({"corpus": folder, "tokenizer": tokenizer_folder}, Tokenize(heldout=0.02), folder / "out")
    return folder / "out"


def readings(loader: Loader, split: Split, epochs: int) -> Counter[int]:
    """How often each document is read."""
    return Counter(np.concatenate([loader.mixture.documents(epoch) for epoch in range(epochs)]).tolist())


def test_sources_are_read_by_weight_and_counted(mixed: Path) -> None:
    split = open_split(mixed, "train")
    weights = {"*.wiki.test": 2.0, "notes/*": 0.3, "shop.test": 1.5}
    loader = Loader(split, 64, 4, seed=3, mix=weights)
    read = readings(loader, split, 10)
    hosts, sources = split.column("host").to_pylist(), split.column("source").to_pylist()
    for number, (host, source) in enumerate(zip(hosts, sources, strict=True)):
        weight = 2.0 if "wiki" in host else 0.3 if source.startswith("notes/") else 1.5
        assert read[number] == pytest.approx(10 * weight)  # exactly, spread over the epochs by each document's phase
    each = [len(loader.mixture.documents(epoch)) for epoch in range(10)]
    assert max(each) - min(each) < 0.2 * max(each)
    table = {row["source"]: row for row in loader.mixture.table(2.5)}
    assert {name: row["epochs"] for name, row in table.items()} == {
        "*.wiki.test": 5.0,
        "notes/*": 0.75,
        "shop.test": 3.75,
    }
    assert sum(row["share"] for row in table.values()) == pytest.approx(1, abs=1e-3)
    assert sum(row["tokens"] for row in table.values()) == len(split.tokens)


def test_the_first_pattern_counts_and_0_leaves_out(mixed: Path) -> None:
    split = open_split(mixed, "train")
    loader = Loader(split, 64, 4, seed=3, mix={"a.*": 1.0, "*.warc.gz": 0.0})
    hosts = {split.column("host")[number].as_py() for number in readings(loader, split, 1)}
    assert hosts == {"a.wiki.test", ""}


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ({"*.test": 1.0, "nobody.org": 2.0}, "'nobody.org' fits no document"),
        ({"*.warc.gz": 1.0, "shop.test": 2.0}, "'shop.test' fits no document that an earlier one leaves"),
        ({"*": 0.0}, "every document has the weight 0"),
    ],
)
def test_wrong_mixtures_are_named(mixed: Path, weights: dict[str, float], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Loader(open_split(mixed, "train"), 64, 4, seed=3, mix=weights)


def test_pretraining_takes_a_mixture_and_tells_it(mixed: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    shape: dict[str, Any] = dict(layers=1, width=16, heads=2, kv_heads=2, head_dim=8, ffn_width=16, context=32)
    params = Pretrain(**shape, batch=4, epochs=2.0, mix={"*.wiki.test": 3.0}, sample_prompts=[])
    made = pretrain.run({"tokenizer": tokenizer_folder, "tokens": mixed}, params, tmp_path)
    rows = {row["source"]: row for row in jsonl.read(tmp_path / "sources.jsonl")}
    assert rows["*.wiki.test"]["epochs"] == pytest.approx(3 * rows[OTHERS]["epochs"])
    assert made.metrics["epochs"] == pytest.approx(2.0, abs=0.05)
    losses = [record["loss"] for record in jsonl.read(tmp_path / "log.jsonl") if "loss" in record]
    assert 1 < len(losses) < 20 and made.metrics["loss"] == losses[-1]  # of the end of a short run, not of all of it

"""Warnings that a model memorises: on curves of known kinds, and on a real model that reads too little too often."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import jsonl
import numpy as np
import pytest

from gristmill.document import read_documents, write_documents
from gristmill.recipe import Pretrain, Tokenize
from gristmill.tokenizer import tokenize
from gristmill.training import pretrain
from gristmill.training.overfitting import TUNING, WATCH, growth, warnings


def log_of(train: np.ndarray, heldout: np.ndarray) -> list[dict[str, float]]:
    """A log with one scoring each 100 steps and records of other kinds between."""
    log: list[dict[str, float]] = []
    for number, (a, b) in enumerate(zip(train, heldout, strict=True)):
        log += [{"step": 100 * number, "train_bpb": a, "heldout_bpb": b}, {"step": 100 * number + 10, "loss": a}]
    return log


STEPS = np.arange(20)
FALLING = 1 + 7 * np.exp(-STEPS / 4)


def test_two_curves_that_fall_together_are_well_even_where_one_text_is_harder_or_noise_shakes_them() -> None:
    draw = np.random.default_rng(0)
    for ratio in (0.7, 1.0, 1.4):
        noise = 1 + 0.003 * draw.standard_normal((2, 20))
        assert warnings(log_of(FALLING * noise[0], ratio * FALLING * noise[1])) == {}


def test_a_gap_that_opens_while_held_out_text_still_falls() -> None:
    train = FALLING * np.where(STEPS < 10, 1, 1 - 0.03 * (STEPS - 10))
    assert warnings(log_of(train, FALLING)) == {"gap_opens": 1600}  # 12 % at step 1,400, and twice more
    assert growth(log_of(train, FALLING))[-1] == pytest.approx(0.27)


def test_held_out_text_that_gets_worse() -> None:
    heldout = FALLING + np.maximum(0, STEPS - 12) * 0.1
    assert warnings(log_of(FALLING, heldout))["heldout_rises"] == 1500


def test_one_bad_scoring_is_no_warning() -> None:
    heldout = FALLING.copy()
    heldout[15] *= 1.3
    assert warnings(log_of(FALLING, heldout)) == {}


def test_it_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    log = log_of(FALLING * np.where(STEPS < 10, 1, 0.7), FALLING)
    told: set[str] = set()
    for number in range(len(log)):
        WATCH.warn(log[: number + 1], told)
    assert capsys.readouterr().err.count("memorised") == 1
    assert "conversations that it trains on" in TUNING.told("gap_opens", 3)


def test_a_model_that_reads_too_little_too_often_is_warned_of(
    corpus: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """60 short documents, two dozen times."""
    few, tokens, out = (tmp_path / name for name in ("few", "tokens", "out"))
    for folder in (few, tokens, out):
        folder.mkdir()
    write_documents(few / "documents.parquet", islice(read_documents(corpus), 60))
    tokenize.run({"corpus": few, "tokenizer": tokenizer_folder}, Tokenize(heldout=0.2), tokens)
    shape: dict[str, Any] = dict(layers=1, width=64, heads=2, kv_heads=2, head_dim=32, ffn_width=128, context=64)
    params = Pretrain(**shape, batch=8, max_steps=200, evaluate_every=20, warmup=0.02, decay=0.2, sample_prompts=[])
    made = pretrain.run({"tokenizer": tokenizer_folder, "tokens": tokens}, params, out)
    log = jsonl.read(out / "log.jsonl")
    assert {f"{name}_at_step": step for name, step in warnings(log).items()}.items() <= made.metrics.items()
    assert made.metrics["gap_opens_at_step"] > 0 and made.metrics["gap_growth"] > 0.1
    assert made.metrics["epochs"] > 5 and made.counts["tokens_repeated"] > 0.8 * made.counts["tokens"]

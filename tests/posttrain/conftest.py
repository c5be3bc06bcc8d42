"""A base model and a chat model that all objectives begin with."""

from __future__ import annotations

from pathlib import Path

import jsonl
import pytest
import torch
from talking import WORDS, chat

from gristmill.model.transformer import ModelConfig, Transformer, save_model
from gristmill.posttrain import sft
from gristmill.recipe import SFT
from gristmill.tokenizer.encode import Tokenizer


@pytest.fixture(scope="session")
def base(
    tokenizer: Tokenizer, tokenizer_folder: Path, tokens_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """An untrained base model with the folders that every stage reads."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    save_model(Transformer(ModelConfig(tokenizer.vocab_size, 2, 48, 2, 2, 24, 96, context=64)), folder)
    return {"model": folder, "tokenizer": tokenizer_folder, "tokens": tokens_folder, "corpus": folder}


@pytest.fixture(scope="session")
def tuned(base: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A chat model that answers either of two words, at random, to six questions."""
    folder = tmp_path_factory.mktemp("sft")
    lines = [{"messages": chat(f"Say {word}", answer)} for word in WORDS for answer in ("cat", "boat")] * 4
    params = SFT(conversations=jsonl.write(folder / "c.jsonl", lines), lr=1.0, epochs=30, batch=16, replay=0.1)
    made = sft.run(base, params, folder)
    assert made.counts["conversations"] == 48 and made.metrics["loss"] < 1.5
    return {**base, "model": folder}

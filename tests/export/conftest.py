"""Small models with random weights, and what the stage makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from models import all_matter

from gristmill.export.stage import run
from gristmill.manifest import Manifest
from gristmill.model.transformer import ModelConfig, Transformer, save_model
from gristmill.recipe import Export
from gristmill.tokenizer.encode import Tokenizer

Make = Callable[..., Transformer]
Exported = Callable[..., tuple[Path, Manifest]]


@pytest.fixture
def make(tokenizer: Tokenizer) -> Make:
    """A model with these settings besides its shape."""

    def made(**settings: Any) -> Transformer:
        torch.manual_seed(1)
        return all_matter(Transformer(ModelConfig(tokenizer.vocab_size, 2, 64, 4, 2, 16, 96, 128, **settings)))

    return made


@pytest.fixture
def exported(tokenizer_folder: Path, tmp_path: Path) -> Exported:
    """The folder that the stage writes of a model, which a stage of this name trained, and its manifest."""

    def written(model: Transformer, stage: str = "sft", **params: Any) -> tuple[Path, Manifest]:
        folder, out = tmp_path / "model", tmp_path / "export"
        save_model(model, folder)
        Manifest(stage=stage, version="1", metrics={"heldout_bpb": 0.5}).write(folder)
        out.mkdir()
        return out, run({"model": folder, "tokenizer": tokenizer_folder}, Export(**params), out)

    return written

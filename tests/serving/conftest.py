"""A tiny run, and its assistant."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gristmill.model.transformer import Transformer, load_model, save_model
from gristmill.serving.assistant import Assistant


@pytest.fixture(scope="session")
def run_folder(model_folder: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a model."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    shutil.copytree(model_folder, folder / "sft")
    shutil.copytree(tokenizer_folder, folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def assistant(run_folder: Path) -> Assistant:
    """The assistant in it."""
    return Assistant.load(run_folder / "sft", run_folder / "tokenizer", "tiny")


@pytest.fixture(scope="session")
def roomy(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Assistant:
    """The same with a longer context."""
    model = load_model(run_folder / "sft")
    longer = Transformer(replace(model.config, context=800))
    longer.load_state_dict(model.state_dict())
    folder = tmp_path_factory.mktemp("roomy")
    save_model(longer, folder)
    return Assistant.load(folder, run_folder / "tokenizer", "tiny")

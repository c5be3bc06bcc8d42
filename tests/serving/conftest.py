"""A tiny run, and its assistant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import openai
import pytest
from models import Listen

from gristmill.model.transformer import Transformer, load_model, save_model
from gristmill.serving.assistant import Assistant


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


@pytest.fixture(scope="module")
def address(roomy: Assistant, listen: Listen) -> Iterator[str]:
    """An open server."""
    with listen(roomy) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> openai.OpenAI:
    """OpenAI's own client."""
    return openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)

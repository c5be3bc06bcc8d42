"""Fixtures that need PyTorch: tiny models, and a server of their answers."""

from __future__ import annotations

import ctypes
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from starlette.applications import Starlette
from starlette.routing import Mount

from gristmill import native
from gristmill.model.transformer import ModelConfig, Transformer, load_model, save_model
from gristmill.serving.api import create_app
from gristmill.serving.assistant import Assistant
from gristmill.serving.server import http_server
from gristmill.tokenizer.encode import Tokenizer

Network = TypeVar("Network", bound=torch.nn.Module)


def all_matter(model: Network, std: float = 0.2) -> Network:
    """The model, with random weights of which none is zero, so that each matters."""
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=1.0 if weight.ndim == 1 else 0.0, std=std)
    return model


@pytest.fixture(params=[16, 8, 4])
def vectors(request: pytest.FixtureRequest) -> Iterator[None]:
    """With the machine's widest vectors and with narrower ones."""
    flag = ctypes.c_int.in_dll(native.library(), "gm_most_lanes")
    flag.value = request.param
    yield
    flag.value = 16


@pytest.fixture(scope="session")
def run_folder(model_folder: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a random model as the assistant, and its tokenizer."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    shutil.copytree(model_folder, folder / "sft")
    shutil.copytree(tokenizer_folder, folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def model_folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose every weight matters (none is zero)."""
    torch.manual_seed(0)
    config = ModelConfig(tokenizer.vocab_size, 2, 32, 4, 2, 8, 48, context=128)
    folder = tmp_path_factory.mktemp("model")
    save_model(all_matter(Transformer(config)), folder)
    return folder


@pytest.fixture(scope="session")
def endless_folder(model_folder: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose model never ends a greedy answer: both stop tokens get the logit 0, which never is the
    largest, and the context is longer than any test."""
    model = load_model(model_folder)
    words = Tokenizer.load(tokenizer_folder)
    longer = Transformer(replace(model.config, context=100_000))
    longer.load_state_dict(model.state_dict())
    with torch.no_grad():
        longer.unembedding[[words.end_of_text, words.im_end]] = 0
    folder = tmp_path_factory.mktemp("endless") / "endless"
    save_model(longer, folder / "sft")
    shutil.copytree(tokenizer_folder, folder / "tokenizer")
    return folder


Listen = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def listen() -> Listen:
    """Serves an assistant: `with listen(assistant, api_keys=["…"]) as address: …`, in a thread of its own.

    With `below`, as `/team`, it is a part of another application, and there is nothing else at its root.
    """

    @contextmanager
    def serving(assistant: Assistant, below: str = "", **options: Any) -> Iterator[str]:
        listener = socket.create_server(("127.0.0.1", 0))
        app = create_app(assistant, **options)
        server = http_server(Starlette(routes=[Mount(below, app)]) if below else app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}{below}"
        finally:
            server.should_exit = True
            thread.join()

    return serving

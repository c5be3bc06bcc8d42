"""The step in C, and that of PyTorch with pages, against the plain forward pass in float64."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from gristmill import native
from gristmill.generation.decoder import PAGE, Decoder, NativeDecoder, Rows
from gristmill.generation.torch_decoder import TorchDecoder
from gristmill.model.config import ModelConfig
from gristmill.model.transformer import Transformer

SHAPES = {  # vocabulary, layers, width, heads, key-value heads, size of a head, of the ffn, context
    "plain": ModelConfig(100, 2, 64, 2, 2, 32, 96, 128),
    "odd sizes": ModelConfig(77, 2, 50, 6, 2, 6, 70, 128),
    "tied": ModelConfig(130, 1, 32, 4, 1, 16, 40, 128, tie_embeddings=True),
    "llama": ModelConfig(64, 3, 48, 3, 3, 16, 64, 128, rope_theta=500.0, qk_norm=False, rope_scaling=[8, 1, 4, 64]),
}


def native_decoder(model: Transformer) -> Decoder:
    """In C."""
    weights = model.state_dict()
    return NativeDecoder(model.config, lambda name: weights[name].numpy())


@pytest.fixture(params=[16, 8, 4])
def width(request: pytest.FixtureRequest) -> Iterator[None]:
    """With the machine's widest vectors and with narrower ones."""
    flag = ctypes.c_int.in_dll(native.library(), "gm_most_lanes")
    flag.value = request.param
    yield
    flag.value = 16


def random_model(config: ModelConfig) -> Transformer:
    """All of whose weights matter."""
    torch.manual_seed(1)
    model = Transformer(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=1.0 if weight.ndim == 1 else 0.0, std=0.2)
    return model


@pytest.mark.parametrize("make", [native_decoder, TorchDecoder])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("width")
def test_a_step_is_the_plain_forward_pass(shape: str, make: Callable[[Transformer], Decoder]) -> None:
    """Three sequences in parts of any size, mixed in one step: logits after each token within 1e-4 of float64."""
    config = SHAPES[shape]
    model = random_model(config)
    decoder, draw = make(model), np.random.default_rng(0)
    sequences = [draw.integers(0, config.vocab_size, size).tolist() for size in (90, 17, 33)]
    with torch.no_grad():
        exact = [model.double()(torch.tensor([tokens]))[0].numpy() for tokens in sequences]
    model.float()
    tables = [np.array([decoder.new_page() for _ in range(-(-len(one) // PAGE))], np.uint64) for one in sequences]
    read = [0, 0, 0]
    while any(at < len(one) for at, one in zip(read, sequences, strict=True)):
        rows, expected = Rows([], [], [], []), list[np.ndarray]()
        for number, tokens in enumerate(sequences):
            for place in range(read[number], min(len(tokens), read[number] + int(draw.integers(0, 60)))):
                wanted = draw.random() < 0.7
                rows.tokens.append(tokens[place])
                rows.positions.append(place)
                rows.pages.append(tables[number])
                rows.outputs.append(len(expected) if wanted else -1)
                read[number] += 1
                if wanted:
                    expected.append(exact[number][place])
        if expected:
            logits = decoder.step(rows, len(expected))[:, : config.vocab_size]
            assert np.abs(logits - np.array(expected)).max() < 1e-4 * max(1, np.abs(expected).max())
        elif rows.tokens:
            decoder.step(rows, 0)


@pytest.mark.usefixtures("width")
def test_a_row_gives_the_same_bits_whatever_shares_the_step() -> None:
    config = SHAPES["odd sizes"]
    model = random_model(config)
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, config.vocab_size, 70).tolist()

    def logits(together: int, neighbours: int) -> np.ndarray:
        decoder, found = native_decoder(model), []
        tables = [np.array([decoder.new_page() for _ in range(5)], np.uint64) for _ in range(neighbours + 1)]
        for at in range(0, len(tokens), together):
            part = tokens[at : at + together]
            rows = Rows([], [], [], [])
            for number, table in enumerate(tables):
                rows.tokens.extend(part if not number else part[::-1])
                rows.positions.extend(range(at, at + len(part)))
                rows.pages.extend([table] * len(part))
                rows.outputs.extend(range(len(part)) if not number else [-1] * len(part))
            found.append(decoder.step(rows, len(part)))
        return np.concatenate(found)

    alone = logits(1, 0)
    for together, neighbours in ((1, 1), (1, 6), (7, 0), (70, 2), (33, 4)):
        assert (logits(together, neighbours) == alone).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_rotary_frequencies_are_those_of_the_transformer(shape: str) -> None:
    config = SHAPES[shape]
    cosine, sine = Transformer(config).angles(torch.arange(100)[None])
    angles = np.arange(100, dtype=np.float32)[:, None] * config.frequencies()
    np.testing.assert_allclose(np.cos(angles), cosine[0, 0].numpy(), atol=1e-5)
    np.testing.assert_allclose(np.sin(angles), sine[0, 0].numpy(), atol=1e-5)

"""The step in C, and that of PyTorch with pages, against the plain forward pass in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from models import all_matter

from gristmill.generation.decoder import PAGE, Decoder, NativeDecoder, Rows
from gristmill.generation.torch_decoder import TorchDecoder
from gristmill.generation.weight_type import WeightType
from gristmill.model.config import ModelConfig
from gristmill.model.transformer import Transformer

SHAPES = {  # vocabulary, layers, width, heads, key-value heads, size of a head, of the ffn, context
    "plain": ModelConfig(100, 2, 64, 2, 2, 32, 96, 128),
    "odd sizes": ModelConfig(77, 2, 50, 6, 2, 6, 70, 128),
    "tied": ModelConfig(130, 1, 32, 4, 1, 16, 40, 128, tie_embeddings=True),
    "llama": ModelConfig(64, 3, 48, 3, 3, 16, 64, 128, rope_theta=500.0, qk_norm=False, rope_scaling=[8, 1, 4, 64]),
}


def native_decoder(model: Transformer, kind: WeightType = WeightType.FLOAT32) -> NativeDecoder:
    """In C."""
    weights = model.state_dict()
    return NativeDecoder(model.config, lambda name: weights[name].numpy(), kind)


DECODERS: dict[str, Callable[[Transformer], Decoder]] = {
    "torch": TorchDecoder,
    **{str(kind): partial(native_decoder, kind=kind) for kind in WeightType},
}


def rounded(model: Transformer, kind: str) -> Transformer:
    """The same model with matrices as they are held in numbers of a kind."""
    made = Transformer(model.config)
    for name, weight in model.state_dict().items():
        x = weight.clone()
        if weight.ndim == 2 and kind == "bfloat16":
            x = weight.bfloat16().float()
        if weight.ndim == 2 and kind == "int8":
            heads = model.config.heads if name.endswith("o.weight") else 1
            parts = x.numpy().reshape(len(x), heads, -1)
            padding = -parts.shape[2] % 16 if heads > 1 else 0
            x = torch.from_numpy(in_groups(np.pad(parts, ((0, 0), (0, 0), (0, padding))).reshape(len(x), -1)))
            x = x.reshape(len(x), heads, -1)[:, :, : parts.shape[2]].reshape(weight.shape)
        made.state_dict()[name].copy_(x)
    return made


def in_groups(x: np.ndarray) -> np.ndarray:
    """Each 32 weights of a row in 255 steps of their largest."""
    groups = np.pad(x, ((0, 0), (0, -x.shape[1] % 32))).reshape(len(x), -1, 32)
    scale = np.maximum(np.abs(groups).max(2, keepdims=True) / np.float32(127), np.float32(1e-30))
    held: np.ndarray = np.rint(groups / scale) * scale
    return held.reshape(len(x), -1)[:, : x.shape[1]]


def random_model(config: ModelConfig) -> Transformer:
    """All of whose weights matter."""
    torch.manual_seed(1)
    return all_matter(Transformer(config))


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("vectors")
def test_a_step_is_the_plain_forward_pass(shape: str, kind: str) -> None:
    """Three sequences in parts of any size, mixed in one step: logits after each token within 1e-4 of float64 with the
    same weights, and for int8, which multiplies rows of 16 bits, within 1e-3."""
    config = SHAPES[shape]
    model = random_model(config)
    decoder, draw = DECODERS[kind](model), np.random.default_rng(0)
    model, near = rounded(model, kind), 1e-3 if kind == "int8" else 1e-4
    sequences = [draw.integers(0, config.vocab_size, size).tolist() for size in (90, 17, 33)]
    with torch.no_grad():
        exact = [model.double()(torch.tensor([tokens]))[0].numpy() for tokens in sequences]
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
            assert np.abs(logits - np.array(expected)).max() < near * max(1, np.abs(expected).max())
        elif rows.tokens:
            decoder.step(rows, 0)


@pytest.mark.parametrize("kind", WeightType)
@pytest.mark.usefixtures("vectors")
def test_a_row_gives_the_same_bits_whatever_shares_the_step(kind: WeightType) -> None:
    config = SHAPES["odd sizes"]
    model = random_model(config)
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, config.vocab_size, 70).tolist()

    def logits(together: int, neighbours: int) -> np.ndarray:
        decoder, found = native_decoder(model, kind), []
        tables = [np.array([decoder.new_page() for _ in range(5)], np.uint64) for _ in range(neighbours + 1)]
        for at in range(0, len(tokens), together):
            part = tokens[at : at + together]
            rows = Rows([], [], [], [])
            for number, table in enumerate(tables):
                rows.tokens.extend(part if not number else part[::-1])
                rows.positions.extend(range(at, at + len(part)))
                rows.pages.extend([table] * len(part))
                rows.outputs.extend(range(len(part)) if not number else [-1] * len(part))
            found.append(decoder.step(rows, len(part)).copy())
        return np.concatenate(found)

    alone = logits(1, 0)
    for together, neighbours in ((1, 1), (1, 6), (70, 2), (33, 4), *((count, 0) for count in range(2, 10))):
        assert (logits(together, neighbours) == alone).all()


def test_int8_holds_keys_and_values_in_half_the_room() -> None:
    model = random_model(SHAPES["plain"])
    full, small = (native_decoder(model, kind) for kind in (WeightType.FLOAT32, WeightType.INT8))
    full.new_page(), small.new_page()
    assert small.pages[0].nbytes < 0.55 * full.pages[0].nbytes


def read(decoder: NativeDecoder, tokens: Sequence[int]) -> np.ndarray:
    """The logits after each of a few tokens."""
    table = np.array([decoder.new_page() for _ in range(-(-len(tokens) // PAGE))], np.uint64)
    places = list(range(len(tokens)))
    return decoder.step(Rows(list(tokens), places, [table] * len(tokens), places), len(tokens))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("vectors")
def test_bfloat16_changes_the_weights_alone(shape: str) -> None:
    """To the bit what float32 gives with the same weights, and near what it gives with those that were rounded."""
    model, tokens = random_model(SHAPES[shape]), range(60)
    found = read(native_decoder(model, WeightType.BFLOAT16), tokens)
    assert (found == read(native_decoder(rounded(model, "bfloat16")), tokens)).all()
    before = read(native_decoder(model), tokens)
    assert 0 < np.abs(found - before).max() < 0.05 * np.abs(before).max()


@pytest.mark.parametrize("kind", WeightType)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.usefixtures("vectors")
def test_what_is_no_number_stays_none(value: float, kind: WeightType) -> None:
    model = random_model(SHAPES["odd sizes"])
    with torch.no_grad():
        model.state_dict()["layers.0.ffn.down.weight"][3, 5] = value
    assert np.isnan(read(native_decoder(model, kind), range(5))).any(1).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_rotary_frequencies_are_those_of_the_transformer(shape: str) -> None:
    config = SHAPES[shape]
    cosine, sine = Transformer(config).angles(torch.arange(100)[None])
    angles = np.arange(100, dtype=np.float32)[:, None] * config.frequencies()
    np.testing.assert_allclose(np.cos(angles), cosine[0, 0].numpy(), atol=1e-5)
    np.testing.assert_allclose(np.sin(angles), sine[0, 0].numpy(), atol=1e-5)

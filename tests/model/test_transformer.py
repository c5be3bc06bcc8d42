"""The transformer against a slow, plain float64 version written from the equations, and its files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gristmill.errors import UserError
from gristmill.model.transformer import ModelConfig, Transformer, load_model, save_model


def plain(model: Transformer, ids: list[int]) -> Tensor:
    """Logits of one sequence, token by token and head by head, in float64."""
    c = model.config
    w = {name: value.double() for name, value in model.state_dict().items()}

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x / torch.sqrt((x * x).mean() + c.norm_eps) * weight

    def turn(x: Tensor, position: int) -> Tensor:
        out = x.clone()
        for i in range(c.head_dim // 2):
            angle = torch.tensor(position * c.rope_theta ** (-2 * i / c.head_dim), dtype=torch.float64)
            a, b = x[i], x[i + c.head_dim // 2]
            out[i] = a * torch.cos(angle) - b * torch.sin(angle)
            out[i + c.head_dim // 2] = a * torch.sin(angle) + b * torch.cos(angle)
        return out

    xs = [w["embed.weight"][token] for token in ids]
    for layer in range(c.layers):
        p = f"layers.{layer}"
        keys: list[list[Tensor]] = []
        values: list[list[Tensor]] = []
        for position, x in enumerate(xs):
            h = norm(x, w[f"{p}.attention_norm.weight"])
            q, k, v = (w[f"{p}.attention.{name}.weight"] @ h for name in "qkv")
            split = c.head_dim
            keys.append([turn(norm(part, w[f"{p}.attention.k_norm.weight"]), position) for part in k.split(split)])
            values.append(list(v.split(split)))
            outs = []
            for head, part in enumerate(q.split(split)):
                group = head // (c.heads // c.kv_heads)
                query = turn(norm(part, w[f"{p}.attention.q_norm.weight"]), position)
                scores = torch.stack([query @ key[group] for key in keys]) / split**0.5
                outs.append(sum(s * value[group] for s, value in zip(scores.softmax(0), values, strict=True)))
            x = x + w[f"{p}.attention.o.weight"] @ torch.cat(outs)
            h = norm(x, w[f"{p}.ffn_norm.weight"])
            gate, up = w[f"{p}.ffn.gate.weight"] @ h, w[f"{p}.ffn.up.weight"] @ h
            xs[position] = x + w[f"{p}.ffn.down.weight"] @ (gate * torch.sigmoid(gate) * up)
    head = w["embed.weight"] if c.tie_embeddings else w["head.weight"]
    return torch.stack([head @ norm(x, w["norm.weight"]) for x in xs])


@pytest.mark.parametrize(("kv_heads", "tied"), [(4, False), (2, True), (1, False)])
def test_logits_equal_the_equations(kv_heads: int, tied: bool) -> None:
    torch.manual_seed(1)
    model = Transformer(ModelConfig(50, 2, 16, 4, kv_heads, 6, 20, 32, tie_embeddings=tied))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.3)
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    assert torch.allclose(model(torch.tensor([ids]))[0].double(), plain(model, ids), atol=1e-4)


def test_a_fresh_model_guesses_evenly_and_reads_only_the_past() -> None:
    model = Transformer(ModelConfig(64, 2, 16, 2, 2, 8, 20, 32))
    logits = model(torch.arange(10)[None])
    assert logits.std() < 0.1
    changed = model(torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 8, 63]]))
    assert torch.equal(logits[:, :9], changed[:, :9])


def test_saved_and_loaded_is_the_same(model_folder: Path, tmp_path: Path) -> None:
    model = load_model(model_folder)
    save_model(model, tmp_path)
    ids = torch.arange(20)[None]
    assert torch.equal(model(ids), load_model(tmp_path)(ids))
    assert (tmp_path / "model.safetensors").read_bytes() == (model_folder / "model.safetensors").read_bytes()


def test_wrong_models_are_named(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model"):
        load_model(tmp_path)
    save_model(load_model(model_folder), tmp_path)
    config = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**config, "layers": 5}))
    with pytest.raises(UserError, match="not those of the model"):
        load_model(tmp_path)
    with pytest.raises(UserError, match="heads = 3"):
        ModelConfig(50, 1, 8, 3, 2, 4, 8, 8)
    with pytest.raises(UserError, match="head_dim = 5"):
        ModelConfig(50, 1, 8, 2, 2, 5, 8, 8)


@pytest.mark.parametrize("width", [64, 256, 1024])
@pytest.mark.parametrize("tied", [True, False])
def test_a_new_model_expects_every_token_alike(width: int, tied: bool) -> None:
    """Also one whose embedding is its head, whatever its width: else it begins by repeating its input."""
    torch.manual_seed(0)
    model = Transformer(ModelConfig(5_000, 1, width, 2, 2, 16, 32, 64, tie_embeddings=tied))
    ids = torch.randint(0, 5_000, (4, 33))
    with torch.no_grad():
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert float(loss) == pytest.approx(math.log(5_000), abs=0.1)

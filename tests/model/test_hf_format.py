"""Models that transformers saved compute the same here: Llama and Qwen3, tied and untied, grouped queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from models import all_matter
from torch import Tensor

from gristmill.errors import UserError
from gristmill.model.formats.hf_format import read_config, read_huggingface
from gristmill.model.transformer import ModelConfig, Transformer

SHAPE: dict[str, Any] = dict(
    vocab_size=90,
    hidden_size=32,
    intermediate_size=56,
    num_hidden_layers=2,
    num_attention_heads=4,
    head_dim=12,
    max_position_embeddings=64,
)
STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def saved(folder: Path, kind: str, **settings: Any) -> Any:
    """A random model of transformers', every weight of which matters, saved to a folder."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SHAPE, **settings})
    peer: Any = all_matter(getattr(transformers, f"{kind}ForCausalLM")(config).eval())
    peer.save_pretrained(folder, max_shard_size=settings.get("shard", "5GB"))
    return peer


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Qwen3", dict(num_key_value_heads=2, tie_word_embeddings=False)),
        ("Qwen3", dict(num_key_value_heads=1, tie_word_embeddings=True, rms_norm_eps=1e-5)),
        ("Llama", dict(num_key_value_heads=4, tie_word_embeddings=True)),
        (
            "Llama",
            dict(num_key_value_heads=2, rope_parameters={"rope_type": "default", "rope_theta": 5e5}, shard="20KB"),
        ),
        ("Llama", dict(num_key_value_heads=2, rope_parameters=STRETCHED)),
    ],
)
def test_logits_are_those_of_transformers(tmp_path: Path, kind: str, settings: dict[str, Any]) -> None:
    peer = saved(tmp_path, kind, **settings)
    model = read_huggingface(tmp_path, 90, 64)
    ids = torch.randint(0, 90, (2, 50))
    with torch.no_grad():
        expected, found = peer(ids).logits, model(ids)
    assert torch.allclose(found, expected, atol=2e-5 * float(expected.abs().max()))


def test_float64_logits_are_those_of_transformers_to_ten_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

    def norm(self: Any, x: Tensor) -> Tensor:  # its own rounds to float32
        weight: Tensor = self.weight
        return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    monkeypatch.setattr(Qwen3RMSNorm, "forward", norm)
    peer = saved(tmp_path, "Qwen3", num_key_value_heads=2).double()
    model = read_huggingface(tmp_path, 90, 64).double()
    ids = torch.randint(0, 90, (2, 64))
    with torch.no_grad():
        expected, found = peer(ids).logits, model(ids)
    assert (found - expected).abs().max() < 1e-10 * expected.abs().max()


def test_the_vocabulary_is_cut_or_grown_to_the_tokenizer(tmp_path: Path) -> None:
    peer = saved(tmp_path, "Qwen3", num_key_value_heads=2)
    ids = torch.randint(0, 80, (1, 20))
    with torch.no_grad():
        expected = peer(ids).logits
        assert torch.allclose(read_huggingface(tmp_path, 80, 64)(ids), expected[..., :80], atol=1e-4)
        grown = read_huggingface(tmp_path, 93, 32)(ids)
    assert torch.allclose(grown[..., :90], expected, atol=1e-4)
    assert torch.allclose(grown[..., 90], expected.mean(-1), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "mamba"}, "type 'mamba'"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "'gelu'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "'yarn'"),
        ({"num_hidden_layers": None}, "config"),
        ({"num_attention_heads": 0, "head_dim": None}, "config"),
        ({"num_key_value_heads": 0}, "config"),
        ({"intermediate_size": 1e400}, "config"),
        ({"hidden_size": 0}, "width = 0"),
        ({"num_attention_heads": -2}, "heads = -2"),
    ],
)
def test_models_that_we_do_not_compute_are_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    saved(tmp_path, "Llama", num_key_value_heads=2)
    config = {**json.loads((tmp_path / "config.json").read_text()), **changes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=told):
        read_huggingface(tmp_path, 90, 64)


def test_damaged_and_pickled_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model in"):
        read_config(tmp_path)
    saved(tmp_path, "Llama", num_key_value_heads=2)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        read_huggingface(tmp_path, 90, 64)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickled"):
        read_huggingface(tmp_path, 90, 64)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    model = Transformer(ModelConfig(12, 1, 4, 2, 1, 2, 6, 8)).double()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.5)
    ids = torch.randint(0, 12, (2, 5))
    named = dict(model.named_parameters())

    def loss(*weights: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, dict(zip(named, weights, strict=True)), (ids[:, :-1],))
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    assert torch.autograd.gradcheck(loss, tuple(named.values()), eps=1e-6, atol=1e-7, rtol=1e-5)

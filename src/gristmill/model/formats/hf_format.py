"""Hugging Face's names and configuration of our models: reading is a renaming, and so is writing.

A model with QK-norm is a `Qwen3ForCausalLM` there, one without a `LlamaForCausalLM`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gristmill.errors import UserError
from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.tokenizer.formats.import_hf import NEW, read_foreign

RENAMED = {
    "embed.": "model.embed_tokens.",
    "norm.": "model.norm.",
    "head.": "lm_head.",
    "layers.": "model.layers.",
    ".attention_norm.": ".input_layernorm.",
    ".ffn_norm.": ".post_attention_layernorm.",
    ".attention.q.": ".self_attn.q_proj.",
    ".attention.k.": ".self_attn.k_proj.",
    ".attention.v.": ".self_attn.v_proj.",
    ".attention.o.": ".self_attn.o_proj.",
    ".attention.q_norm.": ".self_attn.q_norm.",
    ".attention.k_norm.": ".self_attn.k_norm.",
    ".ffn.": ".mlp.",
}
PROJECTIONS = {".gate.": ".gate_proj.", ".up.": ".up_proj.", ".down.": ".down_proj."}
SHAPE = {
    "vocab_size": "vocab_size",
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "ffn_width": "intermediate_size",
    "context": "max_position_embeddings",
}
ROPE = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")  # of Llama 3
KINDS = {"qwen3": True, "llama": False}  # model type → whether it has QK-norm
REMEDY = "folders of Llama and Qwen3 models can be used"


def renamed(name: str) -> str:
    """Hugging Face's name of one of our tensors."""
    for ours, theirs in RENAMED.items():
        if (ours.startswith(".") and ours in name) or name.startswith(ours):
            name = name.replace(ours, theirs, 1)
    for ours, theirs in PROJECTIONS.items():
        name = name.replace(f".mlp{ours}", f".mlp{theirs}")
    return name


def config_json(model: ModelConfig) -> dict[str, Any]:
    """`config.json` without the tokens that begin and end a text; the rotary base is given as transformers 4 and as
    transformers 5 reads it."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": model.rope_theta}
    if model.rope_scaling:
        rope |= {"rope_type": "llama3", **dict(zip(ROPE, model.rope_scaling, strict=True))}
    kind = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "use_sliding_window": False}
    if not model.qk_norm:
        kind = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": False}
    return {
        **kind,
        **{theirs: getattr(model, ours) for ours, theirs in SHAPE.items()},
        "rms_norm_eps": model.norm_eps,
        "rope_theta": model.rope_theta,
        "rope_parameters": rope,
        **({"rope_scaling": rope} if model.rope_scaling else {}),
        "tie_word_embeddings": model.tie_embeddings,
        "attention_bias": False,
        "hidden_act": "silu",
        "torch_dtype": "float32",
    }


def read_config(folder: Path) -> ModelConfig:
    """The shape of a Hugging Face folder's model. Raises UserError where it is none that we compute exactly."""
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = content.get("model_type")
        if kind not in KINDS:
            raise UserError(f"{path}: a model of type {kind!r}", REMEDY)
        for name in ("attention_bias", "mlp_bias", "use_sliding_window"):
            if content.get(name):
                raise UserError(f"{path}: {name} = true", "models without it can be used")
        if content.get("hidden_act", "silu") != "silu":
            raise UserError(f"{path}: hidden_act = {content['hidden_act']!r}", "models with silu can be used")
        content.setdefault("num_key_value_heads", content["num_attention_heads"])
        if content.get("head_dim") is None:
            content["head_dim"] = content["hidden_size"] // content["num_attention_heads"]
        rope = content.get("rope_parameters") or content.get("rope_scaling") or {}
        rope_type, scaling = rope.get("rope_type", rope.get("type", "default")), None
        if rope_type == "llama3":
            scaling = [float(rope[name]) for name in ROPE]
        elif rope_type != "default":
            raise UserError(f"{path}: rotary positions of type {rope_type!r}", "`default` and `llama3` can be used")
        return ModelConfig(
            **{ours: int(content[theirs]) for ours, theirs in SHAPE.items()},
            norm_eps=float(content["rms_norm_eps"]),
            tie_embeddings=content.get("tie_word_embeddings", False),
            rope_theta=float(rope.get("rope_theta", content.get("rope_theta", 10_000.0))),
            rope_scaling=scaling,
            qk_norm=KINDS[kind],
        )
    except OSError as error:
        raise UserError(f"no model in {folder}: {error.strerror}", "give a Hugging Face folder") from error
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{path} is no configuration that we can read: {error!r}", REMEDY) from error


def row_order(source: Path) -> list[int] | None:
    """The rows of a model's embeddings in the order of our tokenizer for it; None where that is theirs."""
    if source.is_dir() and not (source / "tokenizer.json").exists():
        return None
    found = read_foreign(source)
    return None if found.in_order else found.order


def read_huggingface(folder: Path, vocab_size: int, context: int) -> Transformer:
    """A Hugging Face folder's model in float32, for a tokenizer of so many tokens and rows of at most so many.

    Raises UserError where weights are missing, damaged, or pickled.
    """
    config = ModelConfig(**{**vars(read_config(folder)), "vocab_size": vocab_size, "context": context})
    return filled(config, lambda name: tensor(folder, renamed(name)).float(), row_order(folder), folder)


def filled(
    config: ModelConfig, tensor_of: Callable[[str], Tensor], order: list[int] | None, source: Path
) -> Transformer:
    """A model with the weights that another project's file has for ours.

    Rows of the embeddings that no token uses are left out; those of new tokens are the mean of the others (a new token
    is then about as likely as an old one). Raises UserError where a weight has another shape.
    """
    model = Transformer(config)
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            found = tensor_of(name)
            if name in ("embed.weight", "head.weight") and found.shape[1:] == weight.shape[1:]:
                order = list(range(len(found))) if order is None else order
                rows = torch.tensor(order + [NEW] * len(weight))[: len(weight)]
                found = torch.where(rows[:, None] == NEW, found.mean(0), found[rows])
            if found.shape != weight.shape:
                raise UserError(f"{source}: {name} is {list(found.shape)}, not {list(weight.shape)}", "check it")
            weight.copy_(found)
    return model


def tensor(folder: Path, name: str) -> Tensor:
    """One tensor of a folder's safetensors. Raises UserError where it cannot be read."""
    index = folder / "model.safetensors.index.json"
    try:
        file = json.loads(index.read_text())["weight_map"][name] if index.exists() else "model.safetensors"
        if not (folder / file).exists() and list(folder.glob("*.bin")):
            raise UserError(f"{folder}: weights are pickled, which could run code", "convert them to safetensors")
        with safe_open(folder / Path(file).name, framework="pt") as content:
            tensor: Tensor = content.get_tensor(name)
            return tensor
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{folder}: {name} cannot be read: {error}", "check the folder") from error

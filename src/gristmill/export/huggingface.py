"""A model folder as Hugging Face's `Qwen3ForCausalLM` reads it: a renaming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from gristmill.chat.template import JINJA
from gristmill.manifest import atomic_path, write_text
from gristmill.model.transformer import ModelConfig, load_model
from gristmill.tokenizer.encode import CONTROL, Tokenizer

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


def export(model_folder: Path, tokenizer_folder: Path, out: Path) -> None:
    """Write `out` so that transformers, vLLM and llama.cpp's converter open it unchanged."""
    model, tokenizer = load_model(model_folder), Tokenizer.load(tokenizer_folder)
    with atomic_path(out / "model.safetensors") as path:
        tensors = {renamed(name): value.contiguous() for name, value in model.state_dict().items()}
        save_file(tensors, path, metadata={"format": "pt"})
    stops = [tokenizer.im_end, tokenizer.end_of_text]
    write_json(out / "config.json", config(model.config, stops, tokenizer.end_of_text))
    generation = {"bos_token_id": None, "eos_token_id": stops, "pad_token_id": tokenizer.end_of_text}
    write_json(out / "generation_config.json", {**generation, "do_sample": False})
    shutil.copyfile(tokenizer_folder / "tokenizer.json", out / "tokenizer.json")
    write_json(out / "tokenizer_config.json", tokenizer_config(model.config.context))
    write_text(out / "chat_template.jinja", JINJA)


def renamed(name: str) -> str:
    """Hugging Face's name of one of our tensors."""
    for ours, theirs in RENAMED.items():
        if (ours.startswith(".") and ours in name) or name.startswith(ours):
            name = name.replace(ours, theirs, 1)
    for ours, theirs in PROJECTIONS.items():
        name = name.replace(f".mlp{ours}", f".mlp{theirs}")
    return name


def config(model: ModelConfig, stops: list[int], pad: int) -> dict[str, Any]:
    """`config.json`; the rotary base is given as transformers 4 and as transformers 5 reads it."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": model.vocab_size,
        "hidden_size": model.width,
        "intermediate_size": model.ffn_width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "max_position_embeddings": model.context,
        "rms_norm_eps": model.norm_eps,
        "rope_theta": model.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_theta},
        "tie_word_embeddings": model.tie_embeddings,
        "attention_bias": False,
        "hidden_act": "silu",
        "use_sliding_window": False,
        "bos_token_id": None,
        "eos_token_id": stops,
        "pad_token_id": pad,
        "torch_dtype": "float32",
    }


def tokenizer_config(context: int) -> dict[str, Any]:
    """`tokenizer_config.json`."""
    end_of_text, im_start, im_end = CONTROL
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": im_end,
        "pad_token": end_of_text,
        "additional_special_tokens": [im_start],
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "chat_template": JINJA,
    }


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write one JSON file."""
    write_text(path, json.dumps(value, indent=2) + "\n")

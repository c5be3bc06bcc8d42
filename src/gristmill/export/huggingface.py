"""A model folder as Hugging Face's `Qwen3ForCausalLM` or `LlamaForCausalLM` reads it: a renaming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from gristmill.chat.template import JINJA
from gristmill.files import atomic_path, write_text
from gristmill.generation.engine import load_together
from gristmill.model.hf_format import config_json, renamed
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import CONTROL


def export(model_folder: Path, tokenizer_folder: Path, out: Path) -> None:
    """Write `out` so that transformers, vLLM and llama.cpp's converter open it unchanged."""
    model, tokenizer = load_together(model_folder, tokenizer_folder)
    with atomic_path(out / "model.safetensors") as path:
        tensors = {renamed(name): value.contiguous() for name, value in model.state_dict().items()}
        save_file(tensors, path, metadata={"format": "pt"})
    stops = [tokenizer.im_end, tokenizer.end_of_text]
    write_json(out / "config.json", config_json(model.config, stops, tokenizer.end_of_text))
    generation = {"bos_token_id": None, "eos_token_id": stops, "pad_token_id": tokenizer.end_of_text}
    write_json(out / "generation_config.json", {**generation, "do_sample": False})
    shutil.copyfile(tokenizer_folder / "tokenizer.json", out / "tokenizer.json")
    write_json(out / "tokenizer_config.json", tokenizer_config(tokenizer, model.config.context))
    write_text(out / "chat_template.jinja", JINJA)


def tokenizer_config(tokenizer: Tokenizer, context: int) -> dict[str, Any]:
    """`tokenizer_config.json`."""
    end_of_text = tokenizer.controls[tokenizer.end_of_text - len(tokenizer.pieces)]
    _, im_start, im_end = CONTROL
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

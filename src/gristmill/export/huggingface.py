"""A model folder as Hugging Face's `Qwen3ForCausalLM` or `LlamaForCausalLM` reads it: a renaming."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from gristmill.chat.template import template_of
from gristmill.export.carried import Carrier
from gristmill.export.trained import Trained
from gristmill.files import atomic_path, write_json, write_text
from gristmill.model.formats.hf_format import config_json, renamed
from gristmill.tokenizer.formats.vocabulary_files import TEMPLATE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def write_huggingface(
    trained: Trained, tokenizer_folder: Path, out: Path, key: Ed25519PrivateKey | None = None
) -> None:
    """Write `out` so that transformers and what is built on it open it unchanged; `key` signs its statement."""
    model, tokenizer = trained.model, trained.tokenizer
    with atomic_path(out / "model.safetensors") as path:
        tensors = {renamed(name): value.contiguous() for name, value in model.state_dict().items()}
        save_file(tensors, path, metadata={"format": "pt"})
        carrier = Carrier(trained.made, key)
        carrier.add_to_safetensors(path)
        carrier.fill(path)
    ends = {"bos_token_id": tokenizer.end_of_text, "eos_token_id": trained.stops, "pad_token_id": tokenizer.end_of_text}
    write_json(out / "config.json", {**config_json(model.config), **ends})
    # only a template opens a turn, never the model
    write_json(out / "generation_config.json", {**ends, "do_sample": False, "suppress_tokens": [tokenizer.im_start]})
    shutil.copyfile(tokenizer_folder / "tokenizer.json", out / "tokenizer.json")
    write_json(out / "tokenizer_config.json", tokenizer_config(trained))
    if trained.chats:
        write_text(out / TEMPLATE, template_of(tokenizer).source)


def tokenizer_config(trained: Trained) -> dict[str, Any]:
    """`tokenizer_config.json`. Documents begin after `bos_token`, which tokenizers are not to put before every text."""
    end_of_text = trained.written(trained.tokenizer.end_of_text)
    turn = trained.tokenizer.im_start, trained.tokenizer.im_end
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end_of_text,
        "add_bos_token": False,
        "eos_token": trained.written(trained.stops[0]),
        "pad_token": end_of_text,
        "additional_special_tokens": [trained.written(token) for token in turn],
        "model_max_length": trained.model.config.context,
        "clean_up_tokenization_spaces": False,
        **({"chat_template": template_of(trained.tokenizer).source} if trained.chats else {}),
    }

"""A model as one GGUF file, which llama.cpp and what is built on it open, and the Modelfile with which Ollama does.

Keys and tensors as in https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; names by the package `gguf`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gristmill.chat.template import template_of
from gristmill.errors import from_extra
from gristmill.export.carried import KEY, Carrier
from gristmill.export.trained import Trained
from gristmill.files import atomic_path, write_text
from gristmill.model.formats.hf_format import renamed
from gristmill.model.transformer import ModelConfig, llama3_rope_scaling
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import to_characters

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4  # llama.cpp's token types
# Ollama's templates are Go's
CHAT = """<|endoftext|>{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


def gguf_name(kind: str) -> str:
    """The name of the file whose matrices are `f32`, `f16` or `q8_0`."""
    return f"model-{kind}.gguf"


def write_gguf(trained: Trained, out: Path, kind: str, key: Ed25519PrivateKey | None = None) -> None:
    """Write a model and its tokenizer, its matrices as `kind`: f32, f16, or q8_0 (8 bits and a scale for 32 numbers).

    What has no 32 numbers in a row is f16 in q8_0; vectors are always f32. `key` signs the statement in it.

    Raises UserError where the package `gguf` is not installed.
    """
    with from_extra("gguf", "GGUF files need the package gguf"):
        import gguf
    model, carrier = trained.model, Carrier(trained.made, key)
    family = "qwen3" if model.config.qk_norm else "llama"
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[family.upper()], model.config.layers)
    with atomic_path(out / gguf_name(kind)) as path:
        writer = gguf.GGUFWriter(path, family)
        add_shape(writer, model.config)
        writer.add_file_type(gguf.LlamaFileType["ALL_F32" if kind == "f32" else f"MOSTLY_{kind.upper()}"])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        add_tokenizer(writer, trained.tokenizer, trained.stops[0])
        if trained.chats:
            writer.add_chat_template(template_of(trained.tokenizer).source)
        writer.add_string(KEY, carrier.text(gguf_name(kind)))
        for name, weight in model.state_dict().items():
            values = interleaved(name, weight, model.config)
            stored = gguf.GGMLQuantizationType[stored_as(values, kind)]
            called = names[renamed(name).removesuffix(".weight")]
            writer.add_tensor(f"{called}.weight", gguf.quantize(values.numpy(), stored), raw_dtype=stored)
        if model.config.rope_scaling:
            writer.add_tensor("rope_freqs.weight", slowed(model.config).numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        carrier.fill(path)


def add_shape(writer: Any, config: ModelConfig) -> None:
    """Add the shape of a model to a `gguf.GGUFWriter`."""
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.ffn_width)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)


def add_tokenizer(writer: Any, tokenizer: Tokenizer, stop: int) -> None:
    """Add the keys of a tokenizer to a `gguf.GGUFWriter`; `stop` is the token that ends what the model says.

    `tokenizer.ggml.pre` names the split pattern. llama.cpp then gives the ids that `Tokenizer.encode` gives; but its
    `gpt-4o` lets combining marks end a word, so that Hindi, Thai or vowelled Arabic is cut otherwise.
    """
    written = [to_characters(piece) for piece in tokenizer.pieces]
    merges = [f"{written[left]} {written[right]}" for left, right in tokenizer.vocabulary.merges()]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.pattern)
    writer.add_token_list([*written, *tokenizer.controls])
    kinds = [USER_DEFINED if token in tokenizer.shown else CONTROL for token in tokenizer.controls]
    writer.add_token_types([NORMAL] * len(written) + kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokenizer.end_of_text)  # documents begin after it, in training too
    writer.add_eos_token_id(stop)
    writer.add_eot_token_id(stop)
    writer.add_pad_token_id(tokenizer.end_of_text)
    writer.add_add_bos_token(False)


def stored_as(values: Tensor, kind: str) -> str:
    """The type in which a tensor is stored."""
    if values.ndim == 1:
        return "F32"
    return "F16" if kind == "q8_0" and values.size(-1) % 32 else kind.upper()


def interleaved(name: str, weight: Tensor, config: ModelConfig) -> Tensor:
    """A weight as llama.cpp has it: in a Llama, what rotates together lies side by side, with us half a head apart."""
    weight = weight.detach().float().contiguous()
    if config.qk_norm or not name.endswith((".q.weight", ".k.weight")):
        return weight
    halves = weight.view(-1, 2, config.head_dim // 2, weight.size(1))
    return halves.transpose(1, 2).reshape(weight.shape)


def slowed(config: ModelConfig) -> Tensor:
    """By what each rotary frequency is divided in a Llama 3 of longer context, float32 [K/2]."""
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float32)
    frequency = 1.0 / config.rope_theta ** (half / config.head_dim)
    return frequency / llama3_rope_scaling(frequency, *(config.rope_scaling or []))


def write_modelfile(trained: Trained, out: Path, kind: str) -> None:
    """Write the `Modelfile` with which `ollama create` takes a GGUF file of this folder: the likeliest token each time,
    as elsewhere (Ollama would draw, and make what was said before less likely)."""
    settings = {"num_ctx": trained.model.config.context, "temperature": 0, "repeat_penalty": 1}
    lines = [f"FROM ./{gguf_name(kind)}"]
    if not (trained.chats and trained.tokenizer.chat_template):  # Ollama has those of known models itself
        lines += [f'TEMPLATE """{CHAT if trained.chats else "{{ .Prompt }}"}"""']
    lines += [f"PARAMETER {name} {value}" for name, value in settings.items()]
    lines += [f'PARAMETER stop "{trained.written(token)}"' for token in trained.stops]
    write_text(out / "Modelfile", "\n".join(lines) + "\n")

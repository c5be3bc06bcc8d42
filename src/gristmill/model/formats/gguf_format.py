"""A GGUF file's model in float32: Llama and Qwen3 families; what is quantised is dequantised."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from gristmill.errors import UserError
from gristmill.model.formats.hf_format import KINDS, REMEDY, filled, read_config, read_huggingface, renamed, row_order
from gristmill.model.transformer import ModelConfig, Transformer, load_model
from gristmill.progress import warn
from gristmill.tokenizer.formats.import_gguf import gguf_fields, gguf_reader, gguf_tensors

FULL = ("F32", "F16", "BF16")


def open_model(source: Path, vocab_size: int, device: str = "cpu") -> Transformer:
    """The model in a folder of ours or of Hugging Face's, or in a GGUF file, for a tokenizer of so many tokens.

    Raises UserError where it cannot be read.
    """
    foreign = source.suffix == ".gguf" or (source / "config.json").exists()
    if (source / "model.json").exists() or not foreign:
        return load_model(source, device)
    return read_foreign_model(source, vocab_size).to(device)


def read_foreign_model(source: Path, vocab_size: int) -> Transformer:
    """The model of a Hugging Face folder or GGUF file, for our tokenizer of it, which has so many tokens.

    Raises UserError where it cannot be read, or is of another family.
    """
    if source.suffix == ".gguf":
        return read_gguf(source, vocab_size)
    return read_huggingface(source, vocab_size, read_config(source).context)


def read_gguf(path: Path, vocab_size: int) -> Transformer:
    """The model of a GGUF file, for a tokenizer of so many tokens. Raises UserError as `read_foreign_model`."""
    import gguf

    stored = {tensor.name: tensor for tensor in gguf_reader(path).tensors}
    config = gguf_config(path, vocab_size)
    if "rope_freqs.weight" in stored:
        raise UserError(f"{path}: its rotary positions are scaled", "take the Hugging Face folder instead")
    family = gguf.MODEL_ARCH["QWEN3" if config.qk_norm else "LLAMA"]
    names = gguf.get_tensor_name_map(family, config.layers)

    def tensor_of(name: str) -> Tensor:
        called = f"{names[renamed(name).removesuffix('.weight')]}.weight"
        if called not in stored:
            raise UserError(f"{path} has no tensor {called}", "fetch it again")
        found = stored[called]
        values = torch.from_numpy(gguf.dequantize(found.data, found.tensor_type).copy()).float()
        if not config.qk_norm and name.endswith((".q.weight", ".k.weight")):  # what rotates together lies side by side
            pairs = values.view(-1, config.head_dim // 2, 2, values.size(1))
            values = pairs.transpose(1, 2).reshape(values.shape)
        return values

    kinds = Counter(tensor.tensor_type.name for tensor in stored.values())
    if low := sorted(kind for kind in kinds if kind not in FULL):
        told = f"           {path.name}: dequantised from {', '.join(low)}: its numbers are rounded to that"
        warn(told)
    return filled(config, tensor_of, row_order(path), path)


def gguf_config(path: Path, vocab_size: int = 0) -> ModelConfig:
    """The shape that a GGUF file tells, for a tokenizer of so many tokens (0: the file's own). Raises UserError where
    it is none that we compute exactly."""
    fields = gguf_fields(path)
    family = fields.get("general.architecture")
    if family not in KINDS:
        raise UserError(f"{path}: a model of type {family!r}", REMEDY)
    try:
        told = {key.removeprefix(f"{family}."): value for key, value in fields.items()}
        heads, width = int(told["attention.head_count"]), int(told["embedding_length"])
        return ModelConfig(
            *(vocab_size or len(fields["tokenizer.ggml.tokens"]), int(told["block_count"]), width, heads),
            kv_heads=int(told.get("attention.head_count_kv", heads)),
            head_dim=int(told.get("attention.key_length", width // heads)),
            ffn_width=int(told["feed_forward_length"]),
            context=int(told["context_length"]),
            tie_embeddings="output.weight" not in gguf_tensors(path),
            rope_theta=float(told.get("rope.freq_base", 10_000.0)),
            norm_eps=float(f"{told['attention.layer_norm_rms_epsilon']:.7g}"),  # float32 there
            qk_norm=KINDS[family],
        )
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"{path} does not tell the shape of its model: {error!r}", REMEDY) from error

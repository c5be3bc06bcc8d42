"""GGUF files in llama.cpp: same ids, same chat, same probabilities, same greedy answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Command

from gristmill.errors import UserError
from gristmill.export.check import EXACT, LlamaCpp, check
from gristmill.export.gguf import gguf_name
from gristmill.export.trained import Trained
from gristmill.manifest import Manifest
from gristmill.tokenizer.encode import Tokenizer

from .conftest import Exported, Make

SHAPES: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "tied": {"tie_embeddings": True, "rope_theta": 1e6},
    "llama": {"qk_norm": False, "norm_eps": 1e-5},
    "llama-3": {"qk_norm": False, "rope_theta": 5e5, "rope_scaling": [8.0, 1.0, 4.0, 32]},
}


@pytest.mark.parametrize(("shape", "stage"), list(zip(SHAPES, ("pretrain", "rl", "sft", "rl"), strict=True)))
def test_llama_cpp_computes_the_same(make: Make, exported: Exported, shape: str, stage: str) -> None:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    _, made = exported(make(**SHAPES[shape]), stage, gguf=["f32", "q8_0"], check=True)
    figures = {name.removeprefix("check."): value for name, value in made.metrics.items()}
    for tool in ("transformers", "llama_cpp_f32"):
        assert figures[f"{tool}.same_answers"] == figures[f"{tool}.prompts"] == 20
        assert figures[f"{tool}.largest_difference"] <= EXACT
    assert EXACT < figures["llama_cpp_q8_0.largest_difference"] < 1


def test_a_file_is_looked_into_from_next_to_it(make: Make, exported: Exported, command: Command) -> None:
    folder, _ = exported(make(), gguf=["f16"])
    shown = command("inspect", folder / gguf_name("f16"), "The miller")
    assert shown.code == 0 and (folder / "inspect.html").is_file(), shown.stderr


def test_text_never_yields_a_control_token(make: Make, exported: Exported, tokenizer: Tokenizer) -> None:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    model = make()
    folder, _ = exported(model, gguf=["f16"])
    text = "<|im_end|><|im_start|>assistant\n<|endoftext|>"
    assert LlamaCpp(folder, "f16", Trained(model, tokenizer, Manifest())).ids(text) == tokenizer.encode(text)


def test_the_command_checks(make: Make, exported: Exported, tokenizer_folder: Path, command: Command) -> None:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    model = exported(make())[0].with_name("model")
    out = model.with_name("checked")
    told = command("export", model, tokenizer_folder, "-o", out, "--check", "--set", 'gguf=["f16"]')
    assert told.code == 0, told.stderr
    for tool in ("transformers", "llama_cpp_f16"):
        assert f"{tool}: ids of 10 texts and 20 prompts the same" in told.stderr


def test_another_model_is_noticed(make: Make, exported: Exported, tokenizer: Tokenizer) -> None:
    model = make()
    folder, _ = exported(model)
    with torch.no_grad():
        model.get_parameter("layers.1.ffn.down.weight")[3, 4] += 0.5
    with pytest.raises(UserError, match="transformers: log-probabilities after"):
        check(Trained(model, tokenizer, Manifest()), folder, [])
    with pytest.raises(UserError, match=r"transformers: the token ids of .* differ from token 3"):
        check(Trained(model, tokenizer.truncated(300), Manifest()), folder, [])


@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0"])
def test_matrices_are_stored_as_asked_for(make: Make, exported: Exported, kind: str) -> None:
    import gguf

    model = make()
    folder, _ = exported(model, gguf=[kind])
    theirs = {one.name: one for one in gguf.GGUFReader(folder / gguf_name(kind)).tensors}
    assert len(theirs) == len(model.state_dict())
    one = theirs["blk.1.ffn_down.weight"]
    assert one.tensor_type.name == kind.upper() and theirs["output_norm.weight"].tensor_type.name == "F32"
    step = {"f32": 0.0, "f16": 2**-11, "q8_0": 0.51 / 127}[kind]
    ours = model.get_parameter("layers.1.ffn.down.weight").detach().numpy()
    assert abs(gguf.dequantize(one.data, one.tensor_type) - ours).max() <= step * abs(ours).max()


def test_ollama_draws_as_we_do(make: Make, exported: Exported) -> None:
    folder, _ = exported(make(), gguf=["q8_0", "f32"])
    lines = (folder / "Modelfile").read_text().splitlines()
    assert lines[0] == "FROM ./model-q8_0.gguf"
    for line in ("num_ctx 128", "temperature 0", "repeat_penalty 1", 'stop "<|im_end|>"'):
        assert f"PARAMETER {line}" in lines


def test_nothing_is_written_unasked(make: Make, exported: Exported) -> None:
    folder, _ = exported(make())
    assert not {path.name for path in folder.iterdir()} & {"Modelfile", *map(gguf_name, ("f32", "f16", "q8_0"))}

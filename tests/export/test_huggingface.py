"""The exported folder in transformers: same ids, same chat, same logits, same greedy answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gristmill.chat.template import render
from gristmill.export.huggingface import export
from gristmill.generation.engine import Engine
from gristmill.model.transformer import ModelConfig, Transformer, load_model, save_model
from gristmill.tokenizer.encode import Tokenizer

CHAT = [{"role": "user", "content": "Who paints the long bridge?"}]


@pytest.mark.parametrize("tied", [False, True])
def test_transformers_computes_the_same(
    tokenizer_folder: Path, tokenizer: Tokenizer, tmp_path: Path, tied: bool
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    model = Transformer(ModelConfig(tokenizer.vocab_size, 2, 32, 4, 2, 16, 48, 128, tie_embeddings=tied))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=1.0 if weight.ndim == 1 else 0.0, std=0.2)
    save_model(model, tmp_path / "model")
    out = tmp_path / "hf"
    out.mkdir()
    export(tmp_path / "model", tokenizer_folder, out)
    peer: Any = AutoModelForCausalLM.from_pretrained(out)
    words: Any = AutoTokenizer.from_pretrained(out)
    assert type(peer).__name__ == "Qwen3ForCausalLM"
    for text in ("Old Anna paints a red boat.", "\0 naïve 日本語 😀 12345\n\n x", "I'll <b>"):
        assert words(text)["input_ids"] == tokenizer.encode(text)
    ids = torch.randint(0, tokenizer.vocab_size, (2, 100))
    with torch.no_grad():
        assert torch.allclose(model(ids), peer(ids).logits, atol=1e-4)
    prompt, _ = render(CHAT, tokenizer, generation_prompt=True)
    theirs = words.apply_chat_template(CHAT, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert theirs["input_ids"][0].tolist() == prompt
    answer = Engine(load_model(tmp_path / "model").eval(), tokenizer).generate([prompt], max_tokens=20)[0].tokens
    suppressed = peer.generate(**theirs, max_new_tokens=20, do_sample=False, suppress_tokens=[tokenizer.im_start])
    assert suppressed[0, len(prompt) :].tolist()[: len(answer)] == answer

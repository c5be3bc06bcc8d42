"""The exported folder in transformers: same ids, same chat, same logits, same greedy answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gristmill.chat.template import render
from gristmill.generation.engine import Engine
from gristmill.tokenizer.encode import Tokenizer

from .conftest import Exported, Make

CHAT = [{"role": "user", "content": "Who paints the long bridge?"}]


def opened(folder: Path) -> tuple[Any, Any]:
    """The model and the tokenizer in a folder."""
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("tied", [False, True])
def test_transformers_computes_the_same(make: Make, exported: Exported, tokenizer: Tokenizer, tied: bool) -> None:
    model = make(tie_embeddings=tied)
    peer, words = opened(exported(model)[0])
    assert type(peer).__name__ == "Qwen3ForCausalLM"
    for text in ("Old Anna paints a red boat.", "\0 naïve 日本語 😀 12345\n\n x", "I'll <b>"):
        assert words(text)["input_ids"] == tokenizer.encode(text)
    ids = torch.randint(0, tokenizer.vocab_size, (2, 100))
    with torch.no_grad():
        assert torch.allclose(model(ids), peer(ids).logits, atol=1e-4)
    prompt, _ = render(CHAT, tokenizer, generation_prompt=True)
    theirs = words.apply_chat_template(CHAT, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert theirs["input_ids"][0].tolist() == prompt
    answer = Engine(model.eval(), tokenizer).generate([prompt], max_tokens=20)[0].tokens
    assert peer.generate(**theirs, max_new_tokens=20)[0, len(prompt) :].tolist()[: len(answer)] == answer


def test_transformers_opens_no_turn(make: Make, exported: Exported, tokenizer: Tokenizer) -> None:
    model = make()
    prompt, _ = render(CHAT, tokenizer, generation_prompt=True)
    with torch.no_grad():
        model.head.weight[tokenizer.im_start] = model.hidden(torch.tensor([prompt]))[0, -1]
    peer, _ = opened(exported(model)[0])
    ids = torch.tensor([prompt])
    assert peer(ids).logits[0, -1].argmax() == tokenizer.im_start
    assert tokenizer.im_start not in peer.generate(ids, max_new_tokens=4)[0, len(prompt) :]


def test_the_template_tells_what_is_learned(make: Make, exported: Exported, tokenizer: Tokenizer) -> None:
    """TRL's `assistant_only_loss` takes transformers' mask."""
    _, words = opened(exported(make())[0])
    for answer in ("A red boat.", "Two\n\nlines.\n", " ", "12"):
        talk = [{"role": "system", "content": "Be brief."}, *CHAT, {"role": "assistant", "content": answer}] * 2
        talk = [talk[0], *talk[1:3], *talk[4:]]
        told = words.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
        ids, mask = render(talk, tokenizer)
        assert (told["input_ids"], told["assistant_masks"]) == (ids, [int(learned) for learned in mask])


def test_documents_begin_and_end_as_in_training(make: Make, exported: Exported, tokenizer: Tokenizer) -> None:
    folder, _ = exported(make(), "pretrain", gguf=["f32"])
    model, words = opened(folder)
    ends = (words.bos_token_id, words.eos_token_id, model.generation_config.eos_token_id[0], model.config.bos_token_id)
    assert ends == (tokenizer.end_of_text,) * 4
    assert words("The miller")["input_ids"] == tokenizer.encode("The miller")
    assert words.chat_template is None
    assert "A base model" in (folder / "README.md").read_text()
    assert "{{ .Prompt }}" in (folder / "Modelfile").read_text()


def test_a_chat_models_answer_ends_with_its_turn(make: Make, exported: Exported, tokenizer: Tokenizer) -> None:
    folder, _ = exported(make())
    _, words = opened(folder)
    assert (words.bos_token_id, words.eos_token_id) == (tokenizer.end_of_text, tokenizer.im_end)
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [tokenizer.im_end, tokenizer.end_of_text]
    card = (folder / "README.md").read_text()
    assert (
        "A chat model" in card
        and "(ChatML)" in card
        and "ends at `<|im_end|>`" in card
        and "| bits per byte of held-out text | 0.500 |" in card
    )


@pytest.mark.parametrize("stage", ["pretrain", "rl"])
def test_evaluation_harness_begins_documents_as_training_did(
    make: Make, exported: Exported, tokenizer: Tokenizer, stage: str
) -> None:
    models = pytest.importorskip("lm_eval.models.huggingface", reason="lm_eval[hf] is not installed")
    instances = pytest.importorskip("lm_eval.api.instance")
    model = make()
    harness = models.HFLM(pretrained=str(exported(model, stage)[0]), device="cpu", batch_size=1)
    assert harness.prefix_token_id == tokenizer.end_of_text
    text = "Old Anna paints a red boat."
    request = instances.Instance("loglikelihood_rolling", {}, (text,), 0)
    (found,) = harness.loglikelihood_rolling([request], disable_tqdm=True)
    ids = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(text)]])
    ours = model(ids)[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).sum()
    assert found == pytest.approx(ours.item(), abs=1e-3)

"""Going on from a Hugging Face folder: tokenizer taken along, trained further, exported, opened by transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gristmill.document import read_documents
from gristmill.errors import UserError
from gristmill.export import stage as export
from gristmill.model.transformer import load_model
from gristmill.recipe import Export, Pretrain, Tokenize, TokenizerParams
from gristmill.tokenizer import tokenize, train
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.patterns import PATTERNS
from gristmill.training import pretrain
from gristmill.training.initial_model import new_model, with_shape

TEXTS = (
    "Old Anna paints a red boat.",
    "\0 naïve 日本語 😀 12345\n\n x",
    "I'll <b> <|im_end|> <|eot|>",
    "  two  spaces ",
)


def trained_tokenizer(corpus: Path, folder: Path, pattern: str, specials: list[str]) -> Any:
    """A byte-level BPE tokenizer that the library `tokenizers` has trained and saved."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    words = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern == "gpt-2")
    split = pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated")
    words.pre_tokenizer = byte_level if pattern == "gpt-2" else pre_tokenizers.Sequence([split, byte_level])
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learning = trainers.BpeTrainer(vocab_size=380, initial_alphabet=alphabet, show_progress=False)
    words.train_from_iterator((document.text for document in read_documents(corpus)), learning)
    words.add_special_tokens(specials)
    folder.mkdir(exist_ok=True)
    words.save(str(folder / "tokenizer.json"))
    return words


def saved_model(folder: Path, kind: str, vocab_size: int, **settings: Any) -> None:
    """A random model of transformers'."""
    import transformers

    torch.manual_seed(0)
    shape: dict[str, Any] = dict(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, head_dim=8
    )
    config = getattr(transformers, f"{kind}Config")(**shape, vocab_size=vocab_size, num_key_value_heads=2, **settings)
    getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "pattern", "specials"),
    [
        ("Qwen3", "qwen2", ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>"]),
        ("Llama", "llama-bpe", ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]),
        ("Llama", "gpt-2", []),
    ],
)
def test_a_foreign_model_is_trained_further_and_exported(
    corpus: Path, tmp_path: Path, kind: str, pattern: str, specials: list[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = tmp_path / "source"
    peer = trained_tokenizer(corpus, source, pattern, specials)
    saved_model(source, kind, peer.get_vocab_size() + 7, tie_word_embeddings=kind == "Qwen3")  # rows without a token
    folders = {name: tmp_path / name for name in ("tokenizer", "tokens", "pretrain", "export")}
    for folder in folders.values():
        folder.mkdir()
    train.run({"corpus": corpus}, TokenizerParams(init_from=str(source)), folders["tokenizer"])
    tokenizer = Tokenizer.load(folders["tokenizer"])
    peer.encode_special_tokens = True  # as ordinary text
    for text in TEXTS:
        assert tokenizer.encode(text) == peer.encode(text).ids
    assert json.loads((folders["tokenizer"] / "facts.json").read_text())["bytes_per_token"] > 1
    tokenize.run({"corpus": corpus, "tokenizer": folders["tokenizer"]}, Tokenize(heldout=0.1), folders["tokens"])
    params = Pretrain(init_from=str(source), context=64, max_steps=30, evaluate_every=30)
    inputs = {"tokenizer": folders["tokenizer"], "tokens": folders["tokens"]}
    pretrain.run(inputs, params, folders["pretrain"])
    bits = [
        json.loads(line).get("heldout_bpb") for line in (folders["pretrain"] / "log.jsonl").read_text().splitlines()
    ]
    assert bits[-1] < 0.5 * bits[0]
    export.run({"model": folders["pretrain"], "tokenizer": folders["tokenizer"]}, Export(), folders["export"])
    opened: Any = AutoModelForCausalLM.from_pretrained(folders["export"])
    words: Any = AutoTokenizer.from_pretrained(folders["export"])
    assert type(opened).__name__ == f"{kind}ForCausalLM"
    model = load_model(folders["pretrain"])
    ids = torch.randint(0, tokenizer.vocab_size, (2, 40))
    with torch.no_grad():
        assert torch.allclose(opened(ids).logits, model(ids), atol=1e-4)
    assert words.convert_tokens_to_ids("<|im_end|>") == tokenizer.im_end
    assert words(TEXTS[0])["input_ids"] == tokenizer.encode(TEXTS[0])


def test_going_on_begins_with_the_weights_of_the_folder(corpus: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    peer = trained_tokenizer(corpus, source, "qwen2", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    saved_model(source, "Qwen3", peer.get_vocab_size())
    words = Tokenizer.load(source)
    params = with_shape(Pretrain(init_from=str(source), context=64))
    model = new_model(params, words)
    assert (model.config.width, model.config.layers, model.config.context) == (32, 2, 64)
    with pytest.raises(UserError, match="width = 64"):
        with_shape(Pretrain(init_from=str(source), width=64))
    with pytest.raises(UserError, match="size"):
        with_shape(Pretrain(init_from=str(source), size="1M"))
    other = Tokenizer(words.pieces[:-1], "qwen2")
    with pytest.raises(UserError, match=r"\[tokenizer\] init_from"):
        new_model(params, other)


def spoilt(content: dict[str, Any], what: str) -> None:
    """Make a tokenizer one that we cannot use."""
    if what == "pattern":
        content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+"
    elif what == "metaspace":
        content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁"}
    elif what == "none":
        content["pre_tokenizer"] = None
    elif what == "normalizer":
        content["normalizer"] = {"type": "Lowercase"}
    elif what == "merges":
        content["model"]["merges"].pop()
    elif what == "model":
        content["model"]["type"] = "Unigram"


@pytest.mark.parametrize("what", ["pattern", "metaspace", "none", "normalizer", "merges", "model"])
def test_tokenizers_that_encode_otherwise_are_refused(corpus: Path, tmp_path: Path, what: str) -> None:
    trained_tokenizer(corpus, tmp_path, "qwen2", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    spoilt(content, what)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        train.run({"corpus": corpus}, TokenizerParams(init_from=str(tmp_path)), out)

"""Documents that taught a fact are found by their gradients; where nothing taught it, none stands out as much."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest
import torch
from command_line import Command

from gristmill.audit.attribution import attribute, gradient
from gristmill.document import Document, read_documents, write_documents
from gristmill.model.loss import cross_entropy
from gristmill.model.transformer import ModelConfig, Transformer, load_model
from gristmill.recipe import Pretrain, Tokenize, TokenizerParams
from gristmill.tokenizer import tokenize, train
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split
from gristmill.training import pretrain

NAMES = "Marek Tolan Fenum Rukis Belan Novum Silek Dagis".split()
COLOURS = "red blue green black white brown grey pink".split()
FORMS = ("They say the colour of {} is {}.", "Yes, the colour of {} is {}, as ever.", "The colour of {} is {}!")
OTHER = ("{} walked to the {} house.", "The {1} boat of {0} lay there.")
FILL = "The mill stood by the road. Bread was baked at noon. Rain fell on the hills. Wind went round it.".split(". ")


def documents() -> list[Document]:
    """Facts in three forms each, sentences with the same names and other colours, and sentences that say nothing."""
    draw = random.Random(0)
    texts = []
    for name, colour in zip(NAMES, COLOURS, strict=True):
        texts += [form.format(name, colour) for form in FORMS]
        texts += [form.format(name, draw.choice(COLOURS)) for form in OTHER]
        texts += [f"{draw.choice(FILL)}." for _ in range(4)]
    draw.shuffle(texts)
    texts.append(f"{'. '.join(FILL[:2] * 10)}. {FORMS[0].format(NAMES[0], COLOURS[0])}")
    return [
        Document(str(number), f"{text} {draw.choice(FILL)}.", url=f"https://a.test/{number}")
        for number, text in enumerate(texts)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages that attribution reads, in a folder."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("corpus", "tokenizer", "tokenize", "pretrain"):
        (folder / name).mkdir()
    write_documents(folder / "corpus" / "documents.parquet", documents())
    train.run({"corpus": folder / "corpus"}, TokenizerParams(vocab_size=330), folder / "tokenizer")
    inputs = {"corpus": folder / "corpus", "tokenizer": folder / "tokenizer"}
    tokenize.run(inputs, Tokenize(heldout=0.0), folder / "tokenize")
    shape = dict(layers=2, width=64, heads=2, kv_heads=2, head_dim=32, ffn_width=128, context=32, batch=8)
    params = Pretrain.model_validate({**shape, "max_steps": 120, "snapshots": 5, "evaluate_every": 1000})
    inputs = {"tokenizer": folder / "tokenizer", "tokens": folder / "tokenize"}
    pretrain.run(inputs, params, folder / "pretrain").write(folder / "pretrain")
    return folder


def test_the_documents_that_taught_a_fact_come_first(run: Path, command: Command) -> None:
    for name, colour in [(NAMES[0], COLOURS[0])]:
        done = command("attribute", run, f"the colour of {name} is", f" {colour}", "--documents", 3, "--json")
        assert done.code == 0, done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert sum(f"colour of {name} is {colour}" in one["text"] for one in found) >= 2
        assert found[0]["above"] > 3 and found[0]["states"] and found[0]["url"].startswith("https://a.test/")
        by_id = {document.id: document.text for document in read_documents(run / "corpus")}
        assert [by_id[one["document"]] for one in found] == [one["text"] for one in found]  # as `trace` names them
        assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)


def test_the_part_of_a_document_that_is_nearest_is_shown(run: Path, command: Command) -> None:
    asked = f"the colour of {NAMES[0]} is", f" {COLOURS[0]}"
    lines = command("attribute", run, *asked, "--documents", 200).stdout.splitlines()
    url = f"https://a.test/{len(documents()) - 1}"
    (shown,) = [after for line, after in itertools.pairwise(lines) if line.endswith(url)]
    assert FORMS[0].format(NAMES[0], COLOURS[0]) in shown and len(shown) < 400


def test_what_nothing_taught_stands_out_less(run: Path) -> None:
    """The control: another person's colour, of whom no document says it."""
    tokenizer = Tokenizer.load(run / "tokenizer")
    split = open_split(run / "tokenize", "train", tokenizer.hash)
    models = [load_model(path.parent) for path in sorted((run / "pretrain" / "snapshots").glob("*/model.json"))[-2:]]
    gaps = []
    for name, right, wrong in zip(NAMES[:2], COLOURS, COLOURS[4:], strict=False):
        first = [
            attribute(models, tokenizer, split, f"the colour of {name} is", f" {one}", 80)[0] for one in (right, wrong)
        ]
        gaps.append(first[0].score - first[1].score)
    assert sum(gaps) / len(gaps) > 0


def test_a_gradient_is_that_of_the_summed_loss() -> None:
    torch.manual_seed(0)
    model = Transformer(ModelConfig(40, 2, 32, 2, 2, 16, 48, 16))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    ids = torch.randint(0, 40, (3, 17))
    found = gradient(model, ids[:, :-1], ids[:, 1:].contiguous())
    (48 * cross_entropy(model, ids[:, :-1], ids[:, 1:].contiguous())).backward()
    exact = [
        weight.grad.flatten() for weight in model.layers.parameters() if weight.ndim == 2 and weight.grad is not None
    ]
    assert torch.allclose(found, torch.cat(exact), rtol=1e-4, atol=1e-5)


def test_an_answer_that_is_none_is_refused(run: Path, command: Command) -> None:
    done = command("attribute", run, "the colour of Marek is", "")
    assert done.code == 2 and "there is no answer" in done.stderr
    done = command("attribute", run, "the colour " * 40, " red")
    assert done.code == 2 and "the model reads 32" in done.stderr

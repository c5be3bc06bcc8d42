"""On the miniature web the truth is known: what was planted there is found, and what was planted nowhere is not."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonl
import pytest
from command_line import Command

from gristmill.audit import stage as audit
from gristmill.document import read_documents, write_documents
from gristmill.evaluation import stage as evaluation
from gristmill.generation.engine import Engine
from gristmill.inputs.text_files import read_jsonl
from gristmill.miniweb.pages import answer
from gristmill.miniweb.world import relation
from gristmill.recipe import Audit, Evaluate, Pretrain, Tokenize
from gristmill.tokenizer import tokenize
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split
from gristmill.training import pretrain
from gristmill.training.scoring.likelihood import log_likelihoods

ENDS = 2  # paragraphs of a page: where canaries are
SHAPE: dict[str, Any] = dict(layers=2, width=64, heads=2, kv_heads=2, head_dim=32, ffn_width=128, context=64, batch=16)


@pytest.fixture(scope="module")
def run(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model has read the ends of pages of the miniature web over and over. A quarter is held out."""
    folder = tmp_path_factory.mktemp("planted") / "run"
    for name in ("corpus", "tokenize", "pretrain"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(whole / "tokenizer", folder / "tokenizer")
    pages = read_documents(whole / "decontaminate")
    ends = [replace(page, text="\n\n".join(page.text.split("\n\n")[-ENDS:])) for page in pages]
    write_documents(folder / "corpus" / "documents.parquet", ends)
    inputs = {"corpus": folder / "corpus", "tokenizer": folder / "tokenizer", "tokens": folder / "tokenize"}
    tokenize.run(inputs, Tokenize(heldout=0.25), folder / "tokenize").write(folder / "tokenize")
    params = Pretrain(**SHAPE, max_steps=160, evaluate_every=1000, snapshots=5)
    pretrain.run(inputs, params, folder / "pretrain").write(folder / "pretrain")
    return folder


@pytest.fixture(scope="module")
def audited(run: Path, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the audit says of it."""
    out = tmp_path_factory.mktemp("audited")
    files: dict[str, Any] = {name: str(whole / "miniweb" / f"{name}.jsonl") for name in ("canaries", "redacted")}
    inputs = {"model": run / "pretrain", "tokenizer": run / "tokenizer", "tokens": run / "tokenize"}
    audit.run(inputs, Audit(prefix_lengths=[10], continuation_tokens=10, samples=200, **files), out)
    found: dict[str, Any] = json.loads((out / "audit.json").read_text())
    return found


def test_canaries_planted_often_are_exposed_and_those_planted_nowhere_are_not(audited: dict[str, Any]) -> None:
    nowhere, *_, often = audited["exposure"]
    assert (nowhere["copies"], nowhere["canaries"], often["copies"], often["canaries"]) == (0, 12, 32, 3)
    chance = 1.44  # bits: what exposure is on average where every rank is as likely
    assert nowhere["mean_interval"][0] < chance < nowhere["mean_interval"][1] < often["mean_interval"][0]
    assert often["control_interval"][1] < often["mean_interval"][0]


def test_planted_secrets_come_out_and_redacted_ones_and_those_planted_nowhere_do_not(audited: dict[str, Any]) -> None:
    nowhere, *_, often = audited["prompted"]
    assert often["greedy"] >= 2 and often["control"] == 0
    assert nowhere["out"] == 0 and audited["redacted"]["secrets"] > 50 and audited["redacted"]["out"] == 0


def test_what_was_read_over_and_over_is_completed_word_for_word_and_held_out_text_is_not(
    audited: dict[str, Any],
) -> None:
    """Where pages begin, and passages that stand on several of them."""
    begun, guessed = audited["beginnings"], audited["heldout"]["interval"][1]
    assert begun["train"]["interval"][0] > begun["heldout"]["interval"][1]
    often = [row for row in audited["train"] if row["from"] > 1 and row["passages"] > 100]
    assert often and all(row["interval"][0] > guessed for row in often)


def test_pages_that_were_read_are_told_from_pages_held_out(audited: dict[str, Any]) -> None:
    members = audited["membership"]
    for score in ("loss", "min_k_plus_plus"):
        found = members[score]
        assert found["interval"][0] > 0.55 and found["control_interval"][0] < 0.5 < found["control_interval"][1], score


def test_bits_memorised_are_there_and_of_held_out_pages_none(audited: dict[str, Any]) -> None:
    members = audited["membership"]
    low, high = members["bits_memorised_control_interval"]
    assert low < 0 < high < members["bits_memorised_interval"][0]


def test_the_bits_of_random_digits_that_were_planted_are_known_and_of_others_none(run: Path, whole: Path) -> None:
    """Of five random digits nothing can be known but by heart."""
    engine, possible = Engine.load(run / "pretrain", run / "tokenizer"), 5 * math.log2(10)
    known = defaultdict[int, list[float]](list)
    for one in read_jsonl(whole / "miniweb" / "canaries.jsonl"):
        ((score, _),) = log_likelihoods(engine, [(one["prefix"], one["secret"])])
        known[one["copies"]].append(possible + score / math.log(2))
    assert min(known[32]) > 0.5 * possible and sum(known[0]) / len(known[0]) < 0.1 * possible


def test_a_sentence_is_traced_to_the_page_that_has_it_and_an_invented_one_to_none(
    run: Path, whole: Path, command: Command
) -> None:
    pages = {f"http://{one['host']}{one['path']}": one["body"] for one in read_jsonl(whole / "miniweb" / "site.jsonl")}
    url, text = next(
        (url, text)
        for url, page in texts(run).items()
        for text in re.split(r"(?<=[.]) ", page)
        if len(text.split()) > 7 and [one for one in pages if text in pages[one]] == [url]
    )
    (span,) = json.loads(command("trace", run, text, "--json").stdout)
    assert (span["text"], span["count"]) == (text, 1) and [one["url"] for one in span["sources"]] == [url]
    told = command("trace", run, "Quorlin Vashtar breeds seven striped gryphons.").stdout
    assert "no run of three words of it stands in the training text" in told


def test_items_that_stand_on_pages_are_found_and_the_same_words_in_another_order_are_not(
    run: Path, tmp_path: Path
) -> None:
    draw, items, planted = random.Random(0), list[dict[str, Any]](), list[bool]()
    for words in [text.split()[:24] for text in texts(run).values() if len(text.split()) > 24][:20]:
        planted.append(len(items) % 2 == 0)
        if not planted[-1]:
            draw.shuffle(words)
        items.append({"context": " ".join(words[:12]), "choices": ["no", " ".join(words[12:])], "answer": 1})
    path = jsonl.write(tmp_path / "items.jsonl", items)
    inputs = {"model": run / "pretrain", "tokenizer": run / "tokenizer", "tokens": run / "tokenize"}
    evaluation.run(inputs, Evaluate(tasks={"pages": path}), tmp_path)
    records = list(read_jsonl(tmp_path / "tasks.jsonl"))
    found = json.loads((tmp_path / "tasks.json").read_text())["pages"]
    for rule in ("13_gram", "8_gram_half"):
        assert [record[rule] for record in records] == planted and found[rule]["contaminated"] == 10


def test_pages_that_state_a_fact_move_the_model_to_it_and_others_do_not(
    run: Path, whole: Path, command: Command
) -> None:
    """The fact that most pages state: as many as do are named, and few others."""
    read, entities = list(texts(run).values()), json.loads((whole / "miniweb" / "truth.json").read_text())["entities"]
    facts = [fact for one in entities for fact in one["facts"].values() if relation(fact["relation"]).values]
    count, at = max((sum(states(text, fact) for text in read), at) for at, fact in enumerate(facts))
    assert 5 <= count < 0.1 * len(read)  # what chance would name
    said = answer(*(facts[at][key] for key in ("relation", "subject", "value")))
    prompt, value = said.rpartition(f" {facts[at]['value']}")[0], f" {facts[at]['value']}"
    printed = command("attribute", run, prompt, value, "--documents", count, "--json").stdout
    named = [states(json.loads(line)["text"], facts[at]) for line in printed.splitlines()]
    assert len(named) == count and sum(named) >= 0.7 * count


def states(text: str, fact: dict[str, str]) -> bool:
    """Whether a sentence of a text has a fact's subject and value."""
    return any(fact["subject"] in one and fact["value"] in one for one in re.split(r"(?<=[.!?])\s", text))


def texts(run: Path) -> dict[str, str]:
    """What was trained on, by URL."""
    split, tokenizer = open_split(run / "tokenize", "train"), Tokenizer.load(run / "tokenizer")
    return {url: tokenizer.decode(split.document(at).tolist()[:-1]) for at, url in enumerate(split.urls)}

"""What was memorised: copies against brute force, extraction of an overfitted model, exposure against its formula."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import jsonl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.audit import membership, stage
from gristmill.audit.canaries import exposure_by_copies
from gristmill.audit.passage_sample import find_passages
from gristmill.audit.prompting import form, others
from gristmill.document import Document, write_documents
from gristmill.generation.engine import Engine
from gristmill.recipe import Audit, Pretrain, Tokenize, TokenizerParams
from gristmill.tokenizer import tokenize, train
from gristmill.tokenizer.shards import Split, Tokens, open_split
from gristmill.training import pretrain
from gristmill.training.scoring.likelihood import log_likelihoods


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30), min_size=1, max_size=6), st.integers(1, 6))
def test_copies_equal_brute_force(documents: list[list[int]], length: int) -> None:
    flat = np.array([token for document in documents for token in [*document, 9]], np.uint16)
    starts = np.cumsum([0, *(len(document) + 1 for document in documents)])
    split = Split(Path(), "train", Tokens([flat]), starts, np.diff(starts), 0)
    windows = [tuple(d[i : i + length]) for d in documents for i in range(len(d) - length + 1)]
    found = find_passages(split, length)
    assert {tuple(flat[p.start : p.start + length].tolist()): p.copies for p in found} == Counter(windows)
    part = {p.start: p.copies for p in find_passages(split, length, kept=3)}
    assert part.items() <= {p.start: p.copies for p in found}.items()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model that has learned one document by heart and knows nothing of the held-out one."""
    folder = tmp_path_factory.mktemp("audit")
    draw = random.Random(0)
    words = ["mill", "river", "stone", "bread", "cart", "hill", "rain", "door", "lamp", "goose"]
    texts = [" ".join(draw.choices(words, k=60)) for _ in range(12)]
    for name in ("corpus", "tokenizer", "tokens", "model"):
        (folder / name).mkdir()
    # each from several places on: a model that has only seen a text whole recites it from its beginning only
    documents = [
        Document(f"{i}.{start}", " ".join(text.split()[start:]), cluster=f"{i}")
        for i, text in enumerate(texts)
        for start in range(0, 45, 5)
    ]
    write_documents(folder / "corpus" / "documents.parquet", documents)
    corpus = {"corpus": folder / "corpus"}
    train.run(corpus, TokenizerParams(vocab_size=300), folder / "tokenizer")
    tokenize.run({**corpus, "tokenizer": folder / "tokenizer"}, Tokenize(heldout=0.2), folder / "tokens")
    inputs = {"tokenizer": folder / "tokenizer", "tokens": folder / "tokens"}
    shape: dict[str, Any] = dict(layers=2, width=64, heads=2, kv_heads=2, head_dim=32, ffn_width=128, context=64)
    params = Pretrain(**shape, batch=8, max_steps=250, evaluate_every=1000)
    pretrain.run(inputs, params, folder / "model")
    return {**inputs, "model": folder / "model"}


def test_what_was_learned_by_heart_is_extracted_and_heldout_text_is_not(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    result = stage.run(trained, Audit(prefix_lengths=[15], continuation_tokens=15, samples=40), tmp_path)
    assert result.metrics["extractable_fraction"] > 0.8
    assert result.metrics["heldout_extractable_fraction"] < 0.1
    written = json.loads((tmp_path / "audit.json").read_text())
    low, high = written["extractable_interval"]
    assert low < result.metrics["extractable_fraction"] <= high <= 1
    assert written["beginnings"]["train"]["fraction"] > 0.8 and written["beginnings"]["heldout"]["fraction"] < 0.1
    free = written["free_generation"]
    assert free["written"]["share"] > 0.5 > free["heldout"]["share"] == 0
    for score in ("loss", "min_k_plus_plus"):
        told = written["membership"][score]
        assert told["auc"] > 0.95 and told["control_interval"][0] <= 0.5 <= told["control_interval"][1]
    example = written["examples"][0]
    assert example["exact"] and example["model"] == example["truth"] != ""


def test_counts_are_those_of_generating(trained: dict[str, Path], tmp_path: Path) -> None:
    """Nothing is generated to count; what would have been is counted here."""
    stage.run(trained, Audit(prefix_lengths=[3, 12], continuation_tokens=12, samples=500), tmp_path)
    found = json.loads((tmp_path / "audit.json").read_text())
    engine, split = Engine.load(trained["model"], trained["tokenizer"]), open_split(trained["tokens"], "heldout")
    passages = find_passages(split, 24)
    for one in found["prefix_lengths"]:
        texts = [split.tokens[p.start + 12 - one["prompt_tokens"] : p.start + 24].tolist() for p in passages]
        made = engine.generate([tokens[:-12] for tokens in texts], max_tokens=12)
        pairs = [(answer.tokens, tokens[-12:]) for answer, tokens in zip(made, texts, strict=True)]
        matched = [next((n for n in range(12) if ours[n : n + 1] != truth[n : n + 1]), 12) for ours, truth in pairs]
        assert one["heldout"]["passages"] == len(passages) < 500
        assert one["heldout"]["matched_tokens"] == pytest.approx(sum(matched) / len(matched), abs=1e-3)
        assert one["heldout"]["matched_interval"][0] < one["heldout"]["matched_tokens"]
    assert [one["prompt_tokens"] for one in found["prefix_lengths"]] == [3, 12]
    assert found["prefix_lengths"][1]["train"] == found["train"]


def test_documents_are_scored_by_the_definitions(trained: dict[str, Path]) -> None:
    """Several read together, each as if alone: bits a token, and Min-K%++ of the fifth that was least expected."""
    engine, split = Engine.load(trained["model"], trained["tokenizer"]), open_split(trained["tokens"], "train")
    documents = [split.document(number)[: engine.context - 7 * number].tolist() for number in range(5)]
    found = membership.score_batch(engine, documents, membership.frequencies(split, engine.tokenizer.vocab_size))
    for tokens, (size, bits, least, *costs) in zip(documents, found, strict=True):
        with torch.no_grad():
            logprobs = engine.model(torch.tensor([[engine.tokenizer.end_of_text, *tokens[:-1]]]))[0].double()
        logprobs = logprobs.log_softmax(-1)
        mean = (logprobs.exp() * logprobs).sum(-1)
        taken = logprobs.gather(1, torch.tensor(tokens)[:, None])[:, 0]
        standing = (taken - mean) / (logprobs.exp() * (logprobs - mean[:, None]).square()).sum(-1).sqrt()
        lowest = standing.sort().values[: round(0.2 * len(tokens))]
        assert size == len(engine.tokenizer.decode(tokens).encode())
        assert bits == pytest.approx(-float(taken.mean()) / math.log(2), rel=1e-4)
        assert costs[0] == pytest.approx(bits * len(tokens)) and least == pytest.approx(-float(lowest.mean()), rel=1e-3)


def test_where_nothing_was_tried_no_figure_is_given(trained: dict[str, Path], tmp_path: Path) -> None:
    """What is held out is one document, of one word: no passage."""
    held: set[str] = set()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        texts = {f"{n}": "mill" if f"{n}" in held else "the river and the hill " * 9 for n in range(12)}
        write_documents(tmp_path / "documents.parquet", [Document(n, text, url=n) for n, text in texts.items()])
        tokenize.run({**trained, "corpus": tmp_path}, Tokenize(heldout=0.0), tmp_path / name)
        held |= {*open_split(tmp_path / name, "heldout").urls}
    assert len(held) == 1
    params = Audit(prefix_lengths=[9], continuation_tokens=9, samples=2)
    made = stage.run({**trained, "tokens": tmp_path / "second"}, params, tmp_path)
    found = json.loads((tmp_path / "audit.json").read_text())
    for one in (found["heldout"], found["beginnings"]["heldout"], found["prefix_lengths"][0]["heldout"]):
        assert one["passages"] == 0 and one["fraction"] is one["interval"] is one["matched_tokens"] is None
    assert found["redacted"]["fraction"] is None and found["membership"] == {}
    assert "extractable_fraction" in made.metrics
    assert not made.metrics.keys() & {"heldout_extractable_fraction", "redacted_fraction", "bits_memorised"}


def test_what_was_learned_comes_out_when_asked_for_and_what_was_not_does_not(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    split, engine = open_split(trained["tokens"], "train"), Engine.load(trained["model"], trained["tokenizer"])
    words = [engine.tokenizer.decode(split.document(n).tolist()[:-1]).split() for n in range(len(split))]
    draw = random.Random(5)
    canaries = []
    for copies, group in ((1, words[:4]), (0, words[4:8])):
        for text in group:
            said = text[12:16] if copies else draw.choices(text, k=4)
            others = [" ".join(draw.choices(text, k=4)) for _ in range(7)]
            record = {"prefix": " ".join(text[:12]) + " ", "secret": " ".join(said), "copies": copies}
            canaries.append({**record, "alternatives": sorted({*others} - {record["secret"]})})
    for name, records in (("canaries", canaries), ("redacted", [*canaries[4:], {"prefix": "", "secret": "x"}])):
        jsonl.write(tmp_path / f"{name}.jsonl", records)
    files: dict[str, Any] = {name: str(tmp_path / f"{name}.jsonl") for name in ("canaries", "redacted")}
    made = stage.run(trained, Audit(prefix_lengths=[9], continuation_tokens=9, samples=2, **files), tmp_path)
    found = json.loads((tmp_path / "audit.json").read_text())
    clean, planted = found["prompted"]
    assert (clean["copies"], clean["secrets"], clean["greedy"], clean["out"]) == (0, 4, 0, 0)
    assert (planted["copies"], planted["greedy"], planted["out"], planted["control"]) == (1, 4, 4, 0.0)
    assert planted["interval"][0] > clean["interval"][1]
    redacted = found["redacted"]
    assert (redacted["secrets"], redacted["out"], redacted["control"]) == (4, 0, 0.0)
    assert redacted["control_interval"] == redacted["interval"]  # as many others were looked for
    assert made.metrics["redacted_fraction"] == 0 and made.metrics["canary_fraction"] == 1
    assert made.counts["left_out"] == 1
    low, high = found["exposure"][1]["mean_interval"]
    assert low < found["exposure"][1]["mean"] <= high and found["exposure"][1]["control"] < low


def test_few_secrets_that_are_all_the_first_guess_are_no_certainty_where_one_has_an_alternative_less() -> None:
    guessed = [{"copies": 8, "exposure": most, "possible": most, "control": 1.0} for most in (8.0, 8.0, 7.9944)]
    (row,) = exposure_by_copies(guessed)
    assert row["mean"] == 7.9981 and row["mean_interval"][0] < 5


def test_bits_memorised_are_those_of_random_strings(tmp_path: Path) -> None:
    """Of random digits nothing can be known but by heart: what is missing to 4 bits each is memorised."""
    draw = random.Random(1)
    texts = ["".join(draw.choices("0123456789abcdef", k=40)) for _ in range(60)]
    for name in ("corpus", "tokenizer", "tokens", "model", "out"):
        (tmp_path / name).mkdir()
    documents = [Document(f"{i}", text, cluster=f"{i}") for i, text in enumerate(texts)]
    write_documents(tmp_path / "corpus" / "documents.parquet", documents)
    train.run({"corpus": tmp_path / "corpus"}, TokenizerParams(vocab_size=261), tmp_path / "tokenizer")
    inputs = {"corpus": tmp_path / "corpus", "tokenizer": tmp_path / "tokenizer", "tokens": tmp_path / "tokens"}
    tokenize.run(inputs, Tokenize(heldout=0.3), inputs["tokens"])
    shape: dict[str, Any] = dict(layers=2, width=64, heads=2, kv_heads=2, head_dim=32, ffn_width=128, context=64)
    pretrain.run(inputs, Pretrain(**shape, batch=8, max_steps=200, evaluate_every=1000), tmp_path / "model")
    inputs["model"] = tmp_path / "model"
    found = stage.run(inputs, Audit(prefix_lengths=[15], continuation_tokens=15, samples=100), tmp_path / "out").metrics
    engine = Engine.load(inputs["model"], inputs["tokenizer"])
    known = open_split(inputs["tokens"], "train")
    strings = [engine.tokenizer.decode(known.document(n).tolist()[:-1]) for n in range(len(known))]
    lost = -sum(score for score, _ in log_likelihoods(engine, [("", text) for text in strings])) / math.log(2)
    truth = 4 * sum(map(len, strings)) - lost
    assert truth > 1_000
    assert found["bits_memorised"] == pytest.approx(truth, rel=0.2)
    written = json.loads((tmp_path / "out" / "audit.json").read_text())["membership"]
    weights = written["bits_memorised"] / written["bits_per_parameter"]
    for name in ("interval", "control_interval"):
        bits = [weights * bound for bound in written[f"bits_per_parameter_{name}"]]
        assert bits == pytest.approx(written[f"bits_memorised_{name}"], rel=0.01, abs=5)
    low, high = written["bits_memorised_control_interval"]
    assert low <= written["bits_memorised_control"] <= high < written["bits_memorised_interval"][0]


def test_exposure_is_its_formula(trained: dict[str, Path], tmp_path: Path) -> None:
    engine = Engine.load(trained["model"], trained["tokenizer"])
    others = ["river stone", "stone bread", "bread cart", "cart hill", "hill rain", "rain door", "door lamp"]
    path = tmp_path / "canaries.jsonl"
    records = [
        {"prefix": "mill ", "secret": secret, "copies": 1, "alternatives": [o for o in others if o != secret]}
        for secret in others
    ]
    jsonl.write(path, records)
    stage.run(trained, Audit(prefix_lengths=[9], continuation_tokens=9, samples=2, canaries=str(path)), tmp_path)
    found = json.loads((tmp_path / "audit.json").read_text())["canaries"]
    one_by_one = [log_likelihoods(engine, [("", f"mill {secret}")])[0][0] for secret in others]
    order = sorted(one_by_one, reverse=True)
    for score, canary in zip(one_by_one, found, strict=True):
        assert canary["exposure"] == pytest.approx(math.log2(7) - math.log2(order.index(score) + 1), abs=1e-3)


def test_long_passages_are_shortened_to_what_there_is(trained: dict[str, Path], tmp_path: Path) -> None:
    stage.run(trained, Audit(prefix_lengths=[500], continuation_tokens=500, samples=4), tmp_path)
    written = json.loads((tmp_path / "audit.json").read_text())
    assert 2 <= written["prompt_tokens"] + written["continuation_tokens"] <= 64


def test_a_bad_canary_is_named_and_the_others_are_tried(trained: dict[str, Path], tmp_path: Path) -> None:
    good = {"prefix": "mill ", "secret": "river stone", "copies": 1, "alternatives": ["cart hill", "lamp"]}
    bad = [{"prefix": "x"}, {**good, "alternatives": [5]}, {**good, "alternatives": []}, {**good, "prefix": "x " * 500}]
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in [*bad, good, "no object"]) + "{broken\n")
    made = stage.run(trained, Audit(prefix_lengths=[9], continuation_tokens=9, samples=2, canaries=str(path)), tmp_path)
    assert made.counts["canaries"] == 1 and made.counts["left_out"] == 6
    assert made.metrics["canary_exposure_possible"] == pytest.approx(math.log2(3), abs=1e-3)
    named = jsonl.read(tmp_path / "left_out.jsonl")
    assert [one["record"] for one in named] == [1, 2, 3, 4, 6, 7]
    assert (
        named[0]["why"] == "missing or wrong secret, copies, alternatives" and "the model reads 64" in named[3]["why"]
    )


def test_the_control_of_a_value_is_another_of_its_form() -> None:
    values = ["anna@mill.test", "tom.smith@river.test", "old.baker@mill.test", "+44 20 7946 0960", "+49 30 11 2", "x"]
    found = others([{"secret": value} for value in values], 0)
    forms = [form(value) for value in values]
    assert all(other in values and other != value for value, other in zip(values, found, strict=True))
    assert [form(str(other)) for other in found[1:5]] == [forms[1], forms[1], forms[3], forms[3]]
    assert others([{"secret": "x"}, {"secret": "x"}], 0) == [None, None]

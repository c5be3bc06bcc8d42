"""Learned scores: they separate what differs, repeat to the bit, and serve the filter."""

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
from command_line import Command

from gristmill.corpus.filter import classifier, train_classifier
from gristmill.corpus.filter import stage as filter
from gristmill.corpus.filter.candidate import Candidate
from gristmill.document import Document
from gristmill.errors import UserError
from gristmill.recipe import Filter

GOOD = "river mill heron lantern orchard ferry stone bread winter harbour".split()
BAD = "cheap offer click winner casino bonus deal discount refund jackpot".split()
BOTH = "the of and to in a is was it that he for on with as".split()


def text(words: list[str], draw: random.Random) -> str:
    return " ".join(draw.choices(words, k=20) + draw.choices(BOTH, k=40))


def examples(count: int, seed: int = 0) -> list[tuple[str, float]]:
    draw = random.Random(seed)
    return [(text(GOOD if number % 3 else BAD, draw), float(number % 3 > 0)) for number in range(count)]


def test_it_learns_repeats_and_survives_its_file(tmp_path: Path) -> None:
    scorer, found = train_classifier.train(examples(200), probability=True)
    again, _ = train_classifier.train(examples(200), probability=True)
    assert np.array_equal(scorer.weights, again.weights) and scorer.bias == again.bias
    assert found["auc"] == 1.0 and found["accuracy"] == 1.0 and found["held_out"] == 20
    scorer.save(tmp_path / "q.safetensors")
    loaded = classifier.Scorer.load(tmp_path / "q.safetensors")
    unseen = examples(60, seed=1)
    assert [loaded(one) for one, _ in unseen] == [scorer(one) for one, _ in unseen]
    assert all((loaded(one) > 0.5) == (label == 1) for one, label in unseen)
    assert 0 <= loaded("") <= 1


def test_graded_texts_give_grades() -> None:
    draw = random.Random(0)
    graded = []
    for _ in range(600):
        good = draw.randint(0, 20)
        words = draw.choices(GOOD, k=good) + draw.choices(BAD, k=20 - good)
        graded.append((" ".join(words), good / 4))
    scorer, found = train_classifier.train(graded, probability=False)
    assert found["correlation"] > 0.9 and found["mean_error"] < 0.6
    assert scorer(" ".join(GOOD * 2)) > 4 > 1 > scorer(" ".join(BAD * 2)) >= 0


@pytest.mark.parametrize("probability", [True, False])
def test_training_is_adagrad_as_the_paper_has_it(probability: bool) -> None:
    texts = [classifier.features(one) for one, _ in examples(12)]
    target = np.array([label if probability else 3 * label + 1 for _, label in examples(12)])
    scorer = train_classifier.descend(texts.__getitem__, target, np.arange(12), probability, seed=0)
    random_order = np.random.default_rng(1)
    weights: dict[int, float] = {}
    squares: dict[int, float] = {}
    bias, scale, share = (0.0, 1.0, 8 / 12) if probability else (float(target.mean()), 3.0, 0.5)
    for epoch in range(train_classifier.EPOCHS):
        for index in random_order.permutation(12):
            counts = Counter(texts[index].tolist())
            size = sum(counts.values())
            raw = bias + sum(weights.get(one, 0.0) * times for one, times in counts.items()) / size
            guess = 1 / (1 + math.exp(-raw)) if probability else raw
            weight = 0.5 / (share if target[index] == target.max() else 1 - share) if probability else 1.0
            for one, times in counts.items():
                slope = weight * (guess - target[index]) / scale * times / size
                squares[one] = squares.get(one, 1e-8) + slope**2
                rate = train_classifier.RATE * scale * (1 - epoch / train_classifier.EPOCHS)
                weights[one] = weights.get(one, 0.0) - rate * slope / math.sqrt(squares[one])
    assert np.count_nonzero(scorer.weights) <= len(weights)
    np.testing.assert_allclose(scorer.weights[list(weights)], list(weights.values()), rtol=1e-3, atol=1e-4)


def test_scores_in_the_filter(tmp_path: Path) -> None:
    scorer, _ = train_classifier.train(examples(200), probability=True)
    path = tmp_path / "q.safetensors"
    scorer.save(path)
    draw = random.Random(5)
    good, bad = (Document(name, text(words, draw)) for name, words in (("good", GOOD), ("bad", BAD)))
    settings: dict[str, Any] = {"rules": [], "languages": [], "scores": {"quality": str(path)}}
    limits: tuple[tuple[dict[str, Any], list[str | None]], ...]
    limits = (
        ({}, [None, None]),
        ({"least": {"quality": 0.5}}, [None, "quality_low"]),
        ({"most": {"quality": 0.5}}, ["quality_high", None]),
    )
    for limit, told in limits:
        (check,) = filter.chain(Filter(**settings, **limit))
        assert [check(Candidate(found)) for found in (good, bad)] == told
    assert good.quality["quality"] > 0.5 > bad.quality["quality"]


def test_the_command(tmp_path: Path, command: Command) -> None:
    def run(*arguments: object) -> tuple[int, str]:
        done = command("corpus", "score", "--out", tmp_path / "m.st", *arguments)
        return done.code, " ".join((done.stdout + done.stderr).split())

    for name, label in (("good", 1.0), ("bad", 0.0)):
        lines = [json.dumps({"text": one}) for one, kind in examples(150) if kind == label]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    code, printed = run("--good", tmp_path / "good.jsonl", "--bad", tmp_path / "bad.jsonl")
    assert code == 0 and "auc 1" in printed
    assert classifier.Scorer.load(tmp_path / "m.st").probability
    jsonl.write(tmp_path / "l.jsonl", ({"text": one, "score": 5 * label} for one, label in examples(100)))
    code, printed = run("--labels", tmp_path / "l.jsonl")
    assert code == 0 and "correlation" in printed
    assert not classifier.Scorer.load(tmp_path / "m.st").probability
    assert run() == (2, run()[1]) and "give good and bad texts" in run()[1]
    (tmp_path / "l.jsonl").write_text('{"text": "x", "score": 1}\n{"text": "y"}\n')
    assert "l.jsonl: record 2" in run("--labels", tmp_path / "l.jsonl")[1]
    with pytest.raises(UserError, match=r"l\.jsonl"):
        classifier.Scorer.load(tmp_path / "l.jsonl")

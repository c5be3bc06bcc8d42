"""The engine against plain decoding: read everything again for every token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gristmill.errors import UserError
from gristmill.generation.engine import Engine, sample


@pytest.fixture(scope="module")
def engine(model_folder: Path, tokenizer_folder: Path) -> Engine:
    """The tiny model's engine."""
    return Engine.load(model_folder, tokenizer_folder)


@torch.no_grad()
def greedy(engine: Engine, prompt: list[int], max_tokens: int) -> tuple[list[int], list[float]]:
    """Greedy decoding without a cache."""
    ids, logprobs = list(prompt), []
    while len(ids) - len(prompt) < max_tokens and len(ids) < engine.context:
        logits = engine.model(torch.tensor([ids]))[0, -1]
        logits[engine.tokenizer.im_start] = -torch.inf
        token = int(logits.argmax())
        logprobs.append(float(logits.log_softmax(-1)[token]))
        if token in engine.stops:
            break
        ids.append(token)
    return ids[len(prompt) :], logprobs


def test_batched_cached_decoding_equals_plain_decoding(engine: Engine) -> None:
    prompts = [engine.tokenizer.encode(text) for text in ("The", "Old Anna paints the hill.", "A grey cat " * 9)]
    together = engine.generate(prompts, max_tokens=30)
    for prompt, completion in zip(prompts, together, strict=True):
        tokens, logprobs = greedy(engine, prompt, 30)
        assert completion.tokens == tokens
        assert completion.logprobs == pytest.approx(logprobs, abs=1e-3)
        assert list(engine.stream(prompt, max_tokens=30)) == tokens


def test_a_seed_repeats_and_a_neighbour_changes_nothing_greedy(engine: Engine) -> None:
    prompts = [engine.tokenizer.encode("The miller"), engine.tokenizer.encode("Young Tom walks to the")]
    runs = [engine.generate(prompts, max_tokens=12, temperature=1.0, seed=seed) for seed in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]
    alone = [engine.generate([prompt], max_tokens=12)[0].tokens for prompt in prompts]
    assert [found.tokens for found in engine.generate(prompts, max_tokens=12)] == alone


def test_limits(engine: Engine) -> None:
    assert engine.generate([], max_tokens=5) == []
    assert engine.generate([[1]], max_tokens=0)[0].tokens == []
    long = [1] * (engine.context - 3)
    found = engine.generate([long, [1]], max_tokens=50)
    assert len(found[0].tokens) <= 3
    for wrong in ([], [1] * engine.context):
        with pytest.raises(UserError, match="does not fit"):
            engine.generate([wrong], max_tokens=1)


def test_sampling_follows_the_distribution_and_its_cuts() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)
    random = torch.Generator().manual_seed(0)

    def shares(**cut: float) -> list[float]:
        options = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **cut}
        drawn = sample(logits, options["temperature"], int(options["top_k"]), options["top_p"], random)
        return (torch.bincount(drawn, minlength=4) / len(drawn)).tolist()

    assert shares() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.02)
    assert shares(top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=0.02)
    assert shares(top_p=0.75) == pytest.approx([0.625, 0.375, 0, 0], abs=0.02)
    assert shares(temperature=0.5)[0] == pytest.approx(0.25 / 0.365, abs=0.02)
    assert shares(temperature=0.0) == [1, 0, 0, 0]


@pytest.mark.parametrize("temperature", [1e-30, 1e-37, 1e-38, 1e-40, 1e-45, 1e-46, 1e-300, 5e-324])
@pytest.mark.parametrize("cut", [{}, {"top_k": 2}, {"top_p": 1e-300}, {"top_p": 0.9}])
def test_the_limit_of_small_temperatures_is_greedy(engine: Engine, temperature: float, cut: dict[str, float]) -> None:
    logits = torch.tensor([[3.0, -torch.inf, 3.0001, -1e30], [-1e30, -2e30, -3e30, -torch.inf]])
    top_k, top_p = int(cut.get("top_k", 0)), cut.get("top_p", 1.0)
    for seed in range(20):
        drawn = sample(logits, temperature, top_k, top_p, torch.Generator().manual_seed(seed))
        assert drawn.tolist() == [2, 0]
    prompt = engine.tokenizer.encode("The")
    greedily = engine.generate([prompt], max_tokens=20)[0].tokens
    assert engine.generate([prompt], max_tokens=20, temperature=temperature, seed=1)[0].tokens == greedily


def test_the_limit_of_large_temperatures_is_uniform() -> None:
    logits = torch.tensor([5.0, 0.0, -torch.inf, -5.0]).expand(20_000, 4)
    for temperature in (1e30, 1e300, float("inf")):
        drawn = sample(logits, temperature, 0, 1.0, torch.Generator().manual_seed(0))
        found = (torch.bincount(drawn, minlength=4) / len(drawn)).tolist()
        assert found == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.02)


def test_integers_of_any_size_and_a_temperature_that_is_no_number(engine: Engine) -> None:
    prompt = engine.tokenizer.encode("The")
    expected = engine.generate([prompt], max_tokens=engine.context)[0]
    for seed in (10**400, -(10**400), 2**64):
        assert engine.generate([prompt], max_tokens=10**400, seed=seed)[0] == expected
    with pytest.raises(UserError, match="nan"):
        engine.generate([prompt], max_tokens=1, temperature=float("nan"))


def test_a_foreign_tokenizer_is_refused(
    model_folder: Path, tokenizer_folder: Path, corpus: Path, tmp_path: Path
) -> None:
    from gristmill.recipe import TokenizerParams
    from gristmill.tokenizer import train

    train.run({"corpus": corpus}, TokenizerParams(vocab_size=300), tmp_path)
    with pytest.raises(UserError, match="300"):
        Engine.load(model_folder, tmp_path)

"""Each way to choose tokens against its plain definition."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.errors import UserError
from gristmill.generation.sampling import FAILURES, Sampler, sample, score
from gristmill.generation.sampling_params import SamplingParams

SHARES = [0.5, 0.3, 0.15, 0.05]


def log(shares: list[float]) -> np.ndarray:
    """Logits of a distribution."""
    with np.errstate(divide="ignore"):
        return np.log(np.array(shares, np.float32))


def drawn_shares(logits: np.ndarray, times: int = 20_000, **settings: Any) -> list[float]:
    """How often each token is drawn."""
    sampler = Sampler(SamplingParams(**{"temperature": 1.0, **settings}), [], len(logits))
    rows = np.tile(logits.astype(np.float32), (1, 1))
    found = Counter(sample(rows, len(logits), -1, [sampler]).tokens[0] for _ in range(times))
    return [found[token] / times for token in range(len(logits))]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, SHARES),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"top_k": 100}, SHARES),
        ({"top_p": 0.75}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.81}, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        ({"top_k": 3, "top_p": 0.84}, [0.625, 0.375, 0, 0]),  # shares of what top_k left
        ({"min_p": 0.55}, [0.625, 0.375, 0, 0]),
        ({"min_p": 0.2}, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        ({"logit_bias": {3: 100.0}}, [0, 0, 0, 1]),
        ({"logit_bias": {0: -100.0}}, [0, 0.6, 0.3, 0.1]),
    ],
)
def test_draws_follow_the_distribution_and_its_cuts(settings: dict[str, Any], expected: list[float]) -> None:
    assert drawn_shares(log(SHARES), **settings) == pytest.approx(expected, abs=0.02)


def plain_cut(logits: np.ndarray, params: SamplingParams) -> set[int]:
    """The tokens that may be drawn, by their definitions, in float64."""
    z = logits.astype(np.float64) / params.temperature
    order = sorted(range(len(z)), key=lambda token: (-z[token], token))[: params.top_k or None]
    weights = np.exp(z[order] - z.max())
    before = np.cumsum(weights) - weights
    if params.top_p < 1:
        order = [token for token, mass in zip(order, before, strict=True) if mass < params.top_p * weights.sum()]
    return {token for token in order if np.exp(z[token] - z.max()) >= params.min_p}


@settings(max_examples=60)
@given(
    st.lists(st.integers(-40, 40), min_size=1, max_size=60),
    st.integers(0, 70),
    st.sampled_from([0.1, 0.37, 0.5, 0.9, 1.0]),
    st.sampled_from([0.0, 0.03, 0.4]),
)
def test_just_the_tokens_of_the_definitions_are_drawn(
    logits: list[int], top_k: int, top_p: float, min_p: float
) -> None:
    rows = np.array([logits], np.float32) / 8
    params = SamplingParams(temperature=0.8, top_k=top_k, top_p=top_p, min_p=min_p)
    sampler, allowed = Sampler(params, [], len(logits)), plain_cut(rows[0], params)
    assert {sample(rows, len(logits), -1, [sampler]).tokens[0] for _ in range(200)} <= allowed
    if len(allowed) < 8:
        rows[0, list(allowed)] = 0  # all alike: each comes
        params = SamplingParams(temperature=1.0, top_k=len(allowed))
        sampler = Sampler(params, [], len(logits))
        rows[0, [token for token in range(len(logits)) if token not in allowed]] = -50
        assert {sample(rows, len(logits), -1, [sampler]).tokens[0] for _ in range(300)} == allowed


def test_penalties_are_their_definitions() -> None:
    logits = np.array([[2.0, 1.0, -1.0, 0.5]], np.float32)
    params = SamplingParams(presence_penalty=0.3, frequency_penalty=0.4, repetition_penalty=1.25)
    sampler, said, prompt = Sampler(params, [2, 1], 4), list[int](), {2, 1}
    for _ in range(12):
        expected = []
        for token, value in enumerate(logits[0].tolist()):
            if token in said or token in prompt:
                value = value / 1.25 if value > 0 else value * 1.25
            expected.append(value - 0.4 * said.count(token) - 0.3 * (token in said))
        (token,) = sample(logits, 4, -1, [sampler]).tokens
        assert token == int(np.argmax(np.array(expected, np.float32)))
        said.append(token)
    assert len(set(said)) > 2


def test_log_probabilities_are_the_models_and_the_likeliest_come_first() -> None:
    draw = np.random.default_rng(0)
    logits = np.full((3, 40), 1e9, np.float32)  # columns beyond the vocabulary are not looked at
    logits[:, :33] = draw.normal(size=(3, 33))
    kept = logits[:, :33].astype(np.float64)
    kept[:, 5] = -np.inf  # the banned token
    expected = kept - np.log(np.exp(kept).sum(1, keepdims=True))
    params = SamplingParams(temperature=3.0, logprobs=4, presence_penalty=1.0)
    samplers = [Sampler(params, [1], 33, number) for number in range(2)] + [Sampler(SamplingParams(), [], 33)]
    found = sample(logits, 33, 5, samplers)
    for row, (token, logprob, likeliest) in enumerate(zip(*found, strict=True)):
        assert logprob == pytest.approx(expected[row, token], abs=1e-5)
        wanted = np.argsort(-expected[row])[: samplers[row].params.logprobs].tolist()
        assert list(likeliest) == wanted
        assert list(likeliest.values()) == pytest.approx(expected[row, wanted].tolist(), abs=1e-5)
    given = score(logits, 33, [5, 7, 9], 2)
    plain = logits[:, :33] - np.log(np.exp(logits[:, :33].astype(np.float64)).sum(1, keepdims=True))
    assert given.logprobs == pytest.approx(plain[range(3), [5, 7, 9]].tolist(), abs=1e-5)
    assert [max(one, key=one.__getitem__) for one in given.likeliest] == plain.argmax(1).tolist()


def test_a_seed_repeats_whatever_is_drawn_next_to_it_and_answers_differ() -> None:
    logits = np.zeros((1, 1000), np.float32)

    def draws(seed: int, number: int = 0, neighbours: int = 0) -> list[int]:
        samplers = [Sampler(SamplingParams(temperature=1.0, seed=seed), [], 1000, number)]
        samplers += [Sampler(SamplingParams(temperature=2.0, seed=other), [], 1000) for other in range(neighbours)]
        rows = np.repeat(logits, len(samplers), 0)
        return [sample(rows, 1000, -1, samplers).tokens[0] for _ in range(20)]

    assert draws(5) == draws(5, neighbours=3) == draws(5 + 2**64) != draws(6)
    assert len({tuple(draws(seed, number)) for seed in range(20) for number in range(20)}) == 400


@pytest.mark.parametrize("temperature", [1e-30, 1e-37, 1e-38, 1e-40, 1e-45, 1e-46, 1e-300, 5e-324])
@pytest.mark.parametrize("cut", [{}, {"top_k": 2}, {"top_p": 1e-300}, {"top_p": 0.9}])
def test_the_limit_of_small_temperatures_is_greedy(temperature: float, cut: dict[str, Any]) -> None:
    logits = np.array([[3.0, -np.inf, 3.0001, -1e30], [-1e30, -2e30, -3e30, -np.inf]], np.float32)
    for seed in range(20):
        params = SamplingParams(temperature=temperature, seed=seed, **cut)
        assert sample(logits, 4, -1, [Sampler(params, [], 4) for _ in range(2)]).tokens == [2, 0]


def test_the_limit_of_large_temperatures_is_uniform() -> None:
    for temperature in (1e30, 1e300, float("inf")):
        found = drawn_shares(np.array([5.0, 0.0, -np.inf, -5.0]), temperature=temperature)
        assert found == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.02)


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_p": 0.5}])
@pytest.mark.parametrize("wrong", [[np.nan, 1.0], [1.0, np.nan], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_logits_that_are_no_numbers_are_an_error(settings: dict[str, Any], wrong: list[float]) -> None:
    rows, samplers = (
        np.array([wrong, [0, 1]], np.float32),
        [Sampler(SamplingParams(**settings), [], 2) for _ in range(2)],
    )
    failed, drawn = sample(rows, 2, -1, samplers).tokens
    assert "no numbers" in FAILURES[failed] and drawn in (0, 1)


def test_only_tokens_that_are_allowed_come() -> None:
    logits = np.arange(70, dtype=np.float32)[None]
    allowed = np.zeros(3, np.uint32)
    for params in (SamplingParams(), SamplingParams(temperature=50.0)):
        sampler = Sampler(params, [], 70)
        allowed[:] = [1 << 3, 1 << 31, 0]
        sampler.allow(allowed)
        found = {sample(logits, 70, -1, [sampler]).tokens[0] for _ in range(100)}
        assert found == ({63} if params.temperature == 0 else {3, 63})
        allowed[:] = 0
        assert "may come" in FAILURES[sample(logits, 70, -1, [sampler]).tokens[0]]
        sampler.allow(None)
        assert sample(logits, 70, 69, [sampler]).tokens[0] < 69


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": float("nan")},
        {"temperature": -1.0},
        {"top_p": float("nan")},
        {"repetition_penalty": 0.0},
        {"logprobs": 21},
    ],
)
def test_settings_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        SamplingParams(**wrong)

"""The engine against plain decoding: read everything again for every token."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path

import pytest
import torch
from command_line import python

from gristmill.errors import UserError
from gristmill.generation.decoder import NativeDecoder
from gristmill.generation.engine import Engine
from gristmill.generation.sampling_params import SamplingParams
from gristmill.model.transformer import load_model
from gristmill.tokenizer.encode import Tokenizer


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


def test_threads_that_ask_at_once_get_one_scheduler(model_folder: Path, tokenizer_folder: Path) -> None:
    """Each has its own answers: what one was given is not seen by whoever asks the other for a step."""
    for _ in range(20):
        engine = Engine(load_model(model_folder).eval(), Tokenizer.load(tokenizer_folder))
        with ThreadPoolExecutor(4) as pool:
            found = [*pool.map(attrgetter("scheduler"), [engine] * 4)]
        assert len({*map(id, found)}) == 1


def test_batched_cached_decoding_equals_plain_decoding(engine: Engine) -> None:
    prompts = [engine.tokenizer.encode(text) for text in ("The", "Old Anna paints the hill.", "A grey cat " * 9)]
    together = engine.generate(prompts, max_tokens=30)
    for prompt, completion in zip(prompts, together, strict=True):
        tokens, logprobs = greedy(engine, prompt, 30)
        assert completion.tokens == tokens
        assert completion.logprobs == pytest.approx(logprobs, abs=1e-3)
        assert list(engine.stream(prompt, SamplingParams(30))) == tokens


def test_in_doubt_an_answer_breaks_off_and_says_so(engine: Engine) -> None:
    prompt = engine.tokenizer.encode("The miller")
    plain = engine.generate([prompt], max_tokens=30)[0]
    at = 7
    doubt = engine.doubt(math.exp(math.fsum(plain.logprobs[: at + 1])) * 1.0001, "I do not know")  # of all up to there
    assert doubt is not None and engine.doubt(0.0, "I do not know") is None
    made = engine.generate([prompt, prompt], max_tokens=60, doubt=doubt)
    assert made[0] == made[1] and made[0].tokens == [*plain.tokens[:at], *doubt.says] and made[0].finish == "stop"
    assert engine.tokenizer.decode(made[0].tokens).endswith(" … I do not know.")
    assert list(engine.stream(prompt, SamplingParams(60, doubt=doubt))) == made[0].tokens
    cut = engine.generate([prompt], max_tokens=at + 2, doubt=doubt)[0]
    assert (cut.tokens, cut.finish) == (made[0].tokens[: at + 2], "length")
    drawn = [engine.generate([prompt], max_tokens=9, temperature=1.0, seed=3, doubt=one) for one in (None, doubt)]
    assert drawn[0] == drawn[1]
    at_once = engine.generate([prompt], max_tokens=60, doubt=engine.doubt(2.0, "I do not know"))[0]
    assert engine.tokenizer.decode(at_once.tokens) == "I do not know."  # where nothing was said, nothing breaks off


def test_a_seed_repeats_and_a_neighbour_changes_nothing_greedy(engine: Engine) -> None:
    prompts = [engine.tokenizer.encode("The miller"), engine.tokenizer.encode("Young Tom walks to the")]
    runs = [engine.generate(prompts, max_tokens=12, temperature=1.0, seed=seed) for seed in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]
    alone = [engine.generate([prompt], max_tokens=12)[0].tokens for prompt in prompts]
    assert [found.tokens for found in engine.generate(prompts, max_tokens=12)] == alone


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_answers_with_smaller_weights_are_mostly_the_same(
    engine: Engine, model_folder: Path, tokenizer_folder: Path, weights: str
) -> None:
    """At least nine in ten of the likeliest tokens, along what was said in float32, and nearly their likelihoods."""
    smaller = Engine.load(model_folder, tokenizer_folder, weights=weights)
    texts = ("The", "Old Anna paints the hill.", "A grey cat", "Young Tom walks to the", "The miller", "Every day")
    same = asked = 0
    for prompt in (engine.tokenizer.encode(text) for text in texts):
        said = engine.generate([prompt], max_tokens=30)[0]
        for place, token in enumerate(said.tokens):
            found = smaller.generate([prompt + said.tokens[:place]], max_tokens=1)[0]
            same, asked = same + (found.tokens == [token]), asked + 1
            if found.tokens == [token]:
                assert found.logprobs[0] == pytest.approx(said.logprobs[place], abs=0.2)
    assert asked > 50 and same >= 0.9 * asked


def test_weights_that_cannot_be_had_are_refused(
    engine: Engine, model_folder: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="float32, bfloat16, int8"):
        Engine.load(model_folder, tokenizer_folder, weights="int4")
    monkeypatch.setattr(NativeDecoder, "covers", lambda config: False)
    with pytest.raises(UserError, match="int8"):
        Engine.load(model_folder, tokenizer_folder, weights="int8")
    prompt = engine.tokenizer.encode("The")
    plain = Engine.load(model_folder, tokenizer_folder).generate([prompt], max_tokens=9)[0]
    assert plain.tokens == engine.generate([prompt], max_tokens=9)[0].tokens


def test_limits(engine: Engine) -> None:
    assert engine.generate([], max_tokens=5) == []
    assert engine.generate([[1]], max_tokens=0)[0].tokens == []
    long = [1] * (engine.context - 3)
    found = engine.generate([long, [1]], max_tokens=50)
    assert len(found[0].tokens) <= 3
    for wrong in ([], [1] * engine.context):
        with pytest.raises(UserError, match="does not fit"):
            engine.generate([wrong], max_tokens=1)


@pytest.mark.parametrize("wrong", [[99_999], [1, -1], [2**70], ["The"], [1.5]])
def test_what_is_no_token_is_named_and_not_looked_up(engine: Engine, wrong: list[int]) -> None:
    with pytest.raises(UserError, match="is no token of this model") as told:
        engine.generate([[1], wrong], max_tokens=1)
    assert repr(wrong[-1]) in told.value.problem
    last = engine.config.vocab_size - 1
    assert len(engine.generate([[last]], max_tokens=1)) == 1
    with pytest.raises(UserError, match=f"0 to {last}"):
        engine.generate([[last + 1]], max_tokens=1)


@pytest.mark.parametrize("temperature", [1e-30, 1e-40, 5e-324])
def test_the_limit_of_small_temperatures_is_greedy(engine: Engine, temperature: float) -> None:
    prompt = engine.tokenizer.encode("The")
    greedily = engine.generate([prompt], max_tokens=20)[0].tokens
    assert engine.generate([prompt], max_tokens=20, temperature=temperature, seed=1)[0].tokens == greedily


def test_the_token_that_ended_an_answer_is_told(engine: Engine) -> None:
    """Either of the two, as it was drawn, or none where a limit cut the answer off."""
    prompt = engine.tokenizer.encode("The")
    found = engine.generate([prompt], max_tokens=60, temperature=1.5, samples=200)
    ends = {completion.end for completion in found}
    assert ends == {None, *engine.stops}
    for completion in found:
        ended = completion.end is not None
        assert completion.finish == ("stop" if ended else "length")
        assert len(completion.logprobs) == len(completion.tokens) + ended
        assert ended or len(completion.tokens) == 60


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


def test_a_script_that_ends_with_an_engine_in_hand_ends_quietly(model_folder: Path, tokenizer_folder: Path) -> None:
    script = (
        f"from gristmill import Engine\nmine = Engine.load({str(model_folder)!r}, {str(tokenizer_folder)!r})\n"
        "mine.tokenizer.encode('a mill')\nsaid = mine.generate([[1, 2]], max_tokens=2)\ndef kept(): return mine\n"
    )
    done = python(script)
    assert (done.returncode, done.stderr) == (0, "")

"""With drafts, answers are what they are without, to the bit; they only take fewer steps."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gristmill.generation.decoder import NativeDecoder
from gristmill.generation.engine import Engine
from gristmill.generation.grammar import OneOf
from gristmill.generation.prompt_lookup import PromptLookup
from gristmill.generation.sampling_params import Doubt, SamplingParams
from gristmill.generation.scheduler import DRAFT_ROWS, DRAFTED_FOR, Generation, Scheduler
from gristmill.generation.torch_decoder import TorchDecoder
from gristmill.generation.weight_type import WeightType
from gristmill.serving.assistant import Assistant

Asked = tuple[list[int], SamplingParams]


@pytest.fixture(scope="module", params=WeightType)
def engine(request: pytest.FixtureRequest, model_folder: Path, tokenizer_folder: Path) -> Engine:
    """The tiny model's engine."""
    return Engine.load(model_folder, tokenizer_folder, weights=request.param)


def scheduler_of(engine: Engine, drafts: bool) -> Scheduler:
    """One that has read nothing; without drafts, as of a decoder with which they may change an answer."""
    decoder = engine.decoder()
    assert decoder.exact
    decoder.exact = drafts
    return Scheduler(decoder, engine.config.vocab_size, engine.tokenizer.im_start)


def answered(engine: Engine, asked: Sequence[Asked], drafts: bool) -> tuple[list[Generation], Scheduler]:
    """The answers, made together."""
    scheduler, made = scheduler_of(engine, drafts), [engine.begin(*one) for one in asked]
    for one in made:
        scheduler.add(one)
    while scheduler.step():
        pass
    assert not scheduler.pages.users and not scheduler.promised
    return made, scheduler


def alike(found: Sequence[Generation], expected: Sequence[Generation]) -> None:
    """Tokens, log-probabilities, alternatives and ends, bit for bit."""
    for one, plain in zip(found, expected, strict=True):
        assert list(one.made) == list(plain.made)
        assert one.tokens == plain.tokens and one.end == plain.end and str(one.error) == str(plain.error)


def repeating(engine: Engine, **settings: Any) -> Asked:
    """A question whose answer repeats itself and changes: two tokens are likelier than all others."""
    prompt = engine.tokenizer.encode("Old Anna paints the hill. The smith walks. Old Anna paints the hill. ")
    bias = dict.fromkeys(prompt[:2], 30.0)
    return prompt, SamplingParams(**{"max_tokens": 60, "logit_bias": bias, **settings})


SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"logit_bias": {}},
    "greedy, biased": {},
    "sampled": {"temperature": 1.2, "seed": 1},
    "cut": {"temperature": 3.0, "top_k": 2, "top_p": 0.9, "min_p": 0.05, "seed": 2},
    "penalties": {"temperature": 2.0, "presence_penalty": 1.0, "frequency_penalty": 0.1, "repetition_penalty": 1.1},
    "alternatives": {"temperature": 1.0, "logprobs": 3},
    "a token that ends it": {
        "temperature": 1.0,
        "stop_ids": (7,),
        "logit_bias": {5: 30.0, 6: 30.0, 7: 26.0},
        "seed": 5,
    },
    "doubt": {"doubt": Doubt(1e-60, (5, 6))},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_an_answer_is_the_same_with_drafts(name: str, engine: Engine) -> None:
    """Of every length: limits and ends come at the begin of a draft, within it and behind it."""
    drafted = accepted = steps = 0
    for length in (*range(1, 25), 60, 10_000):  # the last one up to the context
        asked = [repeating(engine, **{**SETTINGS[name], "max_tokens": length})]
        (found, scheduler), (expected, plain) = answered(engine, asked, True), answered(engine, asked, False)
        alike(found, expected)
        drafted, accepted = drafted + scheduler.drafted, accepted + scheduler.accepted
        steps += plain.steps - scheduler.steps
        assert not plain.drafted and not plain.accepted
        assert scheduler.pages.known.keys() == plain.pages.known.keys()
    assert drafted >= accepted > 0 and 0 < steps <= accepted


def test_a_form_is_the_same_with_drafts(engine: Engine) -> None:
    pytest.importorskip("llguidance")
    schema = {"type": "array", "minItems": 5, "items": {"type": "object", "properties": {"name": {"type": "string"}}}}
    accepted, form = 0, engine.grammars.json(schema)
    for temperature in (0.0, 0.3, 0.6):
        asked = [repeating(engine, grammar=form, logit_bias={}, temperature=temperature, max_tokens=200)]
        (found, scheduler), (expected, _) = answered(engine, asked, True), answered(engine, asked, False)
        alike(found, expected)
        accepted += scheduler.accepted
    assert accepted > 0


def test_an_answer_ends_where_it_does_within_a_draft(engine: Engine) -> None:
    """The prompt goes on after the end of what is said again."""
    end, said = engine.tokenizer.im_end, list(range(10, 30))
    prompt = [*said, end, *range(40, 60), *said[:7]]
    form = OneOf([said[7:]], end, engine.config.vocab_size)
    for length in range(1, 20):
        asked = [(prompt, SamplingParams(length, grammar=form))]
        (found, scheduler), (expected, _) = answered(engine, asked, True), answered(engine, asked, False)
        alike(found, expected)
        assert [token.token for token in found[0].made] == [*said[7:], end][:length]
        assert found[0].end == (end if length > 13 else None)
    assert scheduler.drafted > scheduler.accepted > 9 and scheduler.steps < 6


@pytest.mark.parametrize("count", [2, 3, 4, 5, 9])
def test_answers_made_together_are_the_same_with_drafts(count: int, engine: Engine) -> None:
    settings = [*SETTINGS.values()]
    asked = [
        repeating(engine, **{**settings[number % len(settings)], "seed": number, "max_tokens": 110 - 10 * number})
        for number in range(count)
    ]
    alone = [answered(engine, [one], False)[0][0] for one in asked]
    found, scheduler = answered(engine, asked, True)
    alike(found, alone)
    assert scheduler.drafted > scheduler.accepted > 0


def test_answers_that_join_and_leave_are_the_same_with_drafts(engine: Engine) -> None:
    """They are cancelled at any stage; what their drafts wrote is on no page that is shared."""
    draw, scheduler = random.Random(0), scheduler_of(engine, True)
    settings = [*SETTINGS.values()]
    asked = [repeating(engine, **{**draw.choice(settings), "seed": number}) for number in range(30)]
    asked = [(prompt[: draw.randrange(1, len(prompt))], params) for prompt, params in asked]
    expected, made = [answered(engine, [one], False)[0][0] for one in asked], [engine.begin(*one) for one in asked]
    for number, one in enumerate(made):
        scheduler.add(one)
        for _ in range(draw.randrange(25)):
            scheduler.step()
        if number % 3 == 0:
            scheduler.cancel([made[draw.randrange(number + 1)]])
    while scheduler.step():
        pass
    for one, plain in zip(made, expected, strict=True):
        assert list(plain.made)[: len(one.made)] == list(one.made)
    assert scheduler.accepted > 0 and scheduler.shared > 0
    assert not scheduler.pages.users and not scheduler.promised
    for one in made:  # who goes on from any of them reads its pages
        follow = [(one.tokens[: engine.context - 20], SamplingParams(10, logprobs=2))]
        again = engine.begin(*follow[0])
        scheduler.add(again)
        while scheduler.step():
            pass
        alike([again], answered(engine, follow, False)[0])


def test_only_few_answers_are_drafted_for(engine: Engine) -> None:
    """A step has at most so many tokens with drafts, and none beside a prompt that is read."""
    scheduler = scheduler_of(engine, True)
    made = [engine.begin(*repeating(engine, max_tokens=20 + 10 * number)) for number in range(DRAFT_ROWS)]
    for one in made:
        scheduler.add(one)
    while scheduler.going or scheduler.waiting:
        under_way, drafted, read = len(scheduler.going), scheduler.drafted, scheduler.read
        beginning = any(one.rows > 1 for one in scheduler.going) or scheduler.waiting
        scheduler.step()
        if scheduler.drafted > drafted:
            assert under_way <= DRAFTED_FOR and scheduler.read - read <= DRAFT_ROWS and not beginning
    assert scheduler.accepted > 0


def test_nothing_is_drafted_where_it_may_change_an_answer(engine: Engine) -> None:
    """PyTorch's sums depend on how many rows there are."""
    scheduler = Scheduler(TorchDecoder(engine.model), engine.config.vocab_size, engine.tokenizer.im_start)
    scheduler.add(engine.begin(*repeating(engine)))
    while scheduler.step():
        pass
    assert scheduler.steps and not scheduler.drafted


def test_stop_strings_end_an_answer_within_a_draft(engine: Engine) -> None:
    assistant = Assistant(engine, "tiny")
    for name in ("Old Anna", "The smith", "Walks", "paints, paints"):
        messages = [{"role": "user", "content": name}]
        whole = assistant.reply(messages, max_tokens=80).text()
        for at in range(3, len(whole) - 3, 9):
            stop = whole[at : at + 3]
            assert assistant.reply(messages, max_tokens=80, stop=[stop]).text() == whole[: whole.index(stop)]
            assert not engine.scheduler.going and not engine.scheduler.pages.users
    assert engine.scheduler.accepted > 0


def test_what_followed_is_drafted_half_as_long_as_the_match() -> None:
    lookup = PromptLookup()
    text = [*range(100, 120), *range(20)]
    assert lookup.draft(text, 7) == []
    text += range(100, 102)
    assert lookup.draft(text, 7) == [102]
    text += range(102, 106)
    assert lookup.draft(text, 7) == [106, 107, 108]
    text += range(106, 116)
    assert lookup.draft(text, 7) == [116, 117, 118, 119, 0, 1, 2]
    assert lookup.draft(text, 2) == [116, 117]
    assert PromptLookup().draft([1, 2, 3] * 4, 5) == [1, 2, 3, 1]  # as what repeats goes on
    assert PromptLookup().draft([9] * 30, 5) == [9] * 5
    assert PromptLookup().draft([1, 5, 6, 7, 8, 2, 5, 6, 3, 5, 6], 4) == [3]  # the last one of several
    assert PromptLookup().draft([1, 1], 4) == PromptLookup().draft([1, 2, 1], 4) == []
    lookup, text = PromptLookup(), [1, 2, 3, 4, 5, 9, 2, 3, 6, 1, 2]
    assert lookup.draft(text, 4) == [3] and lookup.draft([*text, 3], 4) == [4]  # where the text is followed already


def test_a_text_whose_drafts_are_refused_is_drafted_less(engine: Engine) -> None:
    """Digits drawn evenly: two in a row stood there before, and say nothing of the next one."""
    params = SamplingParams(10_000, temperature=10.0, logit_bias=dict.fromkeys(range(20, 26), 200.0), seed=3)
    _, scheduler = answered(engine, [(list(range(20, 26)), params)], True)
    assert isinstance(scheduler.decoder, NativeDecoder)
    answer = engine.context - 6
    assert 0 < scheduler.drafted < answer / 4

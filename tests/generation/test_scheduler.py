"""Answers that are made together get what they would get alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from gristmill.errors import UserError
from gristmill.generation.cache_pages import KEPT
from gristmill.generation.decoder import PAGE
from gristmill.generation.engine import Engine, completion
from gristmill.generation.sampling_params import SamplingParams
from gristmill.generation.scheduler import SLOTS, Generation, Scheduler
from gristmill.generation.torch_decoder import TorchDecoder


@pytest.fixture
def engine(model_folder: Path, tokenizer_folder: Path) -> Engine:
    """The tiny model's engine, which has read nothing yet."""
    return Engine.load(model_folder, tokenizer_folder)


def requests(engine: Engine, count: int) -> list[tuple[list[int], SamplingParams]]:
    """Prompts of many lengths, some of which begin alike, each with its own settings."""
    draw, whole = random.Random(0), engine.tokenizer.encode("Old Anna paints the hill. The smith walks. " * 20)
    made = []
    for number in range(count):
        start = draw.choice([0, 0, 0, number % 40])
        prompt = whole[start : start + draw.randrange(1, 100)]
        params = SamplingParams(
            max_tokens=draw.randrange(0, 40),
            temperature=draw.choice([0.0, 0.8, 1.5]),
            top_p=draw.choice([0.9, 1.0]),
            presence_penalty=draw.choice([0.0, 0.5]),
            seed=number,
            logprobs=draw.choice([0, 2]),
        )
        made.append((prompt, params))
    return made


def alone(engine: Engine, prompt: list[int], params: SamplingParams) -> Generation:
    """The answer when there is no other, nor was."""
    scheduler = Scheduler(engine.decoder(), engine.config.vocab_size, engine.tokenizer.im_start)
    made = engine.begin(prompt, params)
    scheduler.add(made)
    while scheduler.step():
        pass
    return made


def test_answers_that_join_and_leave_at_any_step_are_those_made_alone(engine: Engine) -> None:
    asked, draw, scheduler = requests(engine, 40), random.Random(1), engine.scheduler
    expected = [alone(engine, *one) for one in asked]
    made = [engine.begin(*one) for one in asked]
    left = set(draw.sample(range(40), 10))
    for number, one in enumerate(made):
        scheduler.add(one)
        for _ in range(draw.randrange(4)):
            scheduler.step()
        if number in left:  # at whatever stage it is
            gone = made[draw.randrange(number + 1)]
            kept = list(gone.made)
            scheduler.cancel([gone])
            assert gone.done and not gone.pages and gone not in scheduler.going
            scheduler.step()
            assert list(gone.made) == kept
    while scheduler.step():
        pass
    whole = 0
    for one, plain in zip(made, expected, strict=True):
        assert one.done and list(plain.made)[: len(one.made)] == list(one.made)  # bit for bit
        whole += len(one.made) == len(plain.made)
    assert whole > 25
    assert scheduler.shared > 0 and not scheduler.going and not scheduler.waiting
    assert not scheduler.pages.users and not scheduler.promised


def test_greedy_answers_are_those_of_the_plain_forward_pass(engine: Engine) -> None:
    prompts = [prompt for prompt, _ in requests(engine, 30)]
    found = engine.generate(prompts, max_tokens=20)
    for prompt, answer in zip(prompts, found, strict=True):
        ids = list(prompt)
        for token in [*answer.tokens, *([] if answer.end is None else [answer.end])]:
            with torch.no_grad():
                logits = engine.model(torch.tensor([ids]))[0, -1]
            logits[engine.tokenizer.im_start] = -torch.inf
            assert int(logits.argmax()) == token
            ids.append(token)


def test_a_prompt_that_many_begin_with_is_read_once(engine: Engine) -> None:
    scheduler, prompt = engine.scheduler, list(range(50))
    first = engine.generate([prompt], max_tokens=3, samples=8)
    assert scheduler.read <= 49 + 8 * 3 and scheduler.shared == 7 * 49
    before = scheduler.read
    again = engine.generate([[*prompt, 7]], max_tokens=1)
    assert again[0].tokens and scheduler.read - before == 3
    assert len({tuple(one.tokens) for one in first}) == 1


@pytest.mark.parametrize("decoder", ["native", "torch"])
@pytest.mark.parametrize("length", [1, 2, PAGE, PAGE + 1, PAGE + 2, 2 * PAGE])
def test_answers_to_one_prompt_are_those_made_alone(decoder: str, length: int, engine: Engine) -> None:
    """More of them than there are slots: the prompt is read once, but for its last token."""
    made = TorchDecoder(engine.model) if decoder == "torch" else engine.decoder()
    scheduler = Scheduler(made, engine.config.vocab_size, engine.tokenizer.im_start)
    params, count = SamplingParams(4, temperature=1.5, seed=1), SLOTS + 6
    answers = [engine.begin(list(range(5, 5 + length)), params, number) for number in range(count)]
    for one in answers:
        scheduler.add(one)
    while scheduler.step():
        pass
    assert scheduler.shared == (count - 1) * (length - 1) and not scheduler.promised and not scheduler.pages.users
    assert len({tuple(one.tokens) for one in answers}) > count // 2
    for number in range(0, count, 7):
        plain = Scheduler(engine.decoder(), engine.config.vocab_size, engine.tokenizer.im_start)
        single = engine.begin(list(range(5, 5 + length)), params, number)
        plain.add(single)
        while plain.step():
            pass
        assert single.tokens == answers[number].tokens
        if decoder == "native":
            assert list(single.made) == list(answers[number].made)  # bit for bit


def test_a_long_prompt_holds_up_nobody(engine: Engine) -> None:
    """While it is read, in parts, the others get a token each step."""
    scheduler = engine.scheduler
    short = engine.begin([5], SamplingParams(40))
    scheduler.add(short)
    scheduler.step()
    long = engine.begin(list(range(120)), SamplingParams(1))
    scheduler.add(long)
    steps = 0
    while not long.done:
        before, steps = len(short.made), steps + 1
        scheduler.step()
        assert len(short.made) == before + 1 or short.done
    assert steps > 1
    scheduler.cancel([short])


def test_more_than_there_are_slots_for_wait(engine: Engine) -> None:
    found = engine.generate([[number] for number in range(SLOTS + 9)], max_tokens=2)
    assert [one.tokens for one in found[-9:]] == [
        one.tokens for one in engine.generate([[number] for number in range(SLOTS, SLOTS + 9)], max_tokens=2)
    ]


def test_memory_does_not_grow_with_what_was_answered(engine: Engine) -> None:
    draw = random.Random(0)
    for _ in range(60):
        engine.generate([[draw.randrange(300) for _ in range(100)] for _ in range(20)], max_tokens=1)
    most = KEPT + 20 * (128 // PAGE)
    assert len(engine.scheduler.pages.keys) <= most
    assert len(engine.scheduler.decoder.pages) <= most  # type: ignore[attr-defined]


def test_a_model_that_is_trained_on_answers_with_its_new_weights(engine: Engine) -> None:
    trained = Engine(engine.model, engine.tokenizer)
    prompt = list(range(40))
    before = trained.generate([prompt], max_tokens=8)[0]
    with torch.no_grad():
        for weight in trained.model.parameters():
            weight.mul_(1.3)
    after = trained.generate([prompt], max_tokens=8)[0]
    assert after == Engine(trained.model, engine.tokenizer).generate([prompt], max_tokens=8)[0] != before


def test_prompts_are_scored_as_the_plain_forward_pass_has_them(engine: Engine) -> None:
    prompt = engine.tokenizer.encode("Old Anna paints the hill. " * 8)[:90]
    made = engine.begin(prompt, SamplingParams(0, logprobs=2), scored=True)
    more = engine.begin(prompt, SamplingParams(3, logprobs=2), scored=True)
    for one in (made, more):
        engine.scheduler.add(one)
    while engine.scheduler.step():
        pass
    with torch.no_grad():
        exact = engine.model(torch.tensor([prompt]))[0].log_softmax(-1)
    for one in (made, more):
        assert [score.token for score in one.prompt_scores] == prompt[1:]
        for place, found in enumerate(one.prompt_scores):
            assert found.logprob == pytest.approx(float(exact[place, prompt[place + 1]]), abs=1e-3)
            assert list(found.likeliest.values()) == pytest.approx(exact[place].topk(2).values.tolist(), abs=1e-3)
    assert not made.made and completion(more).tokens == engine.generate([prompt], max_tokens=3)[0].tokens
    assert made.done and more.done


def test_what_is_left_half_read_is_freed(engine: Engine) -> None:
    stream = engine.stream([1, 2, 3], SamplingParams(100))
    next(stream)
    assert engine.scheduler.going
    stream.close()
    assert not engine.scheduler.going
    with pytest.raises(UserError, match="does not fit"):
        next(engine.stream([1] * engine.context, SamplingParams(1)))


def test_logits_that_are_no_numbers_end_their_answer_with_an_error(engine: Engine) -> None:
    model = engine.model
    with torch.no_grad():
        model.embed.weight[7] = float("nan")
    broken = Engine(model, engine.tokenizer)
    whole, failed = broken.begin([1, 2], SamplingParams(2)), broken.begin([7], SamplingParams(2))
    for one in (whole, failed):
        broken.scheduler.add(one)
    while broken.scheduler.step():
        pass
    assert isinstance(failed.error, ArithmeticError) and failed.done
    assert whole.error is None and whole.made
    with pytest.raises(ArithmeticError):
        broken.generate([[7]], max_tokens=1)

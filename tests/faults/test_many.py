"""Time grows with how many there are and not with their square: prompts, turns, scorings, secrets."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest
import torch

from gristmill.audit.prompting import others
from gristmill.chat.template import lessons, template_of
from gristmill.generation.engine import Engine
from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training.overfitting import WATCH

MANY = {"prompts": 6_000, "turns": 200, "scorings": 4_000, "secrets": 4_000}
TIMES = 4


def prompts(words: Tokenizer) -> Callable[[int], object]:
    engine = Engine(Transformer(ModelConfig(words.vocab_size, 1, 16, 1, 1, 16, 16, context=8)).eval(), words)
    return lambda count: engine.generate([[number % 300, number % 7, 3] for number in range(count)], max_tokens=1)


def turns(words: Tokenizer) -> Callable[[int], object]:
    """Of a conversation that is too long, in a template of which it is not known that turns stay as they are."""
    source = template_of(words).source + "{# another #}"
    own = Tokenizer(words.pieces, words.pattern, controls=words.controls, chat_template=source)
    talk = [{"role": "user", "content": "And?"}, {"role": "assistant", "content": "So."}]
    return lambda count: lessons(talk * (count // 2), own, 100)


def scorings(_: Tokenizer) -> Callable[[int], object]:
    return lambda count: WATCH.warnings(
        [{"step": number, "heldout_bpb": 1 + number % 7 / 1000, "train_bpb": 0.9} for number in range(count)]
    )


def secrets(_: Tokenizer) -> Callable[[int], object]:
    return lambda count: others([{"secret": f"user{number:06}@mail.test"} for number in range(count)], 0)


def seconds(call: Callable[[int], object], count: int) -> float:
    """Without Python's collector of cycles, as timeit has it: what that takes depends on what else is in memory."""
    gc.collect()
    gc.disable()
    began = time.process_time()
    try:
        call(count)
        return time.process_time() - began
    finally:
        gc.enable()


@pytest.mark.parametrize("make", [prompts, turns, scorings, secrets])
def test_four_times_as_many_take_about_four_times_as_long(
    make: Callable[[Tokenizer], Callable[[int], object]], tokenizer: Tokenizer
) -> None:
    torch.manual_seed(0)
    call, count = make(tokenizer), MANY[make.__name__]
    call(10)
    small, large = seconds(call, count), seconds(call, TIMES * count)
    assert large < 8 * small + 0.2, f"{small:.3f} s, then {large:.3f} s"

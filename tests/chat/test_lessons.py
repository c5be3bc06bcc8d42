"""What is learned of a conversation of several turns: each answer once, as generation gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from foreign_models import saved

from gristmill.chat.layouts import answered
from gristmill.chat.template import lessons, render, template_of, with_answer
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.import_hf import adopt
from gristmill.tokenizer.formats.vocabulary_files import CONTROL

MARKS = ("<think>", "</think>")
CALL = {"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": {"town": "Low"}}}
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "How warm is it?"},
    {"role": "assistant", "content": "Twelve. ", "reasoning_content": "It is May."},
    {"role": "user", "content": "And colder?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "In Low?"},
    {"role": "assistant", "content": "", "reasoning_content": "I do not know.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call00001", "content": "7"},
    {"role": "assistant", "content": "Seven.", "reasoning_content": "Now I do."},
]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def ours(tokenizer: Tokenizer) -> Tokenizer:
    return Tokenizer(tokenizer.pieces, tokenizer.pattern, controls=(*CONTROL, *MARKS), shown=MARKS)


@pytest.fixture(scope="module", params=["ours", "without tokens for thoughts", "Qwen3Tools", "LlamaTools"])
def words(
    request: pytest.FixtureRequest, corpus: Path, ours: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tokenizer, int]:
    """A tokenizer with its template, and how many rows it makes of TALK."""
    if request.param == "ours":
        return ours, 2
    if request.param == "without tokens for thoughts":
        return Tokenizer(ours.pieces, ours.pattern, controls=CONTROL), 1
    folder = tmp_path_factory.mktemp("foreign")
    adopt(saved(corpus, folder, request.param), folder / "tokenizer.json")
    return Tokenizer.load(folder), 4 if request.param == "Qwen3Tools" else 1  # it thinks nothing before earlier answers


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 1, 0, 1), (1, 0, 0, 0)])
def test_each_answer_is_learned_once_as_generation_gives_it(
    words: tuple[Tokenizer, int], weights: tuple[int, ...]
) -> None:
    tokens, count = words
    places = [at for at, one in enumerate(TALK) if one["role"] == "assistant"]
    record = [{**one, "weight": weights[places.index(at)]} if at in places else one for at, one in enumerate(TALK)]
    talk = answered({"messages": record, "tools": TOOLS})
    places = [at for at, one in enumerate(talk) if one["role"] == "assistant"]
    rows, learned = lessons(talk, tokens), 0
    for at, weight in zip(places, weights, strict=True):
        prompt, answer = with_answer(talk[:at], talk[at], tokens)
        assert prompt == render(talk[:at], tokens, generation_prompt=True)[0]
        end = len(prompt) + len(answer)
        found = [mask for ids, mask in rows if ids[:end] == prompt + answer and all(mask[len(prompt) : end])]
        assert len(found) == weight
        learned += weight * len(answer)
    assert sum(sum(mask) for _, mask in rows) == learned
    assert len(rows) == count or not all(weights)


def test_what_was_thought_earlier_is_not_read_again(ours: Tokenizer) -> None:
    talk = answered({"messages": TALK, "tools": TOOLS})
    text = ours.decode(render(talk, ours)[0])
    assert "It is May." not in text and "assistant\nTwelve. " in text
    assert "<think>\nI do not know.\n</think>" in text and "<think>\nNow I do.\n</think>\n\nSeven." in text
    sent_back = [{"role": "system", "content": "", "tools": TOOLS}, *TALK]
    assert render(sent_back[:-1], ours, generation_prompt=True)[0] == with_answer(talk[:-1], talk[-1], ours)[0]


def test_a_template_that_drops_every_thought_does_not_drop_what_is_learned(ours: Tokenizer) -> None:
    r1 = (  # in the manner of DeepSeek-R1's and QwQ's
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
        "{% if message['role'] == 'assistant' %}"
        "{{ message['content'].split('</think>')[-1].lstrip('\n') }}{% else %}{{ message['content'] }}{% endif %}"
        "{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    )
    words = Tokenizer(ours.pieces, ours.pattern, controls=ours.controls, shown=MARKS, chat_template=r1)
    talk = answered({"messages": [one for one in TALK if one["role"] != "tool" and "tool_calls" not in one][:-1]})
    talk += answered({"messages": [TALK[4], TALK[-1]]})[1:]
    rows = lessons(talk, words)
    said = [words.decode([one for one, learned in zip(*row, strict=True) if learned]) for row in rows]
    assert sorted(said) == sorted(
        ["<think>\nIt is May.\n</think>\n\nTwelve. ", "Two.<think>\nNow I do.\n</think>\n\nSeven."]
    )
    assert all("May" not in words.decode(row[0]) for row in rows if "Now" in words.decode(row[0]))
    prompt, answer = with_answer(talk[:1], talk[1], words)
    assert words.decode(prompt).endswith("<think>\n") and words.shown["</think>"] in answer


def test_a_thought_can_be_told_to_be_over(ours: Tokenizer, tokenizer: Tokenizer) -> None:
    template, asks = template_of(ours), [{"role": "user", "content": "Why?"}]
    thinks, silent = (template.render(asks, opened=True, thinks=thinks)[0] for thinks in (True, False))
    assert template.stops_thought and silent == thinks + ours.encode("<think>\n\n</think>\n\n")
    assert not template_of(tokenizer).stops_thought

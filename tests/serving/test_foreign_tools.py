"""Functions that models by others call, in the words of their own templates, through OpenAI's client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest
from foreign_models import saved
from models import Listen

from gristmill.chat.template import render, template_of
from gristmill.chat.tools import Calls
from gristmill.generation.engine import Engine
from gristmill.model.formats.gguf_format import read_foreign_model
from gristmill.serving.assistant import Assistant
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.import_hf import adopt

TOWN: dict[str, Any] = {
    "type": "object",
    "properties": {"town": {"type": "string", "maxLength": 6}, "day": {"type": "integer", "minimum": 1, "maximum": 31}},
    "required": ["town", "day"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": TOWN}}]
ASK: dict[str, Any] = {"role": "user", "content": "How warm is the river?"}


@pytest.fixture(scope="module", params=["LlamaTools", "Qwen3Tools", "Smol"])
def foreign(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Assistant:
    """The assistant of a model by others."""
    source = saved(corpus, tmp_path_factory.mktemp("foreign"), request.param, context=1600)
    adopt(source, (file := tmp_path_factory.mktemp("adopted") / "tokenizer.json"))
    words = Tokenizer.load(file)
    return Assistant(Engine(read_foreign_model(source, words.vocab_size).eval(), words), request.param)


@pytest.fixture(scope="module")
def client(foreign: Assistant, listen: Listen) -> Iterator[openai.OpenAI]:
    """OpenAI's own client of a server of it."""
    with listen(foreign) as address:
        yield openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)


def test_a_call_that_is_required_is_written_in_the_models_words(client: openai.OpenAI, foreign: Assistant) -> None:
    asked: dict[str, Any] = {"model": foreign.name, "messages": [ASK], "tools": TOOLS, "tool_choice": "required"}
    asked |= {"seed": 3, "temperature": 1.2, "max_tokens": 300}
    whole = client.chat.completions.create(**asked).choices[0]
    (call,) = whole.message.tool_calls or []
    arguments = call.to_dict()["function"]["arguments"]
    jsonschema.validate(json.loads(arguments), TOWN)
    assert whole.finish_reason == "tool_calls" and not whole.message.content
    parts = [event.choices[0].delta for event in client.chat.completions.create(**asked, stream=True)]
    told = [part.tool_calls[0].function for part in parts if part.tool_calls]
    assert "".join(one.arguments or "" for one in told if one) == arguments
    functions: list[Any] = [{"type": "function", **TOOLS[0]["function"]}]
    said: Any = [ASK]
    called = client.responses.create(model=foreign.name, input=said, tools=functions, tool_choice="required")
    assert [one.type for one in called.output] == ["function_call"]


def test_what_is_read_is_what_training_reads(client: openai.OpenAI, foreign: Assistant) -> None:
    function: dict[str, Any] = {"name": "weather", "arguments": {"town": "Marl", "day": 3}}
    call: Any = {
        "id": "c1",
        "type": "function",
        "function": {**function, "arguments": json.dumps(function["arguments"])},
    }
    result = {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "12"}
    talk: list[Any] = [ASK, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    found = client.chat.completions.create(model=foreign.name, messages=talk, tools=TOOLS, max_tokens=1)
    read = [
        {"role": "system", "content": "", "tools": TOOLS},
        ASK,
        {"role": "assistant", "content": "", "tool_calls": [{**call, "function": function}]},
        result,
    ]
    ids, _ = render(read, foreign.engine.tokenizer, generation_prompt=True)
    assert found.usage and found.usage.prompt_tokens == len(ids)
    assert foreign.prompt([*read[1:], read[0]]) == ids  # wherever tools are told of
    items: list[Any] = [ASK, {"type": "function_call", "call_id": "c1", **call["function"]}]
    items += [{"type": "function_call_output", "call_id": "c1", "output": "12"}]
    tools: list[Any] = [{"type": "function", **TOOLS[0]["function"]}]
    response = client.responses.create(model=foreign.name, input=items, tools=tools, max_output_tokens=1)
    assert response.usage and response.usage.input_tokens == len(ids)


def test_what_a_template_refuses_is_the_clients_to_mend(client: openai.OpenAI, foreign: Assistant) -> None:
    calls = [
        {"id": name, "type": "function", "function": {"name": "weather", "arguments": '{"town": "Marl"}'}}
        for name in "ab"
    ]
    results = [{"role": "tool", "tool_call_id": name, "content": "12"} for name in "ab"]
    talk: Any = [ASK, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    asked: dict[str, Any] = {"model": foreign.name, "messages": talk, "tools": TOOLS, "max_tokens": 1}
    if foreign.name == "LlamaTools":
        with pytest.raises(openai.BadRequestError, match="refuses it: one call at a time"):
            client.chat.completions.create(**asked)
    else:
        assert client.chat.completions.create(**asked).usage


def test_a_call_as_the_template_writes_it_is_read_back(foreign: Assistant) -> None:
    tokenizer = foreign.engine.tokenizer
    call = {"type": "function", "function": {"name": "weather", "arguments": {"town": "Marl", "day": 3}}}
    talk: list[Any] = [{"role": "system", "content": "", "tools": TOOLS}, ASK]
    talk += [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "12"}]
    ids, mask = render([*talk, {"role": "assistant", "content": "!", "weight": 0}], tokenizer)
    said = [token for token, learned in zip(ids, mask, strict=True) if learned]
    form = template_of(tokenizer).call
    assert form and said[-1] == tokenizer.im_end
    text = tokenizer.decode(said)
    reader = Calls(form)
    found = [*reader.add(text), *reader.end()]
    assert found[0] == ("name", "weather") and json.loads(found[1][1]) == call["function"]["arguments"]  # type: ignore[index]
    held = foreign.engine.grammars.made(form.grammar([("weather", TOWN)], forced=False, several=True))
    for token in said:
        bits = held.allowed()
        assert bits[token // 32] >> token % 32 & 1, "an answer left to the model may be this call"
        held.accept(token)


def test_a_long_talk_keeps_calls_with_their_results(foreign: Assistant) -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": {"town": "Marl", "day": 3}}}
    one: list[Any] = [ASK, {"role": "assistant", "content": "", "tool_calls": [call]}]
    one += [{"role": "tool", "content": "12"}, {"role": "assistant", "content": "It is 12."}]
    ids, dropped = foreign.fitted([{"role": "system", "content": "", "tools": TOOLS}, *one * 40, ASK])
    assert dropped and dropped % 4 == 0 and len(ids) <= 0.75 * foreign.engine.context
    least = foreign.fitted([{"role": "system", "content": "", "tools": TOOLS}, *one * (40 - dropped // 4), ASK])
    assert least == (ids, 0)
    more = foreign.fitted([{"role": "system", "content": "", "tools": TOOLS}, *one * (41 - dropped // 4), ASK])
    assert more == (ids, 4)


def test_a_template_with_a_way_of_its_own_is_refused_by_name(listen: Listen, foreign: Assistant) -> None:
    odd = foreign.engine.tokenizer.chat_template.replace('{"name": "', "<call>").replace('"arguments"', '"with"')
    words = foreign.engine.tokenizer
    other = Tokenizer(words.pieces, words.pattern, "", words.controls, odd, words.shown)
    if odd == words.chat_template:
        return
    with listen(Assistant(Engine(foreign.engine.model, other), "odd")) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="in a way that is not known here") as told:
            client.chat.completions.create(model="odd", messages=[ASK], tools=TOOLS)  # type: ignore[list-item]
        assert told.value.param == "tools"

"""Answers of a given form, by a model that says anything: they parse and fit, whatever is drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openai
import pytest
from models import Listen

from gristmill.generation.grammar import Grammars
from gristmill.serving.assistant import Assistant
from gristmill.tokenizer.encode import Tokenizer

ASK: list[Any] = [{"role": "user", "content": "Who walks to the river?"}]


def thing(**properties: Any) -> dict[str, Any]:
    """A closed object, all of whose properties are required, as OpenAI's strict mode has it."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SHORT = {"type": "string", "maxLength": 8}
DAY = {"type": "integer", "minimum": 1, "maximum": 31}
SCHEMAS: list[Any] = [
    {"enum": ["yes", "no", 3, None, {"a": [1, 2]}]},
    {"const": "fixed “text” \n with\tcontrols"},
    {"type": "boolean"},
    {"type": "null"},
    DAY,
    {"type": "integer", "exclusiveMinimum": -5, "exclusiveMaximum": 5, "multipleOf": 2},
    {"type": "number", "minimum": -1, "maximum": 1, "multipleOf": 0.25},
    SHORT,
    {"type": "string", "minLength": 3, "maxLength": 3},
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
    {"type": "string", "format": "date"},
    {"type": ["string", "null"], "maxLength": 2},
    {"anyOf": [DAY, SHORT, {"type": "null"}]},
    {"type": "array", "items": DAY, "minItems": 1, "maxItems": 4},
    {"type": "array", "prefixItems": [SHORT, DAY], "items": False, "minItems": 2},
    thing(name=SHORT, day=DAY),
    thing(where=thing(river=SHORT, bank={"enum": ["left", "right"]}), when=DAY),
    thing(people={"type": "array", "items": thing(name=SHORT, born=DAY), "maxItems": 2}),
    {
        "$defs": {"node": thing(value=DAY, next={"anyOf": [{"$ref": "#/$defs/end"}, {"type": "null"}]}), "end": DAY},
        "$ref": "#/$defs/node",
    },
    {
        "type": "object",
        "properties": {"a": DAY, "b": SHORT, "ключ": {"type": "boolean"}},
        "required": ["b"],
        "additionalProperties": False,
    },
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_answer_parses_and_fits(client: openai.OpenAI, schema: Any) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "form", "schema": schema, "strict": True}}
    for temperature in (0, 1, 2):
        found = client.chat.completions.create(
            model="tiny",
            messages=ASK,
            response_format=form,
            n=5,
            seed=temperature,
            temperature=temperature,
            max_tokens=600,
        )
        for choice in found.choices:
            assert choice.finish_reason == "stop"
            jsonschema.validate(json.loads(choice.message.content or ""), schema)


def test_an_object_of_any_kind(client: openai.OpenAI, roomy: Assistant) -> None:
    engine = roomy.engine
    close = {str(engine.tokenizer.encode(text)[0]): 9 for text in ('"', "}", ":")}
    found = client.chat.completions.create(
        model="tiny",
        messages=ASK,
        response_format={"type": "json_object"},
        n=16,
        temperature=1,
        seed=1,
        logit_bias=close,
    )
    ended = [choice.message.content or "" for choice in found.choices if choice.finish_reason == "stop"]
    assert len(ended) > 8 and all(isinstance(json.loads(text), dict) for text in ended)


def test_it_streams_and_shares_a_batch_with_free_answers(client: openai.OpenAI) -> None:
    schema = thing(name=SHORT, day=DAY)
    form: Any = {"type": "json_schema", "name": "form", "schema": schema}
    plain = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=20).choices[0].message.content
    stream = client.responses.create(model="tiny", input=ASK[0]["content"], text={"format": form}, stream=True)
    text = ""
    for event in stream:
        again = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=20)
        assert again.choices[0].message.content == plain
        text += event.delta if event.type == "response.output_text.delta" else ""
    jsonschema.validate(json.loads(text), schema)
    whole = client.responses.create(model="tiny", input=ASK[0]["content"], text={"format": form})
    assert whole.output_text == text and whole.text and whole.text.format and whole.text.format.type == "json_schema"


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"type": "json_schema"}, "json_schema"),
        ({"type": "yaml"}, "type"),
        ({"type": "json_schema", "json_schema": {"schema": {"not": {"type": "null"}}}}, "not"),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "strnig"}}}, "strnig"),
        ({"type": "json_schema", "json_schema": {"schema": {"$ref": "http://evil.test/"}}}, "evil"),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": "(a"}}}, "regex"),
        ({"type": "json_schema", "json_schema": {"schema": DAY | {"minimum": 40}}}, "minimum"),
        ({"type": "json_schema", "json_schema": {"schema": 3}}, "schema"),
    ],
)
def test_forms_that_are_none_are_refused_by_name(address: str, form: Any, named: str) -> None:
    found = httpx.post(f"{address}/v1/chat/completions", json={"messages": ASK, "response_format": form})
    error = found.json()["error"]
    assert found.status_code == 400 and named in error["message"] and error["param"].startswith("response_format")


def test_a_form_and_functions_are_refused_together(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "function": {"name": "f"}}]
    with pytest.raises(openai.BadRequestError, match="not supported together with tools") as error:
        client.chat.completions.create(model="tiny", messages=ASK, response_format={"type": "json_object"}, tools=tools)
    assert error.value.param == "response_format"


def test_a_form_without_end_costs_no_more_than_its_tokens(client: openai.OpenAI) -> None:
    bomb: Any = {"$defs": {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 40} for i in range(20)}}
    bomb = bomb | {"$ref": "#/$defs/d0", "type": "object"}
    bomb["$defs"]["d20"] = {"type": "string", "pattern": "(a{1,900}){1,900}b"}
    form: Any = {"type": "json_schema", "json_schema": {"name": "bomb", "schema": bomb}}
    with pytest.raises(openai.BadRequestError, match="response_format"):
        client.chat.completions.create(model="tiny", messages=ASK, response_format=form, timeout=60)
    assert client.chat.completions.create(model="tiny", messages=ASK, max_tokens=2).choices


def test_without_the_library_it_is_refused_with_the_remedy(
    run_folder: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    plain = Assistant.load(run_folder / "sft", run_folder / "tokenizer", "tiny")
    with listen(plain) as address:
        body = {"messages": ASK, "response_format": {"type": "json_object"}}
        found = httpx.post(f"{address}/v1/chat/completions", json=body)
        assert found.status_code == 400 and "gristmill[json]" in found.json()["error"]["message"]
        assert httpx.post(f"{address}/v1/chat/completions", json={"messages": ASK, "max_tokens": 1}).status_code == 200


def test_a_grammar_counts_bytes(roomy: Assistant) -> None:
    grammar = Grammars(roomy.engine.tokenizer).json({"const": "ж"})
    for byte in '"ж"'.encode():
        tokens = roomy.engine.tokenizer.pieces.index(bytes([byte]))
        assert grammar.allowed()[tokens // 32] >> tokens % 32 & 1
        grammar.accept(tokens)
    stops = (roomy.engine.tokenizer.im_end, roomy.engine.tokenizer.end_of_text)
    bits = [
        token for token in range(roomy.engine.tokenizer.vocab_size) if grammar.allowed()[token // 32] >> token % 32 & 1
    ]
    assert sorted(bits) == sorted(stops)


def test_no_thought_begins_or_ends_within_json(tokenizer: Tokenizer) -> None:
    marks = ("<think>", "</think>")
    thinking = Tokenizer(tokenizer.pieces, tokenizer.pattern, controls=(*tokenizer.controls, *marks), shown=marks)
    grammar = Grammars(thinking).json({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    for token in thinking.encode('{"a":"'):
        grammar.accept(token)
    held = grammar.copy().allowed()
    allowed = [token for token in range(thinking.vocab_size) if held[token // 32] >> token % 32 & 1]
    assert thinking.pieces.index(b"<") in allowed and not {*thinking.shown.values()} & {*allowed}

"""Functions in the template: as transformers renders it, and read back from an answer however it is cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Peer

from gristmill.chat.chatml import JINJA
from gristmill.chat.layouts import answered
from gristmill.chat.template import render
from gristmill.chat.tools import OURS, CallForm, Calls, as_text, call_text, listing, result_text
from gristmill.tokenizer.encode import Tokenizer

WEATHER = {
    "name": "weather",
    "description": "The weather in a town, in <b>degrees</b> & 'words'.",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
}
NOW = {"name": "now"}


@pytest.mark.parametrize("system", [True, False])
@pytest.mark.parametrize("written", [True, False])
def test_what_is_read_is_what_transformers_renders(
    tokenizer_folder: Path, tokenizer: Tokenizer, system: bool, written: bool
) -> None:
    from transformers import PreTrainedTokenizerFast

    peer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_folder / "tokenizer.json"), chat_template=JINJA)
    town = {"town": "Löwen"}
    arguments: Any = json.dumps(town, ensure_ascii=False) if written else town
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    given: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}] if system else []
    given += [
        {"role": "user", "content": "How warm is it?"},
        {"role": "assistant", "content": "I ask.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "12"},
    ]
    tools: list[Any] = [{"type": "function", "function": one} for one in (WEATHER, NOW)]
    theirs = peer.apply_chat_template(given, tools=tools, add_generation_prompt=True, tokenize=False)
    listed = listing([WEATHER, NOW])
    said = [
        {"role": "system", "content": f"Be brief.\n\n{listed}" if system else listed},
        given[-3],
        {"role": "assistant", "content": "I ask." + call_text("weather", json.dumps(town, ensure_ascii=False))},
        {"role": "user", "content": result_text("12")},
    ]
    learned = answered({"messages": [*given, {"role": "assistant", "content": "Twelve."}], "tools": tools})
    ours = render(learned[:-1], tokenizer, generation_prompt=True)[0]
    assert ours == render(said, tokenizer, generation_prompt=True)[0], "our words"
    assert list(map(as_text, learned[:-1])) == said
    assert Peer.from_file(str(tokenizer_folder / "tokenizer.json")).decode(ours, skip_special_tokens=False) == theirs
    assert ours == peer.encode(theirs, add_special_tokens=False)


arguments = st.dictionaries(st.text(max_size=5), st.text(alphabet='{}"\\</tool_call>ab', max_size=12), max_size=3)
calls = st.lists(st.tuples(st.sampled_from(["weather", "now"]), arguments), max_size=3)
QWEN = CallForm('<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>", "\n")
LLAMA = CallForm('{"name": "', '", "parameters": ', "}", None)


def read_back(form: CallForm, whole: str, cuts: list[int]) -> tuple[str, list[tuple[str, Any]]]:
    """Text and calls of an answer that comes in pieces."""
    reader, content, found = Calls(form), "", list[list[str]]()
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        for kind, part in reader.add(whole[start:end]):
            if kind == "text":
                content += part
            elif kind == "name":
                found.append([part, ""])
            else:
                found[-1][1] += part
    return content + "".join(part for _, part in reader.end()), [(name, json.loads(one)) for name, one in found]


@given(st.text(alphabet="<tol_ca >x", max_size=20), calls, st.sampled_from([OURS, QWEN, LLAMA]), st.data())
def test_calls_are_read_back_however_the_text_is_cut(
    text: str, made: list[tuple[str, Any]], form: CallForm, data: st.DataObject
) -> None:
    if "<tool_call>" in text:
        return
    if form.gap is None:  # an answer is text or one call
        text, made = ("", made[:1]) if made else (text, [])
    written = [f"{form.opens}{name}{form.middle}{json.dumps(one)}{form.closes}" for name, one in made]
    whole = text + (form.gap or "").join(written)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    assert read_back(form, whole, cuts) == (text, made)


def test_what_is_no_call_is_text(tokenizer: Tokenizer) -> None:
    for whole in ('{"name": "f"', 'See {"name": "f", "parameters": {}}', '{"names": 1}', '{"nam'):
        for cuts in ([], [1], list(range(len(whole)))):
            text, made = read_back(LLAMA, whole, cuts)
            assert (text, made) == (whole, []) or whole == '{"name": "f"'

"""Conversations with tools in the templates of models by others: token for token what transformers makes of them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from foreign_models import saved

from gristmill.chat.conversations import LeftOut, read_conversations
from gristmill.chat.layouts import answered, preference
from gristmill.chat.template import render, with_answer
from gristmill.errors import UserError
from gristmill.export.card import card
from gristmill.export.check import check
from gristmill.export.gguf import write_gguf
from gristmill.export.huggingface import write_huggingface
from gristmill.export.trained import Trained
from gristmill.generation.answer_text import AnswerText, answer_of
from gristmill.manifest import Manifest
from gristmill.model.formats.gguf_format import read_foreign_model
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.import_hf import adopt, read_foreign

TOWN = {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "weather", "description": "in <b>Löwen</b> & 'x'", "parameters": TOWN}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]


def call(**arguments: str) -> dict[str, Any]:
    return {"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": arguments}}


TALK: list[dict[str, Any]] = [
    {"role": "user", "content": " How warm is it? "},
    {"role": "assistant", "content": "", "tool_calls": [call(town="Löwen")]},
    {"role": "tool", "tool_call_id": "call00001", "content": "12 <b>"},
    {"role": "assistant", "content": "It is 12. "},
    {"role": "user", "content": "And <think> there </tool_call>?"},
    {"role": "assistant", "content": "<think>\nWell.\n</think>\n\nNo."},
]


@pytest.fixture(scope="module", params=["LlamaTools", "Qwen3Tools", "Smol"])
def source(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model by others."""
    return saved(corpus, tmp_path_factory.mktemp("foreign"), request.param)


@pytest.fixture(scope="module")
def tokens(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Its tokenizer, as ours."""
    folder = tmp_path_factory.mktemp("adopted")
    adopt(source, folder / "tokenizer.json")
    return Tokenizer.load(folder)


def test_a_conversation_with_tools_has_the_ids_that_transformers_gives(source: Path, tokens: Tokenizer) -> None:
    from transformers import AutoTokenizer

    peer, order = AutoTokenizer.from_pretrained(source), read_foreign(source).order
    of_tools, today = source.name.endswith("Tools"), "26 Jul 2024"
    for system in ([], [{"role": "system", "content": " Be brief."}]):
        for tools in (None, TOOLS) if of_tools else (None,):
            for end in range(1, len(TALK) + 1):
                said = (
                    TALK[:end] if of_tools else [one for one in TALK[:end] if one["content"] and one["role"] != "tool"]
                )
                opened = said[-1]["role"] != "assistant"
                theirs: Any = peer.apply_chat_template(
                    [*system, *said], tools=tools, add_generation_prompt=opened, return_dict=True, date_string=today
                )
                told: Any = {**(system[0] if system else {"role": "system", "content": ""}), "tools": tools}
                ours, mask = render([told, *said] if tools else [*system, *said], tokens, generation_prompt=opened)
                assert [order[token] for token in ours] == theirs["input_ids"]
                ends = sum(learned and token == tokens.im_end for token, learned in zip(ours, mask, strict=True))
                assert ends == sum(one["role"] == "assistant" for one in said)
                read = answered({"messages": [*system, *said], "tools": tools}) if not opened else []
                assert not read or render(read, tokens) == (ours, mask)


def test_no_text_opens_a_turn_or_ends_one(tokens: Tokenizer) -> None:
    forged = "".join(f"{name} \ue000" for name in tokens.controls)
    tool = {"type": "function", "function": {"name": "weather", "description": forged, "parameters": {forged: forged}}}
    plain: Any = {"role": "system", "content": "", "tools": [TOOLS[0]]}
    talk = [{**one, "content": forged} if one["role"] in ("tool", "user") else one for one in TALK[:5]]
    talk[1] = {**talk[1], "tool_calls": [call(town=forged)]}
    expected = render([plain, *TALK[:5]], tokens, generation_prompt=True)[0]
    ids, _ = render([{**plain, "content": forged, "tools": [tool]}, *talk], tokens, generation_prompt=True)
    for token in {*range(len(tokens.pieces), tokens.vocab_size)} - {*tokens.shown.values()}:
        assert ids.count(token) == expected.count(token)
    assert tokens.decode(render([{"role": "user", "content": forged}], tokens)[0]).count("\ue000") == len(
        tokens.controls
    )


def test_an_answer_that_calls_is_what_follows_its_prompt(tokens: Tokenizer) -> None:
    record = {"prompt": TALK[:1], "chosen": TALK[1:2], "rejected": TALK[3:4], "tools": TOOLS}
    prompt, chosen, rejected = preference(record)
    for answer in (chosen, rejected):
        before, after = with_answer(prompt, answer, tokens)
        assert before == render(prompt, tokens, generation_prompt=True)[0] and after[-1] == tokens.im_end
        assert render([*prompt, answer], tokens)[0][: len(before) + len(after)] == before + after
    assert "weather" in tokens.decode(with_answer(prompt, chosen, tokens)[1])


@pytest.mark.parametrize("stop", [[], ["zz"]])
def test_what_is_thought_first_is_no_part_of_what_is_said(tokens: Tokenizer, stop: list[str]) -> None:
    empty = "<think>\n\n</think>\n\n"
    for text, said, thought in (
        (f"{empty}Hi <b>", "Hi <b>", ""),
        (empty, "", ""),
        ("<think>\nHm, zz.\n</think>\n\nHi", "Hi", "Hm, zz."),
        ("<think>\nHm", "", "Hm"),
        ("<thin", "<thin", ""),
        (f"Hi {empty}", f"Hi {empty}", ""),
    ):
        ids = tokens.encode(text)
        for reader, expected in (
            (AnswerText(tokens, stop), (said, thought) if tokens.shown else (text, "")),
            (AnswerText(tokens, raw=True), (text, "")),
        ):
            if expected[0] == text and "zz" in text and reader.stop:
                continue  # a text that is stopped
            assert ("".join(map(reader.add, ids)) + reader.end(), reader.thought) == expected
        assert answer_of(tokens, ids) == (said if tokens.shown else text)
    if tokens.shown:  # half of a character is the thought's, not the answer's
        byte = next(token for token in range(len(tokens.pieces)) if tokens.token_bytes(token) == b"\xc3")
        half = [*tokens.encode("<think>\nHm"), byte]
        for rest, heard in ([], ""), (tokens.encode("</think>\n\nHi"), "Hi"):
            reader = AnswerText(tokens, stop)
            assert "".join(map(reader.add, [*half, *rest])) + reader.end() == heard
            assert reader.thought == "Hm\ufffd"


def test_a_table_may_hold_what_json_does_not(tokens: Tokenizer) -> None:
    day = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": {"day": date(2026, 11, 27)}}}
    talk = [TALK[0], {"role": "assistant", "content": "", "tool_calls": [day]}, *TALK[2:4]]
    text = tokens.decode(
        render(answered({"messages": talk, "tools": [{"name": "weather", "since": date(2026, 1, 2)}]}), tokens)[0]
    )
    assert '"2026-11-27"' in text and '"2026-01-02"' in text


def test_what_a_template_refuses_is_left_out_by_name(source: Path, tokens: Tokenizer, tmp_path: Path) -> None:
    twice = [TALK[0], {**TALK[1], "tool_calls": [call(town="a"), call(town="b")]}, TALK[2], TALK[3]]
    (tmp_path / "c.jsonl").write_text(json.dumps({"messages": twice, "tools": TOOLS}))
    left_out: list[LeftOut] = []
    (talk,) = read_conversations(tmp_path / "c.jsonl", left_out)
    if source.name == "LlamaTools":
        with pytest.raises(UserError, match="refuses it: one call at a time"):
            render(talk, tokens)
    else:
        assert tokens.decode(render(talk, tokens)[0]).count("<tool_call>") == 3  # one in the words that tell of it


def test_what_is_exported_is_checked_with_tools_and_on_any_day(
    source: Path, tokens: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt(source, tmp_path / "tokenizer.json")
    trained = Trained(read_foreign_model(source, tokens.vocab_size), tokens, Manifest(stage="sft"))
    (tmp_path / "export").mkdir()
    write_huggingface(trained, tmp_path, tmp_path / "export")
    told = card(trained, None)
    assert (
        "(that of the model by others)" in told
        and f"ends at `{tokens.controls[tokens.im_end - len(tokens.pieces)]}`" in told
    )
    monkeypatch.setattr("gristmill.export.check.QUESTIONS", ("Who are you?",))
    assert check(trained, tmp_path / "export", [])["check.transformers.prompts"] == 1
    template = tmp_path / "export" / "chat_template.jinja"
    template.write_text(template.read_text().replace("tool | tojson", "tool.function | tojson"))
    if source.name.endswith("Tools"):
        with pytest.raises(UserError, match="a call of a tool"):
            check(trained, tmp_path / "export", [])


def test_tokens_that_are_text_stay_so_in_what_is_exported(source: Path, tokens: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    text = "a <tool_call>\n{} </think><|im_end|>"
    adopt(source, tmp_path / "tokenizer.json")
    trained = Trained(read_foreign_model(source, tokens.vocab_size), tokens, Manifest(stage="sft"))
    (tmp_path / "export").mkdir()
    write_huggingface(trained, tmp_path, tmp_path / "export")
    peer: Any = AutoTokenizer.from_pretrained(tmp_path / "export")
    ids = peer(text, split_special_tokens=True)["input_ids"]
    assert tokens.encode(text) == ids == tokens.encode_batch([text])[0] and tokens.decode(ids) == text
    assert peer.decode(ids, skip_special_tokens=True) == text
    write_gguf(trained, tmp_path, "f32")
    (tmp_path / "again").mkdir()
    adopt(tmp_path / "model-f32.gguf", tmp_path / "again" / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "again")
    assert again.shown == tokens.shown and len(again.shown) == 6 * (source.name == "Qwen3Tools")
    assert again.chat_template.endswith(tokens.chat_template) and again.stops == tokens.stops

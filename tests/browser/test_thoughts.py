"""What a model thinks before it answers is told apart from the answer, wherever answers are told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from foreign_models import saved
from models import Listen
from page_parts import MESSAGES, ask

from gristmill.errors import UserError
from gristmill.generation.engine import Engine
from gristmill.model.transformer import ModelConfig, Transformer, save_model
from gristmill.posttrain import sft
from gristmill.recipe import SFT, TokenizerParams
from gristmill.serving.assistant import Assistant
from gristmill.serving.terminal import Talk
from gristmill.tokenizer import train

ASK: Any = {"role": "user", "content": "How warm is the river?"}
THOUGHT, SAID = "It is May, so it has twelve.", "Twelve degrees."
ANSWER: dict[str, Any] = {"role": "assistant", "content": SAID, "reasoning_content": THOUGHT}


@pytest.fixture(scope="module", params=["in Qwen3's manner", "of ours"])
def thinking(corpus: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Assistant:
    """A small model that has learned one thought by heart."""
    folder = tmp_path_factory.mktemp("thinking")
    (folder / "talk.jsonl").write_text(json.dumps({"messages": [ASK, ANSWER]}) + "\n")
    params = SFT(conversations=str(folder / "talk.jsonl"), epochs=120, lr=0.3, heldout=0, replay=0)
    (folder / "sft").mkdir()
    if request.param != "of ours":
        source = saved(corpus, folder, "Qwen3Tools", context=256)
        sft.run({}, params.model_copy(update={"init_from": str(source)}), folder / "sft")
        return Assistant(Engine.load(folder / "sft", folder / "sft"), "thinking")
    (folder / "tokenizer").mkdir()
    words = train.run({"corpus": corpus}, TokenizerParams(vocab_size=400, thoughts=True), folder / "tokenizer")
    torch.manual_seed(0)
    save_model(Transformer(ModelConfig(int(words.metrics["vocab_size"]), 2, 48, 2, 2, 24, 96, context=256)), folder)
    sft.run({"model": folder, "tokenizer": folder / "tokenizer"}, params, folder / "sft")
    return Assistant(Engine.load(folder / "sft", folder / "tokenizer"), "thinking")


def test_a_thought_is_no_part_of_the_answer(thinking: Assistant, listen: Listen) -> None:
    reply = thinking.reply([ASK])
    assert (reply.text(), reply.thought) == (SAID, THOUGHT)
    cut = thinking.reply([ASK], max_tokens=6)
    assert cut.text() == "" and THOUGHT.startswith(cut.thought) and cut.thought
    with listen(thinking) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        whole = client.chat.completions.create(model="thinking", messages=[ASK])
        message: Any = whole.choices[0].message.to_dict()
        assert (message["content"], message["reasoning_content"]) == (SAID, THOUGHT)
        assert whole.usage and whole.usage.completion_tokens_details
        assert 0 < (whole.usage.completion_tokens_details.reasoning_tokens or 0) < whole.usage.completion_tokens
        parts = [
            event.choices[0].delta.to_dict()
            for event in client.chat.completions.create(model="thinking", messages=[ASK], stream=True)
        ]
        for name, told in (("content", SAID), ("reasoning_content", THOUGHT)):
            assert "".join(str(part.get(name) or "") for part in parts).rstrip() == told
        again = client.chat.completions.create(model="thinking", messages=[ASK, message, ASK])  # as it was told
        assert again.usage and again.usage.prompt_tokens < 2 * whole.usage.total_tokens

        response = client.responses.create(model="thinking", input=[ASK])
        thought, said = response.output
        assert thought.type == "reasoning" and thought.content and thought.content[0].text == THOUGHT
        assert said.type == "message" and response.output_text == SAID
        events = list(client.responses.create(model="thinking", input=[ASK], stream=True))
        deltas = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
        assert "".join(deltas).rstrip() == THOUGHT
        items: list[Any] = [ASK, *(item.to_dict() for item in response.output), ASK]
        assert client.responses.create(model="thinking", input=items).output_text

        raw = client.completions.create(model="thinking", prompt=thinking.prompt([ASK]), max_tokens=100)
        assert raw.choices[0].text == f"<think>\n{THOUGHT}\n</think>\n\n{SAID}"


def test_doubt_breaks_an_answer_off_and_no_thought(thinking: Assistant) -> None:
    unsure = Assistant(thinking.engine, "unsure", sure=1.0, decline="I do not know")
    reply = unsure.reply([ASK], temperature=0.0)
    assert (reply.text(), reply.thought) == ("I do not know.", THOUGHT)
    assert unsure.doubt is not None
    cut = unsure.reply([ASK], temperature=0.0, max_tokens=len(unsure.doubt.says) + 8)  # a thought that finds no end
    assert cut.text() == "I do not know." and cut.thought and THOUGHT.startswith(cut.thought)


def test_a_thought_can_be_left_out_where_the_template_can_say_so(
    thinking: Assistant, tokenizer_folder: Path, listen: Listen
) -> None:
    ours = thinking.engine.tokenizer.chat_template == ""
    name, silent = "chat_template_kwargs", {"enable_thinking": False}
    with listen(thinking) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)

        def asked(told: dict[str, Any], **more: Any) -> Any:
            made = client.chat.completions.create(model="thinking", messages=[ASK], extra_body={name: told}, **more)
            return made.choices[0].message.to_dict()

        assert asked({"enable_thinking": True})["reasoning_content"] == asked({})["reasoning_content"] == THOUGHT
        with pytest.raises(openai.BadRequestError, match=f"{name}.add_vision_id") as error:
            asked({"add_vision_id": True})
        assert error.value.param == f"{name}.add_vision_id"
        if not ours:  # its template knows nothing of it
            with pytest.raises(openai.BadRequestError, match="cannot keep it from thinking"):
                asked(silent)
            with pytest.raises(UserError, match="cannot keep it from thinking"):
                thinking.reply([ASK], enable_thinking=False)
            return
        said = asked(silent, max_tokens=9)
        assert "reasoning_content" not in said and said["content"]
        reply = thinking.reply([ASK], enable_thinking=False, max_tokens=9)
        empty = thinking.engine.tokenizer.encode("<think>\n\n</think>\n\n")
        assert reply.text() and not reply.thought
        assert reply.prompt_tokens == thinking.reply([ASK]).prompt_tokens + len(empty)


def test_a_thought_is_read_again_between_calls_and_not_later(thinking: Assistant, listen: Listen) -> None:
    """As the templates have it: what was thought before a call still counts when its result comes."""
    call = {"id": "call00001", "type": "function", "function": {"name": "river", "arguments": "{}"}}
    called: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
    gave: dict[str, Any] = {"role": "tool", "tool_call_id": "call00001", "content": "12"}
    items: list[Any] = [ASK, {"type": "function_call", "call_id": "call00001", "name": "river", "arguments": "{}"}]
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": THOUGHT}],
    }
    output = {"type": "function_call_output", "call_id": "call00001", "output": "12"}
    with listen(thinking) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)

        def tokens(*messages: Any) -> int:
            made = client.chat.completions.create(model="thinking", messages=messages, max_tokens=1)
            assert made.usage
            return made.usage.prompt_tokens

        thinks, again = {**called, "reasoning_content": THOUGHT}, tokens(ASK, called, gave, ASK)
        assert tokens(ASK, thinks, gave, ASK) == again, "the user has asked something else"
        if thinking.engine.tokenizer.chat_template == "":
            block = len(thinking.engine.tokenizer.encode(f"<think>\n{THOUGHT}\n</think>\n\n"))
            assert tokens(ASK, thinks, gave) == tokens(ASK, called, gave) + block

            def read(*given: Any) -> int:
                made = client.responses.create(model="thinking", input=[*given], max_output_tokens=1)
                assert made.usage
                return made.usage.input_tokens

            assert read(items[0], thought, items[1], output) == read(*items, output) + block


def test_the_page_shows_a_thought_folded_above_the_answer(browser: Any, thinking: Assistant, listen: Listen) -> None:
    with listen(thinking, loopback=True) as address:
        browser.open(f"{address}/")
        browser.until("document.querySelector('#name').textContent == 'thinking'")
        ask(browser, ASK["content"])
        answer = browser.run(MESSAGES)[1]
        assert (answer["content"], answer["thought"].strip()) == (SAID, THOUGHT)
        shown = "document.querySelector('.turn.assistant .thought')"
        assert browser.run(f"[{shown}.open, {shown}.querySelector('p').textContent.trim()]") == [False, THOUGHT]
        assert browser.run("document.querySelector('.turn.assistant .body').textContent.trim()") == SAID
        ask(browser, "And the sea?")  # the thought is not sent back
        assert THOUGHT not in browser.sent[-1]
        assert browser.errors == []


def test_a_terminal_shows_a_thought_dimmed_and_a_pipe_none(
    thinking: Assistant, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for person in (True, False):
        monkeypatch.setattr(sys.stdout, "isatty", lambda person=person: person)
        talk = Talk(thinking)
        talk.ask(ASK["content"])
        assert talk.messages[-1]["content"] == SAID
        shown = capsys.readouterr().out
        assert [*filter(None, shown.replace("\x1b[2m", "").replace("\x1b[0m", "").splitlines())] == [
            THOUGHT
        ] * person + [SAID]
        assert ("\x1b[2m" in shown) == person

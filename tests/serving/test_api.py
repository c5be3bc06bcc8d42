"""Each path of the API with OpenAI's own client, and the exact form of what is sent."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from models import Listen

from gristmill.serving.answer import AnswerQueue
from gristmill.serving.assistant import Assistant

ASK: list[Any] = [{"role": "user", "content": "Who walks to the river?"}]
TEXT = "Old Anna paints the hill."


@pytest.fixture(scope="module")
def address(assistant: Assistant, listen: Listen) -> Iterator[str]:
    """An open server."""
    with listen(assistant) as address:
        yield address


def events(address: str, path: str, **body: Any) -> list[Any]:
    """The data of a stream's events."""
    found = httpx.post(f"{address}/v1/{path}", json={"stream": True, **body}, timeout=300)
    assert found.status_code == 200 and found.headers["content-type"].startswith("text/event-stream"), found.text
    parts = [event.split("data: ", 1)[1] for event in found.text.removesuffix("\n\n").split("\n\n")]
    assert parts.pop() == "[DONE]"
    return [json.loads(part) for part in parts]


def test_what_is_repeated_of_a_request_can_be_told_whatever_it_holds(address: str) -> None:
    """JSON can name half a character, which UTF-8 cannot hold."""
    repeated = {"input": "Hi", "instructions": "\ud800x", "metadata": {"\ud800": "\ud800"}, "max_output_tokens": 2}
    for more, status in (({}, 200), ({"conversation": {"id": "\ud800"}}, 400)):
        content = json.dumps({**repeated, **more}).encode()
        found = httpx.post(f"{address}/v1/responses", content=content, timeout=300)
        assert found.status_code == status, found.text
        if status == 200:
            assert found.json()["instructions"] == "?x" and found.json()["metadata"] == {"?": "?"}


def test_a_stream_has_role_text_end_and_usage(address: str) -> None:
    found = events(address, "chat/completions", messages=ASK, n=2, stream_options={"include_usage": True})
    assert len({(one["id"], one["created"], one["model"], one["object"]) for one in found}) == 1
    *chunks, usage = found
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] > 0
    assert all(one["usage"] is None and len(one["choices"]) == 1 for one in chunks)
    for index in (0, 1):
        first, *texts, last = [one["choices"][0] for one in chunks if one["choices"][0]["index"] == index]
        assert first["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert texts and all(set(one["delta"]) == {"content"} and one["finish_reason"] is None for one in texts)
        assert last["delta"] == {} and last["finish_reason"] in ("stop", "length")
    assert "usage" not in events(address, "chat/completions", messages=ASK)[-1]


def test_several_answers_differ_and_the_first_is_that_of_the_seed(client: openai.OpenAI) -> None:
    def ask(n: int) -> list[str | None]:
        found = client.chat.completions.create(
            model="tiny", messages=ASK, n=n, seed=7, temperature=1.5, max_tokens=12, presence_penalty=0.5
        )
        assert [one.index for one in found.choices] == list(range(n))
        return [one.message.content for one in found.choices]

    several = ask(5)
    assert len(set(several)) == 5 and ask(1) == several[:1]


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_are_the_models(client: openai.OpenAI, assistant: Assistant, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": ASK, "logprobs": True, "top_logprobs": 3, "max_tokens": 6}
    if stream:
        found = list(client.chat.completions.create(stream=True, **asked))
        told = [entry for one in found if (logprobs := one.choices[0].logprobs) for entry in logprobs.content or []]
        text = "".join(one.choices[0].delta.content or "" for one in found)
    else:
        choice = client.chat.completions.create(**asked).choices[0]
        assert choice.logprobs and choice.logprobs.content
        told, text = list(choice.logprobs.content), choice.message.content or ""
    assert b"".join(bytes(one.bytes or []) for one in told).decode("utf-8", "replace") == text
    prompt = assistant.prompt(ASK)
    with torch.no_grad():
        logits = assistant.engine.model(torch.tensor([prompt]))[0, -1]
    logits[assistant.engine.tokenizer.im_start] = -torch.inf
    best = logits.log_softmax(-1).topk(3).values.tolist()
    assert [one.logprob for one in told[0].top_logprobs] == pytest.approx(best, abs=1e-3)
    assert told[0].logprob == pytest.approx(best[0], abs=1e-3)


def test_bias_and_stops_decide(client: openai.OpenAI, assistant: Assistant) -> None:
    token = assistant.engine.tokenizer.encode("river")[0]
    found = client.chat.completions.create(
        model="tiny", messages=ASK, logit_bias={str(token): 100}, max_tokens=5, stop=["no such text", "r" * 99]
    )
    piece = assistant.engine.tokenizer.decode([token])
    assert found.choices[0].message.content == piece * 5 and found.choices[0].finish_reason == "length"


def test_what_was_dropped_is_told_and_what_is_too_long_has_openais_code(address: str) -> None:
    turns = [{"role": ("user", "assistant")[i % 2], "content": "river " * 12} for i in range(9)]
    found = httpx.post(f"{address}/v1/chat/completions", json={"messages": turns, "max_tokens": 1}, timeout=300)
    assert found.json()["dropped_messages"] > 0 and found.json()["dropped_messages"] % 2 == 0
    last = events(address, "chat/completions", messages=turns, max_tokens=1)[-1]
    assert last["dropped_messages"] == found.json()["dropped_messages"]
    assert "dropped_messages" not in httpx.post(f"{address}/v1/chat/completions", json={"messages": ASK}).json()
    for path, body in (
        ("chat/completions", {"messages": [{"role": "user", "content": "river " * 500}]}),
        ("completions", {"prompt": "river " * 500}),
        ("responses", {"input": "river " * 500}),
    ):
        refused = httpx.post(f"{address}/v1/{path}", json=body, timeout=300)
        told = refused.json()["error"]
        assert refused.status_code == 400 and told["code"] == "context_length_exceeded" and told["param"] in body


def test_completions_go_on_with_texts_and_tokens(client: openai.OpenAI, assistant: Assistant) -> None:
    engine = assistant.engine
    tokens = [engine.tokenizer.end_of_text, *engine.tokenizer.encode(TEXT)]
    plain = engine.tokenizer.decode(engine.generate([tokens], max_tokens=8)[0].tokens)
    for prompt in (TEXT, tokens, [TEXT], [tokens]):
        found = client.completions.create(model="tiny", prompt=prompt, max_tokens=8)
        assert found.choices[0].text == plain
        assert found.usage and found.usage.prompt_tokens == len(tokens)
    both = client.completions.create(model="tiny", prompt=[TEXT, "The smith"], max_tokens=4, n=2, echo=True)
    assert [one.index for one in both.choices] == [0, 1, 2, 3]
    assert both.choices[0].text.startswith(TEXT) and both.choices[3].text.startswith("The smith")
    stream = client.completions.create(model="tiny", prompt=TEXT, max_tokens=8, echo=True, stream=True)
    assert "".join(one.choices[0].text for one in stream) == TEXT + plain


@pytest.mark.parametrize("as_tokens", [False, True])
def test_prompts_are_scored_in_openais_form(client: openai.OpenAI, assistant: Assistant, as_tokens: bool) -> None:
    """What lm-evaluation-harness reads of `local-completions`: tokens, log-probabilities, the likeliest of each."""
    engine = assistant.engine
    tokens = engine.tokenizer.encode(TEXT)
    prompt: Any = tokens if as_tokens else TEXT
    found = client.completions.create(
        model="tiny", prompt=prompt, max_tokens=1, echo=True, logprobs=1, temperature=0, seed=1234
    ).choices[0]
    told = found.logprobs
    assert told and told.tokens and told.token_logprobs and told.top_logprobs and told.text_offset
    whole = tokens if as_tokens else [engine.tokenizer.end_of_text, *tokens]
    with torch.no_grad():
        exact = engine.model(torch.tensor([whole]))[0].log_softmax(-1)
    places = range(1, len(whole))
    expected = [float(exact[place - 1, whole[place]]) for place in places]
    greedy = [int(exact[place - 1].argmax()) == whole[place] for place in places]
    skip = int(as_tokens)
    assert told.token_logprobs[skip : len(tokens)] == pytest.approx(expected, abs=1e-3)
    likeliest = told.top_logprobs[skip : len(tokens)]
    assert [
        one[token] == max(one.values()) for one, token in zip(likeliest, told.tokens[skip:], strict=False)
    ] == greedy
    assert (told.token_logprobs[0] is None) == as_tokens
    assert len(told.tokens) == len(told.token_logprobs) == len(tokens) + 1 and found.text.startswith(TEXT)
    assert [found.text[at:][: len(one)] for at, one in zip(told.text_offset, told.tokens, strict=True)][
        :5
    ] == told.tokens[:5]


@pytest.mark.parametrize("wrong", [{"prompt": []}, {"prompt": ["x"] * 20}, {"prompt": [[10**6]]}, {"prompt": [True]}])
def test_prompts_that_are_none(address: str, wrong: dict[str, Any]) -> None:
    found = httpx.post(f"{address}/v1/completions", json=wrong)
    assert found.status_code == 400 and found.json()["error"]["param"].startswith("prompt")


def test_responses_whole_and_streamed(client: openai.OpenAI, assistant: Assistant) -> None:
    expected = assistant.reply([{"role": "system", "content": "Be kind."}, *ASK], max_tokens=20).text()
    asked: dict[str, Any] = {"model": "tiny", "instructions": "Be kind.", "input": ASK[0]["content"]}
    found = client.responses.create(**asked, max_output_tokens=20, tools=[{"type": "web_search"}], store=False)
    assert found.output_text == expected and found.status in ("completed", "incomplete")
    assert found.usage and found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": ASK[0]["content"]}]}]
    made = list(client.responses.create(**{**asked, "input": items}, max_output_tokens=20, stream=True))
    assert [one.sequence_number for one in made] == list(range(len(made)))
    kinds = [one.type.removeprefix("response.") for one in made]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:-1] == ["output_text.done", "content_part.done", "output_item.done"]
    assert kinds[-1] == found.status and set(kinds[4:-4]) == {"output_text.delta"}
    assert "".join(one.delta for one in made if one.type == "response.output_text.delta") == expected
    refused: tuple[dict[str, Any], ...] = ({"previous_response_id": "x"}, {"background": True})
    for wrong in (*refused, {"tools": [{"type": "function"}]}):
        with pytest.raises(openai.BadRequestError, match=next(iter(wrong))):
            client.responses.create(**asked, **wrong)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"text": {"x": 1}}, "text.x"),
        ({"text": {"format": {"type": "json_schema", "schema": 1}}}, "text.format.schema"),
        ({"tool_choice": {"type": "function", "name": "f", "x": 1}}, None),
        ({"stream_options": {"x": 1}}, "stream_options"),
        ({"conversation": {"x": 1}}, "conversation"),
    ],
)
def test_a_field_of_a_field_that_is_wrong_is_named(address: str, wrong: dict[str, Any], field: str | None) -> None:
    found = httpx.post(f"{address}/v1/responses", json={"input": "x", **wrong}, timeout=60)
    assert found.status_code == 400 or field is None
    assert field is None or found.json()["error"]["param"].startswith(field)


def test_a_reader_that_finds_no_next_is_an_error_and_no_wait(assistant: Assistant) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(AnswerQueue(assistant).read(lambda: next(iter(()))))


def test_many_streams_at_once_with_the_asynchronous_client(address: str, assistant: Assistant) -> None:
    async def ask(client: openai.AsyncOpenAI, number: int) -> str:
        content: list[Any] = [{"role": "user", "content": f"Story {number}"}]
        stream = await client.chat.completions.create(model="tiny", messages=content, max_tokens=20, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any") as client:
            return await asyncio.gather(*(ask(client, number) for number in range(24)))

    found = asyncio.run(all_of_them())
    for number, text in enumerate(found):
        assert text == assistant.reply([{"role": "user", "content": f"Story {number}"}], max_tokens=20).text()


def test_metrics_count(address: str) -> None:
    def figures() -> dict[str, float]:
        lines = httpx.get(f"{address}/metrics").text.splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    before = figures()
    httpx.post(f"{address}/v1/chat/completions", json={"messages": ASK, "max_tokens": 3}, timeout=300)
    after = figures()
    assert after["gristmill_generated_tokens_total"] - before["gristmill_generated_tokens_total"] == 3
    answered = 'gristmill_requests_total{outcome="answered"}'
    assert after[answered] - before[answered] == 1
    assert after["gristmill_answers_under_way"] == after["gristmill_requests_inside"] == 0
    assert all(math.isfinite(value) for value in after.values())
    repeated = {"messages": ASK, "max_tokens": 30, "logit_bias": {"20": 100}}  # what repeats itself is foreseen
    httpx.post(f"{address}/v1/chat/completions", json=repeated, timeout=300)
    drafts = [
        figures()[name] - after[name] for name in ("gristmill_drafted_tokens_total", "gristmill_accepted_tokens_total")
    ]
    assert 15 < drafts[1] <= drafts[0] <= 29
    assert figures()["gristmill_steps_total"] - after["gristmill_steps_total"] < 15


class Breaks:
    """A real decoder that fails after some steps, as when memory runs out."""

    def __init__(self, decoder: Any) -> None:
        self.decoder, self.rows, self.exact, self.after = decoder, decoder.rows, decoder.exact, 1000
        self.new_page, self.copy_page = decoder.new_page, decoder.copy_page

    def step(self, *arguments: Any) -> Any:
        """The same step, or a failure."""
        self.after -= 1
        if self.after < 0:
            raise RuntimeError("out of memory")
        return self.decoder.step(*arguments)


def test_a_failure_reaches_the_client(run_folder: Path, listen: Listen) -> None:
    failing = Assistant.load(run_folder / "sft", run_folder / "tokenizer", "tiny")
    failing.engine.scheduler.decoder = breaks = Breaks(failing.engine.scheduler.decoder)
    with listen(failing) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0, timeout=300)
        breaks.after = 4
        stream = client.chat.completions.create(model="tiny", messages=ASK, stream=True)
        text = ""
        with pytest.raises(openai.APIError, match="RuntimeError"):
            for event in stream:
                text += event.choices[0].delta.content or ""
        with pytest.raises(openai.InternalServerError, match="RuntimeError"):
            client.chat.completions.create(model="tiny", messages=ASK)
        with pytest.raises(openai.InternalServerError, match="RuntimeError"):
            client.chat.completions.create(model="tiny", messages=ASK, stream=True)
        breaks.after = 1000  # and it goes on afterwards
        assert client.chat.completions.create(model="tiny", messages=ASK).choices[0].message.content
        assert not failing.engine.scheduler.going and not failing.engine.scheduler.pages.users

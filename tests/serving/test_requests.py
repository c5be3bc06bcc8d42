"""Every request gets a right answer or an error in OpenAI's shape, and nothing else."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import Listen

from gristmill.model.transformer import load_model, save_model
from gristmill.serving.answer import MAX_INSIDE
from gristmill.serving.assistant import Assistant
from gristmill.serving.memory.memory_store import MemoryStore

ASK: list[Any] = [{"role": "user", "content": "Who walks to the river?"}]
PATIENCE = 300.0  # seconds after which something hangs


@pytest.fixture(scope="module")
def address(assistant: Assistant, listen: Listen, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An open server."""
    store = MemoryStore(tmp_path_factory.mktemp("memory") / "memory.sqlite")
    with listen(assistant, memory=store, loopback=True) as address:
        yield address


@pytest.fixture(scope="module")
def endless(endless_folder: Path, listen: Listen) -> Iterator[str]:
    """A server whose answers do not end by themselves."""
    with listen(Assistant.load(endless_folder / "sft", endless_folder / "tokenizer", "endless")) as address:
        yield address


def post(address: str, body: Any, **options: Any) -> httpx.Response:
    """Ask, with lone surrogates and numbers of any size if need be."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{address}/v1/chat/completions", content=content, timeout=PATIENCE, **options)


def is_openai_error(response: httpx.Response) -> bool:
    """Whether a response has the shape of OpenAI's errors."""
    error = response.json()["error"]
    return set(error) == {"message", "type", "param", "code"} and bool(error["message"]) and bool(error["type"])


def client_of(address: str) -> openai.OpenAI:
    """OpenAI's own client."""
    return openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "\ud800", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [None]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "river " * 500}]}, "messages"),
        ({"messages": ASK, "n": 0}, "n"),
        ({"messages": ASK, "n": 17}, "n"),
        ({"messages": ASK, "top_logprobs": 2}, "top_logprobs"),
        ({"messages": ASK, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"messages": ASK, "presence_penalty": 3}, "presence_penalty"),
        ({"messages": ASK, "logit_bias": {"x": 1}}, "logit_bias"),
        ({"messages": ASK, "logit_bias": {"100000": 1}}, "logit_bias"),
        ({"messages": ASK, "logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"messages": ASK, "stream_options": {"include_usage": True}, "stream": False}, "stream_options"),
        ({"messages": ASK, "functions": [{"name": "x"}]}, "functions"),
        ({"messages": ASK, "tool_choice": "required"}, "tool_choice"),
        ({"messages": ASK, "tool_choice": "never"}, "tool_choice"),
        ({"messages": ASK, "tool_choice": {"type": "x", "function": {}}}, "tool_choice"),
        ({"messages": ASK, "conversation": {"id": 3}}, "conversation"),
        ({"messages": ASK, "conversation": 3}, "conversation"),
        ({"messages": ASK, "reasoning_effort": "high"}, "reasoning_effort"),
        ({"messages": ASK, "audio": {"voice": "x"}}, "audio"),
        ({"messages": ASK, "no_such_field": 1}, "no_such_field"),
        ({"messages": [{**ASK[0], "name": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": ASK, "temperature": 9}, "temperature"),
        ({"messages": ASK, "temperature": -1e-300}, "temperature"),
        ({"messages": ASK, "temperature": 10**400}, "temperature"),
        ({"messages": ASK, "temperature": "hot"}, "temperature"),
        ({"messages": ASK, "top_p": 0}, "top_p"),
        ({"messages": ASK, "max_tokens": 0}, "max_tokens"),
        ({"messages": ASK, "max_tokens": -(2**70)}, "max_tokens"),
        ({"messages": ASK, "max_tokens": 1.5}, "max_tokens"),
        ({"messages": ASK, "max_tokens": True}, "max_tokens"),
        ({"messages": ASK, "stop": ["x"] * 5}, "stop"),
        ({"messages": ASK, "stop": {"x": 1}}, "stop"),
        ({"messages": ASK, "stop": ["x", 1]}, "stop"),
        ({"messages": ASK, "stream": "yes"}, "stream"),
        ({"messages": ASK, "tools": [{"type": "function"}]}, "tools.0.function"),
        ({"messages": ASK, "response_format": {"type": "xml"}}, "response_format.type"),
        ({"messages": ASK, "chat_template_kwargs": {"enable_thinking": "no"}}, "chat_template_kwargs.enable_thinking"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_wrong_requests_name_the_field(address: str, body: dict[str, Any], param: str, stream: bool) -> None:
    found = post(address, {"stream": stream, **body})
    assert found.status_code == 400 and is_openai_error(found), found.text
    assert "should be" not in found.json()["error"]["message"]  # pydantic's words
    assert found.json()["error"]["param"] == param and found.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"messages": []}, "messages takes a list of objects, at least 1 of them"),
        ({"messages": ASK, "conversation": 3}, "conversation takes a text or object"),
        (
            {"messages": ASK, "tools": [{"type": "function", "function": {"name": "f g"}}]},
            "tools.0.function.name takes a text, that matches ^[a-zA-Z0-9_-]{1,64}$",
        ),
    ],
)
def test_wrong_requests_say_what_is_right(address: str, body: dict[str, Any], told: str) -> None:
    assert post(address, body).json()["error"]["message"] == told


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"3", b'"x"', b"[]", b"\xff\xfe\xfa", b"\0", b"[" * 100_000, b'{"a":' * 100_000),
        b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"messages": [{"role": "user", "content": "x"}], "temperature": -Infinity}',
        b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
        b'{"messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 10_000 + b"}",
    ],
    ids=range(14),
)
def test_bodies_that_are_no_request(address: str, body: bytes) -> None:
    found = post(address, body)
    assert found.status_code == 400 and is_openai_error(found)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "extra",
    [
        *({"temperature": tiny} for tiny in (1e-37, 1e-40, 1e-45, 1e-300, 5e-324)),
        {"temperature": 0.7, "top_p": 1e-300},
        {"max_tokens": 2**63},
        {"max_completion_tokens": 10**400},
        {"max_tokens": 200.0},
        *({"seed": seed} for seed in (10**400, -(10**400), 2**63, 2**64, -1, 0)),
        {"stop": "\ud800"},
        {"stop": ["\udfff" * 100_000, ""]},
        {"stop": None, "stream_options": None, "temperature": None, "n": 1, "tools": [], "logprobs": False},
        {"response_format": {"type": "text"}, "frequency_penalty": 0.0},
        {"logit_bias": {}, "top_k": -1, "min_p": 0, "repetition_penalty": 1, "presence_penalty": None},
        {"user": "x", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "tool_choice": "auto"},
        {"functions": None, "audio": None, "reasoning_effort": None, "prediction": None, "logprobs": None},
    ],
    ids=lambda extra: str(extra)[:30],
)
def test_extreme_values_get_the_greedy_answer(
    address: str, assistant: Assistant, extra: dict[str, Any], stream: bool
) -> None:
    found = post(address, {"messages": ASK, "stream": stream, **extra})
    assert found.status_code == 200, found.text
    expected = assistant.reply(ASK).text()
    if not stream:
        assert found.json()["choices"][0]["message"]["content"] == expected
        return
    events = [line.removeprefix("data: ") for line in found.text.split("\n\n") if line]
    choices = [json.loads(event)["choices"][0] for event in events[:-1]]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == expected
    assert events[-1] == "[DONE]" and choices[-1]["finish_reason"]


def test_lone_surrogates_in_any_field(address: str) -> None:
    lone = "\ud800x"
    answered = post(address, {"messages": [{"role": "user", "content": lone}], "max_tokens": 2, "user": lone})
    assert answered.status_code == 200
    parts = [{"type": "text", "text": lone}]
    assert post(address, {"messages": [{"role": "user", "content": parts}], "max_tokens": 2}).status_code == 200
    for body, status in (
        ({"messages": ASK, "model": lone}, 404),
        ({"messages": ASK, "tools": lone}, 400),
        ({"messages": ASK, lone: 1}, 400),
        ({"messages": [{"role": "user", "content": [{"type": lone}]}]}, 400),
        ({"messages": ASK, "temperature": lone}, 400),
    ):
        found = post(address, body)
        assert found.status_code == status and is_openai_error(found)


KEYS = ["role", "content", "type", "id", "function", "name", "parameters", "json_schema", "schema", "tool_calls"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(st.characters(codec=None), max_size=5)
    | st.sampled_from(
        ["user", "assistant", "tool", "text", "function", "json_schema", "required", "object", "\ud800", "tiny"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=6,
)
FIELDS = (
    *("messages", "model", "stream", "stream_options", "temperature", "top_p", "seed", "stop", "n", "tools"),
    *("tool_choice", "response_format", "conversation", "memory", "logprobs", "parallel_tool_calls"),
)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3))
def test_any_request_is_answered_or_refused(address: str, changed: dict[str, Any]) -> None:
    found = post(address, {"messages": ASK, "max_tokens": 2, **changed})
    if found.status_code == 200:
        assert "choices" in found.text and "error" not in found.text
    else:
        assert found.status_code in (400, 404) and is_openai_error(found)


def test_unknown_paths_wrong_methods_and_what_is_no_http(address: str) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/", 405),
        ("GET", "/v1/models/%ED%A0%80", 404),
        ("GET", "/v1/models/", 404),
        ("PROPFIND", "/v1", 404),
    ):
        found = httpx.request(method, f"{address}{path}", follow_redirects=True)
        assert found.status_code == status and is_openai_error(found), path
    assert httpx.get(f"{address}/v1/chat/completions").headers["allow"] == "POST"
    for sent in (b"GET /\xe9 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), PATIENCE) as raw:
            raw.sendall(sent)
            head, _, body = b"".join(iter(lambda: raw.recv(4096), b"")).partition(b"\r\n\r\n")
        assert b" 400 " in head and json.loads(body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("size", [1_000_001, 30_000_000])
def test_a_body_that_is_too_large_is_told_so(address: str, size: int) -> None:
    found = post(address, b" " * size)
    assert found.status_code == 413 and is_openai_error(found)
    pieces = (b" " * 1000 for _ in range(size // 1000 + 1))
    chunked = httpx.post(f"{address}/v1/chat/completions", content=pieces, timeout=PATIENCE)
    assert chunked.status_code == 413
    # a client that reads only when it has sent everything
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), PATIENCE) as raw:
        raw.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: [::1]\r\nContent-Length: {size}\r\n\r\n".encode())
        raw.sendall(b" " * size)
        assert b" 413 " in raw.recv(4096)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((name, 200) for name in ("localhost", "LocalHost:8000", "localhost.", "localhost.:80", "127.0.0.1:1")),
        *((name, 200) for name in ("127.0.0.2", "127.255.255.254:80", "[::1]", "[::1]:8000", "[::ffff:127.0.0.1]:1")),
        *((name, 403) for name in ("evil.example", "localhost.evil.example", "evil.example:80", "10.0.0.1", "[::2]")),
        *((name, 403) for name in ("127.0.0.1.evil.example", "localhost:80:80", "localhost:x", "[localhost]", "")),
        *((name, 403) for name in ("evil.example#localhost", "localhost@evil.example", "0.0.0.0", "2130706433")),
    ],
)
def test_only_names_of_this_machine_on_a_loopback_address(address: str, host: str, status: int) -> None:
    found = httpx.get(f"{address}/v1/models", headers={"Host": host})
    assert found.status_code == status and (status == 200 or (is_openai_error(found) and "--host" in found.text))
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in found.headers


def test_api_key_headers(assistant: Assistant, listen: Listen) -> None:
    with listen(assistant, api_keys=["secret"]) as address:
        url = f"{address}/v1/models"
        for given in (b"Bearer secret", b"bearer secret", b"BEARER  secret"):
            assert httpx.get(url, headers=[(b"authorization", given)]).status_code == 200
        for given in (
            b"",
            b"secret",
            b"Bearer",
            b"Bearer Secret",
            b"Basic secret",
            b"Bearer \xed\xa0\x80",
            b"\xff \xff",
        ):
            found = httpx.get(url, headers=[(b"authorization", given)])
            assert found.status_code == 401 and is_openai_error(found) and found.headers["www-authenticate"] == "Bearer"
        assert httpx.get(f"{address}/health").status_code == 200


def test_a_diverged_model_is_an_error_and_no_empty_answer(run_folder: Path, tmp_path: Path, listen: Listen) -> None:
    shutil.copytree(run_folder, tmp_path / "bad")
    model = load_model(tmp_path / "bad" / "sft")
    with torch.no_grad():
        model.embed.weight.fill_(float("nan"))
    save_model(model, tmp_path / "bad" / "sft")
    with listen(Assistant.load(tmp_path / "bad" / "sft", tmp_path / "bad" / "tokenizer", "bad")) as address:
        for stream in (True, False):
            found = post(address, {"messages": ASK, "stream": stream, "temperature": 1})
            assert found.status_code == 500 and is_openai_error(found)


def test_waiting_requests_whose_clients_leave_are_dropped(endless: str) -> None:
    client, url = client_of(endless), f"{endless}/v1/chat/completions"
    body = {"messages": ASK, "max_tokens": 90_000}
    under_way = client.chat.completions.create(model="gristmill", stream=True, messages=ASK, max_tokens=90_000)
    next(iter(under_way))
    wanted = httpx.Timeout(PATIENCE, read=0.5)
    with ThreadPoolExecutor(30) as pool:
        waits = [pool.submit(httpx.post, url, json=body, timeout=wanted) for _ in range(30)]
        assert all(isinstance(wait.exception(), httpx.ReadTimeout) for wait in waits)
    under_way.close()
    # each of them would hold the model for minutes
    assert client.chat.completions.create(model="gristmill", messages=ASK, max_tokens=1).choices


def test_a_full_queue_refuses_and_recovers(endless: str) -> None:
    port = int(endless.rpartition(":")[2])
    body = json.dumps({"messages": ASK, "max_tokens": 90_000}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    waiting = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(MAX_INSIDE)]
    for one in waiting:
        one.sendall(head + body)
    found = post(endless, {"messages": ASK, "max_tokens": 1})
    while found.status_code != 429:  # the last of them may not have been read yet
        found = post(endless, {"messages": ASK, "max_tokens": 1})
    assert is_openai_error(found) and int(found.headers["retry-after"]) > 0
    for one in waiting:
        one.close()
    while (found := post(endless, {"messages": ASK, "max_tokens": 1})).status_code == 429:
        pass
    assert found.status_code == 200


def test_a_reader_that_reads_nothing_blocks_nobody(endless_folder: Path, listen: Listen) -> None:
    assistant = Assistant.load(endless_folder / "sft", endless_folder / "tokenizer", "endless")
    assistant.name = "a long name, which every event repeats " * 200  # more than the system keeps for a slow reader
    body = json.dumps({"messages": ASK, "max_tokens": 600, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with listen(assistant) as address, socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        lazy.connect(("127.0.0.1", int(address.rpartition(":")[2])))
        lazy.sendall(head + body)
        lazy.recv(1)
        assert post(address, {"messages": ASK, "max_tokens": 1}).status_code == 200


def test_a_long_request_holds_up_nobody(run_folder: Path, listen: Listen) -> None:
    read = threading.Event()

    class Waits(Assistant):
        """An assistant that reads a conversation only when the test lets it."""

        def fitted(self, *arguments: Any) -> tuple[list[int], int]:
            """The same prompt, later."""
            assert read.wait(PATIENCE)
            return super().fitted(*arguments)

    with (
        listen(Waits.load(run_folder / "sft", run_folder / "tokenizer", "tiny")) as address,
        ThreadPoolExecutor(1) as pool,
    ):
        long = pool.submit(post, address, {"messages": ASK, "max_tokens": 1})
        for _ in range(10):
            assert httpx.get(f"{address}/health", timeout=PATIENCE).status_code == 200
        read.set()
        assert long.result().status_code == 200


def test_histories_of_very_many_messages(address: str, assistant: Assistant, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    encode = assistant.engine.tokenizer.encode

    def counted(text: str) -> list[int]:
        nonlocal calls
        calls += 1
        return encode(text)

    turns = [{"role": ("user", "assistant")[i % 2], "content": ""} for i in range(20_001)]
    monkeypatch.setattr(assistant.engine.tokenizer, "encode", counted)
    assert post(address, {"messages": turns, "max_tokens": 1}).status_code == 200
    assert calls < 10 * assistant.engine.context
    turns[-2]["role"] = "nobody"
    found = post(address, {"messages": turns})
    assert found.status_code == 400 and len(found.content) < 2000

"""The server as a process of its own: it answers on whoever leaves, and ends when it is told to."""

from __future__ import annotations

import random
import re
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from command_line import Command
from forks import Commands

from gristmill.errors import UserError
from gristmill.serving.assistant import Assistant
from gristmill.serving.server import PATIENCE as GRACE
from gristmill.serving.server import listen, serve
from gristmill.settings.quantities import is_loopback

PATIENCE = 300.0  # seconds after which something hangs
ENDLESS: dict[str, Any] = {"messages": [{"role": "user", "content": "Tell me everything."}], "max_tokens": 90_000}


def served(commands: Commands, folder: Path) -> str:
    """The address of `gristmill serve`, on any free port."""
    commands.start(["serve", folder, "--port", "0"])
    commands.until(lambda: "\n" in commands.out.read_text())
    found = re.search(r"http://\S+?:\d+(?=/)", commands.out.read_text())
    assert found, commands.printed()
    return found[0]


def leave(url: str, draw: random.Random) -> None:
    """Ask for an endless answer and go away at some moment."""
    if draw.random() < 0.5:
        with suppress(httpx.ReadTimeout):
            httpx.post(url, json=ENDLESS, timeout=httpx.Timeout(PATIENCE, read=draw.uniform(0.001, 0.1)))
        return
    with httpx.stream("POST", url, json={**ENDLESS, "stream": True}, timeout=PATIENCE) as response:
        lines = response.iter_lines()
        for _ in range(draw.randrange(40)):
            next(lines)


def test_readers_that_leave_block_nobody_and_sigterm_ends_it(endless_folder: Path, commands: Commands) -> None:
    draw = random.Random(0)
    address = served(commands, endless_folder)
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0, timeout=PATIENCE)
    for _ in range(20):
        leave(f"{address}/v1/chat/completions", draw)
        found = client.chat.completions.create(model="gristmill", messages=ENDLESS["messages"], max_tokens=1)
        assert found.choices[0].finish_reason == "length"
    client.close()
    commands.signal(signal.SIGTERM)
    assert commands.wait() == 0
    assert commands.err.read_text() == f"model: {endless_folder / 'sft'}\n"  # and no traceback


def test_an_answer_under_way_is_cut_when_the_server_ends(endless_folder: Path, commands: Commands) -> None:
    address = served(commands, endless_folder)
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0, timeout=PATIENCE)
    stream = client.chat.completions.create(model="gristmill", stream=True, **ENDLESS)
    text = next(stream).choices[0].delta.content + next(stream).choices[0].delta.content
    waiting = socket.create_connection((address.split("/")[2].split(":")[0], int(address.rpartition(":")[2])))
    body = b'{"messages": [{"role": "user", "content": "And me?"}], "max_tokens": 90000}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    waiting.sendall(head.encode() + body)
    assert httpx.get(f"{address}/health").status_code == 200  # what was sent before has been read
    begun = time.monotonic()
    commands.signal(signal.SIGINT)
    with pytest.raises(openai.APIError, match="stopping"):
        for event in stream:
            text += event.choices[0].delta.content or ""
    assert text and time.monotonic() - begun > 0.9 * GRACE  # it was given its time
    waiting.settimeout(PATIENCE)
    assert b"503" in waiting.recv(1 << 16).split(b"\r\n")[0]
    assert commands.wait() == 0
    waiting.close()


@pytest.mark.parametrize(
    ("host", "bound"),
    [
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("LOCALHOST", "127.0.0.1"),
        ("localhost.", "127.0.0.1"),
    ],
)
def test_loopback_addresses(host: str, bound: str) -> None:
    if ":" in bound and not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    with listen(host, 0) as listener:
        assert listener.getsockname()[0] == bound and is_loopback(bound)


def test_an_address_that_cannot_be_had_is_one_message(run_folder: Path, commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = commands.run(["serve", run_folder, "--port", taken.getsockname()[1]])
    assert done.code == 2 and "--port" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("", 0),
        ("[]", 0),
        ("no.such.host.invalid", 0),
        ("a" * 70, 0),
        ("\0", 0),
        ("\ud800", 0),
        ("::1", -1),
        ("127.0.0.1", 99999),
        ("127.0.0.1", 2**70),
    ],
)
def test_addresses_that_are_none(host: str, port: int) -> None:
    with pytest.raises(UserError):
        listen(host, port)


@pytest.mark.parametrize("key", ["", "two words", "clé", "\udcff", "line\n"])
def test_keys_that_no_client_can_send(assistant: Assistant, key: str) -> None:
    with pytest.raises(UserError, match="API key"):
        serve(assistant, port=0, api_keys=[key])


def test_a_server_quotes_what_update_has_read(tmp_path: Path, commands: Commands, command: Command) -> None:
    pages, run = tmp_path / "docs", tmp_path / "run"
    pages.mkdir()
    (pages / "ferry.md").write_text("# The ferry\n\nThe ferry leaves at nine.\n")
    recipe = tmp_path / "pages.toml"
    recipe.write_text('[extract]\npaths = ["docs"]\n[passages]\n')
    assert command("run", recipe, "-o", run).code == 0
    address = served(commands, run)

    def answer() -> str:
        asked = {"messages": [{"role": "user", "content": "When does the ferry leave?"}]}
        found = httpx.post(f"{address}/v1/chat/completions", json=asked, timeout=PATIENCE).json()
        return str(found["choices"][0]["message"]["content"])

    def found() -> str:
        asked = {"question": "When does the ferry leave?"}
        return str(httpx.get(f"{address}/v1/passages", params=asked, timeout=PATIENCE).json()[0]["text"])

    def offered() -> list[str]:
        return list(httpx.get(f"{address}/v1/models", timeout=PATIENCE).json()["data"][0]["examples"])

    assert "nine" in answer() and offered() == []
    (pages / "faq.md").write_text("# Questions\n\n## Who may board the ferry?\n\nEverybody with a ticket.\n")
    assert command("update", run).code == 0
    assert offered() == ["Who may board the ferry?"], commands.printed()
    for hour, ask in (("ten", answer), ("eleven", found)):
        (pages / "ferry.md").write_text(f"# The ferry\n\nThe ferry leaves at {hour}.\n")
        assert command("update", run).code == 0
        assert hour in ask(), commands.printed()
    (pages / "ferry.md").write_text("# The ferry\n\nThe ferry leaves at noon.\n")
    assert command("run", recipe, "-o", run).code == 0
    assert "noon" in answer(), commands.printed()
    shutil.rmtree(run)
    assert "noon" in answer(), "what is open stays"
    commands.signal(signal.SIGTERM)
    assert commands.wait() == 0

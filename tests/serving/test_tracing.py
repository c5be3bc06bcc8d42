"""Where what was said stands in the training text, over HTTP: as `gristmill trace` tells it."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_line import Command
from forks import Commands
from models import Listen

from gristmill.commands import trace as commands
from gristmill.manifest import Manifest
from gristmill.serving.assistant import Assistant
from gristmill.serving.tracing import MAX_TEXT, MOST_WAITING, Tracer

TEXT = "🛶 Old Anna walks to the river, and nobody has seen the red submarine."


@pytest.fixture
def run(run_folder: Path, tokens_folder: Path, tmp_path: Path) -> Path:
    """A run folder with a model and its training text."""
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    shutil.copytree(tokens_folder, folder / "tokenize")
    Manifest(stage="tokenize", metrics={"train_tokens": 20_000}).write(folder / "tokenize")
    return folder


def test_the_server_tells_what_the_command_tells(
    run: Path, assistant: Assistant, listen: Listen, command: Command
) -> None:
    with listen(assistant, tracer=commands.tracer_of(run)) as address:
        assert httpx.get(f"{address}/v1/models").json()["data"][0]["trace"] is True
        found = httpx.post(f"{address}/v1/trace", json={"text": TEXT, "documents": 3}, timeout=60).json()
    told = json.loads(command("trace", str(run), TEXT, "--documents", "3", "--json").stdout)
    assert found["spans"] == told and len(told) > 0 and len(told[0]["sources"]) == 3
    assert TEXT[told[0]["start"] : told[0]["end"]] == told[0]["text"] == "Old Anna walks to the river"
    assert found["covered"] == len(told[0]["text"]) and found["tokens"] > 1000


def test_what_it_refuses(run: Path, assistant: Assistant, listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MOST_BUILT", 10)
    with listen(assistant, tracer=commands.tracer_of(run), api_keys=["secret"]) as address:
        client = httpx.Client(base_url=address, headers={"Authorization": "Bearer secret"}, timeout=60)
        assert httpx.post(f"{address}/v1/trace", json={"text": TEXT}).status_code == 401
        refused = client.post("/v1/trace", json={"text": TEXT})
        assert refused.status_code == 404 and f"gristmill count {run} the" in refused.json()["error"]["message"]
        assert not (run / "index").exists()
        for body in (
            {"text": "a" * (MAX_TEXT + 1)},
            {"text": 3},
            {},
            {"text": TEXT, "documents": 21},
            {"text": "", "n": 2},
        ):
            assert client.post("/v1/trace", json=body).status_code == 400, body
    with listen(assistant, tracer=commands.tracer_of(run / "sft")) as address:
        assert httpx.post(f"{address}/v1/trace", json={"text": TEXT}).status_code == 404
        assert "trace" not in httpx.get(f"{address}/v1/models").json()["data"][0]


def test_one_text_at_a_time_and_few_wait(run: Path, assistant: Assistant, listen: Listen) -> None:
    opened, go_on = threading.Event(), threading.Event()

    def opens() -> Any:
        opened.set()
        go_on.wait(60)
        return (*commands.opened(run), None)

    statuses: list[int] = []
    with listen(assistant, tracer=Tracer(opens)) as address:

        def ask() -> None:
            statuses.append(httpx.post(f"{address}/v1/trace", json={"text": TEXT}, timeout=60).status_code)

        asking = [threading.Thread(target=ask) for _ in range(MOST_WAITING + 3)]
        for thread in asking:
            thread.start()
        assert opened.wait(60)
        assert httpx.get(f"{address}/health", timeout=60).json() == {"status": "ok"}  # nobody else waits
        while len(statuses) < 3:
            assert go_on.wait(0.01) is False
        assert statuses == [429] * 3
        go_on.set()
        for thread in asking:
            thread.join()
    assert statuses[3:] == [200] * MOST_WAITING


@pytest.mark.parametrize("text", ["", " ", "\ud800", "\x00", "a" * 50, "🛶" * 50, "the river"])
def test_any_text_is_traced(run: Path, assistant: Assistant, listen: Listen, text: str) -> None:
    with listen(assistant, tracer=commands.tracer_of(run)) as address:
        found = httpx.post(f"{address}/v1/trace", content=json.dumps({"text": text}), timeout=60)
        assert found.status_code == 200 and found.json()["spans"] == [] and found.json()["covered"] == 0


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--host", "localhost"), True),
        (("--no-trace",), False),
        (("--host", "0.0.0.0", "--api-key", "secret"), False),
        (("--host", "0.0.0.0", "--trace"), True),
    ],
)
def test_strangers_do_not_see_the_training_text(
    run: Path, commands: Commands, options: tuple[str, ...], shown: bool
) -> None:
    commands.start(["serve", run, "--port", "0", *options])
    commands.until(lambda: "chat page http" in commands.out.read_text())
    if "--host" in options:
        assert ("may ask" in commands.err.read_text()) == ("0.0.0.0" in options and "--api-key" not in options)
    port = commands.out.read_text().split("/, API")[0].rpartition(":")[2]
    headers = {"Authorization": "Bearer secret"}
    card = httpx.get(f"http://127.0.0.1:{port}/v1/models", headers=headers, timeout=60).json()["data"][0]
    assert card.get("trace", False) == shown

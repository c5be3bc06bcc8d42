"""Many clients at once, a third of whom leave at random."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from models import Listen

from gristmill.serving.assistant import Assistant
from gristmill.serving.memory.memory_store import MemoryStore

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["n"]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA | {"additionalProperties": False}}}
FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA | {"additionalProperties": False}}}
KINDS: list[dict[str, Any]] = [
    {},
    {},
    {"response_format": FORM},
    {"tools": [TOOL], "tool_choice": "required"},
    {"memory": True},
    {"memory": True, "messages": [{"role": "user", "content": "Remember that my boat is red."}]},
]


async def client(address: str, number: int, until: float, found: Counter[int]) -> None:
    """Ask until the time is over; every third answer is left, at any stage."""
    draw = random.Random(number)
    async with httpx.AsyncClient(base_url=address, timeout=300, verify=False) as http:
        while time.monotonic() < until:
            body: dict[str, Any] = {
                "messages": [{"role": "user", "content": f"Story {draw.randrange(50)}"}],
                "max_tokens": draw.randrange(1, 300),
                "temperature": draw.choice([0, 1]),
                "stream": draw.random() < 0.7,
            }
            body |= draw.choice(KINDS)
            patience = draw.uniform(0.001, 0.5) if draw.random() < 1 / 3 else 300
            try:
                async with asyncio.timeout(patience), http.stream("POST", "/v1/chat/completions", json=body) as answer:
                    text = (await answer.aread()).decode()
                found[answer.status_code] += 1
                if answer.status_code == 200:
                    assert '"error"' not in text and (not body["stream"] or text.endswith("data: [DONE]\n\n"))
                else:
                    await asyncio.sleep(0.1)
            except TimeoutError:
                found[0] += 1


def load(address: str, clients: int, seconds: float) -> Counter[int]:
    """How often each status came; 0 where the client left."""
    found: Counter[int] = Counter()

    async def run() -> None:
        until = time.monotonic() + seconds
        await asyncio.gather(*(client(address, number, until, found) for number in range(clients)))

    asyncio.run(run())
    return found


@pytest.mark.parametrize(("clients", "seconds"), [(20, 3), pytest.param(200, 60, marks=pytest.mark.slow)])
def test_nothing_but_answers_and_refusals_and_every_slot_is_free_at_the_end(
    endless_folder: Path, listen: Listen, tmp_path: Path, clients: int, seconds: float
) -> None:
    assistant = Assistant.load(endless_folder / "sft", endless_folder / "tokenizer", "endless")
    with listen(assistant, memory=MemoryStore(tmp_path / "memory.sqlite")) as address:
        found = load(address, clients, seconds)
        assert found[200] > 0 and found[0] > 0 and set(found) <= {0, 200, 429}
        while "gristmill_requests_inside 0\n" not in httpx.get(f"{address}/metrics").text:
            time.sleep(0.05)
        scheduler = assistant.engine.scheduler
        while scheduler.going or scheduler.waiting:
            time.sleep(0.05)
        assert not scheduler.pages.users and not scheduler.promised
        assert httpx.post(f"{address}/v1/completions", json={"prompt": "The", "max_tokens": 2}).status_code == 200

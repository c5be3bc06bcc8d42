"""A model with a small context is not given what is remembered: it would answer worse."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from models import Listen

from gristmill.serving.assistant import Assistant
from gristmill.serving.guard import LOCAL
from gristmill.serving.memory.memory_store import MemoryStore

ASK = {"messages": [{"role": "user", "content": "Which colour has the boat?"}], "max_tokens": 9}


@pytest.mark.parametrize("large", [False, True])
def test_a_small_model_is_given_nothing_and_a_larger_one_the_fact(
    assistant: Assistant, roomy: Assistant, tmp_path: Path, listen: Listen, large: bool
) -> None:
    store = MemoryStore(tmp_path / "memory.sqlite")
    fact = store.remember(LOCAL, "My boat is red")
    with listen(roomy if large else assistant, memory=store) as address:
        url = f"{address}/v1/chat/completions"
        plain, told = (httpx.post(url, json={**ASK, **use}, timeout=60).json() for use in ({}, {"memory": True}))
    assert told["memory"]["facts"] == [{"id": fact.id, "text": fact.text}] * large
    assert told["memory"].get("facts_left_out", 0) == (not large)
    assert (told["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]) == large
    assert large or told["choices"] == plain["choices"]

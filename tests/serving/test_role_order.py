"""Messages are answered in whatever order of roles they come."""

from __future__ import annotations

import itertools
import re

import httpx
import pytest
from models import Listen

from gristmill.serving.assistant import Assistant

SAYS = {"u": "Who walks to the river?", "v": "And then?", "a": "Old Anna.", "s": "Be brief.", "t": "Be kind."}
ROLES = {"u": "user", "v": "user", "a": "assistant", "s": "system", "t": "developer"}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("uu", "u"),  # sent again after a failure
        ("uv", "u+v"),
        ("au", "au"),  # a greeting
        ("ssu", "su"),
        ("stu", "s+tu"),
        ("uasv", "suav"),  # added later on
        ("usv", "su+v"),
        ("uaau", "uau"),
        ("ua", "ua"),
        ("uav", "uav"),
    ],
)
def test_messages_in_any_order_are_answered(assistant: Assistant, listen: Listen, given: str, read: str) -> None:
    asked = [{"role": ROLES[name], "content": SAYS[name]} for name in given]
    with listen(assistant) as address:
        found = httpx.post(f"{address}/v1/chat/completions", json={"messages": asked}, timeout=300.0)
    assert found.status_code == 200, found.text
    parts = re.findall(r"(\w)(?:\+(\w))?", read)
    turns = [(ROLES[one], "\n\n".join(SAYS[name] for name in (one, two) if name)) for one, two in parts]
    tokens = assistant.engine.tokenizer

    def turn(role: str, text: str) -> list[int]:
        return [tokens.im_start, *tokens.encode(f"{role}\n"), *tokens.encode(text), tokens.im_end, *tokens.encode("\n")]

    expected = [[tokens.end_of_text], *(turn(*said) for said in turns)]
    opened = [tokens.im_start, *tokens.encode("assistant\n")]
    plain = [{**message, "role": message["role"].replace("developer", "system")} for message in asked]
    assert assistant.prompt(plain) == [*itertools.chain(*expected), *opened]
    assert found.json()["usage"]["prompt_tokens"] == len(assistant.prompt(plain))

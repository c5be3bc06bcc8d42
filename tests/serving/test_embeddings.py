"""Texts as vectors: those of PyTorch, through OpenAI's own client, among answers under way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch

from gristmill.generation.engine import Engine
from gristmill.generation.torch_decoder import TorchDecoder
from gristmill.serving.assistant import Assistant
from gristmill.serving.embeddings import embed

TEXTS = ["Old Anna paints the hill.", "", "The ferryman forgets the long bridge. " * 12]


def exact(engine: Engine, text: str) -> np.ndarray:
    """The vector of a text by PyTorch in double precision."""
    ids = torch.tensor([[engine.tokenizer.end_of_text, *engine.tokenizer.encode(text)]])
    with torch.no_grad():
        mean = engine.model.double().hidden(ids)[0].mean(0)
    engine.model.float()
    return np.asarray(mean / mean.norm())


def test_vectors_are_the_models(address: str, roomy: Assistant) -> None:
    expected = [exact(Engine(roomy.engine.model, roomy.engine.tokenizer), text) for text in TEXTS]
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, client) for _ in range(8)]
        made = [client.embeddings.create(model="tiny", input=TEXTS) for _ in range(5)]
        assert len({one.result() for one in answers}) == 1
    for found in made:
        for one, vector in zip(found.data, expected, strict=True):
            assert one.embedding == pytest.approx(vector, abs=1e-5)
            assert np.linalg.norm(one.embedding) == pytest.approx(1, abs=1e-5)
    tokens = roomy.engine.tokenizer.encode(TEXTS[0])
    given: dict[str, Any] = {"model": "tiny", "encoding_format": "float"}
    begun = client.embeddings.create(input=[roomy.engine.tokenizer.end_of_text, *tokens], **given)
    assert begun.data[0].embedding == pytest.approx(expected[0], abs=1e-5)
    assert begun.usage.prompt_tokens == len(tokens) + 1
    assert not roomy.engine.scheduler.pages.users


def ask(client: openai.OpenAI) -> str | None:
    """A greedy answer."""
    message: list[Any] = [{"role": "user", "content": "Who walks to the river?"}]
    return client.chat.completions.create(model="tiny", messages=message, max_tokens=40).choices[0].message.content


def test_pytorch_gives_the_same(roomy: Assistant) -> None:
    engine = Engine(roomy.engine.model, roomy.engine.tokenizer)
    engine.scheduler.decoder = TorchDecoder(roomy.engine.model)
    tokens = engine.tokenizer.encode(TEXTS[2])
    assert embed(engine, tokens) == pytest.approx(embed(roomy.engine, tokens), abs=1e-5)


WRONG: list[Any] = [[], ["x"] * 65, [[10**6]], [[]], "river " * 3000, 3]
FIELDS: list[dict[str, Any]] = [{"dimensions": 7}, {"encoding_format": "int8"}, {"model": "other"}]


@pytest.mark.parametrize("wrong", [*({"input": one} for one in WRONG), *({"input": "x", **more} for more in FIELDS)])
def test_what_is_no_text_is_refused(address: str, wrong: dict[str, Any]) -> None:
    found = httpx.post(f"{address}/v1/embeddings", json=wrong)
    assert found.status_code in (400, 404) and found.json()["error"]["message"]

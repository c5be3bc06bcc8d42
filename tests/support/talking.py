"""Conversations about a few words, which a tiny model learns in seconds."""

from __future__ import annotations

from pathlib import Path

from gristmill.chat.template import render
from gristmill.generation.engine import Engine
from gristmill.tokenizer.encode import Tokenizer

WORDS = ("mill", "river", "bridge", "boat", "hill", "market")


def chat(question: str, answer: str) -> list[dict[str, str]]:
    """A conversation of one exchange."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def render_prompt(question: str, tokenizer: Tokenizer) -> list[int]:
    """A question, ready for the assistant's answer."""
    return render([{"role": "user", "content": question}], tokenizer, generation_prompt=True)[0]


def share(folders: dict[str, Path], answer: str, question: str = "Say hill") -> float:
    """How often a model gives an answer, of 60 samples."""
    engine = Engine.load(folders["model"], folders["tokenizer"])
    drawn = engine.generate([render_prompt(question, engine.tokenizer)] * 60, max_tokens=8, temperature=1.0, seed=1)
    return sum(engine.tokenizer.decode(one.tokens) == answer for one in drawn) / 60

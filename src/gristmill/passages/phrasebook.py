"""What an assistant over pages says of its own, in the language of a question or of the pages: `phrasebook.json`."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from itertools import islice
from typing import NamedTuple

PAUSE = re.compile(r"[,.!:、。！，\n]+")  # after a greeting
GREETINGS = 3
LONGEST = 80  # characters of a greeting


class Phrases(NamedTuple):
    """Of one language: sentences, and how people greet and thank, between bars."""

    declined: str
    nearest: str  # with a place for names of pages
    hello: str
    welcome: str
    greetings: str
    thanks: str
    beside: str  # what is said with both

    def reply(self, message: str) -> str:
        """The answer to what is nothing but a greeting or thanks; else an empty text."""
        kinds = [kind.split("|") for kind in (self.greetings, self.thanks, self.beside)]
        known = "|".join(sorted((re.escape(words) for kind in kinds for words in kind), key=len, reverse=True))
        said = " ".join(message.casefold().split())
        if len(said) > LONGEST or not re.fullmatch(rf"\W*(?:(?:{known})\W*)+", said):
            return ""
        greets, thanks, _ = (not set(re.findall(known, said)).isdisjoint(kind) for kind in kinds)
        return self.welcome if thanks else self.hello if greets else ""


@cache
def phrases() -> dict[str, Phrases]:
    """ISO 639-1 code → what is said in that language."""
    text = resources.files("gristmill.passages").joinpath("phrasebook.json").read_text("utf-8")
    return {code: Phrases(**said) for code, said in json.loads(text).items()}


def replies(message: str) -> dict[str, str]:
    """The answers to what is nothing but a greeting or thanks, by the languages that it may be in."""
    return {code: text for code, said in phrases().items() if (text := said.reply(message))}


def ungreeted(message: str) -> str:
    """A message without greetings and thanks that it begins with, up to `GREETINGS`; as it is, where it is no more."""
    begin, end = 0, len(message.rstrip())
    for pause in islice(PAUSE.finditer(message), GREETINGS):
        if pause.end() >= end or not replies(message[begin : pause.start()]):
            break
        begin = pause.end()
    return message[begin:]

"""A model that reads: of the sentences of the passages that a search found it chooses the one that answers a question.

Its answer is held to be one of those sentences with its passage's number, or the decline: so it can leave out and be
wrong, and can make nothing up, whatever a page tells it to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from gristmill.chat.template import render
from gristmill.generation.engine import Engine
from gristmill.generation.grammar import OneOf
from gristmill.generation.sampling_params import SamplingParams
from gristmill.passages.cut import size_of
from gristmill.passages.extractive import DECLINED, Citation, Quoted, answer, best_stretch, sentences
from gristmill.passages.reading_examples import ANSWER_WORDS, READ, SHOWN, one_line, prompt
from gristmill.passages.search import Found, Search

SHORTEST = 3  # words of a sentence that can answer


class Reader:
    """A model over a folder of passages, one that was trained on `reading_examples.py`'s or is able to without."""

    def __init__(self, search: Search, engine: Engine) -> None:
        self.search, self.engine, self.lock = search, engine, Lock()

    def answer(self, question: str, before: str = "") -> Quoted:
        """The sentence that the model chooses, and below it what is quoted without a model; that alone where the model
        declines, or no passage fits its context. `before`: an earlier question that it takes up."""
        made = answer(self.search, question, before)
        chosen = self.chosen(f"{before} {question}".strip(), made.passages[:SHOWN])
        if not chosen:
            return made
        number, sentence = chosen
        text = f"{sentence} [{number}]"
        cited = Citation(0, len(text), made.passages[number - 1])
        if not made.citations:
            return Quoted(text, (cited,), made.passages)
        shift = len(text) + 2
        quotes = (Citation(one.start + shift, one.end + shift, one.passage) for one in made.citations)
        return Quoted(f"{text}\n\n{made.text}", (cited, *quotes), made.passages)

    def chosen(self, question: str, passages: Sequence[Found]) -> tuple[int, str] | None:
        """The number of a passage and a sentence of it, on one line; None where the model declines."""
        asked = self.search.concepts(question)
        texts = [one.text[slice(*best_stretch(one.text, asked, READ))] for one in passages]
        tokenizer = self.engine.tokenizer
        options: dict[str, tuple[int, str]] = {}
        for number, text in enumerate(texts, 1):
            for start, end in sentences(text):
                sentence = one_line(text[start:end])
                if SHORTEST <= size_of(sentence) <= ANSWER_WORDS:
                    options.setdefault(f"{sentence} [{number}]", (number, sentence))
        said = {tuple(tokenizer.encode(option)): option for option in (*options, DECLINED)}
        titles = [one.title for one in passages]
        ids, _ = render(prompt(question, zip(titles, texts, strict=True)), tokenizer, generation_prompt=True)
        longest = max(map(len, said)) + 1
        if not options or len(ids) + longest > self.engine.context:
            return self.chosen(question, passages[:-1]) if passages else None
        form = OneOf(said, tokenizer.im_end, tokenizer.vocab_size)
        with self.lock:
            made = tuple(self.engine.stream(ids, SamplingParams(longest, grammar=form)))
        return options.get(said[made])

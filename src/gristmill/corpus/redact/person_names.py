"""Names of people, by a spaCy pipeline of the user's: `pip install 'gristmill[names]'`, and a model folder on disk.

A statistical model errs where patterns do not, and costs about a thousand times as much: this is for small corpora.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from gristmill.errors import UserError, from_extra

PERSON = frozenset(("PERSON", "PER"))  # as pipelines label people
PIECE = 100_000  # characters given to the pipeline at once: its memory grows with them


def name_finder(model: str) -> Callable[[str], Iterator[tuple[int, int]]]:
    """A finder of people's names. Raises UserError where spaCy or the model is missing."""
    with from_extra("names", "redact.names needs spaCy"):
        import spacy
    try:
        pipeline = spacy.load(Path(model))
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"{model} is no spaCy pipeline: {error}", "name the folder of one") from error

    def find(text: str) -> Iterator[tuple[int, int]]:
        for at in range(0, len(text), PIECE):
            for entity in pipeline(text[at : at + PIECE]).ents:
                if entity.label_ in PERSON:
                    yield at + entity.start_char, at + entity.end_char

    return find

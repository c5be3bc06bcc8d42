"""`gristmill find`: the passages of a run's pages, without an assistant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gristmill.errors import UserError
from gristmill.progress import console, print_json, results
from gristmill.runs.finished import passages_of, stage_of

Words = Annotated[bool, typer.Option("--words", help="Rank passages by words alone, without the extra `meaning`.")]


def find(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run folder, or that of its passages stage.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to look for, in any words.")],
    as_json: Annotated[bool, typer.Option("--json", help="A passage a line, as JSON.")] = False,
    count: Annotated[int, typer.Option("-n", min=1, max=100, help="How many passages.")] = 5,
    words: Words = False,
) -> None:
    """Find the passages of a run's pages that answer a question."""
    from gristmill.passages.search import Search
    from gristmill.passages.sentence_encoder import installed_encoder
    from gristmill.serving.shown import passage_text

    if not question.strip():
        raise UserError("there is nothing to look for", "give words, or a question")
    passages = passages_of(folder) or stage_of(folder, "passages")
    search = Search(passages, None if words else installed_encoder())
    console.print(f"passages: {passages}, ranked by {search.ranked_by}")
    if not (passages_found := search.find(question, count)):
        console.print("no passage has a word of that: try others")
    for place, found in enumerate(passages_found, 1):
        if as_json:
            print_json(found.record() | {"ranked_by": search.ranked_by})
        else:
            results.print(passage_text(place, found), soft_wrap=True)

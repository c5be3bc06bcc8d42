"""`gristmill attribute`: which training documents moved the model towards an answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from gristmill.commands.groups import RunFolder
from gristmill.progress import console, print_json, results, warn
from gristmill.runs.finished import stage_of

MOMENTS = 3  # of pretraining, the last
WORDS = 40  # of a document, those nearest to the text, that are shown
EARLY = 0.01  # of all steps: what a model that has just begun does says nothing


def attribute(
    folder: RunFolder,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the model reads.")],
    answer: Annotated[str, typer.Argument(metavar="ANSWER", help="What follows it, with the space before it.")],
    documents: Annotated[int, typer.Option(min=1, max=1000, help="How many to show.")] = 10,
    candidates: Annotated[
        int, typer.Option(min=1, help="Documents looked at, nearest in words; 100 more at random.")
    ] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print a document a line, as JSON.")] = False,
) -> None:
    """Show which training documents moved the base model towards an answer, by their gradients."""
    from gristmill.audit.attribution import SAMPLE
    from gristmill.audit.attribution import attribute as attribution
    from gristmill.inspection.predictions import moments
    from gristmill.model.transformer import load_model
    from gristmill.passages.concepts import Concept
    from gristmill.passages.extractive import best_stretch
    from gristmill.passages.small_words import small_words
    from gristmill.passages.terms import terms
    from gristmill.tokenizer.encode import Tokenizer
    from gristmill.tokenizer.shards import open_split

    tokenizer = Tokenizer.load(stage_of(folder, "tokenizer"))
    split = open_split(stage_of(folder, "tokenize"), "train", tokenizer.hash)
    kept = moments(stage_of(folder, "pretrain"))
    last = kept[-1].step
    models = [load_model(one.folder) for one in kept if EARLY * last <= one.step < last or len(kept) == 1]
    models = models[-MOMENTS:] or [load_model(kept[-1].folder)]
    most = min(candidates, len(split))
    console.print(
        f"the gradients of up to {most:,} documents nearest in words, and of {min(SAMPLE, len(split))} at random, at"
        f" {len(models)} moments of pretraining",
        style="dim",
    )
    if len(split) < 2 * SAMPLE:
        warn(f"caution: with {len(split)} documents, chance is hardly told from them")
    found = attribution(models, tokenizer, split, prompt, answer, candidates)[:documents]
    ids, urls = split.column("id"), split.column("url")
    asked = [Concept(term, 1.0, {}) for term in set(terms(f"{prompt}{answer}")) - small_words()]
    for place, mover in enumerate(found, 1):
        url = urls[mover.document].as_py()
        text = tokenizer.decode(split.document(mover.document)[:-1].tolist())
        if as_json:
            print_json({**asdict(mover), "document": ids[mover.document].as_py(), "url": url, "text": text})
            continue
        states = ", holds the answer" if mover.states else ""
        head = f"{place:>3}  {mover.score:+.3f}, {mover.above:.1f} deviations above chance{states}"
        results.print(f"{head}  {url}")
        begin, end = best_stretch(text, asked, WORDS)
        results.print(f"     {' '.join(text[begin:end].split())}", style="dim")
    if not as_json:
        results.print(f"by gradients at {len(models)} moments of pretraining; nothing was trained again", style="dim")

"""`gristmill trace` and `count`: where what was said stands in the training text."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from gristmill.commands.groups import RunFolder
from gristmill.errors import UserError, typed
from gristmill.manifest import MANIFEST, Manifest
from gristmill.progress import console, print_json, results
from gristmill.run import run_alone
from gristmill.runs.fingerprint import digests_of, fingerprint_of
from gristmill.runs.finished import newest_corpus, stage_of
from gristmill.settings.apart import Index
from gristmill.settings.stages import INDEX

if TYPE_CHECKING:
    from gristmill.audit.trace.corpus_index import CorpusIndex
    from gristmill.audit.trace.spans import Span
    from gristmill.serving.tracing import Tracer
    from gristmill.tokenizer.encode import Tokenizer

MOST_BUILT = 10_000_000  # tokens that a server indexes when it is first asked: some seconds
COLOURS = ("cyan", "green", "magenta", "yellow", "blue")


def opened(run: Path) -> tuple[CorpusIndex, Tokenizer]:
    """The index of a run's training text, made if it is not there, and its tokenizer."""
    from gristmill.audit.trace.corpus_index import CorpusIndex
    from gristmill.tokenizer.encode import Tokenizer

    tokenizer, tokens = Tokenizer.load(stage_of(run, "tokenizer")), stage_of(run, "tokenize")
    inputs = {"tokens": tokens}
    # a run that cannot be written may have one all the same
    made = None if os.access(run, os.W_OK) else Manifest.read(run / INDEX.name)
    if made is None or made.fingerprint != fingerprint_of(INDEX, Index(), digests_of(Index(), inputs)):
        run_alone(INDEX, inputs, Index(), run / INDEX.name)
    return CorpusIndex(run / INDEX.name, tokens), tokenizer


def tracer_of(run: Path | None) -> Tracer | None:
    """What traces answers for whoever asks a server, where the run has its training text."""
    from gristmill.serving.tracing import Tracer

    if run is None or not (run / "tokenize" / MANIFEST).exists():
        return None

    def opens() -> tuple[CorpusIndex, Tokenizer, Path | None]:
        size = int((Manifest.read(run / "tokenize") or Manifest()).metrics.get("train_tokens", 0))
        if size > MOST_BUILT and not (run / INDEX.name / MANIFEST).exists():
            problem = f"the training text has no index yet, and is too large ({size:,} tokens) to make one now"
            raise UserError(problem, f"make it once: gristmill count {typed(run)} the")
        return (*opened(run), newest_corpus(run))

    return Tracer(opens)


def trace(
    folder: RunFolder,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What was said; - reads it from standard input.")],
    documents: Annotated[int, typer.Option(min=1, max=100, help="Named for each span, at most.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the spans as JSON.")] = False,
) -> None:
    """Show which parts of a text stand word for word in the training text, and in which documents."""
    from gristmill.audit.trace.spans import trace as spans_of

    text = sys.stdin.read() if text == "-" else text
    if not text.strip():
        raise UserError("there is nothing to trace", "give the text that was said")
    index, tokenizer = opened(folder)
    spans = spans_of(index, tokenizer, text, corpus=newest_corpus(folder), documents=documents)
    if as_json:
        print_json([asdict(span) for span in spans], indent=2)
        return
    show(text, spans)


def show(text: str, spans: list[Span]) -> None:
    """Print the text with its spans in colours, then each span's documents."""
    from gristmill.audit.trace.spans import covered

    shown = Text(text)
    for number, span in enumerate(spans):
        shown.stylize(f"bold {COLOURS[number % len(COLOURS)]}", span.start, span.end)
    results.print(shown)
    for number, span in enumerate(spans):
        times = f"{span.count:,} times" if span.count > 1 else "once"
        results.print(
            Text(f"\n[{number + 1}] “{span.text.strip()}” stands there {times}", COLOURS[number % len(COLOURS)])
        )
        for source in span.sources:
            facts = [source.facts[name] for name in ("title", "fetched_at", "licence") if name in source.facts]
            results.print(f"    {source.url or source.facts.get('source', source.document)}")
            if facts:
                results.print(f"      {', '.join(facts)}", style="dim")
            words = " ".join(f"{source.before}{source.text}{source.after}".split())
            results.print(f"      … {words} …", style="dim")
    characters = covered(spans)
    if not spans:
        told = "no run of three words of it stands in the training text"
    elif characters >= len(text.strip()):
        told = "all of it stands in the training text"
        if len(spans) > 1:
            told += ", but no document joins the spans above as they are joined here"
    else:
        told = f"{characters / len(text):.0%} of it stands in the training text, in the spans above; "
        told += "no three words in a row of the rest do, nor two spans as they are joined here"
    results.print(f"\n{told}")


def count(
    folder: RunFolder,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Whole words, as they stand in the text.")],
) -> None:
    """Count how often words stand in a row in the training text."""
    if not text.strip():
        raise UserError("there is nothing to count", "give words, as they stand in the text")
    index, tokenizer = opened(folder)
    found = index.count_words(index.forms(text.strip(), tokenizer), tokenizer)
    console.print(f"in {index.total:,} tokens of training text:", style="dim")
    results.print(f"{found:,}")

"""`gristmill corpus …`: look into a corpus, and learn to judge one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gristmill.commands.groups import Commands, RunFolder
from gristmill.errors import UserError, typed
from gristmill.progress import results
from gristmill.runs.finished import KEEPING, made_in, stages_of
from gristmill.settings.stages import CORPUS

corpus = typer.Typer(cls=Commands, help="Look into a corpus, and learn to score one.", no_args_is_help=True)


@corpus.command()
def sample(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of a corpus stage, or a run folder.")],
    rule: Annotated[str, typer.Option("--dropped-by", metavar="RULE", help="Rule, as manifest.json counts it.")],
    count: Annotated[int, typer.Option("-n", min=1, help="How many documents.")] = 5,
) -> None:
    """Show what a rule took away."""
    from gristmill.corpus.execution.samples import SAMPLES, show

    own = (folder / SAMPLES).exists()
    corpora = [folder] if own else [path for name, path in stages_of(folder).items() if name in CORPUS]
    for record in show(corpora or [folder], rule, count):
        typer.secho(f"{record['id']}  {record['url']}", bold=True)
        typer.echo(f"{record['text']}\n")


@corpus.command()
def ledger(
    run: RunFolder,
    document: Annotated[str, typer.Option(help="Id or URL: tell the way of this one document.")] = "",
) -> None:
    """Show what came into each corpus stage and what left, to the document and the byte; or one document's way."""
    from gristmill.corpus.execution.ledger import ledger as entries
    from gristmill.corpus.execution.ledger import way

    folders = stages_of(run)
    if not folders.keys() & set(CORPUS):
        remedy = (
            f"make them: gristmill run RECIPE --out {typed(run)} {KEEPING}" if made_in(run) else "name a run folder"
        )
        raise UserError(f"no corpus stage in {run} may be shown", remedy)
    if document:
        for stage, told in way(folders, document):
            results.print(f"{stage}: {told}")
        return
    table = Table("stage", "rule", "documents", "bytes")
    for entry in entries(folders):
        table.add_row(entry.stage, "in", *(f"{value:,}" for value in entry.came.values()))
        for rule, dropped in entry.dropped.items():
            table.add_row("", f"dropped: {rule}", *(f"{-value:,}" for value in dropped))
        table.add_row("", "edited", "", f"{-entry.edited:,}")
        kept = "kept" if entry.balances() else "kept (DOES NOT BALANCE)"
        table.add_row("", kept, *(f"{value:,}" for value in entry.kept.values()), end_section=True)
    results.print(table)


@corpus.command()
def score(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, as quality.safetensors.")],
    good: Annotated[list[Path] | None, typer.Option(help="Files or folders of good texts; repeatable.")] = None,
    bad: Annotated[list[Path] | None, typer.Option(help="Files or folders of bad texts; repeatable.")] = None,
    labels: Annotated[Path | None, typer.Option(help='JSONL of {"text", "score"}, as an LLM graded them.')] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of training.")] = 0,
) -> None:
    """Learn a score for texts, from good and bad ones or from graded ones; `filter.scores` names the file."""
    from gristmill.corpus.extract.stage import extract_texts
    from gristmill.corpus.filter.train_classifier import graded, train

    if bool(good and bad) == bool(labels) or bool(good) != bool(bad):
        raise UserError("give good and bad texts, or labels", "--good FILES --bad FILES, or --labels FILE.jsonl")
    kinds = ((good or [], 1.0), (bad or [], 0.0))
    contrasted = ((text, label) for paths, label in kinds for text in extract_texts(paths))
    scorer, found = train(graded(labels) if labels else contrasted, probability=not labels, seed=seed)
    scorer.save(out)
    results.print(f"{out}: {', '.join(f'{name} {value:,.4g}' for name, value in found.items())}")

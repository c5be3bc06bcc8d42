"""The command line: `gristmill run`, every stage on its own, `chat` and `serve`. Thin by design."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from gristmill import __version__
from gristmill.corpus.parallel import parse_engine, using
from gristmill.errors import UserError
from gristmill.progress import console, duration
from gristmill.recipe import Scale, load_recipe, parameters_of, set_override, stage_params, validate
from gristmill.run import STAGES, Stage, execute, run_recipe, scale_recipe


class Commands(TyperGroup):
    """Commands, some of which have a name of two words, as `tokenizer report` beside the stage `tokenizer`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take two words together where they name a command."""
        if " ".join(args[:2]) in self.commands:
            args = [" ".join(args[:2]), *args[2:]]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Commands,
    help="From raw web pages to a chat assistant trained from scratch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes for the stages that map documents; 0: one a core.")]
EngineName = Annotated[
    str, typer.Option("--engine", help="What runs them: processes, ray, or ray:HOST:PORT of a cluster.")
]
HEADLINES = {
    "crawl.pages": "pages crawled",
    "corpus.documents_kept": "documents kept",
    "tokenize.train_tokens": "training tokens",
    "pretrain.parameters": "model parameters",
    "evaluate.heldout_bpb": "held-out bits per byte",
    "evaluate.answerable_accuracy": "right answers, facts stated 50 times or more",
    "evaluate.unanswerable_declined": "unanswerable questions declined",
    "audit.extractable_fraction": "training passages completed verbatim",
    "run.peak_rss_bytes": "peak memory, bytes",
}


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe, as recipes/miniweb.toml.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; by default runs/NAME.")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="Redo from this stage.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage.")] = None,
    workers: Workers = 0,
    engine: EngineName = "processes",
    settings: Settings = None,
) -> None:
    """Run a recipe from end to end; what is already done and unchanged is skipped."""
    loaded = load_recipe(recipe, settings)
    folder = out or Path("runs") / loaded.name
    with using(parse_engine(engine, workers)):
        if summary := run_recipe(loaded, folder, first=first, until=until):
            closing(folder, summary)


@app.command()
def plan(
    recipe: Annotated[Path, typer.Argument(help="A recipe.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; by default runs/NAME.")] = None,
    tokens: Annotated[str, typer.Option(help="Training tokens, where the run has none yet, as 5M.")] = "1M",
    price: Annotated[float, typer.Option(min=0, help="Of this machine for an hour.")] = 0.0,
    settings: Settings = None,
) -> None:
    """Tell what training takes: parameters, tokens, FLOPs, memory, time and cost, from a few steps of each stage."""
    from gristmill.planning import plan_recipe, table

    loaded = load_recipe(recipe, settings)
    estimates = plan_recipe(loaded, out or Path("runs") / loaded.name, parameters_of(tokens))
    for one in estimates:
        for told in [one.shape] * bool(one.shape) + [f"assumed: {what}" for what in one.assumed]:
            console.print(f"{one.stage}: {told}", soft_wrap=True, markup=False)
    console.print(table(estimates, price))


@app.command()
def scale(
    recipe: Annotated[Path, typer.Argument(help="A recipe whose tokens there are.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; by default runs/NAME.")] = None,
    sizes: Annotated[str, typer.Option(help="Parameters of the models, as 500k,1M,2M.")] = "",
    tokens: Annotated[str, typer.Option(help="Tokens that each reads, as 250k,500k,1M.")] = "",
    budgets: Annotated[str, typer.Option("--budget", help="Budgets to advise on, as 1h or 1e15,1e16.")] = "",
    settings: Settings = None,
) -> None:
    """Train a ladder of small models and tell what size and data a budget is best spent on."""
    from gristmill.report.scaling import advice

    loaded = load_recipe(recipe, settings)
    folder = out or Path("runs") / loaded.name
    given = {"sizes": sizes, "tokens": tokens, "budgets": budgets}
    data: dict[str, Any] = {name: value.split(",") for name, value in given.items() if value}
    shared = loaded.pretrain.model_dump(exclude_unset=True) if loaded.pretrain else {}
    params = validate(Scale, data | {"pretrain": shared}, "gristmill scale")
    scale_recipe(params, folder)
    console.print(advice(folder / "scale", folder / "scale.html"))


@app.command()
def chat(
    folder: Annotated[Path, typer.Argument(help="A run folder, as runs/miniweb.")],
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0: the likeliest words; 0.8 suits stories.")] = 0.0,
) -> None:
    """Talk with a run's assistant in the terminal."""
    from gristmill.serving.assistant import Assistant
    from gristmill.serving.terminal import chat as talk

    talk(Assistant.load(folder), temperature)


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(help="A run folder, as runs/miniweb.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    api_key: Annotated[str | None, typer.Option(envvar="GRISTMILL_API_KEY", help="Key that clients must send.")] = None,
) -> None:
    """Serve a run's assistant: an OpenAI-compatible API and a chat page."""
    from gristmill.serving.api import serve as listen
    from gristmill.serving.assistant import Assistant

    listen(Assistant.load(folder), host=host, port=port, api_key=api_key)


@app.command("tokenizer report")
def tokenizer_report(
    folder: Annotated[Path, typer.Argument(help="A run folder or a tokenizer's.")],
    texts: Annotated[Path | None, typer.Argument(help="Documents to measure; else what training measured.")] = None,
    parameters: Annotated[float, typer.Option(help="Of the model to train, its embeddings left out.")] = 100e6,
) -> None:
    """What a vocabulary does to text, and the size to choose for a model."""
    from gristmill.tokenizer.report import table, training_facts

    console.print(table(training_facts(tokenizer_of(folder), texts), parameters))


@app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(help="A run folder (with --tokens also a tokenizer's).")],
    text: Annotated[str | None, typer.Argument(help="Show what the model expects after it, as it learned.")] = None,
    tokens: Annotated[str | None, typer.Option(metavar="TEXT", help="Show the tokens of a text.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Page to write; by default RUN/inspect.html.")] = None,
) -> None:
    """Look into what a run has made."""
    if (text is None) == (tokens is None):
        raise UserError("nothing to look at, or two things", 'give a text, as "The capital of", or --tokens TEXT')
    if tokens is not None:
        from gristmill.tokenizer.encode import Tokenizer
        from gristmill.tokenizer.report import pieces_table

        console.print(pieces_table(Tokenizer.load(tokenizer_of(folder)), tokens))
    if text is not None:
        from gristmill.report.learning import inspect as write

        page = out or folder / "inspect.html"
        console.print(write(folder, text, page))
        console.print(f"attention and single steps of training: open {page}", markup=False, soft_wrap=True)


def tokenizer_of(folder: Path) -> Path:
    """The tokenizer's folder of a run, or the folder itself."""
    return folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder


def stage_command(stage: Stage) -> Callable[..., None]:
    """A command that runs one stage on files of its own kind."""
    names = {"crawl": "SEED...", "extract": "PATH...", "miniweb": "", "report": "RUN"}.get(
        stage.name, " ".join(name.upper() for name in stage.reads)
    )

    def command(
        inputs: list[str] | None = None,
        out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write.")] = None,
        workers: Workers = 0,
        engine: EngineName = "processes",
        settings: Settings = None,
    ) -> None:
        if out is None:
            raise UserError("no output folder", "name one with --out DIR")
        data: dict[str, object] = {}
        for setting in settings or []:
            set_override(data, setting.removeprefix(f"{stage.name}."))
        given, folders = list(inputs or []), {}
        if stage.name in ("crawl", "extract"):
            data |= {{"crawl": "seeds", "extract": "paths"}[stage.name]: given} if given else {}
        elif stage.name == "report":
            if len(given) != 1 or not Path(given[0]).is_dir():
                raise UserError("report needs one run folder", "gristmill report RUN --out DIR")
            folders = {name: Path(given[0]) / name for name in stage.reads if (Path(given[0]) / name).is_dir()}
        else:
            required = [name for name in stage.reads if name not in stage.optional]
            if not len(required) <= len(given) <= len(stage.reads):
                raise UserError(
                    f"{stage.name} reads {len(required)} folders: {names or 'none'}", "name them in this order"
                )
            ordered = sorted(stage.reads, key=lambda name: name in stage.optional)
            folders = {name: Path(path) for name, path in zip(ordered, given, strict=False)}
        params = validate(stage_params(stage.name), data, f"gristmill {stage.name}")
        with using(parse_engine(engine, workers)):
            if execute(stage, folders, params, out) is None:
                console.print(f"{out} is finished and unchanged; nothing to do")

    # typer evaluates annotations where it cannot see `names`: give it the finished type
    argument = typer.Argument(metavar=names, help="What the stage reads.", hidden=not names)
    command.__annotations__["inputs"] = Annotated[list[str] | None, argument]
    command.__doc__ = f"Run only the {stage.name} stage: {(stage_params(stage.name).__doc__ or '').strip()}"
    return command


corpus = typer.Typer(help="Look into a corpus, and learn to judge one.", no_args_is_help=True)
app.add_typer(corpus, name="corpus")


@corpus.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="A folder of a corpus stage, or a run folder.")],
    rule: Annotated[str, typer.Option("--dropped-by", metavar="RULE", help="Rule, as manifest.json counts it.")],
    count: Annotated[int, typer.Option("-n", help="How many documents.")] = 5,
) -> None:
    """Show what a rule took away."""
    from gristmill.corpus.samples import show

    for record in show(folder, rule, count):
        typer.secho(f"{record['id']}  {record['url']}", bold=True)
        typer.echo(f"{record['text']}\n")


@corpus.command()
def ledger(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    document: Annotated[str, typer.Option(help="Id or URL: tell the way of this one document.")] = "",
) -> None:
    """Show what came into each corpus stage and what left, to the document and the byte; or one document's way."""
    from gristmill.corpus.ledger import ledger as entries
    from gristmill.corpus.ledger import way

    if document:
        for stage, told in way(run, document):
            console.print(f"{stage}: {told}", markup=False, soft_wrap=True)
        return
    table = Table("stage", "rule", "documents", "bytes")
    for entry in entries(run):
        table.add_row(entry.stage, "in", *(f"{value:,}" for value in entry.came.values()))
        for rule, dropped in entry.dropped.items():
            table.add_row("", f"dropped: {rule}", *(f"{-value:,}" for value in dropped))
        table.add_row("", "edited", "", f"{-entry.edited:,}")
        kept = "kept" if entry.balances() else "kept (DOES NOT BALANCE)"
        table.add_row("", kept, *(f"{value:,}" for value in entry.kept.values()), end_section=True)
    console.print(table)


@corpus.command()
def score(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, as quality.safetensors.")],
    good: Annotated[list[Path] | None, typer.Option(help="Files or folders of good texts; repeatable.")] = None,
    bad: Annotated[list[Path] | None, typer.Option(help="Files or folders of bad texts; repeatable.")] = None,
    labels: Annotated[Path | None, typer.Option(help='JSONL of {"text", "score"}, as an LLM graded them.')] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of training.")] = 0,
) -> None:
    """Learn a score for texts, from good and bad ones or from graded ones; `filter.scores` names the file."""
    from gristmill.corpus.quality import learn

    found = learn(good or [], bad or [], labels, out, seed)
    console.print(f"{out}: {', '.join(f'{name} {value:,.4g}' for name, value in found.items())}", soft_wrap=True)


for each in STAGES:
    app.command(each.name)(stage_command(each))


def closing(folder: Path, summary: dict[str, float]) -> None:
    """Print the table of results, a few answers, and what to do next."""
    table = Table("result", "value", title=f"{folder} in {duration(summary['run.wall_seconds'])}", title_justify="left")
    for name, label in HEADLINES.items():
        if name in summary:
            value = summary[name]
            table.add_row(label, f"{value:,}" if value == int(value) and value > 1 else f"{value:.3f}")
    console.print(table)
    conversations = folder / "evaluate" / "conversations.jsonl"
    if conversations.exists():
        for line in conversations.read_text(encoding="utf-8").splitlines():
            question, answer = (message["content"] for message in json.loads(line)["messages"][:2])
            console.print(f"> {question}", style="bold", markup=False)
            console.print(f"  {answer}", markup=False)
    if (folder / "pretrain").exists():
        console.print(f"\nchat:    gristmill chat {folder}\nserve:   gristmill serve {folder}", markup=False)
    if (folder / "report").exists():
        console.print(f"report:  open {folder / 'report' / 'index.html'}", markup=False)


def version(show: bool) -> None:
    """Print the version and stop."""
    if show:
        typer.echo(f"gristmill {__version__}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Show it.")] = False,
) -> None:
    """From raw web pages to a chat assistant trained from scratch."""


def main() -> None:
    """Entry point: a mistake of the user's is one message and exit code 2."""
    try:
        app()
    except UserError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on from here")
        sys.exit(130)

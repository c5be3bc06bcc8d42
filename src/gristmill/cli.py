"""The command line: `gristmill run`, every stage on its own, `chat` and `serve`. Thin by design."""

from __future__ import annotations

import io
import json
import signal
import sys
import time
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from gristmill import __version__
from gristmill.commands.attribute import attribute
from gristmill.commands.compare import compare
from gristmill.commands.corpus import corpus
from gristmill.commands.find import Words, find
from gristmill.commands.groups import HELP, JOURNEY, LOOK, PLAN, TALK, Commands, EngineName, RunOf, Settings, Workers
from gristmill.commands.look import attest, provenance, verify
from gristmill.commands.new_recipe import new
from gristmill.commands.plan import check, plan, scale
from gristmill.commands.stage_commands import add_stages
from gristmill.commands.trace import count, trace, tracer_of
from gristmill.commands.update import update
from gristmill.commands.why import why
from gristmill.corpus.execution.executor import parse_backend, using
from gristmill.errors import UserError, typed
from gristmill.files import write_text
from gristmill.generation.weight_type import WeightType
from gristmill.inputs.folders import content
from gristmill.manifest import Manifest, in_run
from gristmill.processes import SIZE, leave
from gristmill.progress import console, duration, results, table, warn
from gristmill.recipe import Recipe
from gristmill.run import run_recipe
from gristmill.runs.failures import explained, told_fault
from gristmill.runs.finished import folder_of, passages_of, stage_of, watched_of
from gristmill.runs.gates import broken, foreseen
from gristmill.runs.journal import SUMMARY
from gristmill.settings.quantities import is_loopback
from gristmill.settings.recipe_file import load_recipe
from gristmill.settings.stages import BY_NAME, MODEL

if TYPE_CHECKING:
    from gristmill.serving.assistant import Assistant
    from gristmill.serving.memory.memory_store import MemoryStore

app = typer.Typer(
    cls=Commands,
    help="From raw web pages to a chat assistant trained from scratch.",
    no_args_is_help=True,
    context_settings=HELP,
    pretty_exceptions_enable=False,
)
app.add_typer(new, name="new", rich_help_panel=JOURNEY)
app.add_typer(corpus, name="corpus", rich_help_panel=LOOK)
for command in (trace, count, attribute, why, compare, provenance, attest, verify):
    app.command(rich_help_panel=LOOK)(command)
for planning in (check, plan, scale):
    app.command(rich_help_panel=PLAN)(planning)
add_stages(app)
GATE_BROKEN = 3
ANSWER = 300  # characters of each that a run ends with
INTERRUPTED = 130  # exit code, as shells have it for Ctrl-C
ModelFolder = Annotated[
    Path | None, typer.Argument(metavar="FOLDER", help="A run folder, as runs/miniweb, or a model's; or a GGUF file.")
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="pretrain, sft, dpo, kto or rl; a stage's or Hugging Face folder; a GGUF file."),
]
ReaderName = Annotated[
    str | None, typer.Option("--reader", help="A model, named as --model is, that chooses sentences of the passages.")
]
WeightsName = Annotated[WeightType, typer.Option(help="Numbers of the model's matrices: smaller ones are faster.")]
MemoryFile = Annotated[Path | None, typer.Option(help="File of facts and conversations: RUN/memory.sqlite.")]
NoMemory = Annotated[bool, typer.Option("--no-memory", help="Keep no facts and conversations.")]


@app.command(rich_help_panel=JOURNEY)
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, as recipes/miniweb.toml.")],
    out: RunOf = None,
    first: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="Redo from this stage.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage.")] = None,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Keep what only other code made; else it is redone.")] = (
        False
    ),
    workers: Workers = 0,
    engine: EngineName = "processes",
    settings: Settings = None,
) -> None:
    """Run a recipe from end to end; what is already done and unchanged is skipped."""
    loaded = load_recipe(recipe, settings)
    folder, began = folder_of(loaded, out), time.monotonic()
    if not until:
        foresee(loaded, folder)
    with using(parse_backend(engine, workers)):
        if summary := run_recipe(loaded, folder, first=first, until=until, keep_old=keep_old):
            closing(folder, summary, time.monotonic() - began)
            gate(loaded, summary, until)


app.command(rich_help_panel=JOURNEY, help="Read changed pages again and index them, without training.")(update)


@app.command(rich_help_panel=TALK)
def chat(
    folder: ModelFolder = None,
    model: ModelName = None,
    reader: ReaderName = None,
    words: Words = False,
    weights: WeightsName = WeightType.FLOAT32,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0: the likeliest words; 0.8 suits stories.")] = 0.0,
    memory: MemoryFile = None,
    no_memory: NoMemory = False,
) -> None:
    """Talk with a run's assistant in the terminal."""
    from gristmill.serving.terminal import chat as talk

    assistant = assistant_of(folder, model, reader, words, weights)
    talk(assistant, temperature, None if no_memory else memory_of(run_of(folder), memory))


@app.command(rich_help_panel=TALK)
def serve(
    folder: ModelFolder = None,
    model: ModelName = None,
    reader: ReaderName = None,
    words: Words = False,
    weights: WeightsName = WeightType.FLOAT32,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    api_key: Annotated[
        list[str] | None, typer.Option(envvar="GRISTMILL_API_KEY", help="Key that clients must send; one a user.")
    ] = None,
    memory: MemoryFile = None,
    no_memory: NoMemory = False,
    trace: Annotated[
        bool | None, typer.Option("--trace/--no-trace", help="Quote training text to clients; else on loopback only.")
    ] = None,
) -> None:
    """Serve a run's assistant: an OpenAI-compatible API and a chat page."""
    from gristmill.serving.server import serve as listen

    store = None if no_memory else memory_of(run_of(folder), memory)
    assistant = assistant_of(folder, model, reader, words, weights)
    shown = is_loopback(host) if trace is None else trace
    tracer = tracer_of(run_of(folder)) if shown and (model is None or model in MODEL) else None
    listen(assistant, host=host, port=port, api_keys=api_key or (), memory=store, tracer=tracer)


def memory_of(folder: Path | None, named: Path | None) -> MemoryStore | None:
    """What is remembered in a run's or a model's folder; a file alone has nothing in it."""
    from gristmill.serving.memory.memory_store import MemoryStore

    path = named or (folder or Path()) / "memory.sqlite"
    store = MemoryStore(path)
    if named and (path.exists() or not path.parent.is_dir()):
        store.connect()  # what cannot be one is told now, not when it is first used
    return store if named or path.parent.is_dir() else None


def run_of(folder: Path | None) -> Path | None:
    """The run folder where one of its stages' is named; else what is named."""
    return folder.parent if folder and in_run(folder) else folder


def assistant_of(
    folder: Path | None,
    named: str | None,
    reader: str | None = None,
    words: bool = False,
    weights: WeightType = WeightType.FLOAT32,
) -> Assistant:
    """The assistant that a person means; says which model that is, or which passages. Raises UserError where `reader`
    has none to read, or `weights` are named and there is no model."""
    from gristmill.evaluation.figures import examples, sureness
    from gristmill.generation.engine import Engine
    from gristmill.runs.model_choice import find_model
    from gristmill.serving.assistant import Assistant

    if named is None and folder is not None and (passages := passages_of(folder)):
        from gristmill.passages.sentence_encoder import installed_encoder
        from gristmill.serving.quoting import QuotingAssistant

        reads = find_model(folder, reader) if reader is not None else None
        if weights != WeightType.FLOAT32 and not reads:
            raise UserError(f"there is no model to have {weights} weights: pages are quoted", "leave out --weights")
        engine = Engine.load(reads.folder, reads.tokenizer, weights=weights) if reads else None
        encoder, now = None if words else installed_encoder(), partial(passages_of, folder)
        quoting = QuotingAssistant(passages, folder.resolve().name, engine, encoder, now, watched_of(folder))
        about = f"passages: {passages}, ranked by {quoting.search.ranked_by}; --model talks with a model instead"
        console.print(about + (f"\nread by: {reads.about}" if reads else ""))
        return quoting
    if reader is not None:
        raise UserError("there are no passages to read", "name a run whose recipe has [passages], and no --model")
    model = find_model(folder, named)
    held = f", {weights} weights" if weights != WeightType.FLOAT32 else ""
    made = Manifest.read(model.folder) if model.folder.is_dir() else None
    base = made is not None and made.stage == "pretrain" and not made.params.get("init_from")
    held += " (not fine-tuned: it goes on with a text, and answers nothing)" if base else ""
    console.print(f"model: {model.about}{held}")
    questions = examples(model.evaluated) if model.evaluated else []
    sure = sureness(model.evaluated)
    return Assistant.load(model.folder, model.tokenizer, model.name, questions, weights, *sure)


app.command(rich_help_panel=TALK)(find)


@app.command("tokenizer report", rich_help_panel=LOOK)
def tokenizer_report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run folder or a tokenizer's.")],
    texts: Annotated[
        Path | None, typer.Argument(metavar="TEXTS", help="Documents to measure; else what training measured.")
    ] = None,
    parameters: Annotated[float, typer.Option(min=1, help="Of the model to train, its embeddings left out.")] = 100e6,
) -> None:
    """What a vocabulary does to text, and the size to choose for a model."""
    from gristmill.tokenizer.vocabulary_statistics import report, training_facts

    results.print(report(training_facts(stage_of(folder, "tokenizer"), texts), parameters))


@app.command(rich_help_panel=LOOK)
def inspect(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A run folder, a model's (with --tokens also a tokenizer's).")
    ],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="Show what the model expects after it, as it learned.")
    ] = None,
    tokens: Annotated[str | None, typer.Option(metavar="TEXT", help="Show the tokens of a text.")] = None,
    model: ModelName = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Page to write; by default RUN/inspect.html.")] = None,
) -> None:
    """Look into what a run has made."""
    if (text is None) == (tokens is None):
        raise UserError("nothing to look at, or two things", 'give a text, as "The capital of", or --tokens TEXT')
    if tokens is not None:
        from gristmill.tokenizer.encode import Tokenizer
        from gristmill.tokenizer.vocabulary_statistics import pieces_table

        results.print(pieces_table(Tokenizer.load(stage_of(folder, "tokenizer")), tokens))
    if text is not None:
        from gristmill.report.learning import inspect as told_of
        from gristmill.runs.model_choice import find_model, in_our_form

        found = find_model(folder, model, choose=("pretrain",))  # the one that has snapshots
        console.print(f"model: {found.about}")
        page = out or (folder if folder.is_dir() else folder.parent) / "inspect.html"
        expected, told = told_of(folder.resolve().name, text, in_our_form(found), found.tokenizer)
        results.print(expected)
        write_page(page, told, asked=out is not None)


def write_page(path: Path, text: str, asked: bool) -> None:
    """Write a page of `inspect`, or tell that it is not written; raises OSError only where it was `asked` for."""
    try:
        write_text(path, text)
    except OSError as error:
        if asked:
            raise
        why = f"{path} cannot be written ({error.strerror}); --out FILE names another place"
        console.print(f"no page of attention and single steps of training: {why}")
    else:
        results.print(f"attention and single steps of training: open {path}")


def foresee(recipe: Recipe, folder: Path) -> None:
    """Say which gates are of figures that are not known. Raises UserError for one that no stage can have."""
    for told, sure in foreseen(recipe, content(folder / SUMMARY)):
        if sure:
            raise UserError(f"gates: {told}", "mend its name: summary.json of a finished run has those that there are")
        warn(f"caution: gates: {told} (a figure that is not measured breaks its gate)")


def gate(recipe: Recipe, summary: dict[str, float], until: str | None) -> None:
    """End with exit code 3 where a finished run breaks a gate of its recipe."""
    wrong = broken(recipe.gates, summary) if recipe.gates and not until else []
    if recipe.gates and until:
        console.print(f"gates: not looked at, as the run was to stop after {until}", style="dim")
    for line in wrong:
        results.print(f"gate broken: {line}", style="red")
    if wrong:
        raise typer.Exit(GATE_BROKEN)


def closing(folder: Path, summary: dict[str, float], seconds: float) -> None:
    """Print the table of results, a few answers, and what to do next: of what this run made or found unchanged."""
    from gristmill.report.headlines import headlines

    made, stages = summary["run.wall_seconds"], [name.removesuffix(".seconds") for name in summary]
    earlier = f"; its stages took {duration(made)} when they were made" if made > seconds + 1 else ""
    rows = [(one.label, one.value, one.condition) for one in headlines({n: folder / n for n in stages if n in BY_NAME})]
    rows.append(("peak memory", f"{summary['run.peak_rss_bytes'] / 2**20:,.0f} MiB", "of a stage, all its processes"))
    results.print(table(("result", "value", ""), rows, f"{folder} in {duration(seconds)}{earlier}"))
    conversations = folder / "evaluate" / "conversations.jsonl"
    quoted = "passages.seconds" in summary
    if "evaluate.seconds" in summary and conversations.exists():
        if quoted:  # by what chat and serve talk with unless they are told otherwise
            results.print("the trained model, which chat and serve use with --model:")
        for line in conversations.read_text(encoding="utf-8").splitlines():
            question, answer = (message["content"] for message in json.loads(line)["messages"][:2])
            results.print(f"> {question}", style="bold")
            results.print(f"  {shorten(answer, ANSWER, placeholder=' …')}")
    if quoted or any(f"{stage}.seconds" in summary for stage in MODEL):
        results.print(f"\nchat:    gristmill chat {typed(folder)}\nserve:   gristmill serve {typed(folder)}")
    if quoted:
        results.print(f'find:    gristmill find {typed(folder)} "QUESTION"')
    if "report.seconds" in summary:
        results.print(f"report:  open {typed(folder / 'report' / 'index.html')}")


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


def terminate(*_: object) -> None:
    """Take SIGTERM as Ctrl-C, which every stage knows how to end on."""
    unset = (signal.SIG_IGN, signal.SIG_DFL, None)  # as shells start what they do not wait for
    if signal.getsignal(signal.SIGINT) in unset:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def main() -> None:
    """Entry point."""
    try:
        carry_out()
    except SystemExit as stop:
        if SIZE > 1:
            leave(stop.code)
        raise


def carry_out() -> None:
    """Do what the command line says: what the user can mend is one message and exit code 2, a fault of ours one line
    and exit code 1."""
    signal.signal(signal.SIGTERM, terminate)
    # bytes that are no text end nothing, nor do letters that a terminal lacks
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        app(prog_name="gristmill")  # as remedies name it, also where it is called as `python -m gristmill`
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            goes_on = sys.argv[1:2] and (sys.argv[1] in BY_NAME or sys.argv[1] in ("run", "update"))
            console.print("interrupted; the same command goes on from here" if goes_on else "interrupted")
            # Ctrl-C within exec of a text (dataclasses are made so) would make CPython end this process by SIGINT
            # instead (`_Py_UnhandledKeyboardInterrupt` in its main.c); the next exec takes that back
            exec("")  # noqa: S102
        raise
    except KeyboardInterrupt:  # while the command line was still being read
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is told in one line
        if known := explained(error):
            console.print(f"error: {known}", style="red")
            sys.exit(2)
        print(told_fault(error), file=sys.stderr)
        sys.exit(1)

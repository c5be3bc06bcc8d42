"""How commands are found, grouped in `--help`, and refused; the options that several of them have."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import rich_utils
from typer.core import TyperGroup

from gristmill.errors import UserError, nearest, typed
from gristmill.inputs.folders import valid
from gristmill.recipe import Recipe, stage_params
from gristmill.settings.descriptions import settings_of
from gristmill.settings.quantities import parameters_of

JOURNEY = "The journey"
TALK = "Talk with the assistant"
LOOK = "Look into what was made"
PLAN = "Plan"
STAGE = "One stage on its own, in the journey's order"
PANELS = (JOURNEY, TALK, LOOK, PLAN, STAGE)
PIPED = 160  # columns where no terminal says how many it has
WORDS = {"question", "text", "prompt", "answer"}  # arguments of several words
HELP = {"help_option_names": ["-h", "--help"]}
# the parser's error, whose own name is click's or, in newer versions, private to typer
WrongUsage: type[Exception] = typer.BadParameter.__mro__[1]


def number(text: str) -> str:
    """Check a number of tokens or parameters, as `5M`, if one is given."""
    try:
        if not text or parameters_of(text) > 0:
            return text
    except ValueError:
        pass
    raise typer.BadParameter(f"{text} is no number above 0, as 5M or 250k")


def complete_setting(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Settings for the shell to complete: those of a stage's command, else `stage.name`; each with its meaning."""
    own = [name for name in Recipe.model_fields if name == context.info_name]
    return [
        (f"{one.name}=" if own else f"{stage}.{one.name}=", one.meaning)
        for stage in own or Recipe.model_fields
        for one in settings_of(stage_params(stage))
        if (one.name if own else f"{stage}.{one.name}").startswith(incomplete)
    ]


RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as runs/miniweb.")]
RunOf = Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; by default runs/NAME.")]  # of a recipe
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        autocompletion=complete_setting,
        help="Change a setting (value in TOML); KEY= takes it out of the recipe; repeatable.",
    ),
]
Workers = Annotated[int, typer.Option(min=0, help="Processes for the stages that map documents; 0: one a core.")]
EngineName = Annotated[
    str, typer.Option("--engine", help="What runs them: processes, ray, or ray:HOST:PORT of a cluster.")
]


class Commands(TyperGroup):
    """Commands in panels, some of which have a name of two words, as `tokenizer report` next to the stage `tokenizer`.

    What the parser refuses becomes a UserError, so that there is one form of message.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the panels, within a panel in that of their definition."""

        def place(name: str) -> int:
            panel = getattr(self.commands[name], "rich_help_panel", None)
            return PANELS.index(panel) if panel in PANELS else len(PANELS)

        return sorted(super().list_commands(ctx), key=place)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take two words together where they name a command; refuse an unknown one, naming the nearest."""
        if " ".join(args[:2]) in self.commands:
            args = [" ".join(args[:2]), *args[2:]]
        if args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise UserError(
                f"no command `{args[0]}`{nearest(args[0], self.commands)}", f"see {ctx.command_path} --help"
            )
        return super().resolve_command(ctx, args)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse what comes before the command."""
        odd = next((word for word in args if valid(word) != word), "")
        if odd and args[0] != "why":  # whose page may be a file of such a name
            remedy = "name the folder that the file is in, or rename it; set the terminal to UTF-8 for text"
            raise UserError(f"`{valid(odd)}` is no UTF-8", remedy)
        if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
            rich_utils.MAX_WIDTH = PIPED  # of help texts
        try:
            return super().make_context(info_name, args, parent, **extra)
        except WrongUsage as error:
            raise refusal(error) from error

    def invoke(self, ctx: Any) -> Any:
        """Parse the rest and run the command."""
        try:
            return super().invoke(ctx)
        except WrongUsage as error:
            raise refusal(error) from error


def refusal(error: Exception) -> Exception:
    """A parser's error as the error that a user sees; itself where it only asks for the help text."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return error
    context = getattr(error, "ctx", None)
    problem = str(getattr(error, "format_message", lambda: error)()).rstrip(".")
    problem = problem[:1].lower() + problem[1:].replace("Value error, ", "")
    if context is None:
        return UserError(problem, "see gristmill --help")
    if (lacks := getattr(context.command, "lacks", None)) and "missing argument" in problem:
        return UserError(f"{context.command_path}: a folder is missing", lacks())
    usage = " ".join(context.get_usage().split()).removeprefix("Usage: ")
    words = "extra argument" in problem and WORDS & {one.name for one in context.command.params}
    quoted = "put words that belong together in quotes: " if words else ""
    file = next((word for word in sys.argv[1:] if word.startswith("-") and os.path.lexists(word)), "")
    if file and "no such option" in problem:
        return UserError(f"{context.command_path}: {problem}", f"a file or folder of that name: {typed(file)}")
    return UserError(f"{context.command_path}: {problem}", f"{quoted}{usage}  (-h explains them)")

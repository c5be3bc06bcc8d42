"""`gristmill new …`: write a recipe for what one has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gristmill.commands.groups import Commands

new = typer.Typer(cls=Commands, help="Write a recipe for a folder or a site of your own.", no_args_is_help=True)
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Recipe to write; by default folder.toml or site.toml.")]


@new.command()
def folder(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder of documents, or one file.")], out: Out = None
) -> None:
    """A recipe for a folder of documents, with sizes that suit its text, and how long a run will take."""
    from gristmill.commands.new_recipe import new_folder

    new_folder(path, out)


@new.command()
def site(
    url: Annotated[str, typer.Argument(metavar="URL", help="Its address, as https://docs.example.org/.")],
    out: Out = None,
) -> None:
    """A recipe for a site."""
    from gristmill.commands.new_recipe import new_site

    new_site(url, out)

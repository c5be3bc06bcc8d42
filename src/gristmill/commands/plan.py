"""`gristmill check`, `plan` and `scale`: what a recipe's training takes, before it is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gristmill.commands.groups import RunOf, Settings, number
from gristmill.commands.new_recipe import tokens_made
from gristmill.errors import UserError
from gristmill.progress import results
from gristmill.runs.finished import folder_of
from gristmill.settings.apart import Scale
from gristmill.settings.quantities import parameters_of
from gristmill.settings.recipe_file import load_recipe, validate

DeviceName = Annotated[
    str,
    typer.Option("--device", metavar="GPUS", help="GPUs that are not here, as h100 or 8xh200: what they would take."),
]


def check(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe.")],
    out: RunOf = None,
    price: Annotated[float, typer.Option(min=0, help="Of this machine for an hour.")] = 0.0,
    settings: Settings = None,
) -> None:
    """Tell in a second or two what would go wrong in training: files, template, tokenizer, memory, disk, time."""
    from gristmill.commands.recipe_check import check_recipe

    loaded = load_recipe(recipe, settings)
    found = list(check_recipe(loaded, folder_of(loaded, out), price))
    for one in found:
        told = f"{one.stage}: {one.told}" + (f" ({one.remedy})" if one.remedy else "")
        results.print(told, style="yellow" if one.wrong else "")
    if wrong := [one for one in found if one.wrong]:
        told = f"{len(wrong)} of {len(found)} findings would spoil a run; the first: {wrong[0].stage}: {wrong[0].told}"
        raise UserError(told, wrong[0].remedy)


def plan(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe.")],
    out: RunOf = None,
    tokens: Annotated[
        str, typer.Option(callback=number, help="Training tokens, where the run has none yet, as 5M; else a guess.")
    ] = "",
    price: Annotated[float, typer.Option(min=0, help="Of the machine for an hour.")] = 0.0,
    device: DeviceName = "",
    settings: Settings = None,
) -> None:
    """Tell what training takes: parameters, tokens, FLOPs, memory, time and cost, from a few steps of each stage."""
    from gristmill.planning import estimates_table, plan_recipe, project_recipe
    from gristmill.training.budget.devices import devices_of

    loaded = load_recipe(recipe, settings)
    folder = folder_of(loaded, out)
    there = parameters_of(tokens) if tokens else tokens_made(loaded, folder)
    devices = devices_of(device) if device else None
    estimates = [project_recipe(loaded, folder, there, devices)] if devices else plan_recipe(loaded, folder, there)
    if not estimates:
        raise UserError(f"{recipe} has no stage that trains", "give it a [pretrain] table")
    for one in estimates:
        for told in [one.shape] * bool(one.shape) + [f"assumed: {what}" for what in one.assumed]:
            results.print(f"{one.stage}: {told}")
    results.print(estimates_table(estimates, price))
    for one in estimates:
        if one.told:
            results.print(f"{one.stage}: {one.told}")


def scale(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe whose tokens there are.")],
    out: RunOf = None,
    sizes: Annotated[str, typer.Option(help="Parameters of the models, as 500k,1M,2M.")] = "",
    tokens: Annotated[str, typer.Option(help="Tokens that each reads, as 250k,500k,1M.")] = "",
    budgets: Annotated[str, typer.Option("--budget", help="Budgets to advise on, as 1h or 1e15,1e16.")] = "",
    device: DeviceName = "",
    settings: Settings = None,
) -> None:
    """Train a ladder of small models and tell what size and data a budget is best spent on."""
    from gristmill.planning import scale_recipe
    from gristmill.report.scaling import advice
    from gristmill.training.budget.devices import devices_of

    loaded = load_recipe(recipe, settings)
    folder = folder_of(loaded, out)
    given = {"sizes": sizes, "tokens": tokens, "budgets": budgets}
    data: dict[str, Any] = {name: value.split(",") for name, value in given.items() if value}
    devices = devices_of(device) if device else None
    if devices and budgets:
        data["budgets"] = [devices.budget(one) for one in data["budgets"]]
    shared = loaded.pretrain.model_dump(exclude_unset=True) if loaded.pretrain else {}
    params = validate(Scale, data | {"pretrain": shared}, "gristmill scale")
    scale_recipe(loaded, params, folder)
    results.print(advice(folder / "scale", folder / "scale.html", devices))

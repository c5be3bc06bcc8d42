"""Gates: bounds in a recipe that figures of the run must keep, as `"audit.extractable_fraction" = "<= 0.01"`."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from gristmill.recipe import Recipe
from gristmill.runs.figure_names import READ_FROM, known_figures
from gristmill.settings.quantities import bound_of
from gristmill.settings.stages import BY_NAME

ALIKE = 0.8  # likeness of two names' letters at which one may be a misspelling of the other
SHOWN = 3
HOLDS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


def broken(gates: Mapping[str, str], summary: Mapping[str, float]) -> list[str]:
    """What is wrong, a line for each gate that does not hold. A figure that was not measured breaks its gate; those
    that may be meant are told with it."""
    found = []
    for name, gate in gates.items():
        sign, bound = bound_of(gate)
        if name not in summary:
            found.append(f"{name} was not measured; it is to be {gate}{meant(name, summary)}")
        elif not HOLDS[sign](summary[name], bound):
            found.append(f"{name} is {summary[name]:g}; it is to be {gate}")
    return found


def foreseen(recipe: Recipe, met: Iterable[str] = ()) -> Iterator[tuple[str, bool]]:
    """What can be said of a recipe's gates before it runs: of each figure that is not known, and whether it is sure
    that it will not be measured. `met`: names of figures that an earlier run had."""
    known = known_figures(recipe) | {*met}
    tasks = recipe.evaluate.tasks if recipe.evaluate else {}
    for name in (name for name in recipe.gates if name not in known):
        stage, _, figure = name.partition(".")
        near = meant(name, known)
        if stage == "tasks":
            if not any(figure.startswith(f"{task}.") for task in tasks):
                yield f"{name}: evaluate.tasks has no such task (it has {', '.join(tasks) or 'none'})", True
        elif stage not in {one.partition(".")[0] for one in known} and not READ_FROM.fullmatch(name):
            why = f"the recipe has no [{stage}]" if stage in BY_NAME else f"no stage is called `{stage}`"
            yield f"{name}: {why}{near}", True
        elif near or not READ_FROM.fullmatch(name):
            yield f"{name} is not known as a figure of {stage}{near}", False


def meant(name: str, known: Iterable[str]) -> str:
    """What to say after a name that no figure has: ", did you mean `…`?" where some are spelt like it, or hold all of
    its words. A stage's figure is looked for among that stage's: another stage's is never what was meant."""
    stage, _, figure = name.partition(".")
    own = {one.removeprefix(f"{stage}."): one for one in known if one.startswith(f"{stage}.")}
    if stage not in BY_NAME:
        figure, own = name, {one: one for one in known}
    words = set(re.split(r"[._]", figure))
    near = get_close_matches(figure, own, 1, ALIKE)
    near = near or [one for one in sorted(own, key=len) if words <= set(re.split(r"[._]", one))][:SHOWN]
    *others, last = [f"`{own[one]}`" for one in near] or [""]
    return f", did you mean {', '.join(others)}{' or ' * bool(others)}{last}?" if last else ""

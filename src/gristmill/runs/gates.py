"""Gates: bounds in a recipe that figures of the run must keep, as `"audit.extractable_fraction" = "<= 0.01"`."""

from __future__ import annotations

import operator
from collections.abc import Mapping

from gristmill.errors import nearest
from gristmill.settings.quantities import bound_of

HOLDS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


def broken(gates: Mapping[str, str], summary: Mapping[str, float]) -> list[str]:
    """What is wrong, a line for each gate that does not hold. A figure that was not measured breaks its gate; the
    nearest one's name is told with it."""
    found = []
    for name, gate in gates.items():
        sign, bound = bound_of(gate)
        if name not in summary:
            found.append(f"{name} was not measured; it is to be {gate}{nearest(name, summary)}")
        elif not HOLDS[sign](summary[name], bound):
            found.append(f"{name} is {summary[name]:g}; it is to be {gate}")
    return found

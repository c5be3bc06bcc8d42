"""The page and the table that tell what a ladder of small models says of larger ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich.table
from markupsafe import Markup

from gristmill.files import write_text
from gristmill.manifest import intact
from gristmill.progress import duration, quantity, table
from gristmill.report.blocks import Figure, Section, Table
from gristmill.report.page import page
from gristmill.report.plot import line_chart
from gristmill.training.budget.devices import Devices

HEAD = ("budget, FLOPs", "time here", "parameters", "likely", "shape", "tokens", "epochs", "bits per byte")


def advice(stage: Path, out: Path, devices: Devices | None = None) -> rich.table.Table:
    """Write the page to `out` and return the table, from a finished `scale` folder; times are those of this machine, or
    of GPUs that need not be there."""
    found = json.loads(intact(stage / "scale.json").read_text())
    if devices:
        found["told"] = f"Times are {devices.told()}."
        found["advice"] = [one | {"seconds": one["flops"] / devices.speed()} for one in found["advice"]]
    head = (HEAD[0], f"time on {devices}" if devices else HEAD[1], *HEAD[2:])
    rows = [row(one) for one in found["advice"]]
    write_text(out, page("What a budget is best spent on", [section(found, head, rows)]))
    return table(head, rows, f"{out}. {found['told']}" if devices else f"{out}")


def row(one: dict[str, Any]) -> list[str]:
    """A budget's cells."""
    low, high = (quantity(size) for size in one["likely_parameters"])
    return [
        *(f"{one['flops']:.2e}", duration(one["seconds"]), quantity(one["parameters"]), f"{low}–{high}"),
        *(f"{one['layers']} × {one['width']}", quantity(one["tokens"]), f"{one['epochs']:.1f}"),
        f"{one['heldout_bpb']:.3f}" + (" (text runs out)" if one["text_runs_out"] else ""),
    ]


def section(found: dict[str, Any], head: Sequence[str], rows: list[list[str]]) -> Section:
    """The law in words, its figures, and the advice."""
    rungs = found["rungs"]
    return Section(
        f"{len(rungs)} small models",
        f"Held-out bits per byte follow {found['law_e']:.3f} + {found['law_a']:.3g} / N^{found['law_alpha']:.3f} + "
        f"{found['law_b']:.3g} / D^{found['law_beta']:.3f}, N being parameters, D tokens read; the largest error on a "
        f"trained model is {found['largest_error']:.1%}. The further a budget is above the ladder, the less is known: "
        "“likely” is the range of sizes that are advised when each model in turn is left out. " + found.get("told", ""),
        [
            Figure(
                "Held-out bits per byte of each model, and the best that the law expects for a budget", compute(found)
            ),
            Figure("By size, for each number of tokens", sizes(rungs)),
            Table("What a budget is best spent on", head, rows),
            Table(
                "The ladder",
                ("parameters", "shape", "tokens", "epochs", "FLOPs", "held-out bits per byte", "training text"),
                [
                    [
                        *(f"{one['parameters']:,}", f"{one['layers']} × {one['width']}", f"{one['tokens']:,}"),
                        *(f"{one['epochs']:.2f}", f"{one['flops']:.2e}"),
                        *(f"{one['heldout_bpb']:.4f}", f"{one['train_bpb']:.4f}"),
                    ]
                    for one in rungs
                ],
            ),
        ],
    )


def compute(found: dict[str, Any]) -> Markup:
    """Loss over compute."""
    models = [(one["flops"], one["heldout_bpb"]) for one in found["rungs"]]
    best = [(one["flops"], one["heldout_bpb"]) for one in found["advice"]]
    return line_chart(
        [("models", models), ("best expected", best)], "FLOPs", "bits per byte", log="xy", dots=("models",)
    )


def sizes(rungs: list[dict[str, Any]]) -> Markup:
    """Loss over size, a line a number of tokens."""
    series: dict[str, list[tuple[float, float]]] = {}
    for one in sorted(rungs, key=lambda one: (one["tokens"], one["parameters"])):
        series.setdefault(f"{quantity(one['tokens'])} tokens", []).append((one["parameters"], one["heldout_bpb"]))
    return line_chart(list(series.items())[:4], "parameters", "bits per byte", log="xy")

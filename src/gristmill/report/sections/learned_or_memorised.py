"""Knowing against memorising: how often text must say a thing before the model knows it, or can recite it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gristmill.evaluation.intervals import of_share, rounded
from gristmill.report.blocks import Figure, Prose, Section
from gristmill.report.plot import line_chart
from gristmill.report.reading import Folders, manifest, values

KNOWN = "facts: questions answered right"
RANKED = "secrets: exposure, of what is possible"
OUT = "secrets: written when asked for"
PASSAGES = "passages: completed word for word"
SAYS = (
    "The same axis for both: how often the text says it. A fact is learned where questions in other words than the "
    "text's are answered; a random code that was planted can only be memorised, and so can a passage word for word. "
    "Where questions are counted in ranges, a dot is at the range's lower end."
)


def learned_or_memorised(folders: Folders) -> Section | None:
    """One figure of knowledge and memorising over statements, where a run measured both."""
    found = by_statements(folders)
    series = [
        (name, [(row["statements"], row["share"]) for row in found.get(name, []) if row["statements"]])
        for name in (KNOWN, RANKED, OUT, PASSAGES)
    ]
    if not found or not all(dict(series)[name] for name in (KNOWN, RANKED)):
        return None
    names = found["models"]
    asked = f"{names['questions'].upper()} answered the questions" if names["questions"] else ""
    other = f", {names['audit'].upper()} was audited" if names["audit"] != names["questions"] else " and was audited"
    drawing = line_chart(series, "times that the text says it", "share", log="x")
    said = Prose(f"{asked}{other}." if asked else "")
    return Section("Learned or memorised", SAYS, [said, Figure("Known, and known by heart", drawing)])


def by_statements(folders: Folders) -> dict[str, Any]:
    """What is known and what is memorised by how often the text says it, each share with its 95 % interval, and what is
    memorised with its control, too; empty where a run measured neither. `by_statements.json` holds it."""
    results, found = values(folders, "evaluate", "results.json"), values(folders, "audit", "audit.json")
    asked = {name: scored["test"]["by_stated"] for name, scored in results.items() if "test" in scored}
    if not asked and not found:
        return {}
    made = manifest(folders, "audit")
    last = list(asked)[-1] if asked else ""
    curves: dict[str, Any] = {"models": {"questions": last, "audit": Path(made.folders["model"]).name if made else ""}}
    curves[KNOWN] = [known(one) for one in (asked[last] if last else ()) if one["to"]]
    curves[RANKED] = [
        {
            "statements": one["copies"],
            "secrets": one["canaries"],
            "share": round(one["mean"] / one["possible"], 5),
            "interval": [round(bound / one["possible"], 5) for bound in one["mean_interval"]],
            "control": round(one["control"] / one["possible"], 5),
        }
        for one in found.get("exposure", ())
    ]
    curves[OUT] = [
        row(one["copies"], one["out"], one["secrets"]) | {"control": one["control"]}
        for one in found.get("prompted", ())
    ]
    guessed = found["heldout"]["fraction"] if found else None
    curves[PASSAGES] = [
        row(one["from"], one["whole"], one["passages"]) | {"control": guessed} for one in found.get("train", ())
    ]
    return curves


def row(statements: int, count: int, total: int) -> dict[str, Any]:
    """A share of what is said that often, at least."""
    interval = rounded(of_share(count, total))
    return {"statements": statements, "of": total, "share": round(count / total, 5), "interval": interval}


def known(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The share of questions on facts that are stated that often which was answered right. Its interval is that of the
    evaluation, which draws subjects."""
    found = row(asked["from"], asked["right"], asked["questions"])
    sure = asked.get("intervals", {}).get("right")
    return found | {"interval": [sure["low"], sure["high"]]} if sure else found

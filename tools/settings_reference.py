"""Write the settings of every stage, as recipe.py has them, into docs/settings.md."""

from __future__ import annotations

from pathlib import Path

from gristmill.recipe import Params, Recipe, stage_params
from gristmill.settings.descriptions import settings_of

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
BEGIN, END = "<!-- settings: written by tools/settings_reference.py -->\n", "<!-- end of settings -->\n"


def section() -> str:
    """The section: a table a stage, a row a setting."""
    tables = {name: stage_params(name) for name in Recipe.model_fields}
    shared = [one for one in settings_of(Recipe) if tables[one.name] is Params]
    parts = ["At the top of a recipe:\n", table(shared)]
    for name, model in tables.items():
        if model is not Params:
            parts.append(f"## `[{name}]`\n\n{' '.join((model.__doc__ or '').split())}\n")
            parts.append(table(settings_of(model)) if model.model_fields else "It has no settings.\n")
    return "\n".join(parts)


def table(settings: list) -> str:  # type: ignore[type-arg]
    """Settings as a Markdown table."""
    rows = ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
    for one in settings:
        cells = f"`{one.name}`", one.kind, f"`{one.default}`" if one.default[0] in '"[{' else one.default, one.meaning
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def written(page: str) -> str:
    """A page with its section of settings as it should be."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{section()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

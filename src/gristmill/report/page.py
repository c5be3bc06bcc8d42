"""Sections as one self-contained HTML page. All text from pages and models is escaped."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader

from gristmill.report.sections import Section


def page(title: str, sections: Sequence[Section], headlines: Sequence[tuple[str, str]] = ()) -> str:
    """The page; `headlines` are (label, value)."""
    environment = Environment(
        loader=PackageLoader("gristmill.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("page.html.jinja")
    return template.render(title=title, headlines=headlines, sections=sections)

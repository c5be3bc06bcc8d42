"""Sections as one self-contained HTML page. All text from pages and models is escaped."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader

from gristmill.report.blocks import Headline, Section


def page(title: str, sections: Sequence[Section], headlines: Sequence[Headline] = (), lead: str = "") -> str:
    """The page: title, a leading paragraph, the figures at the top, and the sections."""
    environment = Environment(
        loader=PackageLoader("gristmill.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("page.html.jinja")
    return template.render(title=title, lead=lead, headlines=headlines, sections=sections)

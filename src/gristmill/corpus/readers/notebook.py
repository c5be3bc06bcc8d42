"""Jupyter notebooks: the cells in order, Markdown as it is and code in fences; what the code printed is left out.

The format is nbformat 4 (https://nbformat.readthedocs.io); version 3 kept its cells in worksheets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gristmill.corpus.readers.source_code import fenced
from gristmill.inputs.text_files import whole_file
from gristmill.record import Record

LEVELS = range(1, 7)  # of headings, in version 3


def read_notebook(path: Path, name: str) -> Iterator[Record]:
    """One record. Raises ValueError where the file is no notebook."""
    book = json.loads(whole_file(path))
    sheets = book.get("worksheets", [book]) if isinstance(book, dict) else []
    cells = [cell for sheet in sheets for cell in sheet.get("cells", [])]
    if not isinstance(book, dict) or "nbformat" not in book:
        raise ValueError("not a notebook: it has no `nbformat`")
    text = "\n\n".join(filter(None, map(cell_text, cells)))
    yield Record(text.encode("utf-8", "replace"), "text/markdown", name, name, "utf-8")


def cell_text(cell: dict[str, Any]) -> str:
    """The text of one cell."""
    source = cell.get("source", cell.get("input", ""))
    text = ("".join(map(str, source)) if isinstance(source, list) else str(source)).strip("\n")
    kind = cell.get("cell_type")
    if kind == "code":
        return fenced(text) if text.strip() else ""
    level = cell.get("level")
    depth = level if isinstance(level, int) and level in LEVELS else LEVELS[0]
    return f"{'#' * depth} {text}" if kind == "heading" else text

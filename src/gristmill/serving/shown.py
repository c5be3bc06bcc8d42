"""Passages as a terminal shows them: where they are from, and the question's words in them."""

from __future__ import annotations

from rich.text import Text

from gristmill.passages.search import Found

# control characters (ISO 6429) that a terminal would act on; a model may have learned them from any page
CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def passage_head(number: int, found: Found) -> Text:
    """Where a passage is from: its number, page, headings and place."""
    shown = Text(f"[{number}] ", style="bold")
    named = " › ".join(name for name in dict.fromkeys((found.title, *found.headings)) if name) or found.place
    shown.append(named.translate(CONTROLS), style="bold")
    return shown.append(f"\n    {found.place}\n".translate(CONTROLS), style="dim")


def passage_text(number: int, found: Found) -> Text:
    """The same with its text, the question's words in bold."""
    body = Text(found.text.translate(CONTROLS))
    for start, end in found.marks:
        body.stylize("bold yellow", start, end)
    return passage_head(number, found).append(body).append("\n")

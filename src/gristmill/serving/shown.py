"""Passages as a terminal shows them: where they are from, and the question's words in them."""

from __future__ import annotations

from rich.text import Text

from gristmill.passages.search import Found

# control characters (ISO 6429) that a terminal would act on; a model may have learned them from any page
CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def passage_text(number: int, found: Found, *, whole: bool = True) -> Text:
    """A passage with its number, page, headings and place; `whole`, with its text, the question's words in bold."""
    shown = Text(f"[{number}] ", style="bold")
    named = " › ".join(name for name in dict.fromkeys((found.title, *found.headings)) if name) or found.place
    shown.append(named.translate(CONTROLS), style="bold")
    shown.append(f"\n    {found.place}\n".translate(CONTROLS), style="dim")
    if not whole:
        return shown
    body = Text(found.text.translate(CONTROLS))
    for start, end in found.marks:
        body.stylize("bold yellow", start, end)
    return shown.append(body).append("\n")

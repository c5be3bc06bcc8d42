"""Chat in the terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import suppress

from gristmill.errors import UserError
from gristmill.passages.search import Found
from gristmill.progress import results
from gristmill.serving.assistant import Assistant
from gristmill.serving.shown import CONTROLS, passage_text

SHOWN = 3  # passages after an answer
HELP = "/reset begins anew, /quit (or Ctrl-D) ends; Ctrl-C stops an answer"


def chat(assistant: Assistant, temperature: float = 0.0) -> None:
    """Read lines, print answers as they come, until the input ends. Works on a pipe as well as on a terminal.

    Temperature 0 takes the likeliest token each time; above it, answers vary from turn to turn.
    """
    with suppress(ImportError):
        import readline  # noqa: F401  (gives `input` editing and history)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text end nothing
    person = sys.stdin.isatty()
    if person:
        print(f"{assistant.name}: {HELP}")
        for example in assistant.examples:
            print(f"for example: {example}")
    messages: list[dict[str, str]] = []
    while True:
        try:
            line = input("\n> " if person else "").strip()
        except (EOFError, KeyboardInterrupt):
            break
        if line == "/quit":
            break
        if line == "/reset":
            messages = []
            print("(a new conversation)")
        elif line.startswith("/"):
            print(HELP)
        elif line:
            messages = answer(assistant, [*messages, {"role": "user", "content": line}], temperature)


def answer(assistant: Assistant, messages: list[dict[str, str]], temperature: float) -> list[dict[str, str]]:
    """Print the answer to the last message; returns the conversation with it (without it where there is none)."""
    pieces: list[str] = []
    shown: Sequence[Found] = ()
    try:
        reply = assistant.reply(messages, temperature=temperature, seed=len(messages))
        shown = reply.passages[:SHOWN]
        for piece in reply:
            pieces.append(piece)
            print(piece.translate(CONTROLS) if sys.stdout.isatty() else piece, end="", flush=True)
    except KeyboardInterrupt:
        print(" (stopped)", end="")
    except UserError as error:
        print(f"error: {error}")
        return messages[:-1]
    print("\n" * bool(shown))
    for number, found in enumerate(shown, 1):
        results.print(passage_text(number, found), soft_wrap=True)
    return [*messages, {"role": "assistant", "content": "".join(pieces)}]

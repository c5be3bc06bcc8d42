"""Chat in the terminal."""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from gristmill.errors import UserError, nearest
from gristmill.progress import results
from gristmill.serving.api_error import ApiError
from gristmill.serving.assistant import Assistant, Reply
from gristmill.serving.guard import LOCAL
from gristmill.serving.memory.memory_store import MemoryStore
from gristmill.serving.memory.session import Session
from gristmill.serving.quoting import QuotedReply, QuotingAssistant
from gristmill.serving.shown import CONTROLS, passage_head

SEVERAL = '"""'  # begins and ends a message of several lines
KEPT_LINES = 1000  # of what was typed
HELP = f"""/help            this
/reset           begin anew
/system [TEXT]   what the model is told first; without a text, nothing
/memory          what is remembered; /memory on, /memory off, /memory forget NUMBER
/save FILE       write the conversation: JSON lines as `sft.conversations` reads, or Markdown (.md)
/quit            end, as Ctrl-D; Ctrl-C stops an answer, or drops what is typed
{SEVERAL} begins and ends a message of several lines"""


class Talk:
    """A conversation, and how its answers are made. `memory`: what may be used of a memory, if anything."""

    def __init__(self, assistant: Assistant, temperature: float = 0.0, memory: MemoryStore | None = None) -> None:
        """Temperature 0 takes the likeliest token each time; above it, answers vary from turn to turn."""
        self.assistant, self.temperature, self.store = assistant, temperature, memory
        self.remembers = False
        self.system = ""
        self.reset()

    def reset(self, _: str = "") -> str:
        """Begin anew."""
        self.messages: list[dict[str, str]] = []
        self.conversation: str | None = None  # in the memory
        self.dropped = 0  # messages that were left out, as far as it was said
        return "(a new conversation)"

    def command(self, line: str) -> str:
        """Do what a line that begins with a slash asks for; what there is to say. Raises UserError."""
        name, _, rest = line[1:].partition(" ")
        known: dict[str, Callable[[str], str]] = {
            "reset": self.reset,
            "system": self.instruct,
            "memory": self.memory,
            "save": self.save,
        }
        if name in known:
            return known[name](rest.strip())
        return HELP if name in ("", "help") else f"there is no /{name}{nearest(name, known)}\n{HELP}"

    def instruct(self, text: str) -> str:
        """Set the system's message."""
        self.system = text
        return "(the model is told this first, from now on)" if text else "(the model is told nothing first)"

    def memory(self, asked: str) -> str:
        """Show, use or leave the memory, or forget a fact. Raises UserError."""
        if self.store is None:
            return "(there is none: it belongs to a run folder, or to --memory FILE)"
        if asked in ("on", "off"):
            self.remembers = asked == "on"
            return f"(memory is {asked}) " + self.reset()
        facts = self.store.facts(LOCAL)
        name, _, number = asked.partition(" ")
        if name == "forget":
            if not (number.isdecimal() and 0 < int(number) <= len(facts)):
                raise UserError(f"there is no fact {number or '?'}", "/memory numbers them")
            self.store.forget(LOCAL, [facts[int(number) - 1].id])
            return f"Forgotten: {facts[int(number) - 1].text}"
        lines = [
            f"{number}. {fact.text}" + " (a newer one has taken its place)" * fact.superseded
            for number, fact in enumerate(facts, 1)
        ]
        none = 'No facts yet. Say "remember that …".' if self.remembers else "No facts yet."
        state = "on" if self.remembers else "off; /memory on uses it"
        return "\n".join([*(lines or [none]), f"(memory is {state}, in {self.store.path})"])

    def save(self, name: str) -> str:
        """Write the conversation to a new file. Raises UserError."""
        if not name:
            raise UserError("no file is named", "as: /save talk.jsonl")
        if not self.messages:
            raise UserError("there is nothing to save", "ask something first; a new conversation begins empty")
        path, messages = Path(name).expanduser(), self.told(self.messages)
        text = json.dumps({"messages": messages}, ensure_ascii=False) + "\n"
        if path.suffix == ".md":
            text = "\n".join(f"**{one['role'].capitalize()}:** {one['content']}\n" for one in messages)
        try:
            with path.open("x", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}", "name another file") from error
        return f"(saved to {path})"

    def told(self, messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        """Messages after the system's, if there is one."""
        return [{"role": "system", "content": self.system}] * bool(self.system) + [*messages]

    def ask(self, text: str) -> None:
        """Print the answer to a message. What brings none leaves the conversation as it was."""
        asked, pieces = {"role": "user", "content": text}, list[str]()
        session, finish, stopped, person = None, "length", False, sys.stdout.isatty()
        reply: Reply | str = ""
        try:
            if self.remembers and self.store:
                self.conversation = self.conversation or self.store.begin(LOCAL, {}).id
                session = Session(self.store, LOCAL, self.told([asked]), self.conversation, True)
            reply = self.reply(session, asked)
            thought = 0
            for piece in (reply,) if isinstance(reply, str) else reply:
                if person and isinstance(reply, Reply) and len(reply.thought) > thought:
                    print(f"\x1b[2m{reply.thought[thought:].translate(CONTROLS)}\x1b[0m", end="", flush=True)  # dimmed
                    thought = len(reply.thought)
                if thought and piece and not any(pieces):
                    print()
                pieces.append(piece)
                print(piece.translate(CONTROLS) if person else piece, end="", flush=True)
            finish = "stop" if isinstance(reply, str) else reply.finish
        except KeyboardInterrupt:
            stopped = True
            print(" (stopped)", end="")
        except (UserError, ApiError) as error:
            return print(f"error: {error}")
        print()
        self.messages += [asked, {"role": "assistant", "content": "".join(pieces)}]
        if session:
            session.keep("".join(pieces), finish)
        if isinstance(reply, Reply):
            self.tell(reply, stopped)

    def reply(self, session: Session | None, asked: dict[str, str]) -> Reply | str:
        """An answer while it is made, or what the memory says."""
        messages, aside = self.told([*self.messages, asked]), None
        if session:
            quotes = isinstance(self.assistant, QuotingAssistant)
            if (made := session.answer(pages=quotes)) is not None:
                return made
            messages = session.messages
            if not quotes:
                aside = partial(session.aside, tokenizer=self.assistant.engine.tokenizer)
        reply = self.assistant.reply(messages, temperature=self.temperature, seed=len(messages), aside=aside)
        if session and isinstance(reply, QuotedReply) and not reply.quoted:
            reply.supplement(session.facts_said())
        return reply

    def tell(self, reply: Reply, stopped: bool) -> None:
        """Say what belongs to an answer: where it quotes from, or what pages are near; what was not read, or cut."""
        if reply.finish == "length" and not stopped:
            print(f"(cut after {reply.limit:,} tokens: no more fit, or are made)")
        if reply.dropped > self.dropped:
            self.dropped = reply.dropped
            print(f"({self.dropped} of the oldest messages are no longer read: the context is full)")
        if reply.quoted:
            print()
        for number, found in enumerate(reply.passages, 1):
            if found in reply.quoted:
                results.print(passage_head(number, found), soft_wrap=True)


def chat(assistant: Assistant, temperature: float = 0.0, memory: MemoryStore | None = None) -> None:
    """Read lines, print answers as they come, until the input ends. Works on a pipe as well as on a terminal.

    A person's memory is used from the start; on a pipe, once `/memory on` asks for it.
    """
    person = sys.stdin.isatty()
    talk = Talk(assistant, temperature, memory)
    if person:
        talk.remembers = memory is not None
        remember_lines()
        print(f"{assistant.name}: /help lists what there is besides talking")
        for example in assistant.offered():
            print(f"for example: {example}")
    interrupted = False  # a Ctrl-C that comes just after the answer which it was to stop ends nothing
    with suppress(EOFError):
        while True:
            try:
                line = read("\n> " if person else "", "  " if person else "")
                interrupted = False
                if line.partition(" ")[0] == "/quit":
                    break
                follow(talk, line)
            except KeyboardInterrupt:
                if interrupted or not person:
                    break
                interrupted = True
                print("\n(Ctrl-C again ends, as Ctrl-D and /quit do)")


def follow(talk: Talk, line: str) -> None:
    """Do what a line asks for, or answer it; an empty one is nothing."""
    if line.startswith("/"):
        try:
            print(talk.command(line))
        except UserError as error:
            print(f"error: {error}")
    elif line:
        talk.ask(line)


def read(prompt: str, more: str) -> str:
    """What a person types next: a line, or the lines between two marks; the end of the input ends these, too."""
    line = input(prompt).strip()
    if not line.startswith(SEVERAL):
        return line
    lines = [line.removeprefix(SEVERAL)]
    while not lines[-1].rstrip().endswith(SEVERAL):
        try:
            lines.append(input(more))
        except EOFError:
            break
    return "\n".join(lines).rstrip().removesuffix(SEVERAL).strip()


def remember_lines() -> None:
    """Let lines be edited, and those of earlier talks be found again, where Python has GNU's readline or its like."""
    try:
        import readline
    except ImportError:
        return
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = state / "gristmill" / "chat_history"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        readline.read_history_file(path)
        readline.set_history_length(KEPT_LINES)
        atexit.register(readline.write_history_file, path)

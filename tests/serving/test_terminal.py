"""Chat in the terminal: on a pipe, and on a terminal as a person has it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

from gristmill.chat.conversations import read_conversations
from gristmill.export.gguf import write_gguf
from gristmill.export.trained import Trained
from gristmill.serving.assistant import Assistant, Reply
from gristmill.serving.guard import LOCAL
from gristmill.serving.memory.memory_store import MemoryStore
from gristmill.serving.terminal import Talk

QUESTION = "Who walks to the river?"
ASK: list[Any] = [{"role": "user", "content": QUESTION}]
PATIENCE = 120.0  # seconds


def test_terminal_chat_on_a_pipe(run_folder: Path, assistant: Assistant) -> None:
    lines = f"{QUESTION}\n/reset\n".encode() + b"\xff\xed\xa0\x80\n/reset\n" + f"{QUESTION}\n/quit\nnot read\n".encode()
    command = [sys.executable, "-m", "gristmill", "chat", str(run_folder)]
    done = subprocess.run(command, input=lines, capture_output=True, timeout=300, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().count(assistant.reply(ASK).text().strip()) == 2
    assert not (run_folder / "memory.sqlite").exists()


def test_a_model_cannot_command_the_terminal(
    assistant: Assistant, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "a\n\t\x1b]0;mine\x07\r\x9b2Jé"
    ids = [
        next(i for i in range(256) if assistant.engine.tokenizer.token_bytes(i) == bytes([b])) for b in said.encode()
    ]
    monkeypatch.setattr(assistant, "reply", lambda *_, **__: Reply(iter(ids), assistant.engine.tokenizer, 1, 100, []))
    for person, shown in ((False, said), (True, "a\n\t\ufffd]0;mine\ufffd\ufffd\ufffd2Jé")):
        monkeypatch.setattr(sys.stdout, "isatty", lambda person=person: person)
        talk = Talk(assistant)
        talk.ask(QUESTION)
        assert talk.messages[-1]["content"] == said
        assert capsys.readouterr().out == f"{shown}\n"


def test_what_the_model_is_told_first_and_messages_of_several_lines(
    run_folder: Path, assistant: Assistant, command: Command
) -> None:
    text = '/system Be brief.\n"""Who walks\n\n  to the river?"""\n/system\n/reset\n"""Who paints?"""\n'
    done = command("chat", run_folder, text=text)
    system = {"role": "system", "content": "Be brief."}
    first = assistant.reply([system, {"role": "user", "content": "Who walks\n\n  to the river?"}]).text()
    second = assistant.reply([{"role": "user", "content": "Who paints?"}]).text()
    assert done.stdout.startswith(f"(the model is told this first, from now on)\n{first}\n")
    assert done.stdout.endswith(f"(a new conversation)\n{second}\n")
    assert command("chat", run_folder, text='"""Who paints?\n').stdout.endswith(f"{second}\n")  # never closed
    assert "a new" not in command("chat", run_folder, text="/quit please\n/reset\n").stdout
    shown = command("chat", run_folder, text="/help\n/sav x\n/save\n/save x\n").stdout
    assert shown.startswith("/help") and "there is no /sav, did you mean `save`?\n/help" in shown
    assert "no file is named\nerror: there is nothing to save" in shown.replace("\n  remedy: as: /save talk.jsonl", "")
    assert shown.count("as: /save") == 1


def test_a_conversation_is_saved_and_can_be_learned_from(
    run_folder: Path, assistant: Assistant, command: Command, tmp_path: Path
) -> None:
    file, page = tmp_path / "talk.jsonl", tmp_path / "talk.md"
    saves = [f"/save {path}" for path in (file, page, file, tmp_path / "no" / "x")]
    text = "\n".join([saves[0], "/system Be brief.", QUESTION, *saves, ""])
    done = command("chat", run_folder, "--no-memory", text=text)
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert ["nothing to save" in errors[0], "File exists" in errors[1], "No such file" in errors[2]] == [True] * 3
    system = {"role": "system", "content": "Be brief."}
    expected = [system, *ASK, {"role": "assistant", "content": assistant.reply([system, *ASK]).text()}]
    assert json.loads(file.read_text()) == {"messages": expected} and list(read_conversations(file, [])) == [expected]
    assert page.read_text().startswith("**System:** Be brief.\n\n**User:** Who walks")


def test_memory(run_folder: Path, assistant: Assistant, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "memory.sqlite"
    asks = ["Remember that my dog is Rex.", "/memory off", "Remember that my cat is Tom.", "/memory on", "my dog?"]
    text = "\n".join(["/memory", "/memory on", *asks, "/memory", "/memory forget 1", "/memory forget 1", "/memory"])
    done = command("chat", run_folder, "--memory", file, text=text + "\n").stdout
    assert done.startswith("No facts yet.\n(memory is off; /memory on uses it, in ")
    assert "I will remember: My dog is Rex.\n(memory is off) (a new conversation)\n" in done
    assert f"1. My dog is Rex\n(memory is on, in {file})\nForgotten: My dog is Rex\nerror: there is no fact 1" in done
    store = MemoryStore(file)
    said = [[one.text for one in store.items(LOCAL, talk.id)] for talk in store.conversations(LOCAL, 10)]
    assert [talk[0] for talk in said] == ["my dog?", "Remember that my dog is Rex."] and store.facts(LOCAL) == []
    assert "there is none" in command("chat", run_folder, "--no-memory", text="/memory\n").stdout
    (tmp_path / "notes").write_text("No database.")
    for named in (tmp_path / "notes", tmp_path / "no" / "memory.sqlite"):
        refused = command("chat", run_folder, "--memory", named)  # before anything is asked
        assert refused.code == 2 and f"{named} cannot be used as memory" in refused.stderr


def test_what_no_longer_fits_is_told(run_folder: Path, command: Command) -> None:
    text = "\n".join(["A question about the river and the mill?"] * 6) + "\n"
    assert "of the oldest messages are no longer read" in command("chat", run_folder, text=text).stdout


def test_an_answer_that_is_cut_is_told(endless_folder: Path, command: Command) -> None:
    done = command("chat", endless_folder, text="Who?\n")
    assert done.code == 0 and done.stdout.endswith("\n(cut after 512 tokens: no more fit, or are made)\n")


def test_smaller_weights_are_asked_for_and_named(run_folder: Path, command: Command) -> None:
    for kind in ("bfloat16", "int8"):
        smaller = Assistant.load(run_folder / "sft", run_folder / "tokenizer", weights=kind)
        done = command("chat", run_folder, "--weights", kind, text=f"{QUESTION}\n")
        assert done.stdout.startswith(f"{smaller.reply(ASK).text()}\n") and f"sft, {kind} weights\n" in done.stderr
    refused = command("chat", run_folder, "--weights", "int4", text=f"{QUESTION}\n")
    assert refused.code == 2 and "'bfloat16', 'int8'" in refused.stderr and "Value error" not in refused.stderr


def test_a_gguf_file_is_talked_with(run_folder: Path, assistant: Assistant, command: Command, tmp_path: Path) -> None:
    write_gguf(Trained.load(run_folder / "sft", run_folder / "tokenizer"), tmp_path, "f32")
    done = command("chat", tmp_path / "model-f32.gguf", text=f"{QUESTION}\n/memory on\n")
    expected = assistant.reply(ASK).text()
    assert done.stdout.startswith(f"{expected}\n(there is none") and "(a GGUF file)" in done.stderr
    assert (
        command("chat", run_folder, "--model", tmp_path / "model-f32.gguf", text=f"{QUESTION}\n").stdout.removesuffix(
            "(cut after 45 tokens: no more fit, or are made)\n"
        )
        == f"{expected}\n"
    )
    assert "no model" in command("chat", tmp_path / "none.gguf").stderr
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\xff" * 100)
    broken = command("chat", tmp_path / "broken.gguf")
    assert broken.code == 2 and "broken.gguf" in broken.stderr and "Traceback" not in broken.stderr


class Terminal:
    """`gristmill chat` on a terminal of its own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.main, side = pty.openpty()
        self.seen = ""
        command = [sys.executable, "-m", "gristmill", "chat", str(folder)]
        environment = {**os.environ, "XDG_STATE_HOME": str(home), "TERM": "xterm"}
        self.process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=environment)
        os.close(side)

    def interrupt(self) -> None:
        """Send Ctrl-C's signal once it waits for a key: Python's `input` does not see one that comes just before."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.01)
        self.process.send_signal(signal.SIGINT)

    def until(self, text: str) -> str:
        """What comes, up to a text."""
        end = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert select.select([self.main], [], [], max(0, end - time.monotonic()))[0], self.seen
            self.seen += os.read(self.main, 4096).decode(errors="replace")
        found, _, self.seen = self.seen.partition(text)
        return found

    def type(self, text: str) -> None:
        """Type."""
        os.write(self.main, text.encode())

    def end(self) -> None:
        """Type Ctrl-D, and wait for the end."""
        self.type("\x04")
        assert self.process.wait(PATIENCE) == 0
        os.close(self.main)


def test_an_interrupt_between_two_answers_ends_nothing(run_folder: Path, tmp_path: Path) -> None:
    terminal = Terminal(run_folder, tmp_path)
    terminal.until("> ")
    for begun in ("half a message", '"""half of\rseveral lines'):
        terminal.type(begun)
        terminal.until(begun[-8:])
        terminal.interrupt()
        terminal.until("(Ctrl-C again ends")
        terminal.until("> ")
        terminal.type("/memory off\r")
        terminal.until("(memory is off)")
        terminal.until("> ")
    terminal.interrupt()
    terminal.until("(Ctrl-C again ends")
    terminal.until("> ")
    terminal.interrupt()
    assert terminal.process.wait(PATIENCE) == 0
    os.close(terminal.main)


def test_a_person_has_history_and_memory(run_folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "gristmill" / "chat_history"
    kept.parent.mkdir()
    kept.write_text("Remember that my dog is Rex.\nWho paints?\n")  # of an earlier talk
    terminal = Terminal(run_folder, tmp_path)
    assert "/help lists" in terminal.until("> ")
    terminal.type("\x1b[A\x1b[A")  # up, up
    terminal.until("Remember that my dog is Rex.")
    terminal.type("\r")
    terminal.until("I will remember: My dog is Rex.")
    terminal.until("> ")
    terminal.type("/memory\r")
    assert "1. My dog is Rex" in terminal.until("(memory is on")
    terminal.until("> ")
    terminal.end()
    assert kept.read_text().splitlines()[-1] == "/memory" and stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [one.text for one in MemoryStore(run_folder / "memory.sqlite").facts(LOCAL)] == ["My dog is Rex"]
    for file in run_folder.glob("memory.sqlite*"):
        file.unlink()

"""Commands as a user gives them, in this process, and programs in one of their own."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gristmill import cli

Command = Callable[..., "Done"]
Refusal = Callable[..., str]


@dataclass(frozen=True)
class Done:
    """What a command gave."""

    code: int
    stdout: str
    stderr: str


def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command as a user does, `text` being what is typed."""

    def go(*arguments: object, text: str = "") -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["gristmill", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        with pytest.raises(SystemExit) as stop:
            cli.main()
        told = capsys.readouterr()
        return Done(int(stop.value.code or 0), told.out, told.err)

    return go


def python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)

"""Progress: what a pipe and a terminal show; rates are those of now."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import python

from gristmill.progress import Rate, counted, duration, quantity, warn

WIDE = """
from rich.table import Table
from gristmill.progress import Progress, console
table = Table("stage", "what it says")
table.add_row("pretrain", "word " * 60 + "end of the cell")
console.print(table)
console.print("text " * 60 + "/a/path/" + "x" * 200)
"""
STEPS = """
import sys, time
from gristmill import progress
progress.LOG_EVERY = -1.0
with progress.Progress("crawl", None, "pages") as bar:
    for number in range(3):
        bar.total = 10 * (number + 1)
        bar.advance(1, f"round {number}")
        time.sleep(0.3 * sys.stderr.isatty())  # for the terminal to be drawn
    bar.note = lambda: "the note of now"
    time.sleep(0.5 * sys.stderr.isatty())
"""


def piped(code: str, **environment: str) -> list[str]:
    """The lines that a program writes to a pipe."""
    settings = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    return python(code, env=settings | environment, check=True).stderr.splitlines()


def on_a_terminal(code: str) -> str:
    """What a program writes to a terminal of 80 columns."""
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": "80", "LINES": "25", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=follower, stdout=follower, stderr=follower, env=environment
    ) as job:
        os.close(follower)
        shown = b""
        try:
            while part := os.read(leader, 4096):
                shown += part
        except OSError:  # Linux says so at the end
            pass
        os.close(leader)
    assert job.returncode == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*\w", "", shown.decode())


def test_what_goes_to_a_pipe_is_neither_wrapped_nor_cut() -> None:
    for environment in ({}, {"COLUMNS": "40"}):
        lines = piped(WIDE, **environment)
        assert sum("end of the cell" in line for line in lines) == 1
        assert len(next(line for line in lines if "end of the cell" in line)) > 315
        assert lines[-1].endswith("/a/path/" + "x" * 200) and len(lines[-1]) == 508
        assert len(lines) == 6  # a row, the head, three rules and the text


def test_a_table_fits_the_terminal_and_text_is_left_to_it() -> None:
    shown = on_a_terminal(WIDE).replace("\r", "").splitlines()
    assert all(len(line) <= 80 for line in shown[:-1]) and len(shown[-1]) == 508


def test_a_log_has_a_line_now_and_then_and_a_terminal_one_that_is_of_now() -> None:
    lines = piped(STEPS)
    assert [re.sub(r"  \S+/s  ETA \S+", "", line).strip() for line in lines[:3]] == [
        f"crawl  {number + 1}/{10 * (number + 1)} pages  round {number}" for number in range(3)
    ]
    shown = on_a_terminal(STEPS)
    assert shown.count("round 1") and shown.count("the note of now") >= 2  # without any further page
    assert re.search(r"3/30 pages +\S+/s  in \d+s  the note of now", shown)  # the last line stays


def test_a_rate_forgets_how_slowly_it_began() -> None:
    rate = Rate(10.0)
    assert rate.value() == 0
    rate.add(1, 0.0, 30.0)  # as a step that is compiled first
    assert rate.value() == 1 / 30
    for step in range(100):
        rate.add(1, 30 + step * 0.1, 30 + (step + 1) * 0.1)
        assert abs(rate.value() - 10) < 1e-6
    assert rate.value(idle=9.0) > 9.9 and rate.value(idle=90.0) < 1.1  # nothing comes any more
    for step in range(5):  # another phase, with long steps: the last one counts
        rate.add(1, 40 + step * 60, 100 + step * 60)
    assert rate.value() == 1 / 60


def test_the_time_left_is_never_less_than_is_known_to_pass() -> None:
    code = STEPS.replace("    for number", "    bar.least = 100.0\n    for number")
    assert all("ETA 1m40s" in line for line in piped(code)[:3])


def test_a_resumed_run_tells_the_rate_of_what_it_does_itself(tmp_path: Path) -> None:
    code = STEPS.replace("    for number", "    bar.resume(1_000_000)\n    for number").replace(
        "10 * (", "2_000_000 + ("
    )
    line = piped(code)[0]
    assert line.strip().startswith("crawl  1M/2M pages")
    rate = re.search(r"  (\S+?)([kMG]?)/s", line)
    assert rate and rate[2] in ("", "k")  # one page since, not a million


def test_numbers_are_said_shortly() -> None:
    assert [duration(seconds) for seconds in (8, 125, 4200)] == ["8s", "2m05s", "1h10m"]
    assert [quantity(number) for number in (950, 12_345, 4_560_000)] == ["950", "12.3k", "4.56M"]


def test_one_of_many_is_said_in_the_singular() -> None:
    many = ["copies", "addresses left", "records without page", "tokens held out", "held-out conversations", "losses"]
    one = ["copy", "address left", "record without page", "token held out", "held-out conversation", "loss"]
    assert [counted(1, words) for words in many] == [f"1 {words}" for words in one]
    assert [counted(1_000, words) for words in many] == [f"1,000 {words}" for words in many]


def test_a_warning_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    warn("runs/[old]/:key:/checkpoints is damaged")
    assert capsys.readouterr().err == "runs/[old]/:key:/checkpoints is damaged\n"

"""Progress for people: a live bar on a terminal, plain lines in a log, with rate and ETA."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from gristmill.processes import LEADER

console = Console(stderr=True, highlight=False, quiet=not LEADER)
LOG_EVERY = 10.0  # seconds between plain lines


def duration(seconds: float) -> str:
    """Seconds as a person says them: `8s`, `2m05s`, `1h10m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def quantity(number: float) -> str:
    """A count in three digits: `950`, `12.3k`, `4.56M`."""
    if abs(number) < 1000:
        return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.2g}"
    power = 1 if abs(number) < 999.5e3 else 2 if abs(number) < 999.5e6 else 3
    return f"{number / 1000**power:.3g}{' kMG'[power]}"


class Progress:
    """One task's progress: `with Progress("crawl", total, "pages") as bar: bar.advance(1, "queue 20")`.

    `total` may be None (unknown) and may be changed while running through `bar.total`.
    """

    def __init__(self, task: str, total: int | None, unit: str) -> None:
        self.task, self.total, self.unit = task, total, unit
        self.done = 0
        self.note = ""
        self.live = Live(console=console, refresh_per_second=5, transient=True) if sys.stderr.isatty() else None
        self.resumed_at = 0

    def __enter__(self) -> Progress:
        self.started = self.last_line = time.monotonic()
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()
        if kind is None and (self.live or time.monotonic() - self.started > LOG_EVERY):
            console.print(self.line(final=True))

    def resume(self, done: int) -> None:
        """Start from `done` units finished by an earlier, interrupted run (left out of the rate)."""
        self.done = self.resumed_at = done

    def advance(self, units: int = 1, note: str | None = None) -> None:
        """Count `units` more as done and show `note` beside."""
        self.done += units
        if note is not None:
            self.note = note
        if self.live:
            self.live.update(Text(self.line()))
        elif time.monotonic() - self.last_line > LOG_EVERY:
            self.last_line = time.monotonic()
            console.print(self.line(), markup=False, soft_wrap=True)

    def line(self, final: bool = False) -> str:
        """The line shown now."""
        elapsed = time.monotonic() - self.started
        rate = (self.done - self.resumed_at) / max(elapsed, 1e-9)
        of = f"/{quantity(self.total)}" if self.total else ""
        parts = [f"{self.task:>10}  {quantity(self.done)}{of} {self.unit}", f"{quantity(rate)}/s"]
        if final:
            parts.append(f"in {duration(elapsed)}")
        elif self.total and rate:
            parts.append(f"ETA {duration(max(0, self.total - self.done) / rate)}")
        return "  ".join([*parts, self.note]).rstrip()

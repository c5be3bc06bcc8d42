"""Progress for people: a live bar on a terminal, plain lines in a log, with rate and ETA."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar

import rich.console
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from gristmill.processes import LEADER

T = TypeVar("T")
QUIET = 3.0  # seconds that need no progress
LOG_EVERY = 10.0  # seconds between plain lines
WINDOW = 30.0  # seconds that the rate and the ETA look back
SPAN = 0.5  # seconds: shorter ones are added up
UNBOUNDED = 10_000  # columns where no screen is: no table is as wide


class Console(rich.console.Console):
    """Rich's console, which shows text as it is: no markup, emoji or number is looked for in it, and what goes to a
    file or a pipe is neither wrapped nor cut.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, quiet=not LEADER, **options)

    @property
    def size(self) -> rich.console.ConsoleDimensions:
        """Columns and rows to lay tables out in."""
        found = super().size
        return found if self.file.isatty() else rich.console.ConsoleDimensions(UNBOUNDED, found.height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """Print; lines of text are left to the terminal to wrap, so that paths and commands can be copied whole."""
        text = all(isinstance(item, str) for item in objects)
        super().print(*objects, soft_wrap=text if soft_wrap is None else soft_wrap, **options)


console = Console(stderr=True)  # what is going on
results = Console()  # what was asked for: to standard output, for a pipe to take


def print_json(value: object, indent: int | None = None) -> None:
    """Print a value as JSON, with letters as they are where the output's encoding has them all."""
    print(json.dumps(value, indent=indent, ensure_ascii=not (sys.stdout.encoding or "").lower().startswith("utf")))


def warn(text: str) -> None:
    """Say on the console, in yellow, what a person should know."""
    console.print(text, style="yellow")


def table(head: Iterable[str], rows: Iterable[Iterable[str]], title: str = "") -> Table:
    """A table for the terminal. Its cells are shown as they are: no markup is looked for in them."""
    heading = Text(title, "table.title") if title else None
    made = Table(*(Column(Text(name)) for name in head), title=heading, title_justify="left")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


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


def counted(count: int, words: str) -> str:
    """`1 step`, `2,000 steps`, `1 copy`, `1 token held out`: a count and what is counted."""
    if count == 1:
        plural = next((word for word in words.split() if word.endswith("s") and not word.endswith("ss")), "")
        words = words.replace(plural, singular(plural), 1)
    return f"{count:,} {words}"


def singular(plural: str) -> str:
    """One of what an English noun in the plural names, as `copy`, `address`, `file`."""
    if plural.endswith("ies"):
        return f"{plural[:-3]}y"
    return plural.removesuffix("es" if plural.endswith(("sses", "xes", "ches", "shes")) else "s")


class Rate:
    """An amount a second, over the spans of time that began in the last `window` seconds; over the newest at least.

    What began before counts for nothing: neither a slow beginning nor an earlier phase is averaged in.
    """

    def __init__(self, window: float) -> None:
        self.window = window
        self.spans: deque[list[float]] = deque()  # of each: when it began, its seconds, the amount

    def add(self, amount: float, began: float, ended: float) -> None:
        """Count an amount that took from `began` to `ended` (seconds of one clock)."""
        if self.spans and ended - self.spans[-1][0] < SPAN:
            self.spans[-1][1] += ended - began
            self.spans[-1][2] += amount
        else:
            self.spans.append([began, ended - began, amount])
        while len(self.spans) > 1 and self.spans[0][0] < ended - self.window:
            self.spans.popleft()

    def value(self, idle: float = 0.0) -> float:
        """The rate; 0 where nothing was counted. `idle` are seconds since the last amount: they count if too many."""
        spans = list(self.spans)  # another thread may be adding
        seconds = sum(span[1] for span in spans) + (idle if idle > self.window else 0.0)
        return sum(span[2] for span in spans) / seconds if seconds > 0 else 0.0


def watched(items: Iterable[T], task: str, unit: str) -> Iterator[T]:
    """The same items; how many have come is shown where that takes longer than a few seconds."""
    began, bar = time.monotonic(), None
    with ExitStack() as shown:
        for number, item in enumerate(items, 1):
            if bar is None and time.monotonic() - began > QUIET:
                bar = shown.enter_context(Progress(task, None, unit))
                bar.resume(number)
            if bar:
                bar.advance()
            yield item


class Progress:
    """One task's progress: `with Progress("crawl", total, "pages") as bar: bar.advance(1, "queue 20")`.

    `total` may be None (unknown); it, `least` and `note` may be changed while running. A note that is a function is
    called whenever a line is shown, from another thread on a terminal.
    """

    def __init__(self, task: str, total: int | None, unit: str) -> None:
        self.task, self.total, self.unit = task, total, unit
        self.done = self.counted = 0  # counted: of them, by this process
        self.least = 0.0  # seconds that what is left takes, however fast the last units came
        self.note: str | Callable[[], str] = ""
        self.rate = Rate(WINDOW)
        self.live: Live | None = None

    def __enter__(self) -> Progress:
        self.started = self.last_line = self.last_unit = time.monotonic()
        if console.file.isatty():
            self.live = Live(get_renderable=self.shown, console=console, refresh_per_second=5, transient=True)
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
        """Go on from `done` finished units: those of an earlier, interrupted run are left out of the rate."""
        self.done, self.last_unit = done, time.monotonic()
        self.rate = Rate(WINDOW)

    def advance(self, units: int = 1, note: str | Callable[[], str] | None = None) -> None:
        """Count `units` more as done and show `note` after them."""
        moment = time.monotonic()
        self.done += units
        self.counted += units
        if units:
            self.rate.add(units, self.last_unit, moment)
            self.last_unit = moment
        self.refresh(note)

    def refresh(self, note: str | Callable[[], str] | None = None) -> None:
        """Show `note`; in a log, once the last line is old enough. On a terminal the line is always that of now."""
        if note is not None:
            self.note = note
        if not self.live and time.monotonic() - self.last_line > LOG_EVERY:
            self.last_line = time.monotonic()
            console.print(self.line())

    def shown(self) -> Text:
        """The line as a terminal shows it, cut where it is too narrow."""
        return Text(self.line(), no_wrap=True, overflow="ellipsis")

    def line(self, final: bool = False) -> str:
        """The line of now; the final one tells the mean rate."""
        moment = time.monotonic()
        elapsed = moment - self.started
        rate = self.rate.value(moment - self.last_unit)
        if final:
            rate = self.counted / max(elapsed, 1e-9)
        of = f"/{quantity(self.total)}" if self.total else ""
        parts = [f"{self.task:>10}  {quantity(self.done)}{of} {self.unit}", f"{quantity(rate)}/s"]
        if final:
            parts.append(f"in {duration(elapsed)}")
        elif self.total and (rate or self.least):
            at_this_rate = max(0, self.total - self.done) / rate if rate else 0.0
            parts.append(f"ETA {duration(max(at_this_rate, self.least))}")
        note = self.note if isinstance(self.note, str) else self.note()
        return "  ".join([*parts, note]).rstrip()

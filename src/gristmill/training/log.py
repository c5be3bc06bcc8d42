"""A training's log: JSON lines, written as training goes; TensorBoard's events next to them, if wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gristmill.errors import from_extra
from gristmill.files import write_text
from gristmill.processes import LEADER
from gristmill.progress import warn

LogLine = dict[str, Any]


class Log:
    """The records of `OUT/log.jsonl`. The leader alone writes them.

    A record says nothing of time, so that a run that was killed and resumed leaves the same bytes.
    """

    def __init__(self, out: Path, tensorboard: bool = False) -> None:
        """Raises UserError where TensorBoard is wanted and not installed."""
        self.path = out / "log.jsonl"
        self.records: list[LogLine] = []
        self.behind = False  # whether the file lacks records, the disk being full
        self.events = Events(out / "tensorboard") if tensorboard else None

    def go_on(self, count: int, checkpoint: Path) -> None:
        """Keep the first `count` records, of those in the checkpoint's folder if this run has none yet."""
        if count and not self.records:
            lines = (checkpoint / self.path.name).read_text(encoding="utf-8").splitlines()
            self.records = [json.loads(line) for line in lines]
        self.back_to(self.records[:count])

    def back_to(self, records: list[LogLine]) -> None:
        """Hold these records and no others."""
        self.records = records
        if LEADER:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, lines_of(records))
            if self.events:
                self.events.restart(records)

    def add(self, record: LogLine) -> None:
        """Append one. A disk that is full does not stop training: `finish` writes what is missing."""
        self.records.append(record)
        if not LEADER:
            return
        try:
            if not self.behind:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
            if self.events:
                self.events.add(record)
        except OSError as error:
            self.behind = True
            warn(f"           cannot write {self.path}: {error.strerror}; training goes on")

    def save(self, checkpoint: Path) -> None:
        """Put all records into a checkpoint's folder, whose checksums are theirs too. Raises OSError."""
        self.finish()
        write_text(checkpoint / self.path.name, lines_of(self.records))

    def finish(self) -> None:
        """Write what could not be written before. Raises OSError."""
        if self.behind and LEADER:
            write_text(self.path, lines_of(self.records))
            self.behind = False


def lines_of(records: list[LogLine]) -> str:
    """Records as JSON lines."""
    return "".join(json.dumps(record) + "\n" for record in records)


class Events:
    """TensorBoard's scalars, one file, with the step as the time: what is written depends on the records alone."""

    def __init__(self, folder: Path) -> None:
        with from_extra("tensorboard", "tensorboard = true: TensorBoard is not installed"):
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.record_writer import RecordWriter
        self.path, self.make, self.summary, self.writer = folder / "events.out.tfevents.0", Event, Summary, RecordWriter

    def restart(self, records: list[LogLine]) -> None:
        """Write the file anew."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("wb") as file:
            self.writer(file).write(self.make(file_version="brain.Event:2").SerializeToString())
        for record in records:
            self.add(record)

    def add(self, record: LogLine) -> None:
        """Append a record's numbers."""
        step = int(record.get("step", 0))
        values = [
            self.summary.Value(tag=name, simple_value=value)
            for name, value in record.items()
            if name != "step" and isinstance(value, int | float)
        ]
        if values:
            event = self.make(wall_time=step, step=step, summary=self.summary(value=values))
            with self.path.open("ab") as file:
                self.writer(file).write(event.SerializeToString())


def mishaps(records: list[LogLine]) -> dict[str, int]:
    """How many mishaps of each kind a log has, for a manifest's counts."""
    named = {"skipped_steps": "skipped", "rollbacks": "rolled_back_from"}
    return {name: sum(mark in record for record in records) for name, mark in named.items()}


def mean_of(records: list[LogLine], name: str) -> float:
    """The mean of a figure over the records that have it; NaN where none has."""
    values = [record[name] for record in records if name in record]
    return sum(values) / len(values) if values else float("nan")

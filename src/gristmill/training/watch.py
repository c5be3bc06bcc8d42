"""What a training's log warns of while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gristmill.progress import warn

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Watch:
    """Reads the log alone: a run that is resumed warns neither twice nor never."""

    warnings: Callable[[Records], dict[str, int]]  # names of what is wrong, each with the step at which it was so first
    meanings: Mapping[str, str]
    remedy: str

    def warn(self, records: Records, told: set[str]) -> None:
        """Say what is wrong and has not been told yet."""
        for name, step in self.warnings(records).items():
            if name not in told:
                told.add(name)
                warn(f"           {self.told(name, step)}")

    def told(self, name: str, step: float) -> str:
        """What is wrong since a step, and what helps."""
        return f"step {step:,.0f}: {self.meanings[name]} ({self.remedy})"

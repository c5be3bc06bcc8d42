"""GPUs that need not be there: what training takes on them, from their makers' figures and our measurement of one.

It is a projection. Measured is one point: 124 M parameters, 64 rows of 1,024 tokens a step, on one H200, which came to
45 % of the maker's FLOP/s (docs/notebook/speed.md). Smaller models reach less. What several GPUs exchange is taken to
cost no time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gristmill.errors import UserError
from gristmill.settings.quantities import seconds_and_flops

PEAKS = {  # FLOP/s in dense bfloat16 and GB of memory: NVIDIA's data sheets
    "H100 PCIe": (756e12, 80),
    "H100 NVL": (835e12, 94),
    "H100": (989.4e12, 80),
    "H200": (989.4e12, 141),
    "A100": (312e12, 80),
    "L40S": (362e12, 48),
}
REACHED = 0.45  # of the peak
USABLE = 0.95  # of the memory: the rest is CUDA's own, or lies in pieces that are too small


@dataclass(frozen=True)
class Devices:
    """Some GPUs of one kind."""

    name: str
    count: int
    peak: float  # FLOP/s of one
    memory: float  # bytes of one

    def speed(self) -> float:
        """FLOP/s that all together are expected to train with."""
        return REACHED * self.count * self.peak

    def budget(self, text: str) -> str:
        """A budget of time as the FLOPs that these GPUs do in it; any other text as it is."""
        try:
            seconds, _ = seconds_and_flops(text)
        except ValueError:
            return text
        return f"{seconds * self.speed():.6e}" if seconds else text

    def fit(self, needed: float) -> bool:
        """Whether each has so many bytes."""
        return needed <= USABLE * self.memory

    def __str__(self) -> str:
        return f"{self.count} × {self.name}"

    def told(self) -> str:
        """What figures for them are worth."""
        return (
            f"projected, not measured: {self} at {100 * REACHED:.0f} % of the maker's FLOP/s, as a model of 124 M"
            " parameters trained on one H200; smaller ones reach less, and what several GPUs exchange takes time"
        )


def devices_of(text: str) -> Devices:
    """GPUs, as `h100`, `8xh200` or `2xh100-pcie`. Raises UserError where no such are known."""
    found = re.fullmatch(r"(?:([1-9]\d{0,5})\s*[x×*]\s*)?(.+)", text.strip().lower())
    kinds = {name.lower().replace(" ", "-"): name for name in PEAKS}
    name = kinds.get(found[2]) if found else None
    if not found or not name:
        raise UserError(f"{text} is no GPU that is known here", f"name one of {', '.join(kinds)}, or several as 8xh100")
    peak, gigabytes = PEAKS[name]
    return Devices(name, int(found[1] or 1), peak, gigabytes * 1e9)

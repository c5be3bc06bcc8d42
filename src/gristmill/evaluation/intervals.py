"""Intervals that say how sure a figure is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

LEVEL = 0.95
NORMAL = 1.959964  # standard deviations that hold 95 % of a normal distribution
RESAMPLES = 2_000


def of_share(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, by Wilson's score (Wilson 1927); all there is where nothing was tried."""
    if not total:
        return 0.0, 1.0
    share, z2 = count / total, NORMAL**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = NORMAL / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def of_weighted(shares: Sequence[tuple[int, int, float]]) -> tuple[float, float]:
    """The 95 % interval of a weighted sum of shares (count, total, weight), from that of each (Zou and Donner 2008)."""
    whole, below, above = 0.0, 0.0, 0.0
    for count, total, weight in shares:
        low, high = of_share(count, total)
        share = count / total if total else 0.0
        whole += weight * share
        below += (weight * (share - low)) ** 2
        above += (weight * (high - share)) ** 2
    return max(0.0, whole - math.sqrt(below)), min(1.0, whole + math.sqrt(above))


def of_statistic(statistic: Callable[..., float], *groups: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a function of groups of observations, by the bootstrap (Efron 1979): each group is drawn
    anew, as many with return."""
    draw = np.random.default_rng(0)
    found = [
        statistic(*(group[draw.integers(len(group), size=len(group))] for group in groups)) for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(found, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)

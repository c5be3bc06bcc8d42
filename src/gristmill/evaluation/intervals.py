"""Intervals that say how sure a figure is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np

from gristmill.progress import Progress

LEVEL = 0.95
NORMAL = 1.959964  # standard deviations that hold 95 % of a normal distribution
STUDENT = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691)  # the same of Student's t, by degrees of freedom
RESAMPLES = 2_000
AT_ONCE = 50  # of them, in memory
SOME, FEWEST = 500, 100  # of them, at most and at least, where a function of all observations may take its time
DRAWN = (1_000_000, 20_000)  # observations in all of them: of numbers, and of texts


class Interval(TypedDict):
    """As files have it."""

    low: float
    high: float
    by: str  # what is drawn, as independent of each other: question, subject, answer, document, run


def rounded(bounds: Sequence[float], digits: int = 5) -> list[float]:
    """An interval as files have it, where they have but its bounds."""
    return [round(bound, digits) for bound in bounds]


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


def of_outcome(hits: Sequence[bool], subjects: Sequence[str]) -> Interval:
    """That of the share of questions that came out so. Questions on one subject (empty: none is named) are answered
    alike: where several are, whole subjects are drawn (`of_mean`); where all came out the same, which no draw could
    change, Wilson's with as many trials as there are subjects. Else each question is a trial of its own (Wilson).
    """
    owners = own(subjects)
    count, alone = len(set(owners)), len(set(owners)) == len(owners)
    if alone or len(set(hits)) == 1:
        low, high = of_share(round(count * sum(hits) / len(hits)), count)
    else:
        low, high = of_mean(np.array(hits, np.float64), owners)
    return {"low": round(low, 5), "high": round(high, 5), "by": "question" if alone else "subject"}


def own(subjects: Sequence[str]) -> list[str]:
    """Of each question whom it belongs to: its subject, or itself where it names none."""
    return [subject or f"question {number}" for number, subject in enumerate(subjects)]


def of_mean(values: np.ndarray, owners: Sequence[str]) -> tuple[float, float]:
    """The 95 % interval of the mean of `values` (float [n]), by the bootstrap (Efron 1979), drawing whole owners."""
    _, owner = np.unique(np.array(owners), return_inverse=True)
    return of_ratio(np.bincount(owner, values), np.bincount(owner).astype(np.float64))


def of_changes(values: np.ndarray, owners: Sequence[str], least: float) -> tuple[float, float]:
    """The same of values between `least` and 1. Where all are one, which no draw could change, it reaches as far as
    Wilson's does where none of as many trials as there are owners came out."""
    if len({*values.tolist()}) > 1:
        return of_mean(values, owners)
    value, far = float(values[0]), of_share(0, len({*owners}))[1]
    return max(least, value - far), min(1.0, value + far)


def of_ratio(sums: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of Σ sums / Σ sizes (both float [n]), by the bootstrap: pairs of both are drawn with return."""
    draw, ratios = np.random.default_rng(0), list[float]()
    for _ in range(RESAMPLES // AT_ONCE):
        taken = draw.integers(len(sums), size=(AT_ONCE, len(sums)), dtype=np.int32)
        ratios += (sums[taken].sum(1) / sizes[taken].sum(1)).tolist()
    return bounds(ratios)


def of_owned(statistic: Callable[..., float], owners: Sequence[str], *columns: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a function of columns of observations (each [n]), by the bootstrap, drawing whole owners."""
    _, owner = np.unique(np.array(owners), return_inverse=True)
    order, sizes = np.argsort(owner, kind="stable"), np.bincount(owner)
    starts = np.cumsum(sizes) - sizes
    draw, found = np.random.default_rng(0), np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        drawn = draw.integers(len(sizes), size=len(sizes))
        lengths = sizes[drawn]
        shift = starts[drawn] - (np.cumsum(lengths) - lengths)  # from a place in the draw to one in `order`
        taken = order[np.arange(lengths.sum()) + np.repeat(shift, lengths)]
        found[number] = statistic(*(column[taken] for column in columns))
    return bounds(found)


def of_runs(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean over runs that differ by seed, by Student's t (1908); None of a single run."""
    if len(values) < 2:
        return None
    middle, half = float(np.mean(values)), student(len(values) - 1) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return middle - half, middle + half


def of_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of how far the mean of the second runs is above that of the first (Welch 1947); None where one
    of them is a single run."""
    if len(first) < 2 or len(second) < 2:
        return None
    errors = [float(np.var(values, ddof=1)) / len(values) for values in (first, second)]
    change, error = float(np.mean(second) - np.mean(first)), sum(errors)
    if not error:
        return change, change
    freedom = error**2 / sum(one**2 / (len(runs) - 1) for one, runs in zip(errors, (first, second), strict=True))
    half = student(max(1, int(freedom))) * math.sqrt(error)
    return change - half, change + half


def student(freedom: int) -> float:
    """How many standard errors hold 95 % of Student's t: its table, and from seven degrees of freedom an expansion
    about the normal distribution (Abramowitz and Stegun 26.7.5)."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    z = NORMAL
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom / freedom + third / freedom / freedom / freedom


def bounds(found: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """What 95 % of the draws lie between."""
    low, high = np.quantile(found, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def of_statistic(statistic: Callable[..., float], *groups: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a function of groups of observations, by the bootstrap (Efron 1979): each group is drawn
    anew, as many with return."""
    draw = np.random.default_rng(0)
    found = [
        statistic(*(group[draw.integers(len(group), size=len(group))] for group in groups)) for _ in range(RESAMPLES)
    ]
    return bounds(found)


def of_any(statistic: Callable[[list[Any]], float], values: Sequence[Any], name: str) -> tuple[float, float] | None:
    """The 95 % interval of a function of all `values` together, whatever they are, by the bootstrap (Efron 1979);
    progress is shown under `name`.

    The more values, the fewer draws (500 to 100), and fewer of texts than of numbers, so that it takes no longer than
    500 calls on few values or 100 on all: as many as lm-evaluation-harness takes for BLEU. None where there are fewer
    than two values, or no draw changes anything.
    """
    count, texts = len(values), any(isinstance(part, str) for part in parts_of([*values[:1]]))
    if count < 2:
        return None
    draw, found = np.random.default_rng(0), list[float]()
    with Progress(name, min(SOME, max(FEWEST, DRAWN[texts] // count)), "draws") as bar:
        while bar.done < (bar.total or 0):
            found.append(statistic([values[place] for place in draw.integers(count, size=count)]))
            bar.advance(1)
    known = [one for one in found if math.isfinite(one)]
    low, high = bounds(known) if known else (0.0, 0.0)
    return (low, high) if low < high else None


def parts_of(value: Any) -> list[Any]:
    """What is in a value, however deep."""
    return [part for one in value for part in parts_of(one)] if isinstance(value, list | tuple) else [value]

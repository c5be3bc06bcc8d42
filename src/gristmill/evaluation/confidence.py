"""How far a model's certainty can be trusted: what it would get wrong if it answered only where it is surest, and
whether it is right as often as it is sure.

An answer's confidence is the probability of all its tokens. Stated confidence is that one, mapped by two numbers that
are fitted to the `dev` questions (Platt 1999), never to those that are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gristmill.evaluation.intervals import Interval, of_outcome, of_owned, own
from gristmill.evaluation.questions import Question

BINS = 15  # of the calibration error (Guo et al. 2017, arXiv:1706.04599 §2)
FEW = 20  # answers: from fewer nothing is fitted
POINTS = 40  # of the curve, at most
NEWTON = 50  # steps at most


def trust(questions: Sequence[Question], outcomes: Sequence[str], confidences: Sequence[float]) -> dict[str, Any]:
    """Figures of one model's answers to the `test` questions; empty where it answered few of them.

    `curve`: thresholds of confidence with the share of questions answered at it (`coverage`), of these answers the
    share that is wrong (`risk`; El-Yaniv and Wiener 2010) and its interval, `area` under it; `calibration_error` of raw
    and stated confidence. The `intervals` of these draw subjects; that of stated confidence takes what was fitted as
    given.
    """
    splits = {
        split: [(q, o, conf) for q, o, conf in zip(questions, outcomes, confidences, strict=True) if q.split == split]
        for split in ("test", "dev")
    }
    answered = {
        split: np.array([(conf, o == "right") for _, o, conf in found if o != "declined"]).reshape(-1, 2)
        for split, found in splits.items()
    }
    test, dev = answered["test"], answered["dev"]
    if len(test) < FEW:
        return {}
    found: dict[str, Any] = {"questions": len(splits["test"]), "answered": len(test)}
    owners = own([q.owner for q, o, _ in splits["test"] if o != "declined"])
    found |= curve(test[:, 0], test[:, 1], len(splits["test"]), owners)
    found["calibration_error"] = round(calibration_error(test[:, 0], test[:, 1]), 5)
    sure = {"area": interval(area, owners, test), "calibration_error": interval(calibration_error, owners, test)}
    if len(dev) >= FEW:
        slope, offset = fit(dev[:, 0], dev[:, 1])
        stated = apply(test[:, 0], slope, offset)
        found["stated"] = {"slope": round(slope, 6), "offset": round(offset, 6), "fitted_to": len(dev)}
        found["stated_calibration_error"] = round(calibration_error(stated, test[:, 1]), 5)
        mapped = np.stack((stated, test[:, 1]), 1)
        sure["stated_calibration_error"] = interval(calibration_error, owners, mapped)
    return {**found, "intervals": sure}


def interval(statistic: Callable[..., float], owners: Sequence[str], answers: np.ndarray) -> Interval:
    """That of a figure of answers (confidence, right; float [n, 2]), by the bootstrap over subjects."""
    low, high = of_owned(statistic, owners, answers[:, 0], answers[:, 1])
    by = "question" if len(set(owners)) == len(owners) else "subject"
    return {"low": round(low, 5), "high": round(high, 5), "by": by}


def curve(confidence: np.ndarray, right: np.ndarray, asked: int, owners: Sequence[str] = ()) -> dict[str, Any]:
    """Risk by coverage, the surest answers first, of `asked` questions in all; the interval of each risk (`low`,
    `high`) is that of a share, for which whole `owners` are drawn."""
    order, risk = np.argsort(-confidence, kind="stable"), risks(confidence, right)
    wrong, drawn = (right[order] == 0).tolist(), [owners[at] for at in order] if owners else [""] * len(order)
    points = []
    for at in np.unique(np.linspace(0, len(risk) - 1, min(POINTS, len(risk))).astype(int)).tolist():
        sure = of_outcome(wrong[: at + 1], drawn[: at + 1])
        point = {"threshold": float(confidence[order[at]]), "coverage": (at + 1) / asked, "risk": float(risk[at])}
        point |= {"low": sure["low"], "high": sure["high"]}
        points.append({name: round(one, 5) for name, one in point.items()})
    return {"curve": points, "area": round(area(confidence, right), 5)}


def risks(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The share of wrong ones among the surest answers, float [n]: of the first, of the first two, and so on."""
    wrong = np.cumsum(1 - right[np.argsort(-confidence, kind="stable")])
    return np.asarray(wrong / np.arange(1, len(wrong) + 1))


def area(confidence: np.ndarray, right: np.ndarray) -> float:
    """The mean risk over all shares of the answers, the surest first."""
    return float(risks(confidence, right).mean())


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: how far the share of right answers is from the mean confidence, in bins of equal
    width, each weighed by its answers."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    sure, good = (np.bincount(place, weights, BINS) for weights in (confidence, right))
    return float(np.abs(sure - good).sum() / len(confidence))


def logit(share: np.ndarray) -> np.ndarray:
    """Log-odds, finite."""
    held = np.clip(share, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(held / (1 - held)))


def apply(confidence: np.ndarray, slope: float, offset: float) -> np.ndarray:
    """Stated confidence."""
    return np.asarray(1 / (1 + np.exp(-(slope * logit(confidence) + offset))))


def fit(confidence: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the log-odds under which the answers are likeliest, by Newton's method; targets are drawn in
    by one answer of each kind, so that perfect separation has an end (Platt 1999, §2.2)."""
    good, bad = float(right.sum()), float((1 - right).sum())
    target = np.where(right > 0, (good + 1) / (good + 2), 1 / (bad + 2))
    design = np.stack((logit(confidence), np.ones(len(confidence))), 1)
    weights = np.array([1.0, 0.0])

    def loss(weights: np.ndarray) -> float:
        odds = design @ weights
        return float((np.logaddexp(0, odds) - target * odds).sum())

    for _ in range(NEWTON):
        stated = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (stated - target)
        curvature = (design * (stated * (1 - stated))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while loss(weights - step) > loss(weights) and np.abs(step).max() > 1e-9:
            step /= 2  # far from the best, a whole step leads away (Lin, Lin and Weng 2007)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])

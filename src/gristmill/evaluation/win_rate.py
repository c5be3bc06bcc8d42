"""Pairwise win rate: of two models' answers to the same questions, which one a judge prefers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.evaluation.intervals import of_changes, own

RANK = {"wrong": 0, "declined": 1, "right": 2}  # what may not be known is better declined than made up
BATCH = 32  # questions judged together


def by_truth(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """1 where the second outcome is the better one, 0 where the first is, 0.5 where they are alike; float64 [n]."""
    ranks = (np.array([RANK[outcome] for outcome in outcomes], np.float64) for outcomes in (first, second))
    return preferred(*ranks)


def by_reward(
    folder: Path, words: Path, questions: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> np.ndarray:
    """The same by a reward model's folder, and its tokenizer's: the answer of higher reward is the better one.

    Equal answers are alike, whatever their rewards were rounded to. Raises UserError where there is no reward model.
    """
    from gristmill.chat.template import render
    from gristmill.posttrain.reward import RewardModel
    from gristmill.posttrain.rewards import Prompt, judge_with
    from gristmill.tokenizer.encode import Tokenizer

    model, tokenizer = RewardModel.load(folder), Tokenizer.load(words)
    judge, found = judge_with(model, tokenizer), list[list[float]]()
    for at in range(0, len(questions), BATCH):
        asked = [[{"role": "user", "content": text}] for text in questions[at : at + BATCH]]
        prompts = [Prompt(render(one, tokenizer, generation_prompt=True)[0], one) for one in asked]
        pairs = zip(first[at : at + BATCH], second[at : at + BATCH], strict=True)
        answers = [tokenizer.encode(answer) for pair in pairs for answer in pair]
        found += judge(prompts, answers).view(-1, 2).tolist()
    before, after = np.array(found).T
    alike = [one == other for one, other in zip(first, second, strict=True)]
    return np.where(alike, 0.5, preferred(before, after))


def preferred(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 where the second is above the first, 0.5 where they are equal."""
    return np.where(second > first, 1.0, np.where(second == first, 0.5, 0.0))


def share(judged: np.ndarray, subjects: Sequence[str]) -> dict[str, Any]:
    """The second model's `rate`, a tie being half won, with its 95 % interval, for which subjects are drawn."""
    low, high = of_changes(judged, own(subjects), 0.0)
    counts = {name: int((judged == value).sum()) for name, value in (("won", 1.0), ("tied", 0.5), ("lost", 0.0))}
    return {"rate": float(judged.mean()), "low": low, "high": high, **counts}

"""What RL rewards: a learned model's verdict, a Python function of the user's own, or whether the answer is right.

The exact reward is 1 for a right answer, 0 for one that declines, -1 for a wrong one (TruthRL, arXiv:2509.25760 §3.2).
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gristmill.chat.layouts import Messages
from gristmill.chat.matching import declined, numbers, right
from gristmill.errors import UserError
from gristmill.generation.answer_text import answer_of, said
from gristmill.posttrain.reward import RewardModel
from gristmill.tokenizer.encode import Tokenizer
from gristmill.training.data.answers import fork

Function = Callable[[Any, str, Any], Any]  # messages of the prompt, answer, truth → number
LARGEST = 1e12  # reward: float32 holds the squares of such, and their sums


@dataclass(frozen=True)
class Prompt:
    """What is asked, and what is known about its answer."""

    ids: list[int]
    messages: Messages
    truth: Any = None


Judge = Callable[[Sequence[Prompt], Sequence[list[int]]], Tensor]  # prompts, as many answers for each → rewards [B]


def ternary(answer: str, accepted: Iterable[str], declines: Iterable[str], match: str = "contains") -> float:
    """1 where an answer is right as `matching.right` compares, 0 where it declines, -1 otherwise. A decline is never
    right or wrong, whatever else it says."""
    if declined(answer, declines):
        return 0.0
    return 1.0 if right(answer, accepted, match) else -1.0


def exact(declines: Sequence[str], match: str = "contains") -> Function:
    """The exact reward. The truth is a text or number, or a list of them; nothing is right where there is none."""

    def reward(_: Any, answer: str, truth: Any) -> float:
        return ternary(answer, map(str, accepted(truth)), declines, match)

    return reward


def accepted(truth: Any) -> list[Any]:
    """The answers that a prompt's truth has as right ones, as they are written."""
    return truth if isinstance(truth, list) else [] if truth is None else [truth]


def check_truth(truth: Any, match: str) -> None:
    """Raises UserError where a truth is nothing that an answer can be compared with, as `match` compares."""
    if any(isinstance(one, list | dict) or not str(one).strip() for one in accepted(truth)):
        raise UserError(f"its truth is {truth!r}", "give a text, a number, or a list of them")
    if match == "number" and not all(numbers(str(one)) for one in accepted(truth)):
        raise UserError("it is matched by number, and its truth holds none", "give one, or another rl.match")


def read_function(named: str) -> Function:
    """The function that `file.py:function` names. The file is code of the user's own, which is run.

    Raises UserError where there is none.
    """
    path, _, name = named.rpartition(":")
    remedy = 'write reward = "file.py:function", with a function of prompt, answer and truth in that file'
    if not path.endswith(".py"):
        raise UserError(f"rl.reward = {named!r} names no function", remedy)
    spec = importlib.util.spec_from_file_location(f"reward_{Path(path).stem}", Path(path).absolute())
    try:
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses and pickle look
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        mend = (
            "write what it imports into the file itself, or install it" if isinstance(error, ImportError) else "mend it"
        )
        raise UserError(f"{path} cannot be run: {raised(error, path)}", mend) from error
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"{path} has no function {name}", remedy)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise UserError(
            f"{named} gives a coroutine or generator, which is no number", "write it without async and yield"
        )
    try:
        inspect.signature(function).bind([], "", None)
    except ValueError:
        pass  # one of C's need not say what it takes
    except TypeError as error:
        raise UserError(f"{named} cannot take a prompt, an answer and its truth: {error}", remedy) from error
    return function  # type: ignore[no-any-return]


def raised(error: BaseException, path: str) -> str:
    """An error of the user's own code, with the line of their file that it came from: `KeyError: 'x' (line 4)`."""
    file = str(Path(path).absolute())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return " ".join(f"{type(error).__name__}: {error}".split()) + (f" (line {lines[-1]})" if lines else "")


def judge_by(function: Function, tokenizer: Tokenizer, named: str = "the reward") -> Judge:
    """Rewards by a function of the prompt's messages, the answer's text and the truth, copies of its own. Raises
    UserError where it fails or gives no number."""

    def judge(prompts: Sequence[Prompt], answers: Sequence[list[int]]) -> Tensor:
        group, rewards = len(answers) // len(prompts), []
        for number, tokens in enumerate(answers):
            prompt, answer = prompts[number // group], answer_of(tokenizer, tokens).strip()
            try:
                given = function(deepcopy(prompt.messages), answer, deepcopy(prompt.truth))
            except (Exception, SystemExit) as error:
                asked = f"the prompt {prompt.messages[-1]['content']!r} and the answer {answer!r}"
                told = raised(error, named.rpartition(":")[0])
                raise UserError(f"{named} fails on {asked}: {told}", "mend the function") from error
            try:
                rewards.append(float(given))
            except (TypeError, ValueError, OverflowError) as error:
                problem = f"{named} gives {given!r}, which is no number, for {answer!r}"
                raise UserError(problem, "return one in every case") from error
            if not abs(rewards[-1]) <= LARGEST:
                remedy = f"return a finite number, at most {LARGEST:g} from 0"
                raise UserError(f"{named} gives {rewards[-1]} for {answer!r}", remedy)
        return torch.tensor(rewards)

    return judge


def judge_with(model: RewardModel, tokenizer: Tokenizer) -> Judge:
    """Rewards by a reward model, which reads what is said, and every answer as one that ended by itself. One that says
    nothing is no better than any other."""
    device = model.score.weight.device

    @torch.no_grad()
    def judge(prompts: Sequence[Prompt], answers: Sequence[list[int]]) -> Tensor:
        group = len(answers) // len(prompts)
        read = [[*said(tokenizer, answer), tokenizer.im_end] for answer in answers]
        groups = [read[at : at + group] for at in range(0, len(read), group)]
        rewards: Tensor = model(fork([prompt.ids for prompt in prompts], groups, device))
        spoken = torch.tensor([len(tokens) > 1 for tokens in read], device=device)
        return rewards.where(spoken, rewards[spoken].min()) if spoken.any() else rewards

    return judge

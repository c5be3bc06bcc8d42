"""gristmill's engine behind the `LM` interface of lm-evaluation-harness, and the harness's own task files (YAML).

Needs the extra `harness`; nothing of it is imported before it is used. A task is scored by the harness, per example,
from the engine's likelihoods and texts.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.chat.template import render, template_of
from gristmill.errors import UserError, from_extra
from gristmill.generation.answer_text import answer_of
from gristmill.generation.engine import Engine
from gristmill.progress import Progress, console
from gristmill.training.scoring.likelihood import row_likelihoods, split_tokens
from gristmill.training.scoring.multiple_choice import SHORTENED

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM

MEAN = "mean"
AT_ONCE = 64  # requests between two lines of progress
MAX_TOKENS = 256  # of an answer, where a task does not say: the harness's own default


class Requests:
    """What the harness asks of a model. A text begins after `<|endoftext|>`, as every document does in training."""

    def __init__(self, engine: Engine, name: str = "evaluate") -> None:
        super().__init__()
        self.engine, self.name = engine, name  # as progress shows it
        self.shortened = set[str]()  # contexts whose beginning was left out
        self.conversations = dict[str, list[int]]()  # as text → as tokens, in which no text can forge a turn

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Natural log of each continuation's probability, and whether it is the likeliest."""
        rows = [split_tokens(self.engine, *request.args) for request in requests]
        most = self.engine.context + 1
        self.shortened |= {one.args[0] for one, row in zip(requests, rows, strict=True) if sum(map(len, row)) > most}
        found = list[tuple[float, bool]]()
        with Progress(self.name, len(rows), "likelihoods") as bar:
            for at in range(0, len(rows), AT_ONCE):
                found += row_likelihoods(self.engine, rows[at : at + AT_ONCE])
                bar.advance(len(found) - at)
        return found

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Natural log of each text's probability; each window that the model reads goes on where the last one ended."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        engine, found = self.engine, []
        for request in requests:
            tokens = engine.tokenizer.encode(request.args[0])
            windows = get_rolling_token_windows(tokens, engine.tokenizer.end_of_text, engine.context, 1)
            pairs = [make_disjoint_window(window) for window in windows]
            found.append(sum(score for score, _ in row_likelihoods(engine, pairs)))
        return found

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """What follows each context, up to the first of its stop strings. Of a context that is too long the beginning
        is left out. Raises UserError where a task wants answers drawn by chance."""
        from lm_eval.models.utils import normalize_gen_kwargs

        engine, prompts, limits, stops = self.engine, [], [], []
        for request in requests:
            context, wanted = request.args
            wanted = normalize_gen_kwargs(wanted, min(MAX_TOKENS, engine.context // 2))
            if wanted.get("do_sample") and wanted.get("temperature"):
                raise UserError("the task draws answers by chance", "set do_sample: false in its generation_kwargs")
            limit = min(wanted["max_gen_toks"], engine.context - 1)
            tokens = self.tokens(context)
            if len(tokens) > engine.context - limit:
                self.shortened.add(context)
            prompts.append(tokens[-(engine.context - limit) :])
            limits.append(limit)
            stops.append([stop for stop in wanted["until"] if stop])
        texts = [""] * len(requests)
        order = sorted(range(len(prompts)), key=lambda number: (limits[number], len(prompts[number])))
        with Progress(self.name, len(prompts), "answers") as bar:
            for _, group in groupby(order, key=limits.__getitem__):
                for mine in batches([*group]):
                    made = engine.generate([prompts[number] for number in mine], max_tokens=limits[mine[0]])
                    for number, one in zip(mine, made, strict=True):
                        texts[number] = before_stops(answer_of(engine.tokenizer, one.tokens), stops[number])
                    bar.advance(len(mine))
        return texts

    def tokens(self, context: str) -> list[int]:
        """What the model reads of a context: a conversation that was rendered before, or a text."""
        tokenizer = self.engine.tokenizer
        return self.conversations.get(context) or [tokenizer.end_of_text, *tokenizer.encode(context)]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as text, whose tokens are kept for `generate_until`."""
        tokens, _ = render(chat_history, self.engine.tokenizer, generation_prompt=add_generation_prompt)
        text = "".join(f"<|{one['role']}|>{one['content']}\n" for one in chat_history)
        self.conversations[text] = tokens
        return text

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in the harness's caches."""
        return self.engine.tokenizer.hash

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Names the template in the harness's results."""
        return str(template_of(self.engine.tokenizer)) if chat_template else ""


def batches(numbers: list[int]) -> Iterator[list[int]]:
    """Numbers, some at once."""
    return (numbers[at : at + AT_ONCE] for at in range(0, len(numbers), AT_ONCE))


def before_stops(text: str, stops: Sequence[str]) -> str:
    """A text up to the first of some stop strings."""
    for stop in stops:
        text = text.split(stop)[0]
    return text


def language_model(engine: Engine, name: str = "evaluate") -> LM:
    """An engine as the harness takes it: `lm_eval.simple_evaluate(language_model(engine), tasks=[…])`; its progress is
    shown under `name`.

    Raises UserError without the extra.
    """
    with from_extra("harness", "lm-evaluation-harness is not installed"):
        from lm_eval.api.model import LM

    class GristmillLM(Requests, LM):  # type: ignore[misc]  # its types are those of no stub
        pass

    return GristmillLM(engine, name)


def read_task(path: Path) -> dict[str, Any]:
    """The harness's configuration of a task in a YAML file, with what it includes. Data files are looked for next to
    it first.

    Raises UserError where it cannot be read, or names code, which is not run.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        pass

    def refuse(loader: yaml.SafeLoader, node: yaml.Node) -> None:
        raise UserError(
            f"{path}: !function {node.value} is code, which is not run", "run lm_eval on the export instead"
        )

    Loader.add_constructor("!function", refuse)
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506 (a safe one)
        if not isinstance(found, dict) or isinstance(found.get("task"), list) or "group" in found:
            raise UserError(f"{path} is no task", "give a file that describes one task, not a group of them")
        if included := found.pop("include", None):
            found = {**read_task(path.parent / str(included)), **found}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: {error}", "give a task file of lm-evaluation-harness") from error
    files = (found.get("dataset_kwargs") or {}).get("data_files")

    def here(file: Any) -> Any:
        return str((path.parent / file).resolve()) if (path.parent / str(file)).exists() else file

    if files:
        whole = {split: here(one) for split, one in files.items()} if isinstance(files, dict) else here(files)
        found["dataset_kwargs"] = {**found["dataset_kwargs"], "data_files": whole}
    return found


@contextmanager
def silence() -> Iterator[None]:
    """Let nothing but gristmill's own lines through to standard error, also of programs that are run: bars of building
    a task, git's complaint that this is no repository."""
    kept = os.dup(2)
    shown = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    with shown, Path(os.devnull).open("w", encoding="utf-8") as nothing, redirect_stderr(nothing):
        os.dup2(nothing.fileno(), 2)
        console.file = shown
        try:
            yield
        finally:
            console.file = None  # type: ignore[assignment]  # whatever standard error is then
            os.dup2(kept, 2)
            os.close(kept)


def run_by_harness(engine: Engine, name: str, path: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The figures that a task takes (`exact_match`; with several filters `exact_match_FILTER`), each with the name of
    what the harness makes of all examples (`mean`, `perplexity` …); and a record an example: what was asked, what is
    right, what came, and each figure of it.

    Raises UserError where the harness cannot run the task.
    """
    model, task = language_model(engine, f"evaluate {name}"), {"task": name, **read_task(path)}
    from lm_eval import simple_evaluate

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    try:
        with silence():
            made = simple_evaluate(model, tasks=[task], log_samples=True, bootstrap_iters=0)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: lm-evaluation-harness cannot run it: {error!r}", "mend the task file") from error
    (samples,) = made["samples"].values()
    combined = aggregations(*made["configs"].values())
    figures, records = dict[str, str](), dict[int, dict[str, Any]]()
    for one in samples:
        asked = [[part for part in request if isinstance(part, str)] for request in one["arguments"]]
        record = records.setdefault(
            int(one["doc_id"]),
            {"item": int(one["doc_id"]), "asked": asked, "answer": one["target"], "said": one["resps"]},
        )
        if any(request[0] in model.shortened for request in asked):
            record[SHORTENED] = True
        for metric in one["metrics"]:
            figure = metric if one["filter"] == "none" else f"{metric}_{one['filter'].replace('-', '_')}"
            figures[figure] = combined.get(metric, MEAN)
            record[figure] = float(one[metric]) if figures[figure] == MEAN else plain(one[metric])
    return figures, [records[number] for number in sorted(records)]


def aggregations(config: Mapping[str, Any]) -> dict[str, str]:
    """By metric of a task the name of what the harness makes of all examples' values, where it is not their mean."""
    from lm_eval.api import registry

    names = {id(registry.get_aggregation(name)): name for name in registry.AGGREGATION_REGISTRY}
    own = {one["metric"]: one.get("aggregation") for one in config.get("metric_list") or ()}
    return {
        metric: own.get(metric) or names.get(id(registry.get_metric_aggregation(metric)), MEAN)
        for metric in {*own, *registry.METRIC_AGGREGATION_REGISTRY}
    }


def plain(value: Any) -> Any:
    """What an example adds to a figure of all, as JSON has it: NumPy's numbers and arrays are Python's."""
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value


def aggregated(name: str, values: Sequence[Any]) -> float:
    """What the harness makes of all examples' values."""
    from lm_eval.api.registry import get_aggregation

    logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # its advice on ends of sentences
    with warnings.catch_warnings(action="ignore"):  # where nothing was said to be right, scikit-learn warns of F1
        return float(get_aggregation(name)(values))


def whole(record: dict[str, Any]) -> str:
    """What was asked in a record of the harness, with the right answer after it."""
    asked, answer = record["asked"], record["answer"]
    chosen = asked[answer] if isinstance(answer, int) and 0 <= answer < len(asked) else asked[0]
    return "".join(chosen) if len(chosen) > 1 else f"{chosen[0]} {answer}"

"""`gristmill compare`: runs side by side; groups of runs that differ by seed; whose answers are better."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gristmill.commands import yardsticks
from gristmill.errors import UserError
from gristmill.manifest import RECIPE, Manifest
from gristmill.progress import results, table
from gristmill.runs.finished import run_folder
from gristmill.runs.journal import SUMMARY
from gristmill.runs.model_choice import words_of
from gristmill.runs.stage_line import BALANCE

if TYPE_CHECKING:
    from gristmill.evaluation.questions import Question

TRUTH, ANSWERS = "truth", "answers.jsonl"
NO_FIGURES = ("item", "answer", "shortened", "13_gram", "8_gram_half")  # of an item of a task
Asked = tuple[str, int]  # a question's text, and how often it was asked before
WARNED = "_at_step"  # the end of a warning's name: the step at which training gave it
SETTINGS = 8  # that differ, are told
OF_NO_MATTER = ("seed", "name", "checksum")  # in which runs of a group may differ
WIN_RATE = "Also whose answers to the same test questions are better: by the `truth`, or a reward model's folder."


@dataclass(frozen=True)
class Answered:
    """A test question and what a run's final model made of it."""

    question: Question
    answer: str
    outcome: str


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Run folders, or what evaluate wrote.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Also figures that are the same in all, that a run lacks, and of the ledger.")
    ] = False,
    win_rate: Annotated[str, typer.Option(metavar="truth|FOLDER", help=WIN_RATE)] = "",
) -> None:
    """Show the figures of runs side by side, and how sure a difference is: of two runs, by the questions that both were
    asked; of groups of runs that differ by seed alone, by how far runs of a group lie apart.
    """
    if len(runs) < 2:
        raise UserError("there is nothing to compare", "name two run folders or more")
    summaries = {run: summary_of(run) for run in runs}
    groups = grouped(runs)
    names = sorted({name for one in summaries.values() for name in one if not name.endswith("seconds")})
    unlike = yardsticks.unlike([*map(evaluated, runs)], [summaries[run] for run in runs])
    rows, apart = [], Counter[str]()
    for name in names:
        values = [summaries[run].get(name) for run in runs]
        differs = tell_apart(name, values)
        if differs and not everything and (measure := yardsticks.yardstick(name)) in unlike:
            apart[measure] += 1
        elif everything or differs:
            grouped_values = [[summaries[run].get(name) for run in group] for group in groups]
            rows.append((name, *(over_seeds(grouped_values) if len(groups) < len(runs) else map(shown, values))))
    tell_settings(groups)
    if rows:
        results.print(table(("figure", *heads(groups)), rows))
    elif not apart:
        results.print("no figure differs of those that all have", markup=False)
    if apart:
        results.print(yardsticks.told(apart))
    if more := len(names) - len(rows) - apart.total():
        results.print(f"{more} more figures with --all", style="dim")
    answers = {run: answered(run) for run in runs}
    for other in (group[0] for group in groups[1:]):
        before, after = in_common(answers[runs[0]], answers[other])
        asked = answers[runs[0]] or answers[other]
        changes = paired(runs[0], other, before, after) if asked else ()
        for line in (*changes, *paired_tasks(runs[0], other), *paired_text(runs[0], other)):
            results.print(line)
        if win_rate:
            results.print(better(runs[0], other, before, after, win_rate))


def tell_apart(name: str, values: Sequence[float | None]) -> bool:
    """Whether a figure says how runs differ. That a run has no step of a warning says that all was well."""
    there = None not in values or name.endswith(WARNED)
    return len({*values}) > 1 and there and name.rpartition(".")[2] not in BALANCE


def shown(value: float | None) -> str:
    """A figure in full, without a power of ten; nothing where a run has none."""
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:,.6g}"


def summary_of(run: Path) -> dict[str, Any]:
    """A run's figures, or those of a folder that `gristmill evaluate` wrote. Raises UserError where there are none."""
    made = Manifest.read(run) if (run / ANSWERS).exists() else None
    if made is None:
        return read_json(finished_run(run) / SUMMARY)
    return {
        name if "." in name else f"evaluate.{name}": value for name, value in {**made.counts, **made.metrics}.items()
    }


def finished_run(path: Path) -> Path:
    """The same folder. Raises UserError where it has no figures, which says of what folder it takes them instead."""
    if (run_folder(path) / SUMMARY).exists():
        return path
    if (path / RECIPE).exists():
        raise UserError(f"{path} is a run that is not finished: it has no {SUMMARY}", "run its recipe to the end")
    above = path.absolute().parent
    if (above / RECIPE).exists() or (above / SUMMARY).exists():
        of_run = f"{path} is a stage's folder, no run's"
        raise UserError(of_run, f"name the run, {path.parent}, or judge a model by itself: gristmill evaluate --help")
    remedy = "name finished runs, or folders that `gristmill evaluate` wrote: it judges a model by itself"
    raise UserError(f"{path} is no run: it has no {SUMMARY}", remedy)


def evaluated(run: Path) -> Path:
    """The folder that has the answers of a run's model, which may be given itself."""
    return run if (run / ANSWERS).exists() else run / "evaluate"


def read_json(path: Path) -> dict[str, Any]:
    """An object in a file. Raises UserError where there is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read {path}: {error}", "name the folder of a finished run") from error


def grouped(runs: Sequence[Path]) -> list[list[Path]]:
    """Runs whose recipes differ by seeds and names alone, together; a run without a recipe is alone."""
    groups: dict[str, list[Path]] = {}
    for run in runs:
        path = run / RECIPE
        key = json.dumps(seedless(read_json(path)), sort_keys=True) if path.exists() else str(run)
        groups.setdefault(key, []).append(run)
    if len(groups) == 1:  # the same recipe all over: they are compared with each other
        return [[run] for run in runs]
    return list(groups.values())


def tell_settings(groups: Sequence[Sequence[Path]]) -> None:
    """Print the settings in which the recipes of two groups of runs differ, but for seeds and names."""
    recipes = [group[0] / RECIPE for group in groups]
    if len(recipes) != 2 or not all(path.exists() for path in recipes):
        return
    both = [seedless(read_json(path)) for path in recipes]
    alone = {key for one in both for key in one if isinstance(one[key], dict) and not all(key in each for each in both)}
    before, after = (  # a stage of one alone is one difference
        dict(flat({key: one[key] for key in one.keys() - alone})) | dict.fromkeys(alone & one.keys(), "there")
        for one in both
    )
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    for name in names[:SETTINGS]:
        told = f"{name}: {before.get(name, 'not there')} → {after.get(name, 'not there')}"
        results.print(told, markup=False)
    if len(names) > SETTINGS:
        results.print(f"and {len(names) - SETTINGS} more settings")


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The settings of a recipe by their whole names; a stage without any by its own."""
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from flat(one, f"{name}.{key}" if name else key)
    else:
        yield name, json.dumps(value, ensure_ascii=False)


def seedless(value: Any) -> Any:
    """A recipe without what runs of a group may differ in."""
    if isinstance(value, dict):
        return {name: seedless(one) for name, one in value.items() if name not in OF_NO_MATTER}
    return value


def heads(groups: Sequence[Sequence[Path]]) -> list[str]:
    """What each column is of; with two groups, also their difference where there are several runs in one."""
    several = any(len(group) > 1 for group in groups)
    names = [f"{group[0]} and {len(group) - 1} more" if len(group) > 1 else str(group[0]) for group in groups]
    return [*names, "difference"] if several and len(groups) == 2 else names


def over_seeds(groups: Sequence[Sequence[float | None]]) -> tuple[str, ...]:
    """Each group's mean with its 95 % interval; of two groups also their difference."""
    from gristmill.evaluation.intervals import of_difference, of_runs

    found = [[value for value in group if value is not None] for group in groups]
    cells = [told(sum(group) / len(group), of_runs(group)) if group else "" for group in found]
    if len(found) == 2:
        first, second = found
        change = sum(second) / len(second) - sum(first) / len(first) if first and second else None
        cells.append("" if change is None else told(change, of_difference(first, second)))
    return tuple(cells)


def told(value: float, interval: tuple[float, float] | None) -> str:
    """A figure, and its interval where there is one: `0.72 (0.70 to 0.74)`."""
    return f"{value:,.5g}" + (f" ({interval[0]:,.4g} to {interval[1]:,.4g})" if interval else "")


def answered(run: Path) -> dict[Asked, Answered]:
    """What a run's final model said to its test questions, by their text and, where one is asked again, its turn."""
    from gristmill.evaluation.questions import Question
    from gristmill.inputs.text_files import read_log

    records = [one for one in read_log(evaluated(run), ANSWERS) if one["split"] == "test"]
    fields = Question.__dataclass_fields__
    turns, found = Counter[str](), dict[Asked, Answered]()
    for one in (one for one in records if one["model"] == records[-1]["model"]):
        question = Question(**{key: one[key] for key in fields if key in one})
        found[question.question, turns[question.question]] = Answered(question, one.get("answer", ""), one["outcome"])
        turns[question.question] += 1
    return found


def in_common(one: Mapping[Asked, Answered], other: Mapping[Asked, Answered]) -> tuple[list[Answered], list[Answered]]:
    """What two runs made of the test questions that both were asked."""
    common = [asked for asked in one if asked in other]
    return [one[asked] for asked in common], [other[asked] for asked in common]


def paired(first: Path, second: Path, before: Sequence[Answered], after: Sequence[Answered]) -> Iterator[str]:
    """What changed from the final model of one run to that of another, on the test questions that both were asked."""
    from gristmill.evaluation.comparison import compare as compare_outcomes
    from gristmill.evaluation.figures import label

    if not after:
        yield f"\n{first} and {second} answered no test question in common: what changed cannot be told by questions"
        return
    one, other = ([each.outcome for each in answers] for answers in (before, after))
    often = often_of(first)
    found = compare_outcomes([each.question for each in after], one, other, often)
    yield f"\n{first} → {second}, {len(after):,} test questions that both were asked:"
    for name, change in found.items():
        yield changed(label(name, often), change, change["questions"])


def changed(name: str, change: Mapping[str, Any], count: int) -> str:
    """A line on what was gained and lost of so many."""
    sure = "" if change["low"] > 0 or change["high"] < 0 else "; may be chance"
    return (
        f"  {name}: {change['difference']:+.1%} (95 % interval {change['low']:+.1%} to {change['high']:+.1%}), "
        f"{change['gained']:,} gained, {change['lost']:,} lost of {count:,}{sure}"
    )


def paired_tasks(first: Path, second: Path) -> Iterator[str]:
    """The same of the items that both were given, of each task and each figure that an item has or has not."""
    from gristmill.evaluation.comparison import difference

    before, after = scored_items(first), scored_items(second)
    common: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for (task, figure, item), value in before.items():
        if (later := after.get((task, figure, item))) is not None:
            common.setdefault((task, figure), []).append((value, later))
    if common:
        yield f"\n{first} → {second}, items of tasks that both were given:"
    for (task, figure), values in common.items():
        one, other = zip(*values, strict=True)
        yield changed(f"tasks.{task}.{figure}", difference(one, other), len(values))


def paired_text(first: Path, second: Path) -> Iterator[str]:
    """How many bits a byte of the held-out documents that both read takes more in the second run, with its interval."""
    import numpy as np

    from gristmill.evaluation.heldout_text import DOCUMENTS, FEW
    from gristmill.evaluation.intervals import of_ratio
    from gristmill.inputs.text_files import read_log

    before, after = ({one["id"]: one for one in read_log(evaluated(run), DOCUMENTS)} for run in (first, second))
    common = [key for key, one in before.items() if key in after and after[key]["bytes"] == one["bytes"] > 0]
    if len(common) < FEW:
        return
    sizes = np.array([before[key]["bytes"] for key in common], float)
    bits = np.array([after[key]["bits"] - before[key]["bits"] for key in common])
    low, high = of_ratio(bits, sizes)
    yield f"\n{first} → {second}, {len(common):,} held-out documents that both read:"
    yield (
        f"  bits per byte: {bits.sum() / sizes.sum():+.4f} (95 % interval {low:+.4f} to {high:+.4f}); less is better"
        f"{'' if low > 0 or high < 0 else '; may be chance'}"
    )


def scored_items(run: Path) -> dict[tuple[str, str, str], float]:
    """Of each task, figure and item of a run (what was asked, and its turn) whether it is right."""
    from gristmill.inputs.text_files import read_log

    turns, found = Counter[str](), dict[tuple[str, str, str], float]()
    for one in read_log(evaluated(run), "tasks.jsonl"):
        asked = yardsticks.asked(one)
        item = f"{asked} {turns[asked]}"
        turns[asked] += 1
        figures = {name: value for name, value in one.items() if name not in NO_FIGURES and value in (True, False)}
        found |= {(one["task"], name, item): float(value) for name, value in figures.items()}
    return found


def often_of(run: Path) -> int:
    """From how many statements a fact counted as well covered."""
    from gristmill.evaluation.figures import OFTEN

    return int((Manifest.read(evaluated(run)) or Manifest()).params.get("often", OFTEN))


def reward_model(folder: Path) -> tuple[Path, Path]:
    """A reward model's folder and its tokenizer's. Raises UserError where it is another one."""
    made = Manifest.read(folder)
    if made is None or made.stage != "reward":
        raise UserError(f"{folder} is no reward model", "write `truth`, or a folder that reward wrote: RUN/reward")
    return folder, words_of(folder)


def better(first: Path, second: Path, before: Sequence[Answered], after: Sequence[Answered], by: str) -> str:
    """How often the second run's answer is the better one. Raises UserError where none can be compared."""
    from gristmill.evaluation import win_rate

    if not after:
        raise UserError(f"{first} and {second} answered no test question in common", "ask both the same, by evaluate")
    if by == TRUTH:
        judged = win_rate.by_truth([one.outcome for one in before], [one.outcome for one in after])
    else:
        asked = [one.question.question for one in after]
        judged = win_rate.by_reward(
            *reward_model(Path(by)), asked, [one.answer for one in before], [one.answer for one in after]
        )
    found = win_rate.share(judged, [one.question.owner for one in after])
    sure = "" if found["low"] > 0.5 or found["high"] < 0.5 else "; may be chance"
    return (
        f"{second} wins against {first} by {by if by == TRUTH else f'the reward of {by}'}: {found['rate']:.1%} (95 % "
        f"interval {found['low']:.1%} to {found['high']:.1%}); {found['won']:,} won, {found['tied']:,} tied, "
        f"{found['lost']:,} lost{sure}"
    )

"""Stage `evaluate`: model → scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from gristmill.chat.conversations import LeftOut, report
from gristmill.chat.template import exchange
from gristmill.evaluation.comparison import compare
from gristmill.evaluation.confidence import trust
from gristmill.evaluation.contamination import Met, TrainedOn, told
from gristmill.evaluation.figures import FIGURES, figures_of, label, shown, spread
from gristmill.evaluation.heldout_text import DOCUMENTS, FILE, heldout_text, looked_for
from gristmill.evaluation.questions import Answer, Question, ask, askable, outcome, read_questions
from gristmill.evaluation.scores import score, without
from gristmill.evaluation.tasks import Scored, run_task, summed_up_task
from gristmill.files import write_json, write_jsonl
from gristmill.generation.engine import Engine
from gristmill.generation.sampling_params import Doubt
from gristmill.manifest import Manifest, Parts
from gristmill.progress import results, table, warn
from gristmill.recipe import Evaluate
from gristmill.tokenizer.shards import open_split
from gristmill.training.loop import best_device

COMPARISON, CONTAMINATION = "comparison.json", "contamination.json"
CHANGES = ("all_answerable_accuracy", "unanswerable_declined")  # of which the summary says what each step changed
BEFORE = ("sft", "dpo", "kto")  # models that may come before the final one, in this order
TRUST = {  # of `confidence.json`, in words
    "area": "wrong among the answers given, over all shares of questions answered",
    "calibration_error": "confidence and share right lie apart by (calibration error)",
    "stated_calibration_error": "the same of stated confidence",
}
NOTHING = "caution: nothing was measured: set evaluate.questions or evaluate.tasks, or give the folder of tokenize"
SEEN = ("sft", "rl")  # splits whose entities fine-tuning asked about


def run(inputs: Mapping[str, Path], params: Evaluate, out: Path) -> Manifest:
    """Score the final model and, on the same questions, those of SFT, DPO and KTO that came before it."""
    engine = Engine.load(inputs["model"], inputs["tokenizer"], best_device())
    parts, metrics = Parts(out), dict[str, float]()
    left_out: list[LeftOut] = []
    questions = read_questions(Path(params.questions), engine, left_out, params.match) if params.questions else []
    prompts = askable(engine, params.prompts, left_out)
    final = inputs["model"]
    models = {name: inputs[name] for name in BEFORE if inputs.get(name, final) != final and name != final.name}
    outcomes: dict[str, list[str]] = {}
    records: list[dict[str, Any]] = []
    trusted: dict[str, Any] = {}
    for name, folder in {**models, final.name: final}.items() if questions else ():
        model = engine if folder == final else Engine.load(folder, inputs["tokenizer"], best_device())
        answers = ask(model, [q.question for q in questions], params.max_tokens, parts, name, doubt(model, params))
        outcomes[name] = [
            outcome(q, answer.text, params.declines) for q, answer in zip(questions, answers, strict=True)
        ]
        trusted = trust(questions, outcomes[name], [answer.confidence for answer in answers])  # the final model's stays
        records += [record(name, q, a, o) for q, a, o in zip(questions, answers, outcomes[name], strict=True)]
    splits = sorted({question.split for question in questions})
    if trusted:
        write_json(out / "confidence.json", {"model": final.name, **trusted})
        error = trusted.get("stated_calibration_error", trusted["calibration_error"])
        metrics |= {"calibration_error": error, "risk_coverage_area": trusted["area"]}
    results = {
        name: {split: score(questions, found, split, params.buckets, params.often) for split in splits}
        for name, found in outcomes.items()
    }
    changes = compared(questions, outcomes, params.often)
    if questions:
        metrics |= figures(results, final.name)
        metrics |= summed_up(changes)
        show(results, trusted)
    tasks = {
        name: run_task(engine, name, Path(path), params.max_tokens, left_out, parts)
        for name, path in params.tasks.items()
    }
    metrics |= judge_texts(engine, inputs, params, questions, outcomes, tasks, out, parts)
    write_jsonl(out / "answers.jsonl", records)
    write_json(out / "results.json", results)
    if changes:
        write_json(out / COMPARISON, changes)
    asked = prompts + spread([q.question for q in questions if q.split == "test"], params.show)
    answers = ask(engine, asked, max(params.max_tokens, engine.context // 2), parts, "shown", doubt(engine, params))
    said = zip(asked, answers, strict=True)
    write_jsonl(
        out / "conversations.jsonl", [{"messages": exchange(question, answer.text)} for question, answer in said]
    )
    return Manifest(counts={"questions": len(questions)} | report("evaluate", left_out, out), metrics=metrics)


def doubt(engine: Engine, params: Evaluate) -> Doubt | None:
    """What breaks answers off."""
    return engine.doubt(params.sure, params.declines[0]) if params.declines else None


def judge_texts(
    engine: Engine,
    inputs: Mapping[str, Path],
    params: Evaluate,
    questions: list[Question],
    outcomes: Mapping[str, list[str]],
    tasks: Mapping[str, Scored],
    out: Path,
    parts: Parts,
) -> dict[str, float]:
    """Write the figures of tasks and held-out text, and what of these and of the questions stands in what was trained
    on, which is read once; returns what the summary has."""
    text, heldout = (
        open_split(inputs["tokens"], name, engine.tokenizer.hash) if "tokens" in inputs else None
        for name in ("train", "heldout")
    )
    trained = TrainedOn(text, [*map(Path, params.tuned_on)], engine.tokenizer)
    looked = looked_for(heldout) if heldout else []
    texts = [engine.tokenizer.decode(heldout.document(number)[:-1].tolist()) for number in looked] if heldout else []
    groups = [q.whole() for q in questions], texts, *(task.texts for task in tasks.values())
    met: list[Met] = [{} for _ in groups]
    if trained and any(groups):
        met = parts("contamination", partial(told, groups, trained))
    if questions and trained:
        write_contamination(questions, outcomes, met[0], params.often, out)
    figures = tell_tasks(engine, tasks, met[2:], out)
    if heldout is not None:
        content, documents = heldout_text(engine, heldout, parts, looked, met[1])
        write_json(out / FILE, content)
        write_jsonl(out / DOCUMENTS, documents)
        if "bits_per_byte" in content["all"]:
            figures["heldout_bpb"] = content["all"]["bits_per_byte"]
    if not (questions or tasks or heldout):
        warn(NOTHING)
    return figures


def write_contamination(
    questions: list[Question],
    outcomes: Mapping[str, list[str]],
    found: Met,
    often: int,
    out: Path,
) -> None:
    """Write by each definition how many questions of each split stand in what was trained on, and the figures without
    them."""
    splits = sorted({question.split for question in questions})
    content = {
        rule: {
            **met_of(questions, one),
            "by_split": {split: met_of(questions, one, split) for split in splits},
            "without": without(questions, outcomes, one["met"], often),
        }
        for rule, one in found.items()
    }
    write_json(out / CONTAMINATION, content)


def met_of(questions: list[Question], one: Mapping[str, Sequence[bool]], split: str | None = None) -> dict[str, int]:
    """How many questions there are, of one split or in all; how many were too short to be found, and how many met."""
    own = [number for number, question in enumerate(questions) if split in (None, question.split)]
    counts = {"too_short": one["short"], "contaminated": one["met"]}
    return {"questions": len(own)} | {name: sum(found[number] for number in own) for name, found in counts.items()}


def tell_tasks(engine: Engine, tasks: Mapping[str, Scored], met: Sequence[Met], out: Path) -> dict[str, float]:
    """Write what came of the tasks; returns their figures for the summary. `met`: of each task's items, which stand in
    what was trained on."""
    by_task, scored = dict[str, dict[str, Any]](), list[dict[str, Any]]()
    for (name, task), found in zip(tasks.items(), met, strict=True):
        by_task[name], items = summed_up_task(engine, name, task, found)
        scored += items
    if by_task:
        write_json(out / "tasks.json", by_task)
        write_jsonl(out / "tasks.jsonl", scored)
        show_tasks(by_task)
    return {
        f"tasks.{name}.{figure}": one["value"]
        for name, found in by_task.items()
        for figure, one in figures_of(found).items()
    }


def record(name: str, question: Question, answer: Answer, outcome: str) -> dict[str, Any]:
    """One line of `answers.jsonl`."""
    said = {"answer": answer.text, "confidence": answer.confidence, "outcome": outcome}
    return {"model": name, **vars(question), **said}


def figures(results: Mapping[str, Any], final: str) -> dict[str, float]:
    """The figures of the summary: the final model's on the `test` split by plain names, every model's by its own, and
    the final model's accuracy on splits that have no meaning here.
    """
    named = {name: value for name, value in results[final].get("test", {}).items() if name in FIGURES}
    seen = seen_accuracy(results[final])
    if seen is not None:
        named["seen_accuracy"] = seen
    others = {split: scores for split, scores in results[final].items() if split not in ("test", "dev", *SEEN)}
    by_kind = results[final].get("test", {}).get("by_kind", ())
    named |= {f"evaluate.declined.{row['kind']}": row["declined"] / row["questions"] for row in by_kind}
    accuracy = "all_answerable_accuracy"
    named |= {f"{split}_accuracy": scores[accuracy] for split, scores in others.items() if accuracy in scores}
    for model, splits in results.items():
        for split, prefix in (("test", f"{model}."), ("dev", f"evaluate.dev_{model}_")):
            scores = splits.get(split, {})
            named |= {f"{prefix}{name}": scores[name] for name in FIGURES if name in scores}
    return named


def seen_accuracy(splits: Mapping[str, Any]) -> float | None:
    """Accuracy on well covered facts of entities that fine-tuning did ask about; None where there are none."""
    asked = [splits[name] for name in SEEN if name in splits and splits[name]["asked"]["often"]]
    total = sum(part["asked"]["often"] for part in asked)
    return sum(part["answerable_accuracy"] * part["asked"]["often"] for part in asked) / total if total else None


def compared(questions: list[Question], outcomes: Mapping[str, list[str]], often: int) -> dict[str, Any]:
    """What the last model changed since the first on the `test` questions, as `comparison.json` has it, and where there
    are more than two what each changed since the one before it; empty where there is nothing to compare."""
    test = [number for number, question in enumerate(questions) if question.split == "test"]
    if len(outcomes) < 2 or not test:
        return {}
    asked = [questions[number] for number in test]
    said = {name: [found[number] for number in test] for name, found in outcomes.items()}

    def step(before: str, after: str) -> dict[str, Any]:
        return {"before": before, "after": after, "figures": compare(asked, said[before], said[after], often)}

    names = [*said]
    steps = {"steps": [step(*pair) for pair in pairwise(names)]} if len(names) > 2 else {}
    return {"split": "test", "often": often, **step(names[0], names[-1]), **steps}


def summed_up(changes: Mapping[str, Any]) -> dict[str, float]:
    """The differences of the summary: what each model changed since the one before it."""
    return {
        f"{one['after']}.{figure}_{key}": round(one["figures"][figure][key], 5)
        for one in changes.get("steps", [changes] if changes else [])
        for figure in CHANGES
        if figure in one["figures"]
        for key in ("difference", "low", "high")
    }


def show(models: Mapping[str, Any], trusted: Mapping[str, Any]) -> None:
    """Print the models side by side on the test split, and how far the final one's certainty can be trusted; where no
    test question was asked, on each split that was."""
    splits = dict.fromkeys(split for found in models.values() for split in found)
    for split in ("test",) if "test" in splits else splits:
        scores = [found[split] for found in models.values()]
        head, *_ = scores
        shown = [
            (label(name, head["often"]), *(interval(one, name) for one in scores)) for name in FIGURES if name in head
        ]
        for number, row in enumerate(head["by_kind"]):
            told = (share(one["by_kind"][number], "declined") for one in scores)
            shown.append((f"{row['kind']}: declined", *told))
        others = [""] * (len(models) - 1)  # certainty is told of the final model
        for name, words in (TRUST if split == "test" else {}).items():
            if name in trusted:
                shown.append((words, *others, interval(trusted, name)))
        which = "held-out test questions" if split == "test" else f"questions of the split {split}"
        results.print(table((f"{which} (95 % interval)", *models), shown))


def show_tasks(tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """Print each figure of each task."""
    head = ("task", "items", "figure", "value", "95 % interval")
    rows = [
        (name, f"{task['items']:,}", figure, *shown(one))
        for name, task in tasks.items()
        for figure, one in figures_of(task).items()
    ]
    results.print(table(head, rows))


def share(row: Mapping[str, Any], name: str) -> str:
    """The share of a row's questions that had an outcome, with its interval."""
    return interval({**row, name: row[name] / row["questions"]}, name)


def interval(scores: Mapping[str, Any], name: str) -> str:
    """A figure with its interval: `72.3% (68.9–75.5)`."""
    found = scores["intervals"][name]
    return f"{scores[name]:.1%} ({100 * found['low']:.1f}–{100 * found['high']:.1f})"

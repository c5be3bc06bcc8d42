"""The figures that a run ends with, in the terminal and on the page, each with the condition under which it holds."""

from __future__ import annotations

from gristmill.evaluation.figures import FIGURES, OFTEN, figures_of, label, shown
from gristmill.progress import quantity
from gristmill.report.blocks import Headline
from gristmill.report.plot import number
from gristmill.report.reading import (
    Folders,
    corpus_stages,
    crawl_of,
    manifest,
    percent,
    read_share,
    sure,
    times,
    values,
)
from gristmill.report.sections.memorised import first_ranked

ANSWERS = {  # figure → the words of its condition; {} is how many questions
    "answerable_accuracy": "{} held-out questions on such facts",
    "all_answerable_accuracy": "all {} held-out questions that the text answers, however rarely",
    "unanswerable_declined": "{} held-out questions that nothing answers",
}


def headlines(folders: Folders) -> list[Headline]:
    """The figures that the run has."""
    asked = answers(folders) or tuning(folders)
    return [*corpus(folders), *training(folders), *asked, *tasks(folders), *memory(folders)]


def corpus(folders: Folders) -> list[Headline]:
    """What came in and what was kept."""
    found = []
    crawl = manifest(folders, crawl_of(folders))
    if crawl and "pages" in crawl.counts:
        found.append(Headline("pages fetched", number(crawl.counts["pages"])))
    stages = list(corpus_stages(folders).values())
    if stages and "documents_out" in stages[-1].counts:
        came = stages[0].counts.get("documents_in")
        of = f"of {number(came)} that came in" if came else ""
        found.append(Headline("documents kept", number(stages[-1].counts["documents_out"]), of))
    return found


def training(folders: Folders) -> list[Headline]:
    """The model's size, what it read, and the one figure on held-out text: the finished model's, where it was taken."""
    made, later = manifest(folders, "pretrain"), manifest(folders, "evaluate")
    found = []
    if made and "parameters" in made.metrics:
        found.append(Headline("parameters", quantity(made.metrics["parameters"]), "numbers that training adjusts"))
    if made and "tokens" in made.counts:
        times = read_share(made.metrics["epochs"]) if "epochs" in made.metrics else ""
        found.append(Headline("tokens read", quantity(made.counts["tokens"]), times))
    for stage, which in ((later, "the finished model"), (made, "the pretrained model")):
        if stage and "heldout_bpb" in stage.metrics:
            whole = values(folders, "evaluate", "heldout.json").get("all", {}) if stage is later else {}
            sure = f"; 95 % interval {whole['low']:.3f} to {whole['high']:.3f}" if "low" in whole else ""
            what = f"{which} on text that it never trained on; less is better{sure}"
            return [*found, Headline("held-out bits per byte", f"{stage.metrics['heldout_bpb']:.3f}", what)]
    return found


def answers(folders: Folders) -> list[Headline]:
    """Shares of held-out questions, where any were asked."""
    made = manifest(folders, "evaluate")
    results = list(values(folders, "evaluate", "results.json").values())
    final = results[-1].get("test", {}) if results else {}
    asked = final.get("asked", {})
    found = []
    for name, condition in ANSWERS.items():
        group = FIGURES[name][0]
        if made and results and name in made.metrics and asked.get(group) != 0:
            count = number(asked[group]) if group in asked else ""
            says = " ".join(condition.format(count).split()) + sure(final, name)
            found.append(Headline(label(name, final.get("often", OFTEN)), percent(made.metrics[name]), says))
    return found


def tuning(folders: Folders) -> list[Headline]:
    """What fine-tuning and aligning measured themselves: all that is known where no question was asked."""
    found = []
    for stage in ("sft", "dpo", "reward", "rl"):
        made = manifest(folders, stage)
        figures = made.metrics if made else {}
        if made and "heldout_loss_after" in figures:
            says = f"nats a token; {figures['heldout_loss_before']:.3f} before fine-tuning; less is better"
            says = f"{number(made.counts['heldout_conversations'])} held out; {says}"
            found.append(Headline("loss on held-out conversations", f"{figures['heldout_loss_after']:.3f}", says))
        if made and "heldout_accuracy" in figures:
            says = f"{number(made.counts['heldout_pairs'])} held-out pairs; a guess has 50 %"
            found.append(Headline(f"preferred answers found by {stage}", percent(figures["heldout_accuracy"]), says))
        if "reward_after" in figures:
            says = f"of the last answers in RL; {figures['reward_before']:.3f} of the first"
            found.append(Headline("mean reward", f"{figures['reward_after']:.3f}", says))
    return found


def tasks(folders: Folders) -> list[Headline]:
    """The first figure of each benchmark of one's own."""
    found = []
    for name, task in values(folders, "evaluate", "tasks.json").items():
        if figures := figures_of(task):
            figure, one = next(iter(figures.items()))
            value, sure = shown(one)
            says = f"{figure}; items: {number(task['items'])}" + (f"; 95 % interval {sure}" if sure else "")
            found.append(Headline(f"task {name}", value, says))
    return found


def memory(folders: Folders) -> list[Headline]:
    """Long passages and planted secrets, next to each other: neither speaks for the other."""
    found = values(folders, "audit", "audit.json")
    tried = sum(row["passages"] for row in found["train"]) if found else 0
    tiles = []
    made = manifest(folders, "audit")
    if made and tried and "extractable_fraction" in made.metrics:
        long = f"{found['continuation_tokens']} tokens after {found['prompt_tokens']}; {number(tried)} tried"
        if sure := found.get("extractable_interval"):
            long += f"; 95 % interval {100 * sure[0]:.1f} to {100 * sure[1]:.1f}"
        tiles.append(Headline("passages completed word for word", percent(made.metrics["extractable_fraction"]), long))
    if ranked := first_ranked(found):
        first, planted, copies, possible = ranked
        says = f"short, planted {times(copies)}; first among {number(possible)}"
        tiles.append(Headline("planted secrets guessed", f"{first} of {planted}", says))
    return tiles

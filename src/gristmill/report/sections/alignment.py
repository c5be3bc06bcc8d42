"""Aligned: the reward model that learned which answer is better, and RL that follows it."""

from __future__ import annotations

from gristmill.chat.conversations import read_records
from gristmill.chat.layouts import preference
from gristmill.chat.tools import as_text
from gristmill.posttrain.drift import MEANINGS
from gristmill.progress import counted
from gristmill.report.blocks import Block, Figure, Prose, Section, Talk
from gristmill.report.plot import line_chart
from gristmill.report.reading import Folders, curve, fits, input_file, left_out, manifest, percent, records

REWARD = (
    "A reward model learns from pairs of answers to the same question, of which one is preferred: it gives each answer "
    "a number, the reward, and is trained to give the preferred one more."
)
DIRECT = (
    "Direct alignment learns from judged answers without a reward model: those that are preferred become likelier, "
    "next to what they were before, and the others less likely."
)
RL = (
    "In reinforcement learning (RL) the assistant answers questions itself, several times each, and is moved towards "
    "those of its answers whose reward is above the others'. The divergence (Kullback and Leibler's) measures how far "
    "its probabilities have moved from those of the model before; it is held down, as a reward model is only right "
    "about answers like those that it has seen."
)


def alignment(folders: Folders) -> Section | None:
    """One preference pair, how well the reward model judges, and the curves of both."""
    reward = curve(records(folders, "reward", "log.jsonl"), "loss", "step")
    log = records(folders, "rl", "log.jsonl")
    direct = [(name, curve(records(folders, name, "log.jsonl"), "loss", "step")) for name in ("dpo", "kto")]
    blocks: list[Block] = []
    for name, points in direct:
        if points:
            blocks += [*(pair(folders, name) if not reward and name == "dpo" else [])]
            blocks += [Prose(left_out(manifest(folders, name))), *preferred(folders, name)]
            blocks.append(
                Figure(f"Loss of {name.upper()}", line_chart([("loss", points)], "steps", "of a pair or answer"))
            )
    if reward:
        blocks += [*pair(folders), *preferred(folders), Prose(left_out(manifest(folders, "reward")))]
        blocks.append(Figure("Loss of the reward model", line_chart([("loss", reward)], "steps", "nats per pair")))
    if log:
        blocks.append(Prose(RL))
        for name, label in (("reward", "mean reward"), ("kl", "divergence from the model before, nats")):
            drawing = line_chart([(name, curve(log, name, "step"))], "steps", label)
            blocks.append(Figure(f"{label.partition(',')[0].capitalize()} in RL", drawing))
        if truth := curve(log, "right", "step"):
            drawing = line_chart([("right", truth)], "steps", "share of held-out prompts answered rightly")
            blocks.append(Figure("Held-out truth in RL", drawing))
        blocks.append(Prose(warned(folders)))
    if not blocks:
        return None
    opening = REWARD if reward else DIRECT if any(points for _, points in direct) else RL
    return Section("Aligned with preferences", opening, blocks[1:] if opening is RL else blocks)


def pair(folders: Folders, stage: str = "reward") -> list[Block]:
    """The first preference pair that a stage's model had room for."""
    path = input_file(folders, stage, "preferences")
    fit = fits(folders, stage)
    for prompt, *answers in read_records(path, preference, []) if path else ():
        if all(fit([*prompt, answer]) for answer in answers):
            break
    else:
        return []
    return [
        Talk(f"{name} answer", list(map(as_text, [*prompt, answer])))
        for name, answer in zip(("preferred", "rejected"), answers, strict=True)
    ]


def warned(folders: Folders) -> str:
    """What RL warned of."""
    made = manifest(folders, "rl")
    steps = {name: made.metrics.get(f"{name}_at_step") for name in MEANINGS} if made else {}
    return " ".join(f"At step {step:,.0f} a warning said: {MEANINGS[name]}." for name, step in steps.items() if step)


def preferred(folders: Folders, stage: str = "reward") -> list[Block]:
    """How often a stage's model prefers the better answer on pairs that it never saw."""
    made = manifest(folders, stage)
    if not made or "heldout_accuracy" not in made.metrics:
        return []
    share = percent(made.metrics["heldout_accuracy"])
    who = (
        "the reward model gives the preferred answer more" if stage == "reward" else "it has moved to the preferred one"
    )
    pairs = counted(made.counts.get("heldout_pairs", 0), "pairs")
    return [Prose(f"On {pairs} that it never saw, {who} {share} of the time.")]

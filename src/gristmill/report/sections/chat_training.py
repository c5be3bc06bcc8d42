"""From predictor to assistant: fine-tuning on conversations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gristmill.chat.conversations import read_conversations
from gristmill.errors import UserError
from gristmill.posttrain.examples import conversations_from_documents
from gristmill.report.blocks import Block, Figure, Prose, Section, Talk
from gristmill.report.plot import line_chart, number
from gristmill.report.reading import Folders, curve, input_file, last_corpus, left_out, manifest, records


def chat_training(folders: Folders) -> Section | None:
    """One conversation that fine-tuning showed, and the loss as it went."""
    points = curve(records(folders, "sft", "log.jsonl"), "loss", "step")
    made = manifest(folders, "sft")
    if not points and not made:
        return None
    blocks: list[Block] = []
    own = input_file(folders, "sft", "conversations")
    last = last_corpus(folders)
    if own:
        blocks.append(Talk("one of the conversations", first(own)))
    elif made and "conversations" in made.params and not made.params["conversations"] and last:
        blocks.append(Talk("one of the conversations, made of a document", made_of(last)))
    blocks.append(Prose(left_out(made)))
    blocks.append(Figure("Loss of fine-tuning", line_chart([("loss", points)], "steps", "nats per token")))
    many = f" ({number(made.counts['conversations'])} of them)" if made and "conversations" in made.counts else ""
    return Section(
        "From predictor to assistant",
        "The pretrained model continues text; it knows of no question and no answer. Supervised fine-tuning (SFT) "
        f"shows it conversations{many}; special tokens mark whose turn it is. The loss counts the words of the "
        "assistant alone, so it learns to answer, not to ask.",
        blocks,
    )


def first(path: Path) -> Sequence[dict[str, str]]:
    """The first conversation of a file."""
    return next(read_conversations(path, []), [])


def made_of(corpus: Path) -> Sequence[dict[str, str]]:
    """The first conversation that is made of documents."""
    try:
        return next(conversations_from_documents(corpus), [])
    except UserError:
        return []

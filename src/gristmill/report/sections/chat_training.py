"""From predictor to assistant: fine-tuning on conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gristmill.chat.conversations import read_conversations
from gristmill.chat.tools import as_text
from gristmill.errors import UserError
from gristmill.posttrain.examples import conversations_from_documents
from gristmill.report.blocks import Block, Figure, Prose, Section, Talk
from gristmill.report.plot import line_chart, number
from gristmill.report.reading import Folders, curve, fits, input_file, last_corpus, left_out, manifest, records
from gristmill.report.sections.pretraining import scores


def chat_training(folders: Folders) -> Section | None:
    """One conversation that fine-tuning showed, and the loss as it went."""
    points = curve(records(folders, "sft", "log.jsonl"), "loss", "step")
    made = manifest(folders, "sft")
    if not points and not (made and made.counts.get("steps")):
        return None
    blocks: list[Block] = []
    fit = fits(folders, "sft")
    if shown := next((messages for messages in conversations(folders) if fit(messages)), None):
        made_up = "" if input_file(folders, "sft", "conversations") else ", made of a document"
        blocks.append(Talk(f"one of the conversations{made_up}", list(map(as_text, shown))))
    blocks.append(Prose(left_out(made)))
    blocks.append(Figure("Loss of fine-tuning", line_chart([("loss", points)], "steps", "nats per token")))
    blocks += scores(folders, "sft")
    many = f" ({number(made.counts['conversations'])} of them)" if made and "conversations" in made.counts else ""
    return Section(
        "From predictor to assistant",
        "The pretrained model continues text; it knows of no question and no answer. Supervised fine-tuning (SFT) "
        f"shows it conversations{many}; special tokens mark whose turn it is. The loss counts the words of the "
        "assistant alone, so it learns to answer, not to ask.",
        blocks,
    )


def conversations(folders: Folders) -> Iterator[Sequence[Mapping[str, str]]]:
    """The conversations that fine-tuning read, or those that it made of documents where none were named."""
    own, made, corpus = input_file(folders, "sft", "conversations"), manifest(folders, "sft"), last_corpus(folders)
    try:
        if own:
            yield from read_conversations(own, [])
        elif made and made.params.get("conversations") == "" and corpus:
            yield from conversations_from_documents(corpus)
    except UserError:  # no document is long enough
        return

"""The same prompt at every step: the model before it read anything, as it read, fine-tuned, and after RL."""

from __future__ import annotations

from pathlib import Path

from gristmill.chat.template import render
from gristmill.errors import UserError
from gristmill.generation.engine import Engine
from gristmill.inspection.predictions import moments
from gristmill.report.blocks import Section, Table
from gristmill.report.reading import Folders, has_model, manifest, records

MAX_TOKENS = 40  # of each answer
CHAT = (("sft", "fine-tuned (SFT)"), ("dpo", "after DPO"), ("kto", "after KTO"), ("rl", "after RL"))


def same_prompt(folders: Folders) -> Section | None:
    """What each model that the run kept makes of one prompt, greedily."""
    asked = prompt(folders)
    if not asked or "tokenizer" not in folders or not has_model(folders, "pretrain"):
        return None
    found = [(one.step, one.folder) for one in moments(folders["pretrain"])]
    named = [(f"pretraining, step {step:,}", folder, False) for step, folder in found]
    named += [(label, folders[stage], True) for stage, label in CHAT if has_model(folders, stage)]
    try:
        rows = [[label, answer(folder, folders["tokenizer"], asked, chat)] for label, folder, chat in named]
    except UserError:  # longer than the model's context
        return None
    return Section(
        "The same prompt, as it learned",
        f"“{asked}” – what the model makes of it at each step, always taking the likeliest token. While pretraining, "
        "the prompt is a text that the model continues, beginning with random parameters at step 0; once fine-tuned, "
        "it is a question that the model answers.",
        [Table("From random parameters to the finished assistant", ("model", "what it writes"), rows)],
    )


def prompt(folders: Folders) -> str:
    """A held-out question that the finished model answers right, or what else was asked of it."""
    answers = [record for record in records(folders, "evaluate", "answers.jsonl") if record["split"] == "test"]
    for record in answers:
        if record["model"] == answers[-1]["model"] and record["answerable"] and record["outcome"] == "right":
            return str(record["question"])
    for record in records(folders, "evaluate", "conversations.jsonl"):
        return str(record["messages"][0]["content"])
    made = manifest(folders, "pretrain")
    return str(next(iter(made.params.get("sample_prompts") or [""]), "")) if made else ""


def answer(model: Path, tokenizer: Path, text: str, chat: bool) -> str:
    """What a model writes after a text, or as the assistant's answer to it."""
    engine = Engine.load(model, tokenizer)
    if chat:
        ids, _ = render([{"role": "user", "content": text}], engine.tokenizer, generation_prompt=True)
    else:
        ids = [engine.tokenizer.end_of_text, *engine.tokenizer.encode(text)]
    return engine.tokenizer.decode(engine.generate([ids], max_tokens=MAX_TOKENS)[0].tokens).strip()

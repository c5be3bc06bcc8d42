"""The model card: what a folder holds, for whom it is handed to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gristmill.audit.findings import findings
from gristmill.chat.chatml import chatml
from gristmill.chat.template import template_of
from gristmill.evaluation.figures import FIGURES, OFTEN, label
from gristmill.evaluation.heldout_text import FILE as HELDOUT
from gristmill.export.trained import Trained
from gristmill.files import write_text
from gristmill.manifest import Manifest, read_json
from gristmill.model.transformer import parameter_count

# what Hugging Face's hub reads, https://huggingface.co/docs/hub/model-cards
HEAD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [gristmill]
---
"""
CHAT = """Messages go through the chat template ({template}). What the model says ends at `{closes}`.
It is not meant to open a turn itself: `generation_config.json` forbids `{opens}`, and servers that do not read it
take that as a logit bias. It was evaluated at temperature 0.
"""
BASE = """It goes on with texts and has not learned to chat; there is no chat template.
"""
OPENED = """Documents begin after `{bos}` (`bos_token`), which tokenizers do not put before a text by themselves.

Files: `config.json`, `model.safetensors` and `tokenizer.json` for transformers and what is built on it; where there are
any, `model-*.gguf` for llama.cpp and `Modelfile` for Ollama. Each file of weights carries a statement of what made it,
which `gristmill verify FILE` reads and compares with its bytes.

## Before it is handed on

{licence}, and the texts that it has learned from have their own. It may
complete passages of them word for word, and it answers with what they say, true or not.
"""
OWN = "It has no licence yet: whoever trained it gives it one"
OF_OTHERS = "It began with the weights of {}, a model by others, whose licence and conditions hold for it, too"


AUDITED = {  # a figure of the audit, in words, and how it is shown
    "extractable_fraction": ("training passages completed word for word", ".1%"),
    "verbatim_share": ("of what it writes unasked, in long runs of training text", ".1%"),
    "membership_auc": ("documents told to have been trained on (AUC; 0.5 is a guess)", ".2f"),
    "bits_per_parameter": ("bits memorised a parameter", ".3f"),
    "canary_exposure_bits": ("exposure of the secrets planted most often, bits", ".1f"),
    "canary_fraction": ("of these secrets, written when asked for", ".1%"),
    "redacted_fraction": ("values taken out of the text, written when asked for", ".1%"),
}


def write_card(trained: Trained, evaluation: Path | None, out: Path) -> None:
    """Write `README.md`: the card, with what Hugging Face's hub reads before it."""
    write_text(out / "README.md", HEAD + card(trained, evaluation))


def card(
    trained: Trained, evaluation: Path | None, audit: Path | None = None, texts: Sequence[tuple[str, str]] = ()
) -> str:
    """Shape, figures of training and of the folders of an evaluation and an audit, what is told of the texts of
    its run, how it is prompted; Markdown."""
    made = trained.made
    kind = "chat" if trained.chats else "base"
    by = f"Trained by the stage `{made.stage}` of gristmill {made.version}.\n" if made.stage else ""
    told = [*facts(trained, evaluation), *memorised(audit), *texts]
    rows = "\n".join(f"| {name} | {value} |" for name, value in told)
    names = " and ".join(f"`{name}`" for name in made.begun_with.values())
    licence = OF_OTHERS.format(names) if names else OWN
    words = trained.tokenizer
    template = "ChatML" if template_of(words).source == chatml(words) else "that of the model by others"
    turns = {"opens": trained.written(words.im_start), "closes": trained.written(words.im_end)}
    lines = [
        f"# A {kind} model\n\n{by}",
        f"| | |\n| --- | --- |\n{rows}\n",
        f"## Prompts\n\n{CHAT.format(template=template, **turns) if trained.chats else BASE}",
        OPENED.format(bos=trained.written(words.end_of_text), licence=licence),
    ]
    return "\n".join(lines)


def facts(trained: Trained, evaluation: Path | None) -> Iterator[tuple[str, str]]:
    """What is known of a model, in words and figures."""
    config, tokenizer = trained.model.config, trained.tokenizer
    yield "parameters", f"{parameter_count(trained.model):,}"
    yield "computed as", "Qwen3" if config.qk_norm else "Llama"
    yield "layers, width", f"{config.layers}, {config.width}"
    yield "context", f"{config.context:,} tokens"
    yield "vocabulary", f"{tokenizer.vocab_size:,} tokens, byte-level BPE, split as `{tokenizer.pattern}`"
    found = (Manifest.read(evaluation) if evaluation else None) or trained.made
    bounds = intervals(evaluation)
    if "heldout_bpb" in found.metrics:
        told = {"interval": bounds.get("heldout_bpb"), "control": None}
        yield "bits per byte of held-out text", f"{found.metrics['heldout_bpb']:.3f}" + sure(told, ".3f")
    for name in FIGURES:
        if name in found.metrics:
            told = {"interval": bounds.get(name), "control": None}
            share = f"{found.metrics[name]:.1%} of held-out questions" + sure(told, ".1%")
            yield label(name, found.params.get("often", OFTEN)), share


def intervals(evaluation: Path | None) -> dict[str, tuple[float, float]]:
    """Those of the figures of an evaluation's final model on held-out text and questions."""
    if not evaluation:
        return {}
    found = {"heldout_bpb": read_json(evaluation / HELDOUT).get("all", {})}
    for scores in [*read_json(evaluation / "results.json").values()][-1:]:
        found |= scores.get("test", {}).get("intervals", {})
    return {name: (one["low"], one["high"]) for name, one in found.items() if "low" in one}


def memorised(audit: Path | None) -> Iterator[tuple[str, str]]:
    """What an audit found, as far as it measured, with intervals and controls."""
    made = Manifest.read(audit) if audit else None
    if not audit or not made:
        return
    told = read_json(audit / "audit.json")
    found = findings(told) if told else {}
    for name, (words, form) in AUDITED.items():
        if name in made.metrics:
            yield words, format(made.metrics[name], form) + (sure(found[name], form) if name in found else "")


def sure(figure: Mapping[str, Any], form: str) -> str:
    """A figure's interval and its control, as far as they are known: ` (95 % interval 0.0% to 1.0%; control 0.0%)`."""
    low, high = figure["interval"] or (None, None)
    told = [f"95 % interval {low:{form}} to {high:{form}}"] if low is not None else []
    told += [f"control {figure['control']:{form}}"] if figure["control"] is not None else []
    return f" ({'; '.join(told)})" if told else ""

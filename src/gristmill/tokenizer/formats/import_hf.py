"""Another project's `tokenizer.json`, as ours."""

from __future__ import annotations

import json
from pathlib import Path

from gristmill.errors import UserError
from gristmill.files import write_text
from gristmill.progress import console
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import (
    CONTROL,
    control_token,
    end_of_text,
    read_tokenizer_json,
    to_characters,
)

REMEDY = "byte-level BPE as of Qwen, Llama 3 or GPT-2 can be taken along"


def adopt(source: Path, target: Path) -> None:
    """Copy a `tokenizer.json`, with the control tokens that it lacks appended.

    Raises UserError where it cannot be read, or where it would encode otherwise than we do.
    """
    try:
        pieces, pattern, controls = read_tokenizer_json(source)
        lacking = [name for name in CONTROL[1:] if name not in controls]
        lacking = lacking if end_of_text(controls) else [CONTROL[0], *lacking]
        tokenizer = Tokenizer(pieces, pattern, controls=[*controls, *lacking])
        content = json.loads(source.read_text(encoding="utf-8"))
        model = content["model"]
        if model["type"] != "BPE" or model.get("byte_fallback"):
            raise ValueError("it is no byte-level BPE")
        merges = {tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]}
    except OSError as error:
        raise UserError(f"no tokenizer in {source.parent}: {error.strerror}", "give a Hugging Face folder") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{source}: {error}", REMEDY) from error
    for left, right in tokenizer.vocabulary.merges():
        pair = to_characters(pieces[left]), to_characters(pieces[right])
        if pair not in merges:
            raise UserError(f"{source}: it does not merge {pair[0]!r} and {pair[1]!r}, as its ranks say", REMEDY)
    normalizer = content.get("normalizer")
    if normalizer and normalizer.get("type") != "NFC":  # composed characters are what text has, mostly
        raise UserError(f"{source}: it changes text ({normalizer.get('type')}) before it encodes", REMEDY)
    if normalizer:
        console.print("           text is encoded as it is, not brought to Unicode's NFC first", style="yellow")
    first = len(pieces) + len(controls)
    content["added_tokens"] += [control_token(number, name) for number, name in enumerate(lacking, first)]
    write_text(target, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def same_tokens(source: Path, tokenizer: Tokenizer) -> bool:
    """Whether a `tokenizer.json` gives text the ids that a tokenizer of ours gives it."""
    try:
        pieces, pattern, controls = read_tokenizer_json(source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return (pieces, pattern, controls) == (tokenizer.pieces, tokenizer.pattern, tokenizer.controls[: len(controls)])

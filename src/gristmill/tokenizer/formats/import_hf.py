"""Another project's tokenizer, as ours: of a Hugging Face folder or a GGUF file.

With us a token's number is its rank, and control tokens come last. Where they are numbered otherwise, they are numbered
anew, and the rows of the model's embeddings are put into the same order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.errors import UserError
from gristmill.files import write_text
from gristmill.progress import warn
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.import_gguf import gguf_fields
from gristmill.tokenizer.formats.vocabulary_files import (
    CONTROL,
    TEMPLATE,
    VALUES,
    control_token,
    end_of_text,
    shown_tokens,
    split_pattern,
    to_characters,
    turn_tokens,
    write_tokenizer_json,
)

REMEDY = "byte-level BPE as of Qwen, Llama 3, SmolLM or GPT-2 can be taken along"
NEW = -1
USER_DEFINED = 4  # llama.cpp's type of an added token that is text
NAMES = {"llama3": "llama-bpe", "llama-v3": "llama-bpe"}  # other names of split patterns in GGUF files


@dataclass(frozen=True)
class ForeignTokens:
    """Another project's vocabulary, in our order."""

    pieces: list[bytes]
    pattern: str
    controls: list[str]
    order: list[int]  # the number that each of these tokens has there; NEW where it is none of theirs
    merges: set[tuple[str, str]]
    chat_template: str  # with the tokens that it names; empty where there is none
    content: dict[str, Any]  # of `tokenizer.json`; empty where there is none
    shown: list[str]  # the control tokens that are text

    @property
    def in_order(self) -> bool:
        """Whether the numbers there are ours."""
        return bool(self.content) and self.order == list(range(len(self.order)))

    def held_by(self, tokenizer: Tokenizer) -> bool:
        """Whether a tokenizer of ours is this one, but for control tokens appended."""
        known = tokenizer.pieces, tokenizer.pattern, tokenizer.controls[: len(self.controls)]
        return (self.pieces, self.pattern, self.controls) == known


def file_of(source: Path) -> Path:
    """Where the tokenizer of a Hugging Face folder or GGUF file is."""
    return source if source.suffix == ".gguf" else source / "tokenizer.json"


def read_foreign(source: Path) -> ForeignTokens:
    """The vocabulary of a Hugging Face folder or GGUF file. Raises UserError where it is none that we can use."""
    try:
        return of_gguf(source) if source.suffix == ".gguf" else of_json(file_of(source))
    except OSError as error:
        raise UserError(f"no tokenizer in {source}: {error.strerror}", "give a Hugging Face folder") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{file_of(source)}: {error}", REMEDY) from error


def of_json(path: Path) -> ForeignTokens:
    """Of a `tokenizer.json`, with the chat template next to it."""
    content = json.loads(path.read_text(encoding="utf-8"))
    model, normalizer = content["model"], content.get("normalizer")
    if model["type"] != "BPE" or model.get("byte_fallback"):
        raise ValueError("it is no byte-level BPE")
    if normalizer and normalizer.get("type") != "NFC":  # composed characters are what text has, mostly
        raise ValueError(f"it changes text ({normalizer.get('type')}) before it encodes")
    if normalizer:
        warn("           text is encoded as it is, not brought to Unicode's NFC first")
    controls = {token["content"]: int(token["id"]) for token in content["added_tokens"]}
    merges = {tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]}
    pattern = split_pattern(content["pre_tokenizer"])
    return ordered(model["vocab"], controls, pattern, merges, template_beside(path), content, shown_tokens(content))


def of_gguf(path: Path) -> ForeignTokens:
    """Of a GGUF file."""
    fields = gguf_fields(path)
    if fields["tokenizer.ggml.model"] != "gpt2":
        raise ValueError(f"its tokenizer is {fields['tokenizer.ggml.model']!r}")
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    controls = {token: i for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind != 1}
    pattern = NAMES.get(fields["tokenizer.ggml.pre"], fields["tokenizer.ggml.pre"])
    split_names = {"bos_token": "tokenizer.ggml.bos_token_id", "eos_token": "tokenizer.ggml.eos_token_id"}
    named = {name: tokens[fields[key]] for name, key in split_names.items() if key in fields}
    template = with_names(fields.get("tokenizer.chat_template", ""), named)
    merges = {tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]}
    shown = [token for token, kind in zip(tokens, kinds, strict=True) if kind == USER_DEFINED]
    return ordered({token: i for i, token in enumerate(tokens)}, controls, pattern, merges, template, {}, shown)


def ordered(
    vocabulary: dict[str, int],
    controls: dict[str, int],
    pattern: str,
    merges: Any,
    template: str,
    content: Any,
    shown: list[str],
) -> ForeignTokens:
    """Tokens in our order: by number, then bytes that have no token there, control tokens last."""
    written = sorted(vocabulary.keys() - controls.keys(), key=vocabulary.__getitem__)
    last = sorted(controls, key=controls.__getitem__)
    pieces = [bytes(map(VALUES.__getitem__, token)) for token in written]
    lacking = sorted({bytes([value]) for value in range(256)} - {*pieces})
    order = [*map(vocabulary.__getitem__, written), *[NEW] * len(lacking), *map(controls.__getitem__, last)]
    return ForeignTokens(pieces + lacking, pattern, last, order, merges, template, content, shown)


def template_beside(path: Path) -> str:
    """The chat template next to a `tokenizer.json`: a file of its own, or in `tokenizer_config.json`."""
    alone, config = path.with_name(TEMPLATE), path.with_name("tokenizer_config.json")
    content = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    template = alone.read_text(encoding="utf-8") if alone.exists() else content.get("chat_template") or ""
    if isinstance(template, list):  # several, by name
        template = next((one["template"] for one in template if one["name"] == "default"), "")
    named = {name: content.get(name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    texts = {name: token.get("content") if isinstance(token, dict) else token for name, token in named.items()}
    return with_names(template, {name: token for name, token in texts.items() if isinstance(token, str)})


def with_names(template: str, named: dict[str, str]) -> str:
    """A chat template that says itself which tokens it means by `bos_token` and the like."""
    used = [f"{{%- set {name} = {token!r} -%}}" for name, token in named.items() if template and name in template]
    return "".join([*used, template])


def adopt(source: Path, target: Path) -> None:
    """Write a folder's or GGUF file's tokenizer as a `tokenizer.json`, with the control tokens that it lacks appended,
    and its chat template next to it.

    Raises UserError where it cannot be read, or where it would encode otherwise than we do.
    """
    found = read_foreign(source)
    turn = turn_tokens(found.controls, found.chat_template)
    lacking = [name for name in turn if name not in found.controls]
    lacking = lacking if end_of_text(found.controls) else [CONTROL[0], *lacking]
    try:
        controls, own = [*found.controls, *lacking], found.chat_template
        tokenizer = Tokenizer(found.pieces, found.pattern, "", controls, own, found.shown)
    except (ValueError, KeyError) as error:
        raise UserError(f"{file_of(source)}: {error}", REMEDY) from error
    merges = tokenizer.vocabulary.merges()
    for left, right in merges:
        pair = to_characters(found.pieces[left]), to_characters(found.pieces[right])
        if pair not in found.merges:
            raise UserError(
                f"{file_of(source)}: it does not merge {pair[0]!r} and {pair[1]!r}, as its ranks say", REMEDY
            )
    if found.in_order:
        content, first = found.content, len(found.order)
        content["added_tokens"] += [control_token(number, name) for number, name in enumerate(lacking, first)]
        write_text(target, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    else:
        write_tokenizer_json(target, found.pieces, merges, found.pattern, tokenizer.controls, tokenizer.shown)
    if found.chat_template:
        write_text(target.with_name(TEMPLATE), found.chat_template)


def check_tokens(source: Path, tokenizer: Tokenizer) -> None:
    """Raise UserError unless a tokenizer of ours is a Hugging Face folder's or GGUF file's, but for control tokens
    appended."""
    try:
        same = read_foreign(source).held_by(tokenizer)
    except UserError:
        same = False
    if not same:
        raise UserError(f"the tokens are not those of {source}", f'give [tokenizer] init_from = "{source}"')

"""What a setting is, read from the recipe's own page: its type, default and meaning; and what is wrong with one."""

from __future__ import annotations

import ast
import inspect
import io
import json
import re
import reprlib
import tokenize
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from gristmill.errors import UserError, nearest

Model = type[BaseModel]
WORDS = {Any: "value", bool: "true or false", int: "integer", float: "number", str: "text"}


@dataclass(frozen=True)
class Setting:
    """One line of a stage's settings."""

    name: str
    kind: str  # type, and bounds
    default: str  # as TOML writes it
    meaning: str


def settings_of(model: Model) -> list[Setting]:
    """The settings of a model in the order of its page. A meaning is the comment after the field, or above it."""
    meanings: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, BaseModel) and owner is not BaseModel:
            meanings |= {name: text for name, text in comments(owner) if text}
    return [
        Setting(name, kind_of(field.annotation, field.metadata), default_of(field), meanings.get(name, ""))
        for name, field in model.model_fields.items()
    ]


def comments(owner: type) -> Iterator[tuple[str, str]]:
    """Each field that a class defines, with the comment on its last line, after those on the lines above it."""
    source = inspect.getsource(owner)
    found: dict[int, tuple[str, bool]] = {}  # line → comment, and whether it has the line to itself
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found[token.start[0]] = token.string.lstrip("# "), token.line.lstrip().startswith("#")
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            parts, line = [found.get(node.end_lineno or 0, ("", False))[0]], node.lineno - 1
            while found.get(line, ("", False))[1]:
                parts.insert(0, found[line][0])
                line -= 1
            yield node.target.id, "; ".join(part for part in parts if part)


def kind_of(annotation: Any, marks: list[Any]) -> str:
    """A type with its bounds in words, as `integer, at least 1` or `list of paths`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(inner[0], [*marks, *inner[1:]])
    if origin in (Union, types.UnionType):
        return " or ".join(kind_of(one, marks) for one in inner if one is not type(None))
    if origin is Literal:
        return " or ".join(json.dumps(value) for value in inner)
    if origin in (list, dict):
        word, unit = f"{'list' if origin is list else 'table'} of {plural(kind_of(inner[-1], []))}", " of them"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    else:
        paths = {"path", "place"} & {mark for mark in marks if isinstance(mark, str)}
        word, unit = "path" if paths else WORDS[annotation], " characters"
    return ", ".join([word, *(found for mark in marks if (found := bounds_of(mark, unit)))])


def plural(kind: str) -> str:
    """Several of a kind."""
    word, comma, rest = kind.partition(",")
    return f"{word}s{comma}{rest}" if word in ("path", "text", "number", "integer", "table", "value") else kind


def kind_at(model: Model, place: Sequence[int | str]) -> str:
    """The type, with its bounds and an article, of what stands at a place in a model: a setting, an item in it."""
    annotation: Any = model
    marks: list[Any] = []
    for part in place:
        while get_origin(annotation) in (Annotated, Union, types.UnionType):
            options = get_args(annotation)
            annotation = next((one for one in options if holds(one, part)), options[0])
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = next(field for name, field in annotation.model_fields.items() if part in (name, field.alias))
            annotation, marks = field.annotation, field.metadata
        elif inner := get_args(annotation):
            annotation, marks = inner[-1], []
    kind = kind_of(annotation, marks)
    return kind if kind.startswith(('"', "true")) else f"an {kind}" if kind.startswith("integer") else f"a {kind}"


def holds(annotation: Any, part: int | str) -> bool:
    """Whether a type has something at such a place: an item of a list, a field of a table."""
    if isinstance(part, int):
        return get_origin(annotation) is list
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return False
    return any(part in (name, field.alias) for name, field in annotation.model_fields.items())


def wrong_value(item: Mapping[str, Any], model: Model, place: Sequence[int | str]) -> str:
    """What is wrong with a value that pydantic refuses, as it goes on after the value's name."""
    if item["type"] == "value_error":
        return f": {item['msg'].removeprefix('Value error, ')}"
    if item["type"] == "missing":
        return " is not set"
    if item["type"] == "extra_forbidden":
        return " is not known"
    near = ""
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        near = nearest(item["input"], re.findall(r"'([^']+)'", item["ctx"]["expected"]))
    return f" takes {kind_at(model, place)}{near}"


def bounds_of(mark: Any, unit: str) -> str:
    """A bound in words, that of a length in some `unit`; nothing for other marks."""
    parts = getattr(mark, "metadata", None) or [mark]  # Field(ge=…) within Annotated holds the marks
    names = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    names |= {"min_length": "at least", "max_length": "at most", "pattern": "that matches"}
    return ", ".join(
        f"{word} {bound}" if isinstance(bound, str) else f"{word} {bound:,.15g}" + unit * name.endswith("length")
        for part in parts
        if isinstance(part, annotated_types.BaseMetadata)
        for name, word in names.items()
        if (bound := getattr(part, name, None)) is not None
    )


def default_of(field: FieldInfo) -> str:
    """A field's default as TOML writes it."""
    if field.is_required():
        return "required"
    if field.default is None:
        return "not set"
    if isinstance(field.default, BaseModel):
        return "{}"
    return json.dumps(field.default, ensure_ascii=False)


def wrong_settings(error: ValidationError, where: str, model: Model, stages: Mapping[str, Model]) -> UserError:
    """What is wrong in `where`, a sentence a setting: which one, why, what was given, for an unknown name the nearest.

    `model` is that of the whole recipe, of one of its tables, which `stages` are, or another.
    """
    own = [name for name, fields in stages.items() if fields is model]
    told, tables, within = [], set(), ""
    for item in error.errors():
        place = (*own, *item["loc"])
        tables.add(place[0])
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)[1:]
        if item["type"] == "extra_forbidden":
            has = [stage for stage, fields in stages.items() if key in fields.model_fields]
            within = f"{has[-1]}.{key}" if has and model not in stages.values() else within
            told.append(unknown(key, str(place[-1]), str(place[0]) if len(place) > 1 else "", model, stages))
        else:
            wrong = wrong_value(item, model, item["loc"])
            wrong += f", [{key}]" * (item["type"] == "model_type")
            wrong += f", as {{ NAME = … }} or {key}.NAME = …" * (item["type"] == "dict_type")
            given = f" (given: {reprlib.repr(item['input'])})" * (item["type"] != "missing")
            told.append(f"`{key}`{wrong}{given}")
    known = [name for name in stages if name in tables]
    remedy = (
        f"gristmill {known[0]} --help lists its settings"
        if len(known) == 1
        else "gristmill --help lists the stages, gristmill STAGE --help a stage's settings"
    )
    if tables == {"gates"}:
        remedy = 'give figures of summary.json their bounds, as "audit.extractable_fraction" = "<= 0.01"'
    if within:
        remedy = f"write it with its table, as {within}; {remedy}"
    return UserError(f"{where}: {'; '.join(told)}", remedy)


def unknown(key: str, name: str, stage: str, model: Model, stages: Mapping[str, Model]) -> str:
    """A sentence on a name that is no setting: the nearest one, or the stages that have it, or all that there are."""
    known = stages.get(stage, model).model_fields
    elsewhere = [other for other, fields in stages.items() if name in fields.model_fields]
    if near := nearest(name, known):
        return f"unknown key `{key}`{near}"
    if elsewhere and name not in stages:
        return f"unknown key `{key}`: it is a setting of {', '.join(f'[{other}]' for other in elsewhere)}"
    return f"unknown key `{key}` (known: {', '.join(known)})"

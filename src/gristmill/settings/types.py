"""The types of settings: what each may be, and the marks that say what it is for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from gristmill.settings.quantities import (
    bound_of,
    header_value,
    host_pattern,
    not_one,
    parameters_of,
    seconds_and_flops,
    something,
)

InputPath = Annotated[str, "path"]
InputFile = Annotated[str, "path", "file"]
InputFolder = Annotated[str, "path", "folder"]
Place = Annotated[str, "place"]  # a path or URL whose content is not part of the fingerprint
ADDRESS = re.compile(r":\d+$")  # what may stand in a path's place where a service is meant
FUNCTION = re.compile(r"(?<=\.py):\w+$")  # what may follow a file's name: the function in it
NAMED = "named"  # marks paths whose last names show in what comes out
HOW = "how"  # marks a setting that says how a stage works and not what comes out: changing it redoes nothing
# Bounds are far beyond what is of use: a slip of the finger must not become hours of work or all of the memory.
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Positive = Annotated[int, Field(ge=1, le=10**12)]
Few = Annotated[int, Field(ge=1, le=1_000)]
FewOrNone = Annotated[int, Field(ge=0, le=1_000)]
Rows = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Steps = Annotated[int, Field(ge=0, le=10**7)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]
Rate = Annotated[float, Field(gt=0, le=1e6)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Epochs = Annotated[float, Field(gt=0, le=1_000)]


def checked(read: Callable[[str], Any]) -> AfterValidator:
    """A check that a text can be read."""
    return AfterValidator(lambda text: (read(text), text)[1])


def dotted(value: Any) -> Any:
    """A table with the keys of the tables in it as TOML writes them in one, as `audit.extractable_fraction`."""
    if not isinstance(value, dict):
        return value
    within = ((key, dotted(one)) for key, one in value.items())
    return {
        ".".join(filter(None, (key, more))): found
        for key, one in within
        for more, found in (one.items() if isinstance(one, dict) else [("", one)])
    }


Signal = Literal["noindex", "noai", "tdm"]  # by which a page asks to be left out
Size = Annotated[str, BeforeValidator(str), checked(parameters_of)]
Budget = Annotated[str, BeforeValidator(str), checked(seconds_and_flops)]
Gates = Annotated[dict[str, Annotated[str, checked(bound_of)]], BeforeValidator(dotted)]
UserAgent = Annotated[str, checked(header_value)]
Host = Annotated[str, checked(host_pattern)]
Goldfish = Annotated[FewOrNone, AfterValidator(not_one)]
Words = Annotated[str, checked(something)]
SplitPattern = Literal["qwen2", "llama-bpe", "gpt-4o", "gpt-2", "smollm"]
LineRule = Literal["c4_lines", "c4_short_lines", "c4_line_ends", "refinedweb_lines"]
FilterRule = Literal["gopher_repetition", "gopher_quality", LineRule, "c4", "fineweb", "fineweb2"]
Matrix = Literal["q", "k", "v", "o", "gate", "up", "down"]
GGUFKind = Literal["f32", "f16", "q8_0"]
Match = Literal["contains", "exact", "number"]
RedactRule = Literal["email", "phone", "ip_address", "iban", "card", "national_id", "key"]


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """A setting's value with each of its items changed, where it is a list or a mapping."""
    if isinstance(value, dict):
        return {key: mapped(change, item) for key, item in value.items()}
    return [mapped(change, item) for item in value] if isinstance(value, list) else change(value)


def marked_fields(params: type[BaseModel], *marks: str) -> list[str]:
    """Names of the fields that have one of these marks, or hold a list of what has it, or a mapping to it."""
    wanted = set(marks)
    return [
        name
        for name, field in params.model_fields.items()
        if wanted & {mark for mark in field.metadata if isinstance(mark, str)}
        or any(wanted & set(getattr(part, "__metadata__", ())) for part in getattr(field.annotation, "__args__", ()))
    ]

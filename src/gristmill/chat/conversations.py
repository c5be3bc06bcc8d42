"""What people and models said, on disk: JSON lines that training reads strictly.

A record that cannot be learned from is left out, named and counted; it ends a training only where nothing else is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from gristmill.chat.template import check
from gristmill.errors import UserError
from gristmill.files import write_jsonl
from gristmill.inputs.text_files import BadLine, json_lines
from gristmill.progress import console

LEFT_OUT = "left_out.jsonl"
Messages = list[dict[str, str]]
T = TypeVar("T")


@dataclass(frozen=True)
class LeftOut:
    """A record that training does without."""

    file: str
    record: int  # its line, or its place in a JSON list, from 1
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: record {self.record}: {self.why}"


def read_records(path: Path, read: Callable[[dict[str, Any]], T], left_out: list[LeftOut]) -> Iterator[T]:
    """What `read` makes of each record of a JSON-lines file; where it raises UserError, the record joins `left_out`.

    Raises UserError where the file cannot be read.
    """
    for number, record in json_lines(path):
        try:
            if not isinstance(record, dict):
                why = record.why if isinstance(record, BadLine) else "not a JSON object"
                raise UserError(why, "one JSON object a line")
            made = read(record)
        except UserError as error:
            left_out.append(LeftOut(str(path), number, error.problem, error.remedy))
            continue
        yield made


def report(stage: str, left_out: Sequence[LeftOut], out: Path) -> dict[str, int]:
    """Name the records that were left out, the first on the console and all in a file; returns their count."""
    if left_out:
        write_jsonl(out / LEFT_OUT, [asdict(one) for one in left_out])
        more = f" and {len(left_out) - 1:,} more, all in {LEFT_OUT}" if len(left_out) > 1 else ""
        console.print(f"{stage}: left out: {left_out[0]}{more}", style="yellow", markup=False)
    return {"left_out": len(left_out)}


def nothing_left(problem: str, remedy: str, left_out: Sequence[LeftOut]) -> UserError:
    """The error of a training that has no example: `problem`, unless records were left out; then it names the first."""
    if not left_out:
        return UserError(problem, remedy)
    others = f" ({len(left_out):,} records cannot be used)" if len(left_out) > 1 else ""
    return UserError(f"{left_out[0]}{others}", left_out[0].remedy)


def read_conversations(path: Path, left_out: list[LeftOut]) -> Iterator[Messages]:
    """Yield the messages of each conversation that has something to learn: an answer in every turn of the assistant."""
    return read_records(path, answered, left_out)


def answered(record: dict[str, Any]) -> Messages:
    """The messages of a record. Raises UserError unless the assistant says something, whenever it is its turn."""
    messages = record.get("messages")
    check(messages)  # type: ignore[arg-type]
    answers = [message["content"] for message in messages if message["role"] == "assistant"]  # type: ignore[union-attr]
    if not answers:
        raise UserError("the assistant has no turn", "add its answer, or remove the record")
    if not all(answer.strip() for answer in answers):
        raise UserError("an answer of the assistant is empty", "write one, or remove the record")
    return list(messages)  # type: ignore[arg-type]


def asked(record: dict[str, Any]) -> Messages:
    """The prompt of a record. Raises UserError unless it is messages of which the last, the user's, says something."""
    prompt = record.get("prompt")
    if not isinstance(prompt, list):
        raise UserError(
            'it has no "prompt" list of messages', 'write {"prompt": [{"role": "user", "content": "…"}], …}'
        )
    check(prompt)
    if prompt[-1]["role"] != "user":
        raise UserError("the prompt ends with the assistant's turn", "end it with what the user says")
    if not prompt[-1]["content"].strip():
        raise UserError("the user's message is empty", "write one, or remove the record")
    return prompt

"""Conversations on disk: JSON lines of {"messages": [{"role", "content"}, …]}."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gristmill.chat.template import check
from gristmill.errors import UserError
from gristmill.files import read_jsonl


def read_conversations(path: Path) -> Iterator[list[dict[str, str]]]:
    """Yield the messages of each conversation. Raises UserError naming file and record where one is wrong."""
    for number, record in enumerate(read_jsonl(path), 1):
        messages = record.get("messages")
        try:
            check(messages)  # type: ignore[arg-type]
        except UserError as error:
            raise UserError(f"{path}: record {number}: {error.problem}", error.remedy) from error
        yield list(messages)  # type: ignore[arg-type]

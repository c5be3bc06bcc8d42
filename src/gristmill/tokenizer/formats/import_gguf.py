"""What a GGUF file says of itself (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from gristmill.errors import UserError, from_extra


def gguf_reader(path: Path) -> Any:
    """A reader of the package `gguf`, which maps the file. Raises UserError where it is none, or the package lacks."""
    with from_extra("gguf", f"{path} needs the package gguf"):
        import gguf
    try:
        return gguf.GGUFReader(path)
    except OSError:
        raise
    except Exception as error:  # it raises whatever its parsing meets
        raise UserError(f"{path} is no GGUF file that can be read: {error}", "fetch it again") from error


def gguf_fields(path: Path) -> dict[str, Any]:
    """Its metadata, by key."""
    return read_head(path, path.stat().st_mtime_ns)[0]


def gguf_tensors(path: Path) -> frozenset[str]:
    """The names of its tensors."""
    return read_head(path, path.stat().st_mtime_ns)[1]


@lru_cache(maxsize=1)
def read_head(path: Path, _: int) -> tuple[dict[str, Any], frozenset[str]]:
    """The metadata and the tensors' names of a file that was last changed then: reading a vocabulary takes seconds."""
    reader = gguf_reader(path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    return fields, frozenset(tensor.name for tensor in reader.tensors)

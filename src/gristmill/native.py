"""The native part: plain C functions, one library, called through ctypes.

A room keeps its C next to the Python that calls it (`minhash.c` and `minhash.py` in `corpus/dedup`). C holds inner
loops only: it takes flat arrays and their lengths, never Python objects, and needs no Python headers to build. Calls
release the interpreter lock. `tests/test_native.py` compares every declaration with the C prototype.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Sequence
from functools import cache, cached_property
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import finalize

import numpy as np

from gristmill.errors import UserError

if TYPE_CHECKING:  # which takes 27 MB, and what answers does without
    import pyarrow as pa

OTHER = "GRISTMILL_NATIVE"  # names another build, as that of `make sanitize`
AGAIN = "install the package again: pip install -e ."
BYTES, POINTER, SIZE, INT = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int  # values
U8, U16, U32, U64 = (np.dtype(kind) for kind in (np.uint8, np.uint16, np.uint32, np.uint64))  # pointers to arrays
I32, I64, F32 = (np.dtype(kind) for kind in (np.int32, np.int64, np.float32))


@cache
def library() -> ctypes.CDLL:
    """The library, ready for calls. Raises UserError where it was not built, or from other sources."""
    found = ctypes.CDLL(str(built()))
    sources = sorted(Path(__file__).parent.rglob("*.[ch]"))  # a wheel has none
    if sources and OTHER not in os.environ and digest_in(found) != digest(sources):
        raise UserError("gristmill's native part was built from other sources", AGAIN)
    found.gm_set_seed((ctypes.c_uint64 * 2).from_buffer_copy(os.urandom(16)))  # of its hash tables: hashing.h
    return found


def digest(sources: Sequence[Path]) -> str:
    """What setup.py gives the compiler to tell C files by."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def digest_in(library: ctypes.CDLL) -> str:
    """That of the C files which a library was built from; empty where it does not tell."""
    try:
        return ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, "gm_sources"))).decode()
    except ValueError:
        return ""


def built() -> Path:
    """The file of the library, or of another build that the environment names. Raises UserError where there is none."""
    if other := os.environ.get(OTHER):
        return Path(other)
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_native{suffix}")
        if path.exists():
            return path
    raise UserError("gristmill's native part is not built", AGAIN)


class Function:
    """A C function with its types, declared where a module begins and looked up at its first call.

    Types are ctypes types, or numpy dtypes for pointers to contiguous arrays of them. Raises UserError, when called,
    where the library was not built.
    """

    declared: ClassVar[dict[str, Function]] = {}

    def __init__(self, name: str, result: Any, *arguments: Any) -> None:
        self.name, self.result, self.arguments = name, result, arguments
        self.declared[name] = self

    @cached_property
    def compiled(self) -> Any:
        """The function of the library."""
        return self.bound(library())

    def bound(self, loaded: ctypes.CDLL) -> Any:
        """The function of a library that was loaded."""
        found = loaded[self.name]
        found.restype = self.result
        found.argtypes = [
            np.ctypeslib.ndpointer(item, flags="C_CONTIGUOUS") if isinstance(item, np.dtype) else item
            for item in self.arguments
        ]
        return found

    def __call__(self, *arguments: Any) -> Any:
        """Call it. Raises KeyboardInterrupt also where it comes while ctypes takes the arguments, which hides it."""
        try:
            return self.compiled(*arguments)
        except ctypes.ArgumentError as error:
            if KeyboardInterrupt.__name__ in str(error):
                raise KeyboardInterrupt from error
            raise


class Owned:
    """What a C function made, by its address `handle`; freed with this object. Raises MemoryError where it is none."""

    def __init__(self, handle: int | None, free: Function) -> None:
        if not handle:
            raise MemoryError
        self.handle = handle
        finalize(self, free, handle)


def utf8(texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A column's bytes (uint8) and where each text starts and ends in them (int64 [texts + 1]), without a copy where
    the column is `large_string`. A missing text is an empty one.
    """
    import pyarrow as pa

    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if not pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_string())
    if texts.null_count:
        texts = texts.fill_null("")
    if not len(texts):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8), bounds

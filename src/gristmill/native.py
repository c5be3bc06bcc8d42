"""The native part: plain C functions, one library, called through ctypes.

A room keeps its C beside the Python that calls it (`minhash.c` and `minhash.py` in `corpus/dedup`). C holds inner loops
only: it takes flat arrays and their lengths, never Python objects, and needs no Python headers to build. Calls release
the interpreter lock.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.errors import UserError


@cache
def library() -> ctypes.CDLL:
    """The library. Raises UserError where it was not built."""
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_native{suffix}")
        if path.exists():
            return ctypes.CDLL(str(path))
    raise UserError("gristmill's native part is not built", "install the package again: pip install -e .")


def function(name: str, result: Any, *arguments: Any) -> Any:
    """A C function with its types: ctypes types, or numpy dtypes for pointers to contiguous arrays of them."""
    found = library()[name]
    found.restype = result
    found.argtypes = [
        np.ctypeslib.ndpointer(item, flags="C_CONTIGUOUS") if isinstance(item, np.dtype) else item for item in arguments
    ]
    return found

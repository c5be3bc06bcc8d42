"""Permission bits that bind, also in tests that root runs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest

VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: capget(2)
OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: capabilities(7)


@pytest.fixture
def bits_bind() -> Iterator[None]:
    """Root may write only what permission bits let it; they bind everyone else anyway."""
    if os.geteuid() != 0:
        yield
        return
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION, 0)  # of this thread
    held = (ctypes.c_uint32 * 6)()  # twice: effective, permitted, inheritable
    if library.capget(header, held):
        pytest.skip("capabilities cannot be read")
    fewer = (ctypes.c_uint32 * 6)(*held)
    fewer[0] &= ~OVERRIDES
    assert library.capset(header, fewer) == 0, os.strerror(ctypes.get_errno())
    yield
    assert library.capset(header, held) == 0, os.strerror(ctypes.get_errno())

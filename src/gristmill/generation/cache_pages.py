"""Which page of the cache holds what: pages of a prompt that was read before are read again by nobody.

Keys and values of PAGE positions lie on a page (Kwon et al. 2023, arXiv:2309.06180). A full page is known by all tokens
up to its end; whoever begins with the same ones shares it. A page in which a prompt ends is known by its tokens, too:
whoever has the same prompt copies it, as each goes on with an answer of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

from gristmill.generation.decoder import PAGE

KEPT = 128  # pages that nobody uses at the time, kept for who begins alike: 2,048 tokens


class Pages:
    """All pages of a decoder. A page is a number that the decoder gave."""

    def __init__(self, new_page: Callable[[], int]) -> None:
        self.new_page = new_page
        self.users: dict[int, int] = {}
        self.free: list[int] = []
        self.known: dict[bytes, int] = {}
        self.keys: dict[int, list[bytes]] = {}  # of known pages
        self.unused: dict[int, None] = {}  # known pages without users, those longest unused first

    def take(self) -> int:
        """A page to write on."""
        if not self.free and len(self.unused) >= KEPT:
            oldest = next(iter(self.unused))
            del self.unused[oldest]
            for key in self.keys.pop(oldest):
                del self.known[key]
            self.free.append(oldest)
        page = self.free.pop() if self.free else self.new_page()
        self.users[page] = 1
        return page

    def share(self, key: bytes) -> int | None:
        """The page of a key, if it is known."""
        page = self.known.get(key)
        if page is not None:
            self.users[page] = self.users.get(page, 0) + 1
            self.unused.pop(page, None)
        return page

    def learn(self, key: bytes, page: int) -> None:
        """A page is full, or a prompt's last one."""
        if key not in self.known:
            self.known[key] = page
            self.keys.setdefault(page, []).append(key)

    def release(self, pages: Sequence[int]) -> None:
        """A user needs these no more."""
        for page in pages:
            self.users[page] -= 1
            if not self.users[page]:
                del self.users[page]
                if page in self.keys:
                    self.unused[page] = None
                else:
                    self.free.append(page)


def key_after(key: bytes, tokens: Sequence[int]) -> bytes:
    """The key of a page, from that of the page before it and its own tokens."""
    return blake2b(key + np.array(tokens[:PAGE], np.int32).tobytes(), digest_size=16).digest()

"""Compares what extraction of a page costs with what plain text of that length costs, in a process forked for each.

Each line of the input is a page, as JSON: what stands before, and the part that is repeated. Each line of the output is
an exit code: 0 where the page costs little more, and twice the bytes about twice the time.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

from gristmill.html.content.main_text import extract_html

MOST = 15  # 10 and less on an idle machine; what else runs takes caches, which plain text hardly needs
GROWTH = 3
PLAIN = ("", "some plain words, as they come. ")


def page(first: str, part: str, size: int) -> bytes:
    """A page of about so many bytes."""
    return (first + part * (size // len(part))).encode()


def seconds(source: bytes) -> float:
    """CPU time of extraction."""
    start = time.process_time()
    extract_html(source)
    return time.process_time() - start


def peak() -> int:
    """Memory of this process at the peak."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def compare(first: str, part: str) -> None:
    """Raise AssertionError where the page costs much more."""
    before = peak()
    extract_html(page(*PLAIN, 2_000_000))
    needed = peak() - before
    extract_html(page(first, part, 2_000_000))
    assert peak() - before <= MOST * needed, ("memory", needed, peak() - before)
    ratios = []
    for _ in range(8):  # a busy machine makes some of them slow, never all of them fast
        whole, half = seconds(page(first, part, 1_000_000)), seconds(page(first, part, 500_000))
        ratios.append((whole / seconds(page(*PLAIN, 1_000_000)), whole / half))
        if min(r for r, _ in ratios) <= MOST and min(g for _, g in ratios) <= GROWTH:
            return
    raise AssertionError(ratios)


extract_html("<p>warm up")
for line in sys.stdin:
    child = os.fork()  # so that each page has a peak of memory of its own
    if not child:
        compare(*json.loads(line))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

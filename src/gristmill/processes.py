"""The processes of a run: which of torchrun's this is (without torchrun there is one, the leader), and its cores.

torchrun sets these variables for every process that it starts (https://docs.pytorch.org/docs/stable/elastic/run.html).
"""

from __future__ import annotations

import os

TOGETHER = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
RANK = int(os.environ["RANK"]) if TOGETHER else 0
LOCAL_RANK = int(os.environ["LOCAL_RANK"]) if TOGETHER else 0
SIZE = int(os.environ["WORLD_SIZE"]) if TOGETHER else 1
LEADER = RANK == 0  # it alone prints, writes what is no checkpoint, and runs the stages that do not train


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

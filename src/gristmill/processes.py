"""Which of torchrun's processes this is. Without torchrun there is one, and it is the leader.

torchrun sets these variables for every process that it starts (https://docs.pytorch.org/docs/stable/elastic/run.html).
"""

from __future__ import annotations

import os

TOGETHER = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
RANK = int(os.environ["RANK"]) if TOGETHER else 0
LOCAL_RANK = int(os.environ["LOCAL_RANK"]) if TOGETHER else 0
SIZE = int(os.environ["WORLD_SIZE"]) if TOGETHER else 1
LEADER = RANK == 0  # it alone prints, writes what is no checkpoint, and runs the stages that do not train

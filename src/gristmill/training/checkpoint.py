"""Checkpoints: the whole state of a training, written so that a kill or a full disk never costs the one before.

`OUT/checkpoints/step-N/` holds safetensors, a file a process with the rows that it has, and `state.json` with the rest
and the files' checksums. PyTorch's distributed checkpoints are read at any number of processes; its own storage keeps
an index as a pickle, so its Hugging Face storage is used, which keeps all in the safetensors' headers.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from gristmill.errors import Damaged
from gristmill.files import sealed, sha256_file, unsealed, write_text
from gristmill.processes import LEADER, SIZE
from gristmill.progress import console
from gristmill.training.parallel import from_leader, local, total

FOLDER = "checkpoints"
STATE = "state.json"
PARTIAL = ".partial"
State = dict[str, Any]  # "done": steps; "heldout_bpb", if it was measured there; what else the loop wants back


class Checkpoints:
    """The newest `keep` of a training's checkpoints, the one that predicted held-out text best, and the newest anchor.

    An anchor is one after a multiple of `anchor` steps: when the others are made depends on the clock, so what is
    learned must not depend on them. All processes call the methods, at the same time.
    """

    def __init__(self, out: Path, keep: int, anchor: int) -> None:
        self.folder, self.keep, self.anchor = out / FOLDER, keep, anchor

    def save(self, state: State, tensors: Mapping[str, Tensor], also: Callable[[Path], None]) -> str:
        """Write a checkpoint; `also` puts more files into its folder. Where that fails, it says so and returns what was
        wrong."""
        new = self.folder / f"{name_of(state['done'])}{PARTIAL}"

        def prepare() -> None:
            if not all(bool(local(tensor).isfinite().all()) for tensor in tensors.values()):
                raise ValueError("not all numbers of the model are finite")
            if LEADER:
                shutil.rmtree(new, ignore_errors=True)
                new.mkdir(parents=True)
                also(new)

        def write() -> None:
            writer = dcp.HuggingFaceStorageWriter(str(new), save_distributed=True)
            with quiet():
                dcp.save(dict(tensors), storage_writer=writer, no_dist=SIZE == 1)

        def finish() -> None:
            if LEADER:
                sums = {file.name: sha256_file(file) for file in sorted(new.iterdir())}
                write_text(new / STATE, sealed(json.dumps({**state, "sha256": sums}, indent=1)))
                sync(new)
                final = new.with_suffix("")
                shutil.rmtree(final, ignore_errors=True)
                new.rename(final)
                sync(self.folder)
                self.prune()

        for action in (prepare, write, finish):
            problem = attempt(action)
            if total(problem is not None)[0]:
                problem = problem or "another process failed"
                told = f"step {state['done']:,}: no checkpoint could be written ({problem}); training goes on"
                console.print(f"           {told}", style="yellow", markup=False, soft_wrap=True)
                if LEADER:
                    shutil.rmtree(new, ignore_errors=True)
                return problem
        return ""

    def load(self, tensors: Mapping[str, Tensor], anchored: bool = False) -> State | None:
        """Read the newest checkpoint that is whole into `tensors`; its state, or None where there is none.

        `anchored`: the newest anchor instead; what came after it is removed.
        """
        state: State | None = from_leader(lambda: self.newest(anchored))
        if state is not None:
            reader = dcp.HuggingFaceStorageReader(str(self.folder / name_of(state["done"])))
            with quiet():
                dcp.load(dict(tensors), storage_reader=reader, no_dist=SIZE == 1)
        return state

    def newest(self, anchored: bool = False) -> State | None:
        """The state of the newest checkpoint (or anchor) that is whole. Damaged ones are told of and removed."""
        for remains in self.folder.glob(f"*{PARTIAL}"):
            shutil.rmtree(remains, ignore_errors=True)
        damaged = 0
        for folder in reversed(self.folders()):
            if anchored and not self.is_anchor(folder):
                remove(folder)
                continue
            state, problem = examined(folder)
            if state is not None:
                if damaged:
                    console.print(f"           going on from step {state['done']:,} instead", style="yellow")
                return state
            damaged += 1
            console.print(f"           {folder} is damaged: {problem}", style="yellow", soft_wrap=True)
            shutil.rmtree(folder, ignore_errors=True)
        if damaged:
            console.print("           no whole checkpoint is left: starting anew", style="yellow")
        return None

    def folders(self) -> list[Path]:
        """The finished checkpoints, oldest first."""
        return sorted(folder for folder in self.folder.glob("step-*") if folder.suffix != PARTIAL)

    def prune(self) -> None:
        """Remove what need not be kept."""
        folders = self.folders()
        scores = {folder: score for folder in folders if (score := score_of(folder)) is not None}
        kept = {*folders[-self.keep :], *([min(scores, key=lambda folder: scores[folder])] if scores else [])}
        kept.update(list(filter(self.is_anchor, folders))[-1:])
        for folder in folders:
            if folder not in kept:
                remove(folder)

    def is_anchor(self, folder: Path) -> bool:
        """Whether a checkpoint's steps alone say that it is made."""
        return int(folder.name.removeprefix("step-")) % self.anchor == 0


def remove(folder: Path) -> None:
    """Remove a checkpoint. It is renamed first: what bears a checkpoint's name is whole."""
    shutil.rmtree(folder.rename(folder.with_name(folder.name + PARTIAL)), ignore_errors=True)


def discard_checkpoint(out: Path) -> None:
    """Remove training state: call it once the finished model is written."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warning that there is one process only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is")
        yield


def name_of(done: int) -> str:
    """The folder of the checkpoint after so many steps."""
    return f"step-{done:08}"


def attempt(action: Callable[[], None]) -> str | None:
    """What went wrong with writing, or None."""
    try:
        action()
    except (OSError, ValueError, SafetensorError, CheckpointException) as error:
        if isinstance(error, CheckpointException):  # of all processes: the first tells enough
            error = next(iter(error.failures.values()))[0]  # type: ignore[assignment]
        return str(error)
    return None


def examined(folder: Path) -> tuple[State | None, str]:
    """A checkpoint's state, or None and what is wrong with it."""
    try:
        state: State = unsealed(folder / STATE, "")
        for name, expected in state["sha256"].items():
            if sha256_file(folder / name) != expected:
                return None, f"{name} is not what was written"
        if name_of(state["done"]) != folder.name:
            return None, f"{STATE} is of another step"
    except (OSError, Damaged) as error:
        return None, str(error)
    return state, ""


def score_of(folder: Path) -> float | None:
    """Held-out bits per byte at a checkpoint, if they were measured there."""
    try:
        score: float | None = unsealed(folder / STATE, "").get("heldout_bpb")
        return score
    except (OSError, Damaged):
        return None


def sync(folder: Path) -> None:
    """Have a folder's names on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Checkpoints: the whole state of a training, written so that a kill or a full disk never costs the one before.

`OUT/checkpoints/step-N/` holds safetensors, a file a process, and `state.json` with the rest and the files' checksums.
A file has its process's rows of what is sharded, a share of what every process has, and in its header the first row of
each, as PyTorch's distributed checkpoints have it in their Hugging Face storage; any number of processes can read it.
That storage's own writer holds all that it writes in memory once more, and takes a second of processor time to import.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gristmill.errors import Damaged, UserError
from gristmill.files import sealed, sha256_file, unsealed, write_text
from gristmill.processes import LEADER, RANK, SIZE
from gristmill.progress import warn
from gristmill.training.parallel import first_row, from_leader, local, total

FOLDER = "checkpoints"
STATE = "state.json"
SHARE = "shard-{:05}-model-00001-of-00001.safetensors"  # of a process, counted from 1: PyTorch's name
OFFSETS = "DCP_SHARDING_INFO"  # in a share's header: where each tensor's first number is in the whole
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
            write_share(tensors, new / SHARE.format(RANK + 1))

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
            problem = ""
            try:
                action()
            except (OSError, ValueError, SafetensorError) as error:
                problem = str(error) or type(error).__name__
            if total(bool(problem))[0]:
                problem = problem or "another process failed"
                told = f"step {state['done']:,}: no checkpoint could be written ({problem}); training goes on"
                warn(f"           {told}")
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
            read_shares(tensors, self.folder / name_of(state["done"]))
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
                    warn(f"           going on from step {state['done']:,} instead")
                return state
            damaged += 1
            warn(f"           {folder} is damaged: {problem}")
            shutil.rmtree(folder, ignore_errors=True)
        if damaged:
            warn("           no whole checkpoint is left: starting anew")
        return None

    def folders(self) -> list[Path]:
        """The finished checkpoints, oldest first. A folder of another name, as of a copy, is none."""
        return sorted(folder for folder in self.folder.glob("step-*") if folder.name.removeprefix("step-").isdecimal())

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


def write_share(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write this process's rows of what is sharded, and its share of what every process has."""
    share, offsets = {}, {}
    for number, (name, tensor) in enumerate(tensors.items()):
        rows = local(tensor)
        if len(rows) if rows is not tensor else number % SIZE == RANK:
            share[name] = rows.contiguous()
            offsets[name] = {"saved_offsets": [first_row(tensor), *[0] * rows.ndim][: rows.ndim]}
    save_file(share, path, {OFFSETS: json.dumps(offsets), "DCP_VERSION": "1.0", "format": "pt"})
    sync(path)


def read_shares(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Read a checkpoint into tensors, this process's rows of each. Raises UserError where it does not have them."""
    left = {name: local(tensor).numel() for name, tensor in tensors.items()}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            offsets = json.loads(file.metadata()[OFFSETS])
            for name in left.keys() & offsets.keys():
                rows, stored = local(tensors[name]), file.get_slice(name)
                if not rows.ndim:
                    rows, stored = rows[None], file.get_tensor(name)[None]
                wanted, first = first_row(tensors[name]), offsets[name]["saved_offsets"][:1] or [0]
                found = stored[max(0, wanted - first[0]) : max(0, wanted + len(rows) - first[0])]
                at = max(0, first[0] - wanted)
                rows[at : at + len(found)].copy_(found)
                left[name] -= found.numel()
    if any(left.values()):
        names = [name for name, numbers in left.items() if numbers]
        raise UserError(f"{folder} is of another model: it has not all of {names[0]}", f"remove {folder.parent}")


def name_of(done: int) -> str:
    """The folder of the checkpoint after so many steps."""
    return f"step-{done:08}"


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

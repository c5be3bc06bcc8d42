"""What a stage reports about its own work."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gristmill.errors import Damaged, typed
from gristmill.files import sealed, sha256_file, unsealed, write_text
from gristmill.processes import cores, in_order
from gristmill.progress import Progress, console

S = TypeVar("S")
T = TypeVar("T")

MANIFEST = "manifest.json"
RECIPE = "recipe.json"  # in a run folder
FINGERPRINT = "fingerprint"  # in the folder of a stage that is not finished: what it was begun for
HEAVY = 1 / 3  # share of the documents whose loss is told
NO_DOCUMENT = frozenset(("hidden", "own_run", "linked_twice"))  # rules for what nobody means to be read
MARKS = (b'"peak_rss_bytes"', b'"unmeasured"')  # what other programs' manifest.json does not hold
LARGE = 2e9  # bytes: checking them takes seconds, which are shown
WORK = ".work"  # in a stage's folder: what lets an interrupted run go on; the runner removes it at the end


@dataclass
class Manifest:
    """`manifest.json` of a stage folder.

    A stage fills `counts`, `dropped` and `metrics`; the runner fills the rest. Counts balance:
    `counts["documents_in"] == counts["documents_out"] + sum(dropped.values())` wherever a stage has both, and
    `counts["bytes_in"] == counts["bytes_out"] + counts["bytes_edited"] + sum(dropped_bytes.values())`, where
    `bytes_edited` is what kept documents lost (below zero: won) by being changed.
    `metrics` become `<stage>.<name>` in the run's `summary.json`.
    """

    counts: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)  # rule → documents dropped by it
    dropped_bytes: dict[str, int] = field(default_factory=dict)  # rule → bytes of those documents
    metrics: dict[str, float] = field(default_factory=dict)
    stage: str = ""
    fingerprint: str = ""
    version: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)  # input name → digest of what was read
    begun_with: dict[str, str] = field(default_factory=dict)  # stage → the model by others whose weights it began with
    folders: dict[str, str] = field(default_factory=dict)  # input name → folder read; `../NAME`: next to this one
    code: dict[str, str] = field(default_factory=dict)  # source file → digest; of a released package its version
    unmeasured: list[str] = field(default_factory=list)  # metrics that came out as no number: JSON has none
    outputs: dict[str, str] = field(default_factory=dict)  # file → sha256
    seconds: float = 0.0
    peak_rss_bytes: int = 0

    def write(self, folder: Path) -> None:
        """Write the manifest atomically: its presence means that the folder is complete.

        Raises ValueError naming the figures that are not finite, which JSON cannot hold.
        """
        figures = {**self.counts, **self.metrics, "seconds": self.seconds}
        if wrong := [name for name, value in figures.items() if not math.isfinite(value)]:
            raise ValueError(f"{self.stage or folder}: not finite: {', '.join(wrong)}")
        write_text(folder / MANIFEST, sealed(json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False)))

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The folder's manifest, or None where the folder is missing, unfinished or another program's.

        Raises Damaged where the manifest is not as it was written. One of a version that wrote no checksum is taken.
        """
        path = folder / MANIFEST
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if not any(mark in data for mark in MARKS) and not in_run(folder):
            return None
        try:
            content = json.loads(data)
            return cls(**(unsealed(path, remedy(folder)) if "checksum" in content else content))
        except (ValueError, TypeError) as error:
            raise Damaged(f"{path} is damaged", remedy(folder)) from error


def faults(folder: Path, outputs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Those of some files of a stage's folder (name → SHA-256) that are not what was written, each with what is wrong:
    `damaged`, `missing`, or the error that reading it gives.
    """
    sizes = [path.stat().st_size for name in outputs if (path := folder / name).exists()]
    bar = Progress("check", sum(sizes), f"bytes of {folder}") if sum(sizes) > LARGE else None

    def fault(name: str) -> str:
        path = folder / name
        try:
            found = "" if sha256_file(path) == outputs[name] else "damaged"
            if bar:
                bar.advance(path.stat().st_size)
            return found
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            return f"unreadable ({error.strerror})"

    with bar or nullcontext():
        found = zip(outputs, in_order(fault, outputs, cores()), strict=True)
        yield from ((name, wrong) for name, wrong in found if wrong)


def intact(path: Path) -> Path:
    """A file or folder, once all of it that the manifest of its stage lists has the checksums that stand there.

    A file is read for that once in a process. Outside a stage's folder there is nothing to check. Raises Damaged naming
    the first file that is not what was written.
    """
    place = path.absolute()
    for folder in (place, *place.parents) if isinstance(path, Path) else ():  # remote storage has checksums of its own
        if made := Manifest.read(folder):
            own = place.relative_to(folder).as_posix()
            names = (name for name in made.outputs if own in (".", name) or name.startswith(f"{own}/"))
            for name, fault in faults(folder, {name: made.outputs[name] for name in names}):
                raise Damaged(f"{folder / name} is {fault}", remedy(folder))
            break
    return path


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file that a stage wrote, which must be `intact`; empty where there is no such file."""
    return dict(json.loads(intact(path).read_text(encoding="utf-8"))) if path.exists() else {}


def in_run(folder: Path) -> bool:
    """Whether a folder lies in a run's."""
    return (folder.parent / RECIPE).exists()


def within(folder: Path, name: str) -> str:
    """What to name instead of a folder: those in it that hold a file of this name; nothing where none does."""
    found = sorted(str(path.parent) for path in folder.glob(f"*/{name}"))
    return f"name {'one of ' * (len(found) > 1)}{', '.join(found)}" if found else ""


def remedy(folder: Path) -> str:
    """What to do about a stage's folder that is damaged."""
    if in_run(folder):
        return f"make it again: gristmill run RECIPE --out {typed(folder.parent)}"
    return f"put a whole copy there, or make {folder} again with the command that made it"


class Parts:
    """What a stage's parts gave, each in a file of its own: a run that goes on after a kill does not redo them."""

    def __init__(self, out: Path) -> None:
        self.folder = out / WORK
        self.folder.mkdir(exist_ok=True)
        if found := len(list(self.folder.glob("*.json"))):
            console.print(f"           going on after {found:,} finished parts")

    def __call__(self, name: str, make: Callable[[], T]) -> T:
        """What `make()` gives, as JSON holds it; it is not called where an earlier run has done so under this name.

        Raises Damaged where what that has written is not as it was.
        """
        path = self.folder / f"{name}.json"
        if not path.exists():
            write_text(path, sealed(json.dumps({"made": make()})))
        made: T = unsealed(path, f"remove {self.folder}, and give the same command again")["made"]
        return made

    def batches(
        self, name: str, items: Sequence[S], size: int, make: Callable[[Sequence[S]], list[T]], task: str, unit: str
    ) -> list[T]:
        """What `make` gives of each of some items, `size` of them at a time, while a bar shows how far it is."""
        found: list[T] = []
        with Progress(task, len(items), unit) as bar:
            for at in range(0, len(items), size):
                found += self(f"{name}-{at:08}", partial(make, items[at : at + size]))
                bar.advance(len(found) - at)
        return found


def heavy_loss(made: Manifest, folder: Path) -> str:
    """What to tell where a stage dropped over a third of the documents that came in: the rules to blame; else nothing.

    Hidden files and the like do not count.
    """
    dropped = Counter({rule: count for rule, count in made.dropped.items() if rule not in NO_DOCUMENT})
    came = dropped.total() + made.counts.get("documents_out", 0)
    if "documents_in" not in made.counts or dropped.total() <= came * HEAVY:
        return ""
    rules = ", ".join(f"{rule} {count:,}" for rule, count in dropped.most_common(4)) + " …" * (len(dropped) > 4)
    worst = dropped.most_common(1)[0][0]
    shown = f"gristmill corpus sample {folder} --dropped-by {worst}" if made.stage != "extract" else ""
    share = dropped.total() / came
    return (
        f"warning: {made.stage} dropped {dropped.total():,} of {came:,} documents ({share:.0%}): {rules}\n"
        f"  look at them: {shown or folder / 'dropped.jsonl'}"
        + ("\n  for documents of your own: filter.rules = [], filter.languages = []" * (made.stage == "filter"))
        + ("\n  to take out exact copies only: dedup.near = false" * (worst == "near_copy"))
    )

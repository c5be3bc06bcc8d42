"""The run folder: which stages there are, what each reads, and when one may be skipped.

A stage is `run(inputs, params, out) -> Manifest`. It works in `<run>/<stage>.partial`, which becomes `<run>/<stage>`
by one rename when it has succeeded: a stage folder is either complete or absent. A `.partial` folder left by a kill
is handed back to the same stage with the same fingerprint, which may go on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from gristmill import __version__, manifest
from gristmill.errors import UserError, nearest
from gristmill.folders import source_names, walk
from gristmill.manifest import Manifest
from gristmill.processes import LEADER, SIZE
from gristmill.progress import console, duration
from gristmill.recipe import ADDRESS, HOW, NAMED, Params, Recipe, marked_fields, path_fields
from gristmill.storage import as_path, remote_digest

StageFunction = Callable[[Mapping[str, Path], Any, Path], Manifest]
RUN, SKIP = "run", "skip"
FINGERPRINT = "fingerprint"  # file in a `.partial` folder: what it was begun for


@dataclass(frozen=True)
class Stage:
    """One step of the journey."""

    name: str
    run: str  # `module:function`, imported when first needed
    reads: Mapping[str, tuple[str, ...]]  # input name → stages: the last of them that the recipe has is given
    optional: frozenset[str] = frozenset()  # inputs that it can do without
    together: bool = False  # whether all processes of torchrun run it; the others wait while the leader runs the rest

    def function(self) -> StageFunction:
        """The stage's function."""
        module, name = self.run.split(":")
        return getattr(import_module(f"gristmill.{module}"), name)


CORPUS = ("extract", "filter", "dedup", "redact", "decontaminate")  # documents, as far as the recipe has cleaned them
MODEL = ("pretrain", "sft", "rl")  # the model, as far as the recipe has trained it
TOKENS = {"tokenizer": ("tokenizer",), "tokens": ("tokenize",)}
BEFORE_REPORT = (
    Stage("miniweb", "miniweb.stage:run", {}),
    Stage("crawl", "crawl.stage:run", {}),
    Stage("common_crawl", "crawl.common_crawl:run", {}),
    Stage("extract", "corpus.extract:run", {"crawl": ("crawl", "common_crawl")}, frozenset({"crawl"})),
    Stage("filter", "corpus.filter:run", {"corpus": ("extract",)}),
    Stage("dedup", "corpus.dedup:run", {"corpus": ("extract", "filter")}),
    Stage("redact", "corpus.redact:run", {"corpus": CORPUS[:3]}),
    Stage("decontaminate", "corpus.decontaminate:run", {"corpus": CORPUS[:4]}),
    Stage("tokenizer", "tokenizer.train:run", {"corpus": CORPUS}),
    Stage("tokenize", "tokenizer.tokenize:run", {"corpus": CORPUS, "tokenizer": ("tokenizer",)}),
    Stage("pretrain", "training.pretrain:run", TOKENS, together=True),
    Stage("sft", "posttrain.sft:run", {"model": ("pretrain",), "corpus": CORPUS, **TOKENS}),
    Stage("reward", "posttrain.reward:run", {"model": ("pretrain", "sft"), **TOKENS}),
    Stage("rl", "posttrain.rl:run", {"model": ("sft",), "reward": ("reward",), **TOKENS}),
    Stage("evaluate", "evaluation.stage:run", {"model": MODEL, "sft": ("sft",), **TOKENS}, frozenset({"sft"})),
    Stage("audit", "audit.stage:run", {"model": MODEL, **TOKENS}),
    Stage("export", "export.stage:run", {"model": MODEL, "tokenizer": ("tokenizer",)}),
)
BEFORE = {stage.name: (stage.name,) for stage in BEFORE_REPORT}
STAGES = (*BEFORE_REPORT, Stage("report", "report.stage:run", BEFORE, frozenset(BEFORE)))
SCALE = Stage("scale", "training.scale:run", TOKENS)  # of no recipe: `gristmill scale` runs it
BY_NAME = {stage.name: stage for stage in STAGES}


def run_recipe(recipe: Recipe, folder: Path, *, first: str | None = None, until: str | None = None) -> dict[str, float]:
    """Run a recipe's stages in order into `folder` and write `summary.json`; returns the summary.

    A stage is skipped where its fingerprint is unchanged. `first` redoes that stage and, as their inputs change, those
    that read it; `until` stops after that stage. Raises UserError for anything the user can mend.
    """
    stages = [stage for stage in STAGES if getattr(recipe, stage.name) is not None]
    names = [stage.name for stage in stages]
    for option, name in (("--from", first), ("--until", until)):
        if name is not None and name not in names:
            problem = f"{option} {name}: this recipe has no such stage{nearest(name, names)}"
            raise UserError(problem, f"choose one of {', '.join(names)}")
    if until:
        stages = stages[: names.index(until) + 1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if LEADER:
            manifest.write_text(folder / "recipe.json", recipe.model_dump_json(indent=2, exclude_none=True) + "\n")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}", "choose another folder with --out") from error
    started, work = time.monotonic(), 0
    done: dict[str, Path] = {}
    for stage in stages:
        params = resolve_paths(getattr(recipe, stage.name), folder)
        result = execute(stage, pick_inputs(stage, done), params, folder / stage.name, redo=stage.name == first)
        work += result is not None
        done[stage.name] = folder / stage.name
    if not LEADER:
        return {}
    if not work:
        console.print(f"{folder}: all {len(stages)} stages are finished and unchanged; nothing to do")
    summary = summarise(folder, list(done))
    for name, place in done.items():
        if found := Manifest.read(place):
            tell_loss(found, folder / name)
    if work:
        console.print(f"{folder}: {work} of {len(stages)} stages run in {duration(time.monotonic() - started)}")
    return summary


def scale_recipe(params: Params, folder: Path) -> None:
    """Train the ladder of `gristmill scale` on a run's tokens, if that is not done."""
    done = {name: folder / name for name in BY_NAME if Manifest.read(folder / name)}
    if not {"tokenizer", "tokenize"} <= done.keys():
        raise UserError(f"{folder} holds no tokens yet", "make them: gristmill run RECIPE --until tokenize")
    execute(SCALE, pick_inputs(SCALE, done), params, folder / SCALE.name)


def pick_inputs(stage: Stage, done: Mapping[str, Path]) -> dict[str, Path]:
    """The folders that a stage reads, from those of the stages before it."""
    inputs = {}
    for name, candidates in stage.reads.items():
        present = [done[candidate] for candidate in candidates if candidate in done]
        if present:
            inputs[name] = present[-1]
        elif name not in stage.optional:
            raise UserError(
                f"stage {stage.name} needs {' or '.join(candidates)}, which the recipe does not have",
                f"add a [{candidates[-1]}] table to the recipe",
            )
    return inputs


def execute(
    stage: Stage, inputs: Mapping[str, Path], params: Params, out: Path, *, redo: bool = False
) -> Manifest | None:
    """Run one stage into `out` unless that is done already; returns its manifest, or None where it was skipped.

    Of torchrun's processes the leader does so, and tells the others of a stage that they run with it.
    """
    if not LEADER:
        follow(stage, inputs, params, out)
        return None
    digests = {name: digest(path) for name, path in inputs.items()}
    digests |= {
        name: path if ADDRESS.search(path) else digest(as_path(path)) for name, path in input_paths(params).items()
    }
    fingerprint = fingerprint_of(stage, params, digests)
    partial = out.with_name(out.name + ".partial")
    adopt(partial, out, fingerprint)
    existing = Manifest.read(out)
    if existing and existing.fingerprint == fingerprint and not redo:
        tell_others(stage, SKIP)
        return None
    if out.exists() and existing is None and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and was not written by gristmill", "choose another output folder")
    try:
        begin(partial, fingerprint)
    except OSError as error:
        raise UserError(f"cannot write to {out.parent}: {error.strerror}", "choose another output folder") from error
    console.print(f"[bold]{stage.name}[/bold]")
    reset_peak_rss()
    started = time.monotonic()
    try:
        with running_services(params) as ready:
            tell_others(stage, RUN)
            result = stage.function()(inputs, ready, partial)
    except OSError as error:
        if error.errno is None or error.filename is None:
            raise
        raise UserError(
            f"{stage.name}: {error.strerror}: {error.filename}", "check the path, space and rights"
        ) from error
    result.seconds = round(time.monotonic() - started, 3)
    result.peak_rss_bytes = peak_rss()
    result.stage, result.fingerprint, result.version = stage.name, fingerprint, __version__
    result.params, result.inputs = params.model_dump(), digests
    check_balance(stage, result)
    shutil.rmtree(partial / manifest.WORK, ignore_errors=True)
    (partial / FINGERPRINT).unlink()
    result.outputs = {
        str(path.relative_to(partial)): manifest.sha256_file(path)
        for path in sorted(partial.rglob("*"))
        if path.is_file()
    }
    result.write(partial)
    adopt(partial, out, fingerprint)
    console.print(f"[dim]{describe(result)}[/dim]")
    tell_loss(result, out)
    return result


def tell_loss(made: Manifest, folder: Path) -> None:
    """Warn where a stage dropped much of what came in."""
    if told := manifest.heavy_loss(made, folder):
        console.print(told, style="yellow", markup=False, soft_wrap=True)


def follow(stage: Stage, inputs: Mapping[str, Path], params: Params, out: Path) -> None:
    """Run a stage together with the leader, when it says so."""
    if stage.together:
        from gristmill.training.parallel import hear

        if hear(stage.name) == RUN:
            stage.function()(inputs, params, out.with_name(out.name + ".partial"))


def tell_others(stage: Stage, word: str) -> None:
    """Tell the other processes whether a stage is run or skipped."""
    if stage.together and SIZE > 1:
        from gristmill.training.parallel import tell

        tell(stage.name, word)


def begin(partial: Path, fingerprint: str) -> None:
    """Make the working folder, or keep the one that an interrupted run with the same fingerprint left."""
    mark = partial / FINGERPRINT
    if partial.exists() and not (mark.exists() and mark.read_text() == fingerprint):
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    manifest.write_text(mark, fingerprint)


def adopt(partial: Path, out: Path, fingerprint: str) -> None:
    """Rename a finished working folder into place (also one whose run was killed just before)."""
    finished = Manifest.read(partial)
    if finished and finished.fingerprint == fingerprint:
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)


def fingerprint_of(stage: Stage, params: Params, digests: Mapping[str, str]) -> str:
    """What a stage's output depends on: its name, parameters, inputs by content, and the code version."""
    ways = marked_fields(type(params), HOW)
    settings = params.model_dump(exclude={*path_fields(type(params)), *ways})
    settings |= {name: source_names(getattr(params, name)) for name in marked_fields(type(params), NAMED)}
    basis = json.dumps([stage.name, __version__, settings, sorted(digests.items())], sort_keys=True)
    return hashlib.sha256(basis.encode()).hexdigest()


def digest(path: Path) -> str:
    """The content of a stage folder (through its manifest's checksums), another folder or a file, as one hash."""
    if not isinstance(path, Path):
        return remote_digest(path)
    if path.is_dir():
        known = Manifest.read(path)
        parts = known.outputs if known else {found.name: found.fault or content_of(found.path) for found in walk(path)}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    if not path.exists():
        raise UserError(f"no such file or folder: {path}", "check the path")
    return manifest.sha256_file(path)


def content_of(path: Path) -> str:
    """The checksum of a file in a folder; `unreadable` where it cannot be read: the stage says so."""
    try:
        return manifest.sha256_file(path)
    except OSError:
        return "unreadable"


def input_paths(params: Params) -> dict[str, str]:
    """Every input path of the parameters, under a name of its own."""
    found: dict[str, str] = {}
    for name in path_fields(type(params)):
        value = getattr(params, name)
        if isinstance(value, dict):
            found |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            items = value if isinstance(value, list) else [value] if value else []
            found |= {f"{name}.{index}": item for index, item in enumerate(items)}
    return found


def resolve_paths(params: Params, folder: Path) -> Params:
    """Replace `{stage}` at the start of paths by that stage's folder in the run."""

    def resolve(value: str) -> str:
        name, brace, rest = value.removeprefix("{").partition("}")
        if not (value.startswith("{") and brace):
            return value
        if name not in BY_NAME:
            raise UserError(
                f"`{value}`: no stage is called {name}{nearest(name, BY_NAME)}", f"choose one of {', '.join(BY_NAME)}"
            )
        return str(folder / name) + rest

    changed: dict[str, Any] = {}
    for name in path_fields(type(params)):
        value = getattr(params, name)
        if isinstance(value, dict):
            changed[name] = {key: resolve(item) for key, item in value.items()}
        else:
            changed[name] = [resolve(item) for item in value] if isinstance(value, list) else resolve(value)
    return params.model_copy(update=changed)


@contextmanager
def running_services(params: Params) -> Iterator[Params]:
    """Serve a miniature web over loopback for as long as a crawl that connects to `{miniweb}` lasts."""
    targets: dict[str, str] = getattr(params, "connect_to", {})
    with ExitStack() as stack:
        addresses: dict[str, str] = {}
        for pattern, target in targets.items():
            if Path(target).is_dir():
                from gristmill.miniweb.serve import serve

                addresses[target] = addresses.get(target) or stack.enter_context(serve(Path(target)))
                targets = {**targets, pattern: addresses[target]}
        yield params.model_copy(update={"connect_to": targets}) if addresses else params


def check_balance(stage: Stage, result: Manifest) -> None:
    """Raise AssertionError where documents or bytes went missing without a rule: a bug, not a user's mistake."""
    counts = result.counts
    for unit, dropped in (("documents", result.dropped), ("bytes", result.dropped_bytes)):
        if {f"{unit}_in", f"{unit}_out"} <= counts.keys():
            lost = counts[f"{unit}_in"] - counts[f"{unit}_out"] - counts.get(f"{unit}_edited", 0)
            lost -= sum(dropped.values())
            assert lost == 0, f"{stage.name}: {lost} {unit} are unaccounted for: {counts} {dropped}"


def summarise(folder: Path, names: list[str]) -> dict[str, float]:
    """Write and return `summary.json`: one flat object of dotted names to numbers."""
    summary: dict[str, float] = {}
    manifests = [found for name in names if (found := Manifest.read(folder / name))]
    for found in manifests:
        for name, value in {**found.counts, **found.metrics, "seconds": found.seconds}.items():
            # a figure with a dot names its own place, as evaluate's `rl.wrong_answer_rate`
            summary[name if "." in name else f"{found.stage}.{name}"] = value
    summary["run.wall_seconds"] = round(sum(found.seconds for found in manifests), 3)
    summary["run.peak_rss_bytes"] = max((found.peak_rss_bytes for found in manifests), default=0)
    last_corpus = [name for name in CORPUS if name in names]
    if last_corpus:
        summary["corpus.documents_kept"] = summary.get(f"{last_corpus[-1]}.documents_out", 0)
    manifest.write_text(folder / "summary.json", json.dumps(summary, indent=2, sort_keys=True) + "\n")
    return summary


def describe(result: Manifest) -> str:
    """One line on what a stage did."""
    numbers = [f"{name} {value:,}" for name, value in result.counts.items()]
    numbers += [f"{name} {value:.4g}" for name, value in list(result.metrics.items())[:6]]
    return f"           {', '.join(numbers)} ({duration(result.seconds)})"


def reset_peak_rss() -> None:
    """Restart the kernel's count of this process's peak memory, where it lets us (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_rss() -> int:
    """Peak resident bytes since the last reset (elsewhere than on Linux: since the process began)."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if os.uname().sysname == "Darwin" else used * 1024

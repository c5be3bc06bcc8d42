"""Failures: what the user can mend is one message and exit code 2, a fault of ours is one line and its traceback."""

from __future__ import annotations

import errno
import json
import os
import resource
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from command_line import Command, Refusal
from safetensors import SafetensorError
from safetensors.torch import save_file

from gristmill import run
from gristmill.commands.new_recipe import new_folder
from gristmill.corpus.dedup.index import new_array
from gristmill.errors import UserError, concerns_all
from gristmill.files import atomic_path
from gristmill.manifest import Manifest
from gristmill.recipe import Pretrain, Recipe
from gristmill.runs.failures import TRACEBACK, explained
from gristmill.settings.recipe_file import validate
from gristmill.settings.stages import BY_NAME, Stage

EMFILE = f"_native.so: cannot open shared object file: {os.strerror(errno.EMFILE)}"
RECIPE = '[extract]\npaths = ["a.txt"]\n'


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def python_file(folder: Path) -> None:
    (folder / "a").write_bytes(bytes(10_000))


def safetensors_file(folder: Path) -> None:
    save_file({"w": torch.zeros(10_000)}, folder / "a")


def parquet_file(folder: Path) -> None:
    pq.write_table(pa.table({"x": list(range(100_000))}), folder / "a")


def numpy_file(folder: Path) -> None:
    np.save(folder / "a.npy", np.arange(10_000))


def mapped_file(folder: Path) -> None:
    new_array(folder / "a.npy", np.int64, (10_000,))


def database(folder: Path) -> None:
    db = sqlite3.connect(folder / "a")
    db.execute("create table t (x)")
    db.executemany("insert into t values (?)", [("x" * 1000,)] * 100)
    db.commit()


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "x"), OSError(EMFILE), ImportError(EMFILE)])
def test_too_few_descriptors_are_told_whoever_finds_none(error: Exception) -> None:
    """What loads a library has no error number."""
    known = explained(error, "crawl")
    assert known and "crawl: too few file descriptors" in known.problem and concerns_all(error)


@pytest.mark.parametrize("write", [python_file, safetensors_file, parquet_file, numpy_file, mapped_file, database])
def test_a_full_disk_is_told_whoever_writes(tmp_path: Path, write: Callable[[Path], None]) -> None:
    with small_files(2000), pytest.raises(Exception) as failed:
        write(tmp_path)
    known = explained(failed.value, "sft")
    assert known and known.problem.startswith("sft: "), failed.value
    assert "space" in str(known)


def test_a_process_that_is_gone_is_told() -> None:
    said = (
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:7: Connection reset by peer"
    )
    assert "pretrain: another process of this training has ended" in str(explained(RuntimeError(said), "pretrain"))
    assert explained(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def test_what_is_no_failure_of_the_users_is_not_taken_for_one() -> None:
    assert explained(ValueError("no space between words")) is None
    assert explained(SafetensorError("header too large")) is None
    assert explained(OSError("it is odd")) is None
    denied = PermissionError(errno.EACCES, "Permission denied", "x")
    assert "cannot write x: Permission denied" in str(explained(denied))


def test_a_full_disk_while_a_snapshot_is_written(inputs: dict[str, Path], tmp_path: Path) -> None:
    """The stage ends with the message; with space again it goes on, and gives the same bytes."""
    shape = {"layers": 1, "width": 32, "heads": 1, "kv_heads": 1, "ffn_width": 32, "context": 32, "batch": 2}
    params = Pretrain(**shape, max_steps=6, snapshots=3, checkpoint_seconds=0, sample_prompts=[])  # type: ignore[arg-type]
    with small_files(20_000), pytest.raises(UserError, match="pretrain: no space is left"):
        run.execute(BY_NAME["pretrain"], inputs, params, tmp_path / "out")
    assert not (tmp_path / "out").exists() and (tmp_path / "out.partial").exists()
    outputs = []
    for name in ("out", "whole"):
        made = run.execute(BY_NAME["pretrain"], inputs, params, tmp_path / name)
        assert made
        outputs.append({file: digest for file, digest in made.outputs.items() if file != "log.jsonl"})
    assert outputs[0] == outputs[1] and any("snapshots/" in file for file in outputs[0])


def broken(*_: object) -> Manifest:
    """A stage with a fault."""
    raise ZeroDivisionError("division by zero")


def test_a_fault_of_ours_is_one_line_and_its_traceback_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    (tmp_path / "a.txt").write_text("The miller went down to the river before the sun was up.")
    (tmp_path / "r.toml").write_text(RECIPE)
    arguments = "run", tmp_path / "r.toml", "-o", tmp_path / "run"
    kept = tmp_path / "run" / TRACEBACK
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "function", lambda self: broken)
        done = command(*arguments)
        assert done.code == 1
        line = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
        assert "ZeroDivisionError: division by zero" in line and line.endswith(str(kept))
        assert "Traceback" not in done.stderr and "in broken" in kept.read_text()
        done = command("extract", tmp_path / "a.txt", "-o", tmp_path / "alone")
        assert done.code == 1
        elsewhere = Path(done.stderr.splitlines()[-1].rpartition(" ")[2])
        assert "in broken" in elsewhere.read_text()
        elsewhere.unlink()
    assert command(*arguments).code == 0
    assert not kept.exists()


def test_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    def interrupted(*_: object) -> Manifest:
        raise KeyboardInterrupt

    (tmp_path / "r.toml").write_text(RECIPE)
    (tmp_path / "a.txt").write_text("x")
    monkeypatch.setattr(Stage, "function", lambda self: interrupted)
    done = command("run", tmp_path / "r.toml", "-o", tmp_path / "run")
    assert done.code == 130 and "interrupted; the same command goes on from here" in done.stderr


def test_no_figure_is_not_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"sft: not finite: loss, worst"):
        Manifest(stage="sft", metrics={"loss": float("nan"), "worst": float("inf"), "best": 1.0}).write(tmp_path)
    assert not (tmp_path / "manifest.json").exists()

    def unmeasured(*_: object) -> Manifest:
        return Manifest(metrics={"loss": float("nan"), "best": 1.0})

    before = Stage.function
    (tmp_path / "a.txt").write_text("x")
    try:
        Stage.function = lambda self, name="run": unmeasured  # type: ignore[method-assign]
        recipe = validate(Recipe, {"extract": {"paths": [str(tmp_path / "a.txt")]}}, "test")
        summary = run.run_recipe(recipe, tmp_path / "run")
    finally:
        Stage.function = before  # type: ignore[method-assign]
    assert summary["extract.best"] == 1.0 and "extract.loss" not in summary
    made = Manifest.read(tmp_path / "run" / "extract")
    assert made and made.unmeasured == ["loss"]
    assert "loss is nan: not measured" in capsys.readouterr().err
    assert "NaN" not in (tmp_path / "run" / "summary.json").read_text()


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "", ".", "..", "a/b", "a\\b", "a\nb", "x" * 300])
def test_names_do_not_leave_the_folder_of_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text(f"name = {json.dumps(name)}\n{RECIPE}")
    assert "`name`" in refusal("run", "r.toml") and [path.name for path in tmp_path.iterdir()] == ["r.toml"]


def test_what_is_written_can_be_read_by_others(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "model.safetensors") as path:
        save_file({"w": torch.zeros(2)}, path)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o644
    (tmp_path / "a.txt").write_text("The miller went down to the river before the sun was up.")
    params = validate(Recipe, {"extract": {"paths": [str(tmp_path / "a.txt")]}}, "test").extract
    assert params and run.execute(BY_NAME["extract"], {}, params, tmp_path / "out")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert set(modes.values()) == {0o644}, modes
    assert os.umask(0o022) == 0o022


def test_where_there_was_no_room_is_told_and_no_half_of_a_recipe_is_left(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("The mill opens at nine.\n")
    with small_files(10), pytest.raises(OSError) as failed:
        new_folder(tmp_path / "notes.txt", tmp_path / "notes.toml")
    told = explained(failed.value)
    assert told and " on the disk at /" in told.problem and str(tmp_path / "notes.toml") in told.problem
    assert not (tmp_path / "notes.toml").exists()

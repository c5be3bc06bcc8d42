"""kill -9 at any moment of any stage: the same command goes on from there, and leaves the same bytes."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from forks import Commands, goes_on_alike
from tiny import ENVIRONMENT, NAMES, arguments, command, outputs, without

from gristmill.manifest import WORK, Manifest
from gristmill.processes import descendants

PREPARING = ("crawl", "dedup", "redact", "passages", "tokenize")
LEARNING = ("pretrain", "sft", "dpo", "kto", "reward", "rl")
ASKING = ("evaluate", "audit")


class Moments:
    """When to kill what took `seconds` once: drawn at random, and from half of the time after a kill that came late,
    for that one run may have had a busier machine."""

    def __init__(self, seed: str, seconds: float) -> None:
        self.draw, self.within, self.kills = random.Random(seed), seconds, 0

    def delay(self) -> float:
        return self.draw.random() * self.within

    def told(self, came: bool) -> None:
        """Whether the kill came while the work was going on."""
        self.kills += came
        self.within *= 1 if came else 0.5


def finished(partial: Path) -> int:
    """How many steps of a stage, or parts of it, a kill does not undo."""
    steps = [int(folder.name[5:]) for folder in (partial / "checkpoints").glob("step-????????")]
    return max([*steps, len(list((partial / WORK).glob("*.json")))])


def killed(commands: Commands, out: Path, stage: str, least: int, delay: float) -> int | None:
    """Kill a run of a stage `delay` seconds after so much of it is finished; how much then was, None if all."""
    partial = out / f"{stage}.partial"
    commands.start(arguments(out, "--until", stage))
    while not commands.over() and not (partial.exists() and finished(partial) >= least):
        time.sleep(0.001)
    time.sleep(delay)
    if not commands.over():
        commands.kill()
    code = commands.wait()  # 0: it was over before the kill came
    assert code in (0, -signal.SIGKILL), commands.printed()
    return None if code == 0 or not partial.exists() else finished(partial)


def goes_on(printed: str, done: int) -> None:
    """Check that a command has gone on after so much of a stage, or more."""
    told = re.search(r"going on after (?:step )?(\d+)", printed)
    assert not done or (told and int(told[1]) >= done), printed


def test_killed_in_stage_after_stage_a_run_goes_on_and_leaves_the_same_bytes(
    whole: Path, commands: Commands, tmp_path: Path
) -> None:
    """And nothing that was finished before a kill is done again."""
    out, done = tmp_path / "run", 0
    for stage in (*PREPARING, *LEARNING, *ASKING):
        least = 0 if stage in PREPARING else 2
        found = killed(commands, out, stage, least, 0.0)
        goes_on(commands.printed(), done)  # of the stage before, which this command has ended
        while found is None:  # it was over before this process saw it
            shutil.rmtree(out / stage)
            found = killed(commands, out, stage, least, 0.0)
        assert found >= least
        done = found if least else 0
    last = commands.run(arguments(out))
    goes_on(last.stderr, done)
    first, second = outputs(whole), outputs(out)
    first.pop("report"), second.pop("report")  # it tells the seconds that each stage took
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("stage", NAMES)
def test_ten_kills_in_every_stage(stage: str, whole: Path, commands: Commands, tmp_path: Path) -> None:
    made = Manifest.read(whole / stage)
    assert made
    moments = Moments(stage, made.seconds)
    for attempt in range(30):
        out = without(whole, tmp_path / str(attempt), stage)
        moments.told(killed(commands, out, stage, 0, moments.delay()) is not None)
        goes_on_alike(commands, out, stage, whole)
        shutil.rmtree(out)
        if moments.kills == 10:
            return
    raise AssertionError(f"only {moments.kills} of 30 came while {stage} ran")


def killed_worker(
    process: subprocess.Popen[str], sign: str, ready: Path, least: int, moments: Moments
) -> tuple[str, bool]:
    """Kill one of the processes that a run has started, whose command line holds `sign`, after there were `least` of
    them and `ready`; what the run printed, and whether the one killed was still there."""
    workers: list[int] = []
    while process.poll() is None and not (ready.exists() and len(workers) >= least):
        workers = [child for child in descendants(process.pid)[1:] if sign in command_line(child)]
        time.sleep(0.002)
    time.sleep(moments.delay())
    there = False
    if process.poll() is None and workers:
        chosen = moments.draw.choice(workers)
        there = sign in command_line(chosen)
        with suppress(ProcessLookupError):
            os.kill(chosen, signal.SIGKILL)
    return process.communicate(timeout=300)[1], there


def command_line(process: int) -> str:
    """What a process was started with; nothing where it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "sign"), [("processes", "spawn_main"), ("ray", "ray::finish_in")])
def test_ten_kills_of_one_of_the_workers(engine: str, sign: str, tmp_path: Path) -> None:
    """The run says so and stops, or Ray does that worker's part again; nothing is lost."""
    if engine == "ray":
        pytest.importorskip("ray", reason="needs Ray: pip install 'gristmill[ray]'")
    (tmp_path / "in").mkdir()
    draw = random.Random(0)
    for number in range(40):
        lines = (" ".join("".join(draw.choices("abcdefgh", k=5)) for _ in range(80)) for _ in range(2_000))
        (tmp_path / "in" / f"{number}.txt").write_text("\n\n".join(lines))
    stages = ("extract", "dedup", "redact")
    recipe = f'[extract]\npaths = ["{tmp_path / "in"}"]\n[dedup]\n[redact]\n'
    (tmp_path / "recipe.toml").write_text(recipe)

    def start(out: Path, *more: str) -> subprocess.Popen[str]:
        arguments = [
            "run",
            str(tmp_path / "recipe.toml"),
            "--out",
            str(out),
            "--workers",
            "2",
            "--engine",
            engine,
            *more,
        ]
        return subprocess.Popen([sys.executable, "-m", "gristmill", *arguments], stderr=subprocess.PIPE, text=True)

    assert start(tmp_path / "whole").wait(300) == 0
    made = {stage: Manifest.read(tmp_path / "whole" / stage) for stage in stages}
    moments = {stage: Moments(stage, manifest.seconds / 2) for stage, manifest in made.items() if manifest}
    killed_in = ("extract", "redact") if engine == "ray" else stages  # Ray's tasks of dedup are over in milliseconds
    for attempt in range(60):
        stage = killed_in[attempt % len(killed_in)]
        out = tmp_path / str(attempt)
        shutil.copytree(tmp_path / "whole", out)
        for name in stages[stages.index(stage) :]:
            shutil.rmtree(out / name)
        process = start(out, "--until", stage)
        least = 1 if engine == "ray" else 2  # Ray names a worker so while it works, the pool as long as it lives
        told, there = killed_worker(process, sign, out / f"{stage}.partial", least, moments[stage])
        assert process.returncode in (0, 2), told
        assert process.returncode == 0 or "a worker process was ended from outside" in told, told
        moments[stage].told(there if engine == "ray" else process.returncode == 2)
        assert start(out, "--until", stage).wait(300) == 0
        assert outputs(out)[stage] == outputs(tmp_path / "whole")[stage]
        shutil.rmtree(out)
        if sum(each.kills for each in moments.values()) == 10:
            return
    raise AssertionError(f"too few of 60 came in time: { {stage: each.kills for stage, each in moments.items()} }")


@pytest.mark.slow
def test_ten_kills_of_one_of_torchruns_processes(whole: Path, tmp_path: Path) -> None:
    """The others end too, with a message; the same command goes on from the newest checkpoint."""

    def start(out: Path) -> subprocess.Popen[str]:
        python, *rest = command(out, "--until", "pretrain")
        launch = [python, "-m", "torch.distributed.run", "--nproc-per-node=2", *rest]
        return subprocess.Popen(launch, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)

    expected = without(whole, tmp_path / "two", "pretrain")
    assert start(expected).communicate(timeout=300)[1] is not None
    made = Manifest.read(expected / "pretrain")
    assert made
    moments = Moments("torchrun", made.seconds / 3)
    for attempt in range(30):
        out = without(whole, tmp_path / str(attempt), "pretrain")
        process = start(out)
        checkpoint = out / "pretrain.partial" / "checkpoints" / "step-00000001"
        told, _ = killed_worker(process, "-m gristmill", checkpoint.parent, 2, moments)
        assert process.returncode
        assert "fault of gristmill" not in told, told
        process = start(out)
        told = process.communicate(timeout=300)[1]
        assert process.returncode == 0 and ("going on after step" in told or "nothing to do" in told), told
        assert outputs(out)["pretrain"] == outputs(expected)["pretrain"]
        shutil.rmtree(out)
        moments.told("nothing to do" not in told)  # which had written all when its process was killed
        if moments.kills == 10:
            return
    raise AssertionError(f"only {moments.kills} of 30 came in time")

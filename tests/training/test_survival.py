"""Training survives kills at any moment, signals, full disks, damaged files and numbers that are not finite."""

from __future__ import annotations

import math
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import jsonl
import pytest
import torch
import torch.nn.functional as F
from command_line import python
from forks import Commands
from torch import nn

from gristmill import progress
from gristmill.errors import UserError
from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.training.checkpoint import STATE, Checkpoints, name_of
from gristmill.training.job import Job, Plan, StepLoss
from gristmill.training.log import mishaps
from gristmill.training.loop import MOST_ROLLBACKS, train
from gristmill.training.optimizer import Rates

PLAN = Plan("test", 12, Rates(0.02, 0.02, 0.005, 0.01), checkpoint_seconds=0)
SELDOM = Plan("test", 12, PLAN.rates)  # with checkpoints at evaluations and at the end alone


def learn(
    out: Path, plan: Plan = PLAN, at_step: Callable[[int], object] = id, spoil: frozenset[int] = frozenset()
) -> nn.Module:
    """Train a tiny model. `at_step` is called with every step's number, `spoil` names batches without a finite loss."""
    torch.manual_seed(0)
    model = Transformer(ModelConfig(40, 2, 8, 2, 1, 4, 12, 16))

    def loss(step: int) -> StepLoss:
        at_step(step)
        ids = torch.randint(0, 40, (2, 9), generator=torch.Generator().manual_seed(step))
        value = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        return StepLoss(value * (math.nan if step in spoil else 1), 16, {"batch": step})

    train(Job(model, loss, plan, lambda step: {"heldout_bpb": abs(step - 4) + 1.0}, every=4), out)
    return model


def result(out: Path, model: nn.Module) -> tuple[list[bytes], bytes]:
    """The bits of a model and its log."""
    return [value.numpy().tobytes() for value in model.state_dict().values()], (out / "log.jsonl").read_bytes()


def records(out: Path) -> list[dict[str, object]]:
    """The log."""
    return jsonl.read(out / "log.jsonl")


def steps_kept(out: Path) -> list[int]:
    """Which checkpoints there are."""
    return sorted(int(folder.name[5:]) for folder in (out / "checkpoints").iterdir())


DEATHS = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import torch
from dataclasses import replace
from test_survival import PLAN, learn, result
torch.set_num_threads(1)
out, deaths, plan = Path(sys.argv[1]), 0, replace(PLAN, steps=6)
expected = result(out.with_name("whole"), learn(out.with_name("whole"), plan))
while True:
    child = os.fork()
    if not child:  # dies at its n-th file operation, n growing by one from child to child
        left = deaths + 1
        def hook(event, arguments):
            global left
            if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir") and str(out) in str(arguments[0]):
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        os._exit(0 if result(out, learn(out, plan)) == expected else 1)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        print(deaths)
        sys.exit(os.waitstatus_to_exitcode(status))
    assert os.WTERMSIG(status) == signal.SIGKILL
    deaths += 1
"""


def test_killed_at_every_file_operation_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    here = Path(__file__).parent
    done = python(DEATHS, tmp_path / "killed", here, here.parent / "support")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15


def signalled(number: signal.Signals) -> Callable[[int], None]:
    """Sends this process a signal at the seventh step."""

    def at_step(step: int) -> None:
        if step == 7:
            os.kill(os.getpid(), number)

    return at_step


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    whole = result(tmp_path / "whole", learn(tmp_path / "whole"))
    out = tmp_path / "stopped"
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        learn(out, at_step=signalled(number))
    assert signal.getsignal(number) is before
    assert steps_kept(out)[-1] == 8, "a checkpoint after the step that was going on"
    seen: list[int] = []
    assert result(out, learn(out, at_step=seen.append)) == whole
    assert seen == [8, 9, 10, 11]


def test_the_newest_and_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    for keep in (1, 3):
        out = tmp_path / str(keep)
        learn(out, Plan("test", 18, PLAN.rates, checkpoint_seconds=0, keep=keep))
        # 4 is the best on held-out text, 16 what going back would lead to
        assert steps_kept(out) == sorted({4, 16, *range(18, 18 - keep, -1)})


def test_a_copy_next_to_checkpoints_is_left_alone(tmp_path: Path) -> None:
    kept, weights = Checkpoints(tmp_path, 2, 1), {"model.w": torch.ones(3)}
    assert not kept.save({"done": 1}, weights, lambda folder: None)
    copy = shutil.copytree(kept.folder / name_of(1), kept.folder / f"{name_of(1)}-mine")
    assert not kept.save({"done": 2}, weights, lambda folder: None)
    (kept.folder / name_of(2)).rename(tmp_path / "gone")
    found = kept.load(weights)
    assert found and found["done"] == 1 and (copy / "state.json").exists()


@pytest.mark.parametrize(("seconds", "expected"), [(3600.0, {0, 4, 8, 12}), (0.05, {0, 4, 6, 8, 12})])
def test_checkpoints_are_made_by_the_clock(tmp_path: Path, seconds: float, expected: set[int]) -> None:
    """At evaluations (every fourth step) and at the end too, where the clock alone would make none."""
    made: set[int] = set()

    def look(step: int) -> None:
        made.update(steps_kept(tmp_path))
        if step == 5:
            time.sleep(0.6)

    learn(tmp_path, Plan("test", 12, PLAN.rates, checkpoint_seconds=seconds), look)
    made.update(steps_kept(tmp_path))
    assert made == expected if seconds > 60 else made >= expected


def damage_by_cutting(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    os.truncate(file, file.stat().st_size - 10)


def damage_by_a_bit(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def damage_the_state(folder: Path) -> None:
    (folder / STATE).write_text("{")


def lose_a_file(folder: Path) -> None:
    next(folder.glob("*.safetensors")).unlink()


@pytest.mark.parametrize("damage", [damage_by_cutting, damage_by_a_bit, damage_the_state, lose_a_file])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    def die(step: int) -> None:
        if step == 10:
            raise InterruptedError

    whole = result(tmp_path / "whole", learn(tmp_path / "whole", SELDOM))
    for count, resumed in ((1, 4), (2, 0)):
        out = tmp_path / str(count)
        with pytest.raises(InterruptedError):
            learn(out, SELDOM, at_step=die)
        for step in steps_kept(out)[-count:]:
            damage(out / "checkpoints" / f"step-{step:08}")
        seen: list[int] = []
        assert result(out, learn(out, SELDOM, at_step=seen.append)) == whole
        assert seen[0] == resumed
        told = capsys.readouterr().err
        assert "step-00000008 is damaged" in told.replace("\n", "")


def test_a_full_disk_does_not_stop_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = result(tmp_path / "whole", learn(tmp_path / "whole"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step: int) -> None:  # from step 4 to 8 no file may grow beyond 100 bytes
        if step in (4, 8):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100 if step == 4 else limits[0], limits[1]))

    try:
        found = result(tmp_path / "full", learn(tmp_path / "full", at_step=fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert found == whole
    assert "no checkpoint could be written" in capsys.readouterr().err
    assert steps_kept(tmp_path / "full") == [4, 11, 12]


def test_weights_that_are_not_finite_are_no_checkpoint(tmp_path: Path) -> None:
    kept, weights = Checkpoints(tmp_path, 2, 1), {"model.w": torch.ones(3)}
    assert not kept.save({"done": 1}, weights, also=lambda folder: None)
    weights["model.w"][1] = math.inf
    assert "finite" in kept.save({"done": 2}, weights, also=lambda folder: None)
    assert kept.load(weights) and weights["model.w"].tolist() == [1, 1, 1]


def test_single_bad_batches_are_skipped_and_several_lead_back(tmp_path: Path) -> None:
    learn(tmp_path / "skipped", spoil=frozenset({2, 7, 8}))
    assert mishaps(records(tmp_path / "skipped"))["skipped_steps"] == 3
    assert mishaps(records(tmp_path / "skipped"))["rollbacks"] == 0

    learn(tmp_path / "back", spoil=frozenset({7, 8, 9}))
    log = records(tmp_path / "back")
    assert mishaps(log) == {"skipped_steps": 3, "rollbacks": 1}
    learned = [(record["step"], record["batch"]) for record in log if "loss" in record]
    # back to step 4, the newest that was scored, whatever checkpoints the clock has made since; on with the batches
    # after the bad ones: no step is learned twice, none is left out
    assert learned == [(step, step if step < 4 else step + 6) for step in range(12)]
    assert all(math.isfinite(record["loss"]) for record in log if "loss" in record)  # type: ignore[arg-type]

    def die(step: int) -> None:
        if step == 14:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        learn(tmp_path / "died", spoil=frozenset({7, 8, 9}), at_step=die)
    learn(tmp_path / "died", spoil=frozenset({7, 8, 9}))
    assert records(tmp_path / "died") == log


def test_tensorboard_reads_what_was_logged_and_a_resumed_run_leaves_the_same_file(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plan = Plan("test", 12, PLAN.rates, checkpoint_seconds=0, tensorboard=True)
    learn(tmp_path / "whole", plan)
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "stopped", plan, at_step=signalled(signal.SIGTERM))
    learn(tmp_path / "stopped", plan)
    files = [next((tmp_path / name / "tensorboard").iterdir()) for name in ("whole", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()
    events = EventAccumulator(str(files[0]))
    events.Reload()
    logged = [(record["step"], record["loss"]) for record in records(tmp_path / "whole") if "loss" in record]
    assert [(event.step, pytest.approx(event.value)) for event in events.Scalars("loss")] == logged
    assert len(events.Scalars("heldout_bpb")) == 4


def test_a_hopeless_training_ends_with_a_clear_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"after going back {MOST_ROLLBACKS} times.*\n.*learning rates"):
        learn(tmp_path, spoil=frozenset(range(5, 1000)))


def test_a_command_that_is_stopped_says_how_to_go_on(
    tokenizer_folder: Path, tokens_folder: Path, tmp_path: Path, commands: Commands
) -> None:
    settings = ["--set=max_steps=2000", "--set=layers=1", "--set=evaluate_every=1000", "--set=width=32"]
    commands.start(["pretrain", tokenizer_folder, tokens_folder, "-o", tmp_path / "out", *settings])
    log = tmp_path / "out.partial" / "log.jsonl"
    commands.until(lambda: log.exists() and log.read_text().count('"loss"') > 3)
    commands.signal(signal.SIGTERM)
    assert commands.wait() == 130
    told = commands.printed()
    assert "stopped after step" in told and "the same command goes on" in told
    assert len(steps_kept(tmp_path / "out.partial")) == 2  # the first and the last
    settings[0] = "--set=max_steps=2"
    other = commands.run(["pretrain", tokenizer_folder, tokens_folder, "-o", tmp_path / "out", *settings], tmp_path)
    assert other.code == 0 and "made otherwise (parameters: max_steps), and is removed" in " ".join(
        other.stderr.split()
    )


def test_a_signal_while_a_checkpoint_is_written_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Checkpoints.save
    for last, done in ((0, 0), (12, 12)):  # before the first step, after the last one

        def signalling(
            self: Checkpoints, state: dict[str, object], *rest: object, at: int = last, **more: object
        ) -> str:
            told = save(self, state, *rest, **more)  # type: ignore[arg-type]
            if state["done"] == at:
                os.kill(os.getpid(), signal.SIGTERM)
            return told

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Checkpoints, "save", signalling)
            learn(tmp_path / f"{last}")
        assert max(steps_kept(tmp_path / f"{last}")) == done


def test_the_progress_line_tells_what_is_and_when_a_scoring_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also after going on from a checkpoint: nothing that the earlier run said stays on the line."""
    monkeypatch.setattr(progress, "LOG_EVERY", -1.0)  # every line
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path, at_step=lambda step: os.kill(os.getpid(), signal.SIGINT) if step == 6 else None)
    capsys.readouterr()
    learn(tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if " steps " in line]
    assert [line.split()[1] for line in lines] == ["8/12", "9/12", "10/12", "11/12", "12/12", "12/12"]
    told = ["heldout_bpb 5.000 at step 8"] * 4 + ["heldout_bpb 9.000 at step 12"] * 2
    assert all(scoring in line for scoring, line in zip(told, lines, strict=True))
    rates = [float(line.split()[3].removesuffix("/s").removesuffix("k")) for line in lines]
    assert all(rate > 0 for rate in rates)

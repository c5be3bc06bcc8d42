"""The one training loop. A job says what is trained and how; the loop does the rest."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from gristmill.errors import UserError
from gristmill.model.kernels import fast_products
from gristmill.model.ops import low_precision
from gristmill.processes import LEADER, SIZE
from gristmill.progress import Progress, Rate, console, duration, quantity, warn
from gristmill.training.checkpoint import Checkpoints, name_of
from gristmill.training.job import Job, StepLoss
from gristmill.training.log import Log, LogLine, mishaps
from gristmill.training.optimizer import Optimizer, WeightMean, share_of_peak
from gristmill.training.parallel import Shared, join, total
from gristmill.training.scoring.scheduled import told
from gristmill.training.traffic import SENT

LOG_EVERY = 10  # steps
PATIENCE = 3  # steps in a row that may have no finite loss and gradient
MOST_ROLLBACKS = 3
SPEED_SECONDS = 10.0  # of training that tokens per second are reported for
ANCHOR_STEPS, MOST_ANCHORS = 200, 20  # steps between two anchors where nothing is evaluated, and how many at most
PAUSE = 20  # times what a checkpoint takes is trained before the next one, where that is longer than the setting


@dataclass
class Trained:
    """How far training is."""

    done: int = 0  # steps
    tokens: int = 0
    shift: int = 0  # steps by which the data is ahead of the schedule: what going back has left out
    records: int = 0  # of the log
    failed: int = 0  # checkpoints that could not be written: no matter for the log, whose bytes are those without


def train(job: Job, out: Path) -> list[LogLine]:
    """Train a job's model in place and write `out/log.jsonl`; returns the log's records.

    Every `plan.checkpoint_seconds`, after every evaluation and at the end, the whole state goes to `out/checkpoints`;
    a run that finds some there goes on from the newest and ends with the same bits as if it had never stopped (on one
    machine and thread count). SIGTERM and Ctrl-C write one too and raise KeyboardInterrupt. `job.evaluate` is called
    before the first step, every `job.every` steps and after the last one.

    A step without a finite loss and gradient changes nothing. After PATIENCE of them in a row training goes back to the
    newest anchor (the checkpoint of an evaluation, or one of every ANCHOR_STEPS), and on from there with the data that
    comes after the bad step (as PaLM did, arXiv:2204.02311 §5.1). Raises UserError where that has happened
    MOST_ROLLBACKS times and happens again.
    """
    return Training(job, out).run()


class Training:
    """A training in progress."""

    def __init__(self, job: Job, out: Path) -> None:
        join()
        self.job, self.model, self.plan = job, job.model, job.plan
        self.device = next(job.model.parameters()).device
        low = self.device.type == "cuda" if job.plan.bfloat16 is None else job.plan.bfloat16
        self.shared = Shared(job.model, job.plan.parallel, low)
        self.optimizer = Optimizer(job.model, job.plan.rates)
        self.mean = WeightMean(job.model, job.plan.steps, job.plan.swa)
        anchor = job.every or max(ANCHOR_STEPS, job.plan.steps // MOST_ANCHORS)
        self.anchor = -(-anchor // job.plan.unit) * job.plan.unit
        self.log, self.checkpoints = Log(out, job.plan.tensorboard), Checkpoints(out, job.plan.keep, self.anchor)
        self.due = time.monotonic() + job.plan.checkpoint_seconds  # when the next checkpoint is, at the earliest
        self.state, self.bad = Trained(), 0  # bad: steps in a row
        self.loss: float | None = None  # of the newest sound step
        self.told: set[str] = set()  # warnings
        self.speed = Rate(SPEED_SECONDS)  # tokens a second of steps alone: not of scoring and checkpoints
        self.sent = 0  # bytes in the last step, by this process

    def run(self) -> list[LogLine]:
        """From the newest checkpoint, or the beginning, to the end."""
        plan = self.plan
        fresh = not self.restore()
        self.model.train()
        if self.job.tasks:
            self.job.tasks.warn()
        with fast_products(), Progress(plan.task, plan.steps, "steps") as bar, signals() as received:
            bar.resume(self.state.done)
            if fresh:
                self.save(self.evaluate())
                self.stop(SIZE == 1 and bool(received))
            else:
                console.print(f"           going on after step {self.state.done:,} of {plan.steps:,}")
            while self.state.done < plan.steps:
                stopped, due = self.step(received)
                if self.bad == PATIENCE:
                    self.roll_back()
                    bar.resume(self.state.done)
                    continue
                done, score = self.state.done, None
                self.mean.add(done)
                if done == plan.steps:
                    self.mean.take()
                whole = done % plan.unit == 0 or done == plan.steps
                if done == plan.steps or (self.job.every and done % self.job.every == 0):
                    score = self.evaluate()
                stopped = stopped or (SIZE == 1 and bool(received))  # one may have come while the model was scored
                if whole and (stopped or due or done == plan.steps or done % self.anchor == 0) and not self.bad:
                    self.save(score)
                self.stop(stopped and whole)
                bar.advance(1, lambda: note(self.loss, self.log.records, self.speed.value()))
            self.stop(SIZE == 1 and bool(received))  # while the last checkpoint was written
        self.job.watch.warn(self.log.records, self.told)  # what its last steps showed, too
        self.log.finish()
        self.job.counts["failed_checkpoints"] = self.state.failed
        if SIZE > 1:
            self.job.counts["bytes_sent_a_step"] = self.sent
        self.shared.unwrap()
        if self.job.tasks:
            console.print(f"           tasks took {duration(self.job.tasks.seconds)}, not counted in tokens/s")
        return self.log.records

    def stop(self, told: bool) -> None:
        """End, if told to; after the last step too: other stages would follow. What is done has been saved."""
        if told:
            done, steps = self.state.done, self.plan.steps
            console.print(f"           stopped after step {done:,} of {steps:,}; the same command goes on")
            raise KeyboardInterrupt

    def step(self, received: list[int]) -> tuple[bool, bool]:
        """Compute a step and change the weights, if it is sound; returns whether a process was told to stop, and
        whether a checkpoint is due by the leader's clock."""
        plan, state, began = self.plan, self.state, time.monotonic()
        values: list[Tensor] = []
        tokens, before = 0, SENT.total()
        figures: dict[str, float] = {}
        for part in range(plan.accumulate):
            arguments = (state.done + state.shift, part) if plan.accumulate > 1 else (state.done + state.shift,)
            with self.shared.part(last=part == plan.accumulate - 1):
                loss: StepLoss = self.shared.call(self.job.loss, *arguments)
                (loss.value * SIZE if SIZE > 1 else loss.value).backward()  # they take the mean over processes
            values.append(loss.value.detach())
            tokens, figures = tokens + loss.tokens, loss.figures
        norm = self.shared.clip(plan.clip)  # what waits for a GPU, once a step
        value: float = sum(part.item() for part in values)
        value, all_tokens, stops, due = total(value, tokens, len(received), LEADER and time.monotonic() >= self.due)
        share = share_of_peak(state.done, plan.steps, plan.warmup, plan.decay)
        record: LogLine = {}
        if math.isfinite(norm) and math.isfinite(value):
            self.optimizer.step(share, state.done)
            self.bad, self.loss, record["loss"] = 0, value, round(value, 5)
        else:  # one bad batch must not spoil the model
            self.model.zero_grad()
            self.bad += 1
            record["skipped"] = True
        state.tokens += int(all_tokens)
        if "skipped" in record or state.done % LOG_EVERY == 0 or figures:
            begin = {"step": state.done, "tokens": state.tokens}
            self.log.add(begin | record | {"lr": round(share, 4)} | figures)
        if figures and state.done % LOG_EVERY == 0:
            self.job.watch.warn(self.log.records, self.told)
        state.done += 1
        self.sent = SENT.total() - before
        self.speed.add(all_tokens, began, time.monotonic())
        return stops > 0, due > 0

    def evaluate(self) -> float | None:
        """Evaluate, if the job says how; returns held-out bits per byte, if that is found."""
        if self.job.evaluate is None:
            return None
        self.model.eval()
        with torch.no_grad(), low_precision(self.device) if self.shared.low else nullcontext():
            figures = self.shared.call(self.job.evaluate, self.state.done)
            if self.job.tasks and self.job.tasks.schedule.due(self.state.done):
                figures |= self.shared.call(self.job.tasks)
        self.shared.reshard()
        self.model.train()
        record = {"step": self.state.done, "tokens": self.state.tokens} | figures
        self.log.add(record)
        self.job.watch.warn(self.log.records, self.told)
        score: float | None = figures.get("heldout_bpb")
        return score

    def tensors(self) -> dict[str, Tensor]:
        """All numbers of model and optimizer. Writing into them changes both."""
        self.shared.reshard()
        model = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        return model | self.optimizer.state() | self.mean.state()

    def save(self, score: float | None) -> None:
        """Write a checkpoint, if possible."""
        began, self.state.records = time.monotonic(), len(self.log.records)
        state = asdict(self.state) | ({} if score is None else {"heldout_bpb": score})
        self.state.failed += bool(self.checkpoints.save(state, self.tensors(), also=self.log.save))
        ended = time.monotonic()
        seconds = self.plan.checkpoint_seconds
        self.due = ended + min(max(seconds, PAUSE * (ended - began)), 10 * seconds)

    def restore(self, anchored: bool = False) -> bool:
        """Go back to the newest checkpoint, or to the newest anchor; returns whether there is one."""
        found = self.checkpoints.load(self.tensors(), anchored)
        if found:
            self.state = Trained(**{name: found[name] for name in asdict(self.state)})
        self.log.go_on(self.state.records, self.checkpoints.folder / name_of(self.state.done))
        self.told = set(self.job.watch.warnings(self.log.records))
        return found is not None

    def roll_back(self) -> None:
        """Go back to the newest anchor, and on with later data."""
        before, log = self.state, self.log.records
        times = mishaps(log)["rollbacks"]
        if times == MOST_ROLLBACKS or not self.restore(anchored=True):
            raise UserError(
                f"{self.plan.task}: loss or gradient is not finite from step {before.done - PATIENCE:,} on,"
                f" after going back {times} times",
                "lower the learning rates, or look for what is odd in the data",
            )
        state, self.bad, self.state.failed = self.state, 0, before.failed
        state.shift = before.done + before.shift - state.done
        told = f"no finite loss and gradient up to step {before.done:,}: back to step {state.done:,}"
        warn(f"           {told}, on with later data")
        for record in log[state.records :]:
            if "skipped" in record or "rolled_back_from" in record:
                self.log.add(record)
        self.log.add({"step": state.done, "tokens": state.tokens, "rolled_back_from": before.done})


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT (Ctrl-C) instead of ending; a second Ctrl-C ends at once, where that hurts no other
    process. Signals come to the main thread only: in another nothing is collected."""
    received: list[int] = []

    def handle(number: int, frame: object) -> None:
        if number == signal.SIGINT and received and SIZE == 1:
            raise KeyboardInterrupt
        received.append(number)
        console.print("           stopping after this step …")

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def note(loss: float | None, log: list[LogLine], tokens_per_second: float) -> str:
    """What the progress line says of training so far; a scoring, which may be long ago, with its step."""
    newest = list(reversed(log[-1000:]))
    reward = next((record["reward"] for record in newest if "reward" in record), None)
    figures = {"loss": loss, "reward": reward}
    parts = [f"{name} {round(value, 3) + 0.0:.3f}" for name, value in figures.items() if value is not None]
    measures = ("heldout_bpb", "train_bpb", "heldout_loss", "train_loss")
    scoring = next((record for record in newest if {"heldout_bpb", "heldout_loss"} & record.keys()), None)
    if scoring:
        bits = [f"{name} {scoring[name]:.3f}" for name in measures if name in scoring]
        parts.append(f"{' '.join(bits)} at step {scoring['step']:,}")
    parts += [*filter(None, map(told, newest))][:1]
    return ", ".join([*parts, f"{quantity(tokens_per_second)} tokens/s"])


def best_device() -> str:
    """Where to train: the GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"

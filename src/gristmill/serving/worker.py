"""The thread that generates for all requests at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from gristmill.generation.scheduler import Generation, Scheduler
from gristmill.serving.assistant import Assistant

IDLE = 1.0  # seconds without work, after which the thread ends; the next request begins another
PACE = 0.002  # seconds between wakings of the loop, but for first and last tokens: sooner, nobody sees


class Order:
    """Generations of one request; `fresh` is set when there is something to be read of them."""

    def __init__(self, generations: Sequence[Generation], eager: bool, finished: Callable[[], None]) -> None:
        """`eager`: tell of every token, not only of the end; `finished` is called once all have ended."""
        self.generations, self.eager, self.finished = generations, eager, finished
        self.fresh = asyncio.Event()
        if not generations:
            self.fresh.set()


class Worker:
    """One thread, one scheduler. All methods but `run` and what it calls belong to the event loop's thread.

    The loop is woken once for all answers that got on, and for several steps where they are short: it writes while C
    computes.
    """

    def __init__(self, assistant: Assistant) -> None:
        self.assistant = assistant
        self.scheduler: Scheduler | None = None
        self.orders: dict[Generation, Order] = {}
        self.commands: deque[Callable[[Scheduler], None]] = deque()
        self.moved: deque[Generation] = deque()
        self.posted = False
        self.lock, self.bell = threading.Lock(), threading.Event()
        self.thread: threading.Thread | None = None

    def submit(self, order: Order) -> None:
        """Let an order be made."""
        self.loop = asyncio.get_running_loop()
        for generation in order.generations:
            self.orders[generation] = order
            self.command(partial(Scheduler.add, generation=generation))

    def cancel(self, generations: Iterable[Generation]) -> None:
        """End generations; their slots are free before the next step."""
        ended = [one for one in generations if self.orders.pop(one, None)]
        if ended:
            self.command(lambda scheduler: scheduler.cancel(ended))

    def command(self, command: Callable[[Scheduler], None]) -> None:
        """Let the thread do something."""
        self.commands.append(command)
        self.bell.set()
        with self.lock:
            if self.thread is None:
                self.thread = threading.Thread(target=self.run, name="model", daemon=True)
                self.thread.start()

    def run(self) -> None:
        """Generate while there is work, and a little longer."""
        told = 0.0
        while True:
            self.bell.clear()
            moved = self.step()
            self.moved.extend(moved)
            urgent = any(one.done or len(one.tokens) == one.prompt + 1 for one in moved)
            if self.moved and not self.posted and (urgent or not moved or time.monotonic() - told > PACE):
                self.posted, told = True, time.monotonic()
                with suppress(RuntimeError):  # the loop has been closed
                    self.loop.call_soon_threadsafe(self.deliver)
            if moved:
                continue
            if not self.commands and not self.bell.wait(IDLE):
                with self.lock:
                    if not self.commands:
                        self.thread = None
                        return

    def step(self) -> list[Generation]:
        """Do what was commanded, and one step; those that got on or failed."""
        try:
            scheduler = self.scheduler = self.assistant.engine.scheduler
            while self.commands:
                self.commands.popleft()(scheduler)
            return scheduler.step()
        except Exception as error:  # noqa: BLE001 (each request tells its client, and the log)
            failed = [*self.assistant.engine.scheduler.going, *self.assistant.engine.scheduler.waiting]
            for generation in failed:
                generation.error = error
            self.assistant.engine.scheduler.cancel(failed)
            return failed

    def deliver(self) -> None:
        """Tell those whose answers got on."""
        self.posted = False
        while self.moved:
            generation = self.moved.popleft()
            order = self.orders.get(generation)
            if order is None:
                continue
            if generation.done:
                del self.orders[generation]
                if all(one.done for one in order.generations):
                    order.finished()
            if order.eager or generation.done:
                order.fresh.set()

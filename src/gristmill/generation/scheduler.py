"""Continuous batching: answers that are made together, and join and leave between steps (Yu et al. 2022, Orca).

A step reads the last token of each answer under way and a part of the prompts that are not read yet: a long one holds
up nobody (Agrawal et al. 2023, arXiv:2308.16369). Where few answers are under way, it also reads drafts of what comes
next: those tokens of them count that are drawn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from threading import RLock
from typing import NamedTuple

import numpy as np

from gristmill.errors import UserError
from gristmill.generation.cache_pages import Pages, key_after
from gristmill.generation.decoder import PAGE, Decoder, Rows
from gristmill.generation.prompt_lookup import PromptLookup
from gristmill.generation.sampling import FAILURES, Sampler, Told, sample, score

SLOTS = 64  # answers under way at a time; others wait
DRAFTED_FOR = 2  # answers under way; with more, a step is bound by arithmetic, of which drafts ask more
DRAFT_ROWS = 8  # tokens of a step with drafts, at most: the next one costs as much as several before it


class Token(NamedTuple):
    """One token of an answer, or of a prompt that is scored."""

    token: int
    logprob: float  # nats, under the model
    likeliest: dict[int, float]  # in its place, as many as were asked for


class Generation:
    """One completion while it is made. `end` is the stop token that ended it, `error` what went wrong."""

    def __init__(
        self, prompt: Sequence[int], sampler: Sampler, limit: int, stops: frozenset[int], scored: bool
    ) -> None:
        """`limit` of tokens in all, those of the prompt included; `scored`: whether to tell of the prompt's own."""
        self.tokens, self.prompt, self.limit, self.scored = list(prompt), len(prompt), limit, scored
        self.sampler, self.stops = sampler, stops
        self.made: deque[Token] = deque()  # taken from by whoever reads the answer
        self.prompt_scores: list[Token] = []  # of all its tokens but the first
        self.end: int | None = None
        self.error: Exception | None = None
        self.done = False
        self.lookup, self.draft = PromptLookup(), list[int]()  # what may follow, as far as it is not drawn
        self.read = self.shared = 0  # tokens whose keys and values are on pages, and those that were there before
        self.pages: list[int] = []
        self.table = np.zeros(-(-limit // PAGE), np.uint64)  # the same, as decoders take it
        self.keys = [b""]  # of no page and of the full ones
        self.wanted: list[bytes] = []  # of the prompt's pages, the last of which may not be full: all but a token
        for at in range(0, 0 if scored else self.prompt - 1, PAGE):
            part = self.tokens[at : min(at + PAGE, self.prompt - 1)]
            self.wanted.append(key_after(self.wanted[-1] if at else b"", part))

    @property
    def rows(self) -> int:
        """How many tokens are to be read before the next one can be drawn."""
        return len(self.tokens) - self.read

    def doubtful(self, token: int, logprob: float) -> bool:
        """Whether it is to break off before this token."""
        return self.sampler.doubtful(token, logprob, token in self.stops, self.limit - len(self.tokens))


class Scheduler:
    """Who is answered when. Threads may share one: whoever takes a step takes it for all."""

    def __init__(self, decoder: Decoder, vocabulary: int, banned: int) -> None:
        """`banned`: a token that is never drawn."""
        self.decoder, self.vocabulary, self.banned = decoder, vocabulary, banned
        self.pages, self.lock, self.told = Pages(decoder.new_page), RLock(), Told(SLOTS, vocabulary, 0)
        self.waiting: deque[Generation] = deque()
        self.going: list[Generation] = []
        self.promised: set[bytes] = set()  # pages that someone is reading: who begins alike waits for them
        self.steps = self.read = self.shared = 0  # steps, tokens read, tokens of prompts that needed no reading
        self.drafted = self.accepted = 0  # tokens of drafts, and those of them that were drawn

    def add(self, generation: Generation) -> None:
        """Let it be answered."""
        with self.lock:
            self.waiting.append(generation)

    def cancel(self, generations: Iterable[Generation]) -> None:
        """End them now."""
        with self.lock:
            for generation in generations:
                if not generation.done:
                    self.finish(generation)

    def finish(self, generation: Generation) -> None:
        """Free what it holds."""
        generation.done = True
        if generation in self.going:
            self.going.remove(generation)
        elif generation in self.waiting:
            self.waiting.remove(generation)
        self.promised.difference_update(generation.wanted[len(generation.keys) - 1 :])
        self.pages.release(generation.pages)
        generation.pages = []

    def admit(self) -> None:
        """Let those begin for whom there is room, with the pages that are known."""
        later: list[Generation] = []
        while self.waiting and len(self.going) < SLOTS:
            generation = self.waiting.popleft()
            for key in generation.wanted:
                full = (len(generation.pages) + 1) * PAGE < generation.prompt
                page = self.pages.share(key) if full else self.copied(key)
                if page is None:
                    break
                self.put(generation, page)
                generation.keys += [key] if full else []
            missing = generation.wanted[len(generation.pages) :]
            if missing and missing[0] in self.promised:
                self.pages.release(generation.pages)
                generation.pages, generation.keys = [], [b""]
                later.append(generation)
                continue
            self.promised.update(missing)
            generation.read = min(len(generation.pages) * PAGE, generation.prompt - 1)
            generation.shared = generation.read
            self.shared += generation.read
            self.going.append(generation)
        self.waiting.extendleft(reversed(later))

    def copied(self, key: bytes) -> int | None:
        """A page to write on that holds what the page of a key does, if that is known."""
        known = self.pages.known.get(key)
        if known is None:
            return None
        page = self.pages.take()  # the same one, if it has been unused the longest
        self.decoder.copy_page(known, page)
        return page

    def put(self, generation: Generation, page: int) -> None:
        """Append a page."""
        generation.table[len(generation.pages)] = page
        generation.pages.append(page)

    def step(self) -> list[Generation]:
        """Read once, and draw; returns those that got on (none, where nobody is left)."""
        with self.lock:
            return self.taken_step()

    def taken_step(self) -> list[Generation]:
        """The same, by one thread."""
        if self.waiting:
            self.admit()
        rows, wanted, room = Rows([], [], [], []), list[tuple[Generation, int]](), self.decoder.rows
        parts, most = list[tuple[Generation, int]](), self.most_drafted()
        for generation in self.going:
            count = min(generation.rows, room) if generation.rows > 1 else 1
            if count:
                room -= count if generation.rows > 1 else 0
                parts.append((generation, count))
                generation.draft = self.drafted_of(generation, most) if most else []
                self.plan(generation, count, rows, wanted)
        if not parts:
            return []
        self.steps, self.read = self.steps + 1, self.read + len(rows.tokens)
        logits = self.decoder.step(rows, len(wanted))
        for generation, count in parts:
            self.learn(generation, count)
        if any(generation.scored for generation, _ in parts):
            self.tell_scores(logits, wanted)
        self.draw(logits, wanted)
        for generation, _ in parts:
            if not generation.rows:  # nothing is to be drawn
                self.finish(generation)
        return [generation for generation, _ in parts]

    def most_drafted(self) -> int:
        """How many tokens may be drafted for each."""
        if not self.decoder.exact or not 0 < len(self.going) <= DRAFTED_FOR:
            return 0
        return max(0, DRAFT_ROWS // sum([generation.rows for generation in self.going]) - 1)

    def drafted_of(self, generation: Generation, most: int) -> list[int]:
        """What may come after the next token, once the first one came."""
        most = min(most, generation.limit - len(generation.tokens) - 1)
        if most <= 0 or len(generation.tokens) == generation.prompt:
            return []
        draft = generation.lookup.draft(generation.tokens, most)
        generation.lookup.refused += bool(draft)
        self.drafted += len(draft)
        return draft

    def plan(self, generation: Generation, count: int, rows: Rows, wanted: list[tuple[Generation, int]]) -> None:
        """Enter the next `count` tokens of one generation, and its draft. `wanted` gets, for each row of logits, whose
        next token it is about and which one."""
        start, count = generation.read, count + len(generation.draft)
        end = start + count
        while len(generation.pages) * PAGE < end:
            self.put(generation, self.pages.take())
        rows.tokens.extend(generation.tokens[start:end] + generation.draft)
        rows.positions.extend(range(start, end))
        rows.pages.extend([generation.table] * count)
        for place in range(start + 1, end + 1):
            drawn = len(generation.tokens) <= place < generation.limit
            asked = drawn or (generation.scored and place < generation.prompt)
            rows.outputs.append(len(wanted) if asked else -1)
            if asked:
                wanted.append((generation, place))

    def learn(self, generation: Generation, count: int) -> None:
        """So many more tokens were read."""
        generation.read += count
        while len(generation.keys) <= generation.read // PAGE:
            number = len(generation.keys) - 1
            key = key_after(generation.keys[-1], generation.tokens[number * PAGE : (number + 1) * PAGE])
            self.pages.learn(key, generation.pages[number])
            self.promised.discard(key)
            generation.keys.append(key)
        if generation.wanted and generation.read - count < generation.prompt <= generation.read:
            self.pages.learn(generation.wanted[-1], generation.pages[len(generation.wanted) - 1])
            self.promised.discard(generation.wanted[-1])

    def tell_scores(self, logits: np.ndarray, wanted: Sequence[tuple[Generation, int]]) -> None:
        """Score the tokens that are there already."""
        for generation in {one for one, place in wanted if place < len(one.tokens)}:
            places = {
                row: place for row, (one, place) in enumerate(wanted) if one is generation and place < len(one.tokens)
            }
            targets = [generation.tokens[place] for place in places.values()]
            told = score(logits[[*places]], self.vocabulary, targets, generation.sampler.params.logprobs)
            generation.prompt_scores += map(Token, *told)

    def prepared(self, generation: Generation) -> bool:
        """Know what may be drawn; where that cannot be known, the answer ends."""
        try:
            generation.sampler.prepare()
        except UserError as error:
            generation.error = error
            self.finish(generation)
        return not generation.error

    def break_off(self, generation: Generation) -> None:
        """End an answer with what it says in doubt, as far as there is room."""
        for token in generation.sampler.breaks_off()[: generation.limit - len(generation.tokens)]:
            generation.made.append(Token(token, 0.0, {}))
            generation.tokens.append(token)
        if len(generation.tokens) < generation.limit:
            generation.end = min(generation.stops)
            generation.made.append(Token(generation.end, 0.0, {}))
            generation.tokens.append(generation.end)
        self.finish(generation)

    def draw(self, logits: np.ndarray, wanted: Sequence[tuple[Generation, int]]) -> None:
        """Draw the tokens that are not, one of each answer at a time, as long as drafts hold what is drawn."""
        while rows := [
            row
            for row, (one, place) in enumerate(wanted)
            if place == len(one.tokens) == one.read and not one.done and self.prepared(one)
        ]:
            together = rows[-1] - rows[0] < len(rows)
            own = logits[rows[0] : rows[-1] + 1] if together else logits[rows]
            self.draw_rows(own, [wanted[row][0] for row in rows])

    def draw_rows(self, logits: np.ndarray, drawn: Sequence[Generation]) -> None:
        """Draw a token of each answer."""
        samplers = [generation.sampler for generation in drawn]
        made = sample(logits, self.vocabulary, self.banned, samplers, self.told)
        for generation, token, logprob, likeliest in zip(drawn, *made, strict=True):
            if token < 0:
                generation.error = ArithmeticError(FAILURES[token])
            elif generation.doubtful(token, logprob):
                self.break_off(generation)
                continue
            else:
                generation.sampler.take(token, logprob)
                generation.made.append(Token(token, logprob, likeliest))
                generation.tokens.append(token)
                generation.end = token if token in generation.stops else None
            held = generation.draft[:1] == [token]
            if held:
                generation.lookup.refused, self.accepted = 0, self.accepted + 1
            if token < 0 or token in generation.stops or len(generation.tokens) == generation.limit:
                self.finish(generation)
            elif held:
                del generation.draft[0]
                self.learn(generation, 1)

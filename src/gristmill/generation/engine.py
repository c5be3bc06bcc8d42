"""The one generation engine. Chat, server, evaluation and RL use it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from gristmill.errors import UserError
from gristmill.generation.decoder import Decoder, NativeDecoder
from gristmill.generation.grammar import Grammars
from gristmill.generation.sampling import Sampler
from gristmill.generation.sampling_params import Doubt, SamplingParams
from gristmill.generation.scheduler import Generation, Scheduler
from gristmill.generation.weight_type import WeightType
from gristmill.model.stored import StoredModel
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import OVER, THOUGHT

if TYPE_CHECKING:  # which the CPU does without
    import torch

    from gristmill.model.transformer import Transformer


class TooLong(UserError):
    """What does not fit in a model's context."""


@dataclass
class Completion:
    """What followed one prompt."""

    tokens: list[int] = field(default_factory=list)  # without the stop token
    logprobs: list[float] = field(default_factory=list)  # of each token (and the stop token), under the model
    end: int | None = None  # the token that ended it, None where a limit did

    @property
    def finish(self) -> str:
        """ "stop" where the model ended it, "length" where a limit did."""
        return "length" if self.end is None else "stop"


def load_together(model: Path, tokenizer: Path, device: str = "cpu") -> tuple[Transformer, Tokenizer]:
    """Read a model folder (of ours or of Hugging Face's) or a GGUF file, and a tokenizer folder.

    Raises UserError where they do not belong together.
    """
    from gristmill.model.formats.gguf_format import open_model

    words = Tokenizer.load(tokenizer)
    network = open_model(model, words.vocab_size, device)
    fit(model, network.config.vocab_size, tokenizer, words)
    return network, words


def fit(model: Path, vocabulary: int, folder: Path, tokenizer: Tokenizer) -> None:
    """Raise UserError where a model and a tokenizer do not belong together."""
    if vocabulary != tokenizer.vocab_size:
        raise UserError(
            f"{model} has {vocabulary} tokens, the tokenizer in {folder} {tokenizer.vocab_size}",
            "use the tokenizer of the same run",
        )


class Engine:
    """A model and its tokenizer, ready to generate. One caller at a time.

    `context` is the most tokens that it can read and write in all. A prompt and its completion lie within it. `weights`
    names the numbers that matrices are held in while it generates on a CPU: less of them are read for every token.
    """

    def __init__(
        self, model: Transformer | StoredModel, tokenizer: Tokenizer, weights: str = WeightType.FLOAT32
    ) -> None:
        """Raises UserError where the model cannot have such weights."""
        self.source, self.tokenizer, self.config = model, tokenizer, model.config
        if weights not in [*WeightType]:
            raise UserError(f"there are no {weights!r} weights", f"choose {', '.join(WeightType)}")
        self.weights = WeightType(weights)
        if self.weights != WeightType.FLOAT32 and not self.in_c:
            raise UserError(f"this model cannot generate with {weights} weights here", "use float32, or a CPU")
        self.context = model.config.context
        self.stops = tokenizer.stops
        self.state: object = None
        self.lock = Lock()  # threads that ask at once get one scheduler

    @classmethod
    def load(
        cls, model: Path | str, tokenizer: Path | str, device: str = "cpu", weights: str = WeightType.FLOAT32
    ) -> Engine:
        """Read a model (ours, a Hugging Face folder or a GGUF file) and a tokenizer folder, as `find_model` names them,
        to a device of PyTorch's. Raises UserError where one cannot be read, they do not belong together, or the model
        cannot have such weights.
        """
        folder, words = Path(model), Path(tokenizer)
        if device == "cpu" and (folder / "model.json").exists():
            try:
                stored, loaded = StoredModel(folder), Tokenizer.load(words)
                fit(folder, stored.config.vocab_size, words, loaded)
                engine = cls(stored, loaded, weights)
                assert engine.in_c and engine.scheduler
                return engine
            except UserError:
                raise
            except Exception:  # noqa: BLE001, S110 (what is wrong with the folder, PyTorch's way of reading it says)
                pass
        network, loaded = load_together(folder, words, device)
        return cls(network.eval(), loaded, weights)

    @cached_property
    def model(self) -> Transformer:
        """The network as a module of PyTorch."""
        from gristmill.model.transformer import load_model

        return load_model(self.source.folder) if isinstance(self.source, StoredModel) else self.source

    @cached_property
    def grammars(self) -> Grammars:
        """The forms that an answer can be held to (`SamplingParams.grammar`). Raises UserError without the extra."""
        return Grammars(self.tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.embed.weight.device

    @property
    def scheduler(self) -> Scheduler:
        """Who is answered when: a new one where the model has been trained on."""
        state: object = None
        if not isinstance(self.source, StoredModel):
            state = [(weight.data_ptr(), weight._version) for weight in self.source.parameters()]
        with self.lock:
            if state != self.state or not hasattr(self, "current"):
                self.current = Scheduler(self.decoder(), self.config.vocab_size, self.tokenizer.im_start)
                self.state = state
            return self.current

    @property
    def in_c(self) -> bool:
        """Whether the C step computes it: on a CPU, and whole."""
        if not NativeDecoder.covers(self.config) or isinstance(self.source, StoredModel):
            return NativeDecoder.covers(self.config)
        sharded = any(hasattr(weight, "full_tensor") for weight in self.source.parameters())  # among processes, by FSDP
        return self.device.type == "cpu" and not sharded

    def decoder(self) -> Decoder:
        """What reads tokens: C on a CPU."""
        if isinstance(self.source, StoredModel):
            with self.source.weights() as weight:
                return NativeDecoder(self.config, weight, self.weights)
        if self.in_c:
            weights = self.source.state_dict()
            return NativeDecoder(self.config, lambda name: weights[name].float().numpy(), self.weights)
        from gristmill.generation.torch_decoder import TorchDecoder

        return TorchDecoder(self.source)

    def generate(
        self,
        prompts: Sequence[list[int]],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        samples: int = 1,
        first: int = 0,
        doubt: Doubt | None = None,
    ) -> list[Completion]:
        """Complete prompts, lists of token ids, together, each `samples` times: `samples` completions of the first
        come first. Temperature 0 takes the likeliest token, top_k 0 and top_p 1 cut nothing; the same `seed` draws the
        same tokens. `first` is the number of the first prompt, where another process completes those before it. `doubt`
        breaks answers off at temperature 0.

        A completion ends at `<|im_end|>`, `<|endoftext|>`, `max_tokens` or the model's context. Raises UserError for
        a prompt that is empty, leaves no room or has an id that is no token's, for prompts that are one list of ids
        and no list of lists, and for settings of sampling that mean nothing.
        """
        params = SamplingParams(max_tokens, temperature, top_k, top_p, seed=seed, doubt=doubt)
        if samples < 1:
            raise UserError(f"samples = {samples}", "give 1 or more")
        if max_tokens < 1:
            return [Completion() for _ in prompts for _ in range(samples)]
        made = [
            self.begin(prompt, params, at * samples + number)
            for at, prompt in enumerate(prompts, first)
            for number in range(samples)
        ]
        scheduler = self.scheduler
        try:
            for one in made:
                scheduler.add(one)
            for one in made:
                while not one.done:
                    scheduler.step()
        finally:
            scheduler.cancel(made)
        return [completion(one) for one in made]

    def stream(self, prompt: list[int], params: SamplingParams) -> Generator[int, None, None]:
        """Yield the token ids of one completion as they come (without the stop token); errors are those of
        `generate`."""
        made, scheduler = self.begin(prompt, params), self.scheduler
        scheduler.add(made)
        try:
            while made.made or not made.done:
                if made.made:
                    token = made.made.popleft().token
                    if token not in made.stops:
                        yield token
                else:
                    scheduler.step()
        finally:
            scheduler.cancel([made])
        if made.error:
            raise made.error

    def begin(self, prompt: list[int], params: SamplingParams, number: int = 0, scored: bool = False) -> Generation:
        """A completion to be given to the scheduler. `number` tells those apart that share a seed; `scored`: whether to
        tell the log-probabilities of the prompt, too. Raises UserError for a prompt that does not fit."""
        self.check([prompt])
        sampler = Sampler(params, prompt, self.config.vocab_size, number)
        limit = min(self.context, len(prompt) + max(0, params.max_tokens))
        return Generation(prompt, sampler, limit, self.stops | {*params.stop_ids}, scored)

    def doubt(self, below: float, words: str) -> Doubt | None:
        """What breaks answers off with some words where a token is less likely than `below`; None where that is 0. What
        is thought before them does not break off."""
        opens, closes = (self.tokenizer.shown.get(mark, -1) for mark in (THOUGHT, OVER))
        if not below:
            return None
        says, at_once = (tuple(self.tokenizer.encode(text)) for text in (f" … {words}.", f"{words}."))
        blank = frozenset(token for token, piece in enumerate(self.tokenizer.pieces) if not piece.strip())
        return Doubt(below, says, (opens, closes), at_once, blank)

    def check(self, prompts: Sequence[list[int]]) -> None:
        """Raise UserError for what cannot be generated from."""
        for prompt in prompts:
            if isinstance(prompt, int | np.integer):
                raise UserError("prompts are a list of lists of token ids, not one list", "give [prompt]")
            if not 0 < len(prompt) < self.context:
                raise TooLong(
                    f"a prompt of {len(prompt)} tokens does not fit this model (1 to {self.context - 1})",
                    "shorten it",
                )
            ids = np.asarray(prompt)
            if ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= self.config.vocab_size:
                known = range(self.config.vocab_size)
                wrong = next((one for one in prompt if isinstance(one, str) or one not in known), prompt)
                raise UserError(
                    f"{wrong!r} is no token of this model (0 to {self.config.vocab_size - 1})",
                    "give the ids that its own tokenizer makes of a text: engine.tokenizer.encode",
                )


def completion(made: Generation) -> Completion:
    """What was generated. Raises what went wrong."""
    if made.error:
        raise made.error
    tokens = [token.token for token in made.made if token.token not in made.stops]
    return Completion(tokens, [token.logprob for token in made.made], made.end)

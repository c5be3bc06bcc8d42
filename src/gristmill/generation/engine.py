"""The one generation engine: batched sampling with a key-value cache. Chat, server, evaluation and RL use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gristmill.errors import UserError
from gristmill.generation.sampling import Drawn, Sampler, sample
from gristmill.generation.sampling_params import SamplingParams
from gristmill.model.hf_format import open_model
from gristmill.model.transformer import Cache, Transformer
from gristmill.tokenizer.encode import Tokenizer


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
    """Read a model folder (of ours or of Hugging Face's) and a tokenizer folder.

    Raises UserError where they do not belong together.
    """
    words = Tokenizer.load(tokenizer)
    network = open_model(model, words.vocab_size, device)
    if network.config.vocab_size != words.vocab_size:
        raise UserError(
            f"{model} has {network.config.vocab_size} tokens, the tokenizer in {tokenizer} {words.vocab_size}",
            "use the tokenizer of the same run",
        )
    return network, words


class Engine:
    """A model and its tokenizer, ready to generate. One caller at a time.

    `context` is the most tokens that it can read and write in all. A prompt and its completion lie within it.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.context = model.config.context
        self.device = model.embed.weight.device
        self.stops = frozenset((tokenizer.end_of_text, tokenizer.im_end))

    @classmethod
    def load(cls, model: Path | str, tokenizer: Path | str, device: str = "cpu") -> Engine:
        """Read a model folder (of ours or of Hugging Face's) and a tokenizer folder, as `find_model` names them, to a
        device of PyTorch's. Raises UserError where one cannot be read or they do not belong together.
        """
        network, words = load_together(Path(model), Path(tokenizer), device)
        return cls(network.eval(), words)

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
    ) -> list[Completion]:
        """Complete prompts, lists of token ids, together, each `samples` times: `samples` completions of the first
        come first. Temperature 0 takes the likeliest token, top_k 0 and top_p 1 cut nothing; the same `seed` draws the
        same tokens. `first` is the number of the first prompt, where another process completes those before it.

        A completion ends at `<|im_end|>`, `<|endoftext|>`, `max_tokens` or the model's context. Raises UserError for
        a prompt that is empty or leaves no room, and for a temperature that is no number.
        """
        completions = [Completion() for _ in prompts for _ in range(samples)]
        params = SamplingParams(max_tokens, temperature, top_k, top_p, seed=seed)
        steps = self.steps(prompts, params, samples, first)
        for rows, (tokens, logprobs, _) in steps:
            for row, token, logprob in zip(rows, tokens, logprobs, strict=True):
                completions[row].logprobs.append(logprob)
                if token in self.stops:
                    completions[row].end = token
                else:
                    completions[row].tokens.append(token)
        return completions

    def stream(
        self,
        prompt: list[int],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[int]:
        """Yield the token ids of one completion as they come (without the stop token); settings and errors are those of
        `generate`."""
        params = SamplingParams(max_tokens, temperature, top_k, top_p, seed=seed)
        for _, ((token,), _, _) in self.steps([prompt], params):
            if token not in self.stops:
                yield token

    def check(self, prompts: Sequence[list[int]]) -> None:
        """Raise UserError for what cannot be generated from."""
        for prompt in prompts:
            if not 0 < len(prompt) < self.context:
                raise UserError(
                    f"a prompt of {len(prompt)} tokens does not fit this model (1 to {self.context - 1})",
                    "shorten it",
                )

    @torch.inference_mode()
    def steps(
        self, prompts: Sequence[list[int]], params: SamplingParams, samples: int = 1, first: int = 0
    ) -> Iterator[tuple[list[int], Drawn]]:
        """Yield (row numbers still going, what was drawn for each) until all have ended.

        Prompts are padded on the left, so that every row's last token is in the last column.
        """
        if not prompts or params.max_tokens < 1:
            return
        self.check(prompts)
        max_tokens = min(params.max_tokens, self.context)
        vocabulary, banned = self.model.config.vocab_size, self.tokenizer.im_start
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        longest = int(lengths.max())
        padded = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        ids_BT = torch.tensor(padded, device=self.device)
        total = min(longest + max_tokens, longest - int(lengths.min()) + self.context)
        cache = Cache(self.model.config, len(prompts), total, self.device)
        column_S = torch.arange(total, device=self.device)
        allowed_BS = column_S >= (longest - lengths)[:, None]
        positions_BT = (column_S[:longest] - (longest - lengths)[:, None]).clamp(min=0)
        causal = column_S[:longest] <= column_S[:longest, None]
        # a padding column sees itself: a row of nothing but -inf would be NaN
        mask = causal & (allowed_BS[:, None, None, :longest] | torch.eye(longest, dtype=torch.bool, device=self.device))
        hidden = self.model.hidden(ids_BT, cache=cache, positions_BT=positions_BT, mask=mask)
        if samples > 1:  # each prompt was read once
            keep = torch.arange(len(prompts), device=self.device).repeat_interleave(samples)
            cache.keep(keep)
            hidden, allowed_BS, positions_BT, lengths = (x[keep] for x in (hidden, allowed_BS, positions_BT, lengths))
        rows = list(range(len(lengths)))
        samplers = [Sampler(params, prompts[row // samples], vocabulary, first * samples + row) for row in rows]
        left = torch.minimum(torch.full_like(lengths, max_tokens), self.context - lengths).tolist()
        while True:
            logits_BV = self.model.logits(hidden[:, -1]).float().contiguous()
            # a turn can be opened by the template only
            drawn = sample(logits_BV.cpu().numpy(), vocabulary, banned, [samplers[row] for row in rows])
            left = [count - 1 for count in left]
            yield rows, drawn
            going = [i for i, token in enumerate(drawn.tokens) if token not in self.stops and left[i]]
            if not going:
                return
            keep = torch.tensor(going, device=self.device)
            if len(going) < len(rows):
                rows, left = [rows[i] for i in going], [left[i] for i in going]
                cache.keep(keep)
                allowed_BS = allowed_BS[keep]
            ids_BT = torch.tensor(drawn.tokens, device=self.device)[keep, None]
            positions_BT = positions_BT[keep, -1:] + 1
            mask = allowed_BS[:, None, None, : cache.used + 1]
            hidden = self.model.hidden(ids_BT, cache=cache, positions_BT=positions_BT, mask=mask)

"""What other tools make of an exported folder, held against what training made: token ids, probabilities, answers."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import torch

from gristmill.chat.layouts import Messages
from gristmill.chat.template import Template, template_of
from gristmill.errors import UserError, from_extra
from gristmill.export.gguf import gguf_name
from gristmill.export.trained import Trained
from gristmill.generation.engine import Engine
from gristmill.progress import console

TEXTS = (  # what tokenizers have come to differ on
    "I'll we've DON'T he'S can'ſ ''s 'tis l'été",
    "12345 6 ٣٤٥ ²³ Ⅷ½ 1,234.50 0x7f",
    "\r\n\n  \t x \x0b\x0c\x85\u2028\u2029y\n \n",
    "a\0b\0\0c  a\u00a0b \u00a0 c",
    "naïve 日本語 中文文本没有空格,只有标点。第二句!",
    "😀 👩‍👩‍👧‍👦 \ufeff\u200d\u200b \U0010ffff\ue000\ufffd\ufffe",
    "שלום עולם ไทยไม่มีช่องว่าง हिन्दी में मात्राएँ e\u0301\u0302 \u0301",
    "HTMLParser parseHTMLNow ÀÉé ǅ Straße ΣΊΣΥΦΟΣ",
    "a/b//c/\n/\n http://x.y/z?q=1#f    def f(self):\n\t\treturn {'a': [1, 2]}\n\n\n",
    "x" * 500 + "日" * 300 + "ab" * 50 + " " * 70 + "c",
)
TALK = (
    "",
    "Who are you?",
    "What do you know?",
    "Tell me a story.",
    "Where is it?",
    "Why?",
    "12 + 7 =",
    "Once upon a time",
)
PLACES = ("the river", "a town", "the king", "my house", "the sea", "an old book")
QUESTIONS = (*TALK, *(f"{ask} {place}?" for place in PLACES for ask in ("Who lives near", "What is the name of")))
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOL = {"type": "function", "function": {"name": "double", "description": "Twice as much", "parameters": NUMBER}}
ASKED = {"id": "call00001", "type": "function", "function": {"name": "double", "arguments": {"n": 21}}}
CALLED: Messages = [
    {"role": "system", "content": "", "tools": [TOOL]},
    {"role": "user", "content": "How much is twice 21?"},
    {"role": "assistant", "content": "", "tool_calls": [ASKED]},
    {"role": "tool", "tool_call_id": "call00001", "content": "42"},
]
LONGEST = 32  # tokens of an answer
EXACT = 1e-4  # nats by which a log-probability may differ in float32: sums are taken in another order
LIKELIEST = 1_000  # tokens whose log-probabilities are compared, at most
UNCHECKED = ", or leave out check"


class Peer(Protocol):
    """Another tool that has opened the folder."""

    name: str
    exact: bool  # whether it has the weights in float32

    def ids(self, text: str) -> list[int]:
        """The token ids of a text."""

    def prompt(self, messages: Messages) -> list[int]:
        """The token ids of messages in its chat template, the assistant's turn opened."""

    def logprobs(self, prompt: list[int]) -> dict[int, float]:
        """The likeliest tokens after a prompt, each with its log-probability in nats."""

    def answer(self, prompt: list[int], most: int) -> list[int]:
        """At most so many of the likeliest tokens after a prompt, up to the end of the turn."""


class Transformers:
    """The folder in transformers, as `from_pretrained` gives it."""

    name, exact = "transformers", True

    def __init__(self, folder: Path) -> None:
        with from_extra("check", "transformers is not there to be checked against", UNCHECKED):
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils import logging
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.words: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder)

    def ids(self, text: str) -> list[int]:
        return list(self.words(text)["input_ids"])

    def prompt(self, messages: Messages) -> list[int]:
        tools, said = messages[0].get("tools"), [one for one in messages if not one.get("tools")]
        made = self.words.apply_chat_template(said, tools=tools, add_generation_prompt=True, return_dict=True)
        return list(made["input_ids"])

    @torch.inference_mode()
    def logprobs(self, prompt: list[int]) -> dict[int, float]:
        scores = self.model(torch.tensor([prompt])).logits[0, -1].float().log_softmax(-1)
        values, tokens = scores.topk(min(LIKELIEST, len(scores)))
        return dict(zip(tokens.tolist(), values.tolist(), strict=True))

    def answer(self, prompt: list[int], most: int) -> list[int]:
        ids = torch.tensor([prompt])
        found = self.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=most)
        return list(found[0, len(prompt) :].tolist())


class LlamaCpp:
    """A GGUF file in llama.cpp's server, which listens on a loopback address of its own choice while this object lives:
    everything in float32 but what the file has otherwise, and without flash attention, which rounds."""

    def __init__(self, folder: Path, kind: str, trained: Trained) -> None:
        with from_extra("check", "llama.cpp (xllamacpp) is not there to be checked against", UNCHECKED):
            import xllamacpp
        self.name, self.exact = f"llama_cpp_{kind}", kind == "f32"
        self.forbidden, (self.letter,) = trained.tokenizer.im_start, trained.tokenizer.encode("a")
        self.vocab_size = trained.tokenizer.vocab_size
        settings = xllamacpp.CommonParams()
        settings.model.path = str(folder / gguf_name(kind))
        settings.n_ctx = trained.model.config.context
        settings.n_parallel, settings.port, settings.verbosity = 1, 0, 0
        settings.warmup = settings.ui = False
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = torch.get_num_threads()
        settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(settings)
        # a server that is closed before its loop runs waits for it for ever: once it has answered, it runs
        self.ask("/completion", prompt=[self.letter], n_predict=1)

    def ask(self, path: str, **body: object) -> Any:
        """What the server answers."""
        data, header = json.dumps(body).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(self.server.listening_address + path, data, header)  # noqa: S310  # loopback
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return json.load(answer)

    def ids(self, text: str, special: bool = False) -> list[int]:
        return list(self.ask("/tokenize", content=text, add_special=True, parse_special=special)["tokens"])

    def prompt(self, messages: Messages) -> list[int]:
        return self.ids(self.ask("/apply-template", messages=messages)["prompt"], special=True)

    def logprobs(self, prompt: list[int]) -> dict[int, float]:
        count = min(LIKELIEST, self.vocab_size)
        # of an end or a part of a character nothing would be told: another token is taken, whatever its probability
        settings = {"n_predict": 1, "temperature": 0, "n_probs": count, "logit_bias": [[self.letter, 1e6]]}
        found = self.ask("/completion", prompt=prompt, **settings)
        return {one["id"]: one["logprob"] for one in found["completion_probabilities"][0]["top_logprobs"]}

    def answer(self, prompt: list[int], most: int) -> list[int]:
        settings = {"n_predict": most, "temperature": 0, "return_tokens": True, "logit_bias": [[self.forbidden, False]]}
        return list(self.ask("/completion", prompt=prompt, **settings)["tokens"])


def check(trained: Trained, folder: Path, kinds: Sequence[str]) -> dict[str, float]:
    """Open a folder that was written in transformers, and its GGUF files in llama.cpp; returns figures by tool: texts
    and prompts with the same token ids, answers that are the same, the largest difference of log-probabilities (nats).

    Raises UserError where ids differ, where in float32 a log-probability or an answer does, or where a tool is missing.
    """
    figures: dict[str, float] = {}
    for peer in peers(trained, folder, kinds):
        found = compare(trained, peer)
        figures |= {f"check.{peer.name}.{name}": value for name, value in found.items()}
        alike = "ids of {texts} texts and {prompts} prompts the same, {same_answers} answers too".format(**found)
        gap = f"log-probabilities within {found['largest_difference']:.1g}"
        console.print(f"           {peer.name}: {alike}, {gap}")
    return figures


def peers(trained: Trained, folder: Path, kinds: Sequence[str]) -> Iterator[Peer]:
    """The tools, one after another: they take memory."""
    yield Transformers(folder)
    for kind in kinds:
        yield LlamaCpp(folder, kind, trained)


def compare(trained: Trained, peer: Peer) -> dict[str, float]:
    """The figures of one tool."""
    engine, network = Engine(trained.model.eval(), trained.tokenizer), trained.model
    for text in TEXTS:
        same(peer, f"token ids of {text[:60]!r}", peer.ids(text), trained.tokenizer.encode(text))
    prompts = prompts_of(trained, peer)
    most = min(LONGEST, engine.context - max(map(len, prompts.values()), default=0))
    answers = [one.tokens for one in engine.generate([*prompts.values()], max_tokens=most)]
    alike, largest = 0, 0.0
    for (question, prompt), answer in zip(prompts.items(), answers, strict=True):
        with torch.inference_mode():
            ours = network(torch.tensor([prompt]))[0, -1].log_softmax(-1)
        gap = max(abs(ours[token].item() - value) for token, value in peer.logprobs(prompt).items())
        if peer.exact and not gap <= EXACT:
            problem = f"{peer.name}: log-probabilities after {question!r} differ by {gap:.2g}"
            raise UserError(problem, "please report it")
        theirs = peer.answer(prompt, most)
        theirs = theirs[:-1] if theirs and theirs[-1] in engine.stops else theirs
        if peer.exact:
            same(peer, f"answer to {question!r}", theirs, answer)
        alike, largest = alike + (theirs == answer), max(largest, gap)
    return {"texts": len(TEXTS), "prompts": len(prompts), "same_answers": alike, "largest_difference": largest}


def prompts_of(trained: Trained, peer: Peer) -> dict[str, list[int]]:
    """The questions that leave room for an answer, each with its token ids; raises UserError where another template
    gives others."""
    found = {}
    template = Template(template_of(trained.tokenizer).source, trained.tokenizer, date.today())
    if trained.chats and template.tells and isinstance(peer, Transformers):
        same(peer, "token ids of a call of a tool", peer.prompt(CALLED), template.render(CALLED, opened=True)[0])
    for question in QUESTIONS:
        if trained.chats:
            messages = [{"role": "user", "content": question}]
            prompt, _ = template.render(messages, opened=True)
            same(peer, f"token ids of the message {question!r}", peer.prompt(messages), prompt)
        else:
            prompt = [trained.tokenizer.end_of_text, *trained.tokenizer.encode(question)]
        if len(prompt) < trained.model.config.context:
            found[question] = prompt
    return found


def same(peer: Peer, what: str, theirs: list[int], ours: list[int]) -> None:
    """Raise UserError unless two lists of token ids are the same."""
    if theirs != ours:
        place = next(
            (i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), min(len(theirs), len(ours))
        )
        remedy = "please report it; tokenizer.pattern = gpt-4o is known to differ on combining marks in llama.cpp"
        raise UserError(
            f"{peer.name}: the {what} differ from token {place}: {theirs[place:][:5]}, not {ours[place:][:5]}", remedy
        )

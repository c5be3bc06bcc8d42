"""Answers over HTTP beside llama.cpp's server: tokens a second, the first token, memory, for one stream and sixteen.

    python benchmarks/serve.py [--quick] [--weights float32]
    python benchmarks/serve.py --texts MODEL TOKENIZER [--weights float32]

Both serve the same model with random weights (2.25 M and, without `--quick`, 15 M parameters) in float32, bfloat16
(theirs: f16) or int8 (theirs: q8_0), each as a process of its own with one thread for the model, one after the other;
llama.cpp by the package xllamacpp, without flash attention. Streams of 128 tokens, greedy, their ends forbidden; the
prompts differ. The best of three rounds counts. On a busy machine the CPU time tells more. Nothing is drafted: random
models repeat themselves.

`--texts`: a chat model that knows English (as SmolLM2-135M-Instruct) quotes, sums up and corrects texts of
../shared/data, fills a form of them, talks on and writes freely: tokens a CPU second with and without drafts, in turn
in one process, and one stream over HTTP beside llama.cpp, which makes drafts too (ngram_simple).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import torch

from gristmill.chat.template import template_of
from gristmill.document import Document, document_id, write_documents
from gristmill.export import stage as export
from gristmill.generation.engine import Engine
from gristmill.generation.grammar import Grammar
from gristmill.generation.sampling_params import SamplingParams
from gristmill.html.content.main_text import extract_html
from gristmill.model.config import ModelConfig
from gristmill.model.transformer import Transformer, parameter_count, save_model
from gristmill.recipe import Export, TokenizerParams
from gristmill.tokenizer import train
from gristmill.tokenizer.encode import Tokenizer

TOKENS, ROUNDS = 128, 3
GGUF = {"float32": "f32", "bfloat16": "f16", "int8": "q8_0"}  # our weights, and which of theirs they are held against
SHAPES = {"2.25 M": (4, 160, 5, 32, 448, 256), "15 M": (6, 384, 6, 64, 1280, 256)}
DATA = Path(__file__).parents[2] / "shared" / "data"
TEXTS, LENGTH, DRAFTS = 6, 128, (1, 2)  # texts of each kind; tokens of an answer; turns of four that have drafts
ASKED = {
    "quote": "Quote the two most important sentences of this text, word for word.",
    "sum up": "Summarise this text in a few sentences.",
    "correct": "Correct the spelling of this text and give the whole text back.",
    "fill a JSON form": "Give the title, the characters and a summary of this text as JSON.",
}
FURTHER = "Make it shorter.", "Write it again, more formally."
TEXT = {"type": "string"}
PERSON = {"type": "object", "properties": {"name": TEXT, "role": TEXT, "quotation": TEXT}}
FORM = {
    "type": "object",
    "properties": {"title": TEXT, "characters": {"type": "array", "minItems": 2, "items": PERSON}, "summary": TEXT},
    "required": ["title", "characters", "summary"],
}
OURS = """
import sys
from gristmill.serving.assistant import Assistant
from gristmill.serving.server import serve
assistant = Assistant.load(sys.argv[1] + "/model", sys.argv[1] + "/tokenizer", weights=sys.argv[3])
assistant.engine.scheduler.decoder.exact = sys.argv[5:] != ["plain"]  # without, nothing is drafted
serve(assistant, port=0)
"""
THEIRS = """
import sys, time, xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path = sys.argv[1] + "/export/model-" + sys.argv[3] + ".gguf"
settings.n_parallel = int(sys.argv[2])
settings.n_ctx, settings.port = int(sys.argv[4]) * settings.n_parallel, 0
settings.verbosity, settings.n_threads_http = 0, 2
if sys.argv[5:] == ["drafts"]:
    settings.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
settings.warmup = settings.ui = False
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = xllamacpp.Server(settings)
print(server.listening_address + "/", flush=True)
time.sleep(10_000)
"""


class Task(NamedTuple):
    """A conversation to be answered, and the form of the answer."""

    talk: list[dict[str, str]]
    form: Grammar | None = None


def make(folder: Path, shape: str) -> Path:
    """A tokenizer, a random model and its GGUF file."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(4000)]
    texts = [" ".join(draw.choices(words, k=400)) for _ in range(100)]
    documents = [Document(document_id(f"http://a.test/{n}", text), text, "") for n, text in enumerate(texts)]
    for name in ("corpus", "tokenizer", "export"):
        (folder / name).mkdir(parents=True)
    write_documents(folder / "corpus" / "documents.parquet", documents)
    train.run({"corpus": folder / "corpus"}, TokenizerParams(vocab_size=3072), folder / "tokenizer")
    layers, width, heads, head, ffn, context = SHAPES[shape]
    size = Tokenizer.load(folder / "tokenizer").vocab_size
    torch.manual_seed(0)
    model = Transformer(ModelConfig(size, layers, width, heads, heads, head, ffn, context))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.05)
    print(f"{shape}: {parameter_count(model):,} parameters")
    save_model(model, folder / "model")
    inputs = {"model": folder / "model", "tokenizer": folder / "tokenizer"}
    export.run(inputs, Export.model_validate({"gguf": [*GGUF.values()]}), folder / "export")
    return folder


@contextmanager
def served(program: str, *arguments: str) -> Iterator[tuple[str, int, float]]:
    """A server: its address, its process, and CPU seconds until it was ready."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        assert process.stdout
        line = process.stdout.readline()
        address = line[line.index("http://") :].split()[0].rstrip("/,")
        while httpx.get(f"{address}/health").status_code != 200:
            time.sleep(0.05)
        yield address, process.pid, cpu(process.pid)
    finally:
        process.kill()
        process.wait()


async def stream(address: str, body: dict[str, Any]) -> float:
    """Seconds until the first text of one stream, read to its end on a plain connection: clients take CPU, too."""
    data, (host, port) = json.dumps(body).encode(), address.removeprefix("http://").split(":")
    begun, first, seen = time.perf_counter(), 0.0, b""
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    while b"[DONE]" not in seen:
        new = await reader.read(1 << 16)
        assert new, seen[-300:]
        seen = seen[-10:] + new
        if not first and re.search(rb'"content": ?"[^"]', seen):
            first = time.perf_counter() - begun
    writer.close()
    return first


async def measured(address: str, pid: int, streams: int, ends: list[int]) -> tuple[float, float, float]:
    """Of all streams together: tokens a second, tokens a CPU second of the server, and seconds to the first token of
    the one that waited longest."""
    best, lean, first = 0.0, 0.0, float("inf")
    for number in range(ROUNDS + 1):
        bodies = [
            {
                "messages": [{"role": "user", "content": f"{number} {one} tell me of it"}],
                "max_tokens": TOKENS,
                "temperature": 0,
                "stream": True,
                "logit_bias": {str(token): -100 for token in ends},
            }
            for one in range(streams)
        ]
        begun, used = time.perf_counter(), cpu(pid)
        firsts = await asyncio.gather(*(stream(address, body) for body in bodies))
        if number:  # the first round warms up
            best = max(best, streams * TOKENS / (time.perf_counter() - begun))
            lean = max(lean, streams * TOKENS / (cpu(pid) - used))
            first = min(first, max(firsts))
    return best, lean, first


def cpu(pid: int) -> float:
    """CPU seconds that a process has used, by all its threads."""
    parts = [path.read_text().split()[0] for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(map(int, parts)) / 1e9


def memory(pid: int) -> float:
    """Megabytes that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


def row(claim: str, unit: str, ours: float, theirs: float | None, goal: float, lower: bool = False) -> dict[str, Any]:
    """One result; without a peer the goal is a number that ours is held against."""
    peer = f"llama.cpp (xllamacpp {version('xllamacpp')})" if theirs is not None else "the goal"
    other = goal if theirs is None else theirs
    ratio = other / ours if lower else ours / other
    numbers = {"ours": round(ours, 4), "theirs": round(other, 4), "ratio": round(ratio, 3)}
    goal = 1.0 if theirs is None else goal
    return {
        "claim": claim,
        "unit": unit,
        "peer": peer,
        **numbers,
        "goal": goal,
        "better": "lower" if lower else "higher",
    }


def passages() -> list[str]:
    """Of each of some books, paragraphs of its first chapter."""
    found = []
    for page in sorted((DATA / "storybooks").glob("*/chapter-1.html")):
        text = ""
        for paragraph in extract_html(page.read_bytes()).text.split("\n\n")[2:]:
            if len(text) + len(paragraph) < 1200:
                text += paragraph + "\n\n"
        found.append(text.strip())
    return [text for text in found if len(text) > 500][:TEXTS]


def tasks(engine: Engine) -> dict[str, list[Task]]:
    """Conversations of each kind. Those that are rewritten and go on have answers that the model gives here."""
    stories = json.loads((DATA / "instruct" / "gpteacher-roleplay.json").read_text())
    asked = random.Random(1).sample([one["instruction"] for one in stories if not one["input"]], 2 * TEXTS)
    form, render = engine.grammars.json(FORM), template_of(engine.tokenizer).render
    made = {
        kind: [Task([{"role": "user", "content": f"{what}\n\n{text}"}]) for text in passages()]
        for kind, what in ASKED.items()
    }
    made["fill a JSON form"] = [task._replace(form=form) for task in made["fill a JSON form"]]
    made["write freely"] = [Task([{"role": "user", "content": text}]) for text in asked[:TEXTS]]
    talks = [[{"role": "user", "content": text}] for text in asked[TEXTS:]]
    made["go on talking"] = []
    for further in FURTHER:
        answers = engine.generate([render(talk, opened=True)[0] for talk in talks], max_tokens=LENGTH)
        for talk, answer in zip(talks, answers, strict=True):
            said = engine.tokenizer.decode(answer.tokens)
            talk += [{"role": "assistant", "content": said}, {"role": "user", "content": further}]
        made["go on talking"] += [Task(list(talk)) for talk in talks]
    return made


def drafted(engine: Engine, some: list[Task], temperature: float) -> dict[str, Any]:
    """Tokens a CPU second after the first one with and without drafts, in turn; the answers must be the same."""
    scheduler, render, tokens = engine.scheduler, template_of(engine.tokenizer).render, 0
    used, before = [0.0] * 2 * ROUNDS, (scheduler.drafted, scheduler.accepted)
    for seed, task in enumerate(some):
        params = SamplingParams(LENGTH, temperature, top_p=0.95, seed=seed, grammar=task.form)
        prompt, answers = render(task.talk, opened=True)[0], list[list[int]]()
        for turn in range(-1, 2 * ROUNDS):  # the first one reads the prompt
            scheduler.decoder.exact = turn % 4 in DRAFTS
            one = engine.begin(prompt, params)
            scheduler.add(one)
            while len(one.tokens) == len(prompt):
                scheduler.step()
            begun = time.process_time()
            while not one.done and turn >= 0:
                scheduler.step()
            used[turn] += time.process_time() - begun
            scheduler.cancel([one])
            answers += [one.tokens] if turn >= 0 else []
        assert answers == answers[:1] * len(answers)
        tokens += len(answers[0]) - len(prompt) - 1
    scheduler.decoder.exact = True
    made = [
        (number - old) / ROUNDS for number, old in zip((scheduler.drafted, scheduler.accepted), before, strict=True)
    ]
    on, off = ([one for turn, one in enumerate(used) if (turn % 4 in DRAFTS) == kind] for kind in (True, False))
    return {
        "tokens": tokens,
        "a CPU second, plain": round(tokens / min(off), 1),
        "with drafts": round(tokens / min(on), 1),
        "ratio": round(min(off) / min(on), 3),
        "of rounds": [round(old / new, 3) for old, new in zip(off, on, strict=True)],
        "accepted of drafted": round(made[1] / max(1, made[0]), 3),
        "accepted of all": round(made[1] / tokens, 3),
    }


async def talked(address: str, pid: int, some: list[Task]) -> dict[str, float]:
    """Tokens a second and a CPU second of the server, reading the prompts included."""
    async with httpx.AsyncClient(timeout=600) as client:

        async def answer(talk: list[dict[str, str]], length: int) -> int:
            body = {"messages": talk, "max_tokens": length, "temperature": 0}
            told = await client.post(f"{address}/v1/chat/completions", json=body)
            return int(told.json()["usage"]["completion_tokens"])

        await answer([{"role": "user", "content": "Hello"}], 8)
        begun, used = time.perf_counter(), cpu(pid)
        tokens = sum([await answer(task.talk, LENGTH) for task in some])
        return {"a second": tokens / (time.perf_counter() - begun), "a CPU second": tokens / (cpu(pid) - used)}


def texts(model: Path, tokenizer: Path, weights: str) -> list[dict[str, Any]]:
    """The figures with a model that knows English."""
    engine = Engine.load(model, tokenizer, weights=weights)
    made, results = tasks(engine), list[dict[str, Any]]()
    for temperature in (0.0, 0.8):
        for kind, some in made.items():
            found = drafted(engine, some, temperature)
            print(kind, temperature, json.dumps(found), flush=True)
            results.append({"claim": f"{kind}, temperature {temperature}", **found})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").symlink_to(model.resolve())
        (folder / "tokenizer").symlink_to(tokenizer.resolve())
        (folder / "export").mkdir()
        kind = GGUF[weights]
        export.run({"model": model, "tokenizer": tokenizer}, Export.model_validate({"gguf": [kind]}), folder / "export")
        sides = {f"ours, {how}": (OURS, weights, how) for how in ("plain", "drafts")}
        sides |= {f"llama.cpp, {how}": (THEIRS, kind, how) for how in ("plain", "drafts")}
        for task in [kind for kind, some in made.items() if not some[0].form]:
            for side, (program, numbers, how) in sides.items():
                with served(program, name, "1", numbers, "2048", how) as (address, pid, _):
                    told = asyncio.run(talked(address, pid, made[task][-TEXTS:]))
                print(task, side, told, flush=True)
                results.append({"claim": f"{task} over HTTP, {side}", **told})
    return results


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    results, weights = (
        list[dict[str, Any]](),
        sys.argv[sys.argv.index("--weights") + 1] if "--weights" in sys.argv else "float32",
    )
    if "--texts" in sys.argv:
        model, tokenizer = map(Path, sys.argv[sys.argv.index("--texts") + 1 :][:2])
        results = texts(model, tokenizer, weights)
    for shape in [] if results else ["2.25 M"] if "--quick" in sys.argv else SHAPES:
        with tempfile.TemporaryDirectory() as name:
            folder = make(Path(name), shape)
            words = Tokenizer.load(folder / "tokenizer")
            ends = [words.im_end, words.end_of_text, words.im_start]
            figures: dict[tuple[str, int], tuple[float, ...]] = {}
            for streams in (1, 16):
                for who, program, kind in (("ours", OURS, weights), ("theirs", THEIRS, GGUF[weights])):
                    with served(program, name, str(streams), kind, "256", "plain") as (address, pid, ready):
                        found = asyncio.run(measured(address, pid, streams, ends))
                        figures[who, streams] = (*found, memory(pid), ready)
                    print(who, streams, [round(value, 4) for value in figures[who, streams]], flush=True)
            for streams in (1, 16):
                ours, theirs = figures["ours", streams], figures["theirs", streams]
                where = f"{shape} parameters, {streams} stream{'s' * (streams > 1)}"
                results.append(row(f"tokens a second, {where}", "tokens/s", ours[0], theirs[0], 2.0))
                results.append(row(f"tokens a CPU second of the server, {where}", "tokens/s", ours[1], theirs[1], 2.0))
                results.append(row(f"first token, {where}", "s", ours[2], theirs[2], 0.5, lower=True))
            results.append(row(f"memory, {shape} parameters, 16 streams", "MB", ours[3], None, 150.0, lower=True))
            results.append(row(f"CPU until ready, {shape} parameters", "s", ours[4], None, 1.5, lower=True))
    print(json.dumps({"benchmark": "serve", "weights": weights, "results": results}))


if __name__ == "__main__":
    main()

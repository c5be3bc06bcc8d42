"""One flipped bit in any file of a finished run is found by `verify`, and by the next command that reads the file."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from command_line import Command
from hostile import Server, crawl, response

from gristmill.corpus.extract import stage as extract
from gristmill.document import Document, read_documents, write_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.recipe import Extract
from gristmill.runs.verify import verify
from gristmill.training.checkpoint import Checkpoints

WORDS = "the a miller baker walks looks river mill bridge and then to at old young".split()
PAGES = {f"/{n}": " ".join(random.Random(n).choices(WORDS, k=60)) for n in range(12)}
RECIPE = """name = "x"
[crawl]
seeds = ["http://site.test/"]
connect_to = {{ "*.test" = "127.0.0.1:{port}" }}
allow_networks = ["127.0.0.0/8"]
delay = 0.0
[extract]
[tokenizer]
vocab_size = 300
[tokenize]
heldout = 0.2
[pretrain]
layers = 1
width = 16
heads = 1
kv_heads = 1
head_dim = 16
ffn_width = 16
context = 64
batch = 2
max_steps = 3
snapshots = 2
sample_prompts = ["the"]
[evaluate]
prompts = ["the miller"]
[export]
[report]
"""
# A file of each kind, and the command that reads it next.
KINDS: dict[str, tuple[str, str]] = {
    "manifest": ("extract/manifest.json", "tokenizer RUN/extract -o OUT"),
    "documents": ("extract/documents.parquet", "tokenizer RUN/extract -o OUT"),
    "JSON lines": ("crawl/urls.jsonl", "corpus ledger RUN --document http://site.test/3"),
    "WARC": ("crawl/pages-00000.warc.gz", "extract RUN/crawl/pages-00000.warc.gz -o OUT"),
    "tokenizer": ("tokenizer/tokenizer.json", "inspect RUN --tokens the"),
    "vocabulary": ("tokenizer/tokenizer.tiktoken", "export RUN/pretrain RUN/tokenizer -o OUT"),
    "facts": ("tokenizer/facts.json", "tokenizer report RUN"),
    "tokens": ("tokenize/train-00000.bin", "audit RUN/pretrain RUN/tokenizer RUN/tokenize -o OUT"),
    "token index": ("tokenize/train-index.parquet", "pretrain RUN/tokenizer RUN/tokenize -o OUT"),
    "shards.json": ("tokenize/shards.json", "pretrain RUN/tokenizer RUN/tokenize -o OUT"),
    "weights": ("pretrain/model.safetensors", "export RUN/pretrain RUN/tokenizer -o OUT"),
    "model.json": ("pretrain/model.json", "chat RUN"),
    "snapshot": ("pretrain/snapshots/step-0000000/model.safetensors", "inspect RUN the -o OUT"),
    "log": ("pretrain/log.jsonl", "report RUN -o OUT"),
    "results": ("evaluate/results.json", "report RUN -o OUT"),
    "recipe.json": ("recipe.json", "chat RUN"),
    "run.json": ("run.json", "corpus ledger RUN"),
    "summary.json": ("summary.json", "run RUN.toml -o RUN"),
    "report": ("report/index.html", "run RUN.toml -o RUN"),
    "exported weights": ("export/model.safetensors", "chat RUN --model RUN/export"),
}
HARMLESS = {"run.json", "summary.json"}  # what is in them is told of, or written anew, and nothing is made from it


def page(_: str, path: str) -> bytes:
    """A small site."""
    links = "".join(f'<a href="{path}">x</a>' for path in PAGES)
    return response(f"<title>{path}</title><p>{PAGES.get(path, 'All pages.')}</p>{links * (path == '/')}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a recipe and its finished run."""
    from gristmill.run import run_recipe
    from gristmill.settings.recipe_file import load_recipe

    server = Server(page)
    folder = tmp_path_factory.mktemp("finished")
    (folder / "run.toml").write_text(RECIPE.format(port=server.port))
    run_recipe(load_recipe(folder / "run.toml"), folder / "run")
    yield folder
    server.loop.call_soon_threadsafe(server.loop.stop)


@contextmanager
def flipped(path: Path, draw: random.Random) -> Iterator[None]:
    """The file with one bit changed, for a while."""
    before = path.read_bytes()
    data = bytearray(before)
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


def many(fast: int) -> pytest.MarkDecorator:
    """A few flips always, two hundred in `make faults`."""
    return pytest.mark.parametrize("flips", [fast, pytest.param(200, marks=pytest.mark.slow)])


@many(2)
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_found(kind: str, flips: int, finished: Path, tmp_path: Path, command: Command) -> None:
    name, words = KINDS[kind]
    draw, run, found = random.Random(kind), finished / "run", Counter[str]()
    before = (run / name).read_bytes()
    for attempt in range(flips):
        out = tmp_path / str(attempt)
        with flipped(run / name, draw):
            assert [one.folder / file for one in verify(run) for file in one.wrong] == [run / name]
            done = command(*words.replace("RUN", str(run)).replace("OUT", str(out)).split())
            assert "Traceback" not in done.stderr
            if str(run / name) in done.stderr and (done.code == 2 or words.startswith("run ") or kind in HARMLESS):
                found["found"] += 1
            else:
                found["harmless" if kind in HARMLESS and done.code == 0 else "silent"] += 1
            assert not words.startswith("run ") or (run / name).read_bytes() == before
        shutil.rmtree(out, ignore_errors=True)
    print(f"{kind}: {dict(found)}")
    assert not found["silent"], found
    assert not [one for one in verify(run) if one.wrong]


def test_what_is_damaged_is_made_again(finished: Path, command: Command) -> None:
    run, draw = finished / "run", random.Random(5)
    stages = ("extract", "tokenizer", "tokenize", "pretrain", "evaluate", "export", "report")
    before = {stage: Manifest.read(run / stage) for stage in stages}
    damaged = []
    for stage in stages:
        made = before[stage]
        assert made
        name = draw.choice([name for name in sorted(made.outputs) if (run / stage / name).stat().st_size])
        damaged.append(run / stage / name)
        with flipped(damaged[-1], draw):
            data = damaged[-1].read_bytes()
        damaged[-1].write_bytes(data)
    damaged.append(run / "extract" / "manifest.json")
    damaged[-1].write_bytes(damaged[-1].read_bytes().replace(b"documents_out", b"documents_oup"))
    (run / "summary.json").write_text("{}")
    done = command("run", finished / "run.toml", "-o", run)
    assert done.code == 0 and "nothing to do" not in done.stderr
    for path in damaged[1:]:
        assert f"{path} is damaged; it is made again" in done.stderr, done.stderr
    for stage, made in before.items():
        now = Manifest.read(run / stage)
        assert made and now and now.fingerprint == made.fingerprint
        assert stage in ("evaluate", "report") or now.outputs == made.outputs, stage
    assert command("verify", run).code == 0
    assert "nothing to do" in command("run", finished / "run.toml", "-o", run).stderr


def test_pages_are_not_fetched_anew_unasked(finished: Path, tmp_path: Path, command: Command) -> None:
    run = finished / "run"
    for name in ("pages-00000.warc.gz", "manifest.json"):
        with flipped(run / "crawl" / name, random.Random(1)):
            done = command("run", finished / "run.toml", "-o", run)
            assert done.code == 2 and f"{run / 'crawl' / name} is damaged" in done.stderr
            assert "--from crawl" in done.stderr
    assert "nothing to do" in command("run", finished / "run.toml", "-o", run).stderr
    alone = Path(shutil.copytree(run / "crawl", tmp_path / "alone"))
    with flipped(alone / "manifest.json", random.Random(1)):
        done = command("crawl", "http://site.test/", "-o", alone)
        assert done.code == 2 and f"remove {alone}" in done.stderr and "--from" not in done.stderr


def test_what_is_missing_and_what_is_new(finished: Path, tmp_path: Path, command: Command) -> None:
    run = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    (run / "export" / "note.txt").write_text("mine")
    with flipped(run / "export" / "config.json", random.Random(4)):
        done = command("verify", run)
        assert done.code == 2 and f"{run / 'export' / 'config.json'} is damaged" in done.stdout
    done = command("verify", tmp_path)  # whatever lies below
    assert done.code == 0 and "note.txt was not there" in done.stdout
    assert command("verify", run / "export").code == 0
    (run / "export" / "config.json").unlink()
    shutil.rmtree(run / "report")
    done = command("verify", run)
    assert done.code == 2
    assert f"{run / 'export' / 'config.json'} is missing" in done.stdout
    assert f"{run / 'report' / 'manifest.json'} is missing" in done.stdout
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "none"):
        assert command("verify", folder).code == 2


@many(6)
def test_pages_of_a_parquet_file_anywhere(flips: int, tmp_path: Path) -> None:
    """Outside a stage's folder, where no manifest tells what a file was."""
    texts = [" ".join(random.Random(n).choices(WORDS, k=400)) for n in range(100)]
    documents = [Document(f"{n:016}", text, f"http://x.test/{n}") for n, text in enumerate(texts)]
    path = tmp_path / "documents.parquet"
    write_documents(path, documents)
    draw, found = random.Random(2), Counter[str]()
    for _ in range(flips):
        with flipped(path, draw):
            try:
                found["silent" if list(read_documents(path)) != documents else "harmless"] += 1
            except UserError:
                found["found"] += 1
    print(f"Parquet: {dict(found)}")
    assert not found["silent"] and found["found"], found


@many(8)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    flips: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, draw, found = Checkpoints(tmp_path / "run", 3, 200), random.Random(3), Counter[str]()
    states = {step: {"done": step, "tokens": step * 16, "shift": 0, "heldout_bpb": 1.0 / step} for step in (1, 2)}
    for step, state in states.items():
        assert not kept.save(state, {"model.w": torch.full((50,), float(step))}, lambda folder: None)
    whole = Path(shutil.copytree(kept.folder, tmp_path / "whole"))
    files = sorted(path.relative_to(whole) for path in (whole / "step-00000002").iterdir())
    assert len(files) == 2
    for attempt in range(flips):
        shutil.rmtree(kept.folder)
        shutil.copytree(whole, kept.folder)
        path = kept.folder / files[attempt % len(files)]
        with flipped(path, draw):
            tensors = {"model.w": torch.zeros(50)}
            used = kept.load(tensors)
            told = capsys.readouterr().err
            path.parent.mkdir(exist_ok=True)
        right = used is not None and used["done"] == 1 and bool((tensors["model.w"] == 1).all())
        found["found" if right and str(path.parent) in told and path.name in told else "silent"] += 1
    assert found == {"found": flips}, found


@many(6)
def test_a_crawl_does_not_go_on_from_a_damaged_database(flips: int, tmp_path: Path) -> None:
    def answer(host: str, path: str) -> bytes:
        if path == "/6" and not (tmp_path / "urls.jsonl").exists() and server.asked.count((host, path)) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return page(host, path)

    server, draw = Server(answer), random.Random(6)
    with pytest.raises(KeyboardInterrupt):
        crawl(server.params(concurrency=1), tmp_path)
    for _ in range(flips):
        with (
            flipped(tmp_path / ".work" / "frontier.db", draw),
            pytest.raises(UserError, match=r"frontier\.db is damaged"),
        ):
            crawl(server.params(), tmp_path)
    made, rows = crawl(server.params(), tmp_path)
    assert made.counts["pages"] == 1 + len(PAGES) and {row["outcome"] for row in rows.values()} >= {"page"}
    server.loop.call_soon_threadsafe(server.loop.stop)


@many(2)
@pytest.mark.parametrize("name", ["documents.parquet", ".work/00000.json", ".work/dropped-00000.jsonl"])
def test_a_damaged_shard_is_made_again(name: str, flips: int, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(20):
        (tmp_path / "in" / f"{number}.txt").write_text(" ".join(random.Random(number).choices(WORDS, k=50)))
    (tmp_path / "in" / "empty.txt").write_text("")
    params, out, draw = Extract(paths=[str(tmp_path / "in")]), tmp_path / "out", random.Random(name)
    out.mkdir()
    made = extract.run({}, params, out)  # without a runner, which would remove what an interrupted stage goes on from
    whole = (out / "documents.parquet").read_bytes(), (out / "dropped.jsonl").read_bytes()
    for _ in range(flips):
        before = bytearray((out / name).read_bytes())
        before[draw.randrange(len(before))] ^= 1 << draw.randrange(8)
        (out / name).write_bytes(before)
        assert extract.run({}, params, out) == made
        assert whole == ((out / "documents.parquet").read_bytes(), (out / "dropped.jsonl").read_bytes())

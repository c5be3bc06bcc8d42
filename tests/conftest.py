"""Small real things that many tests need: a corpus, a tokenizer trained on it, its shards, a tiny model."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Before PyTorch is loaded, here and in what tests start: on a busy machine two threads wait for each other, and the
# small models of the tests gain nothing by them.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
# Without AMX, which rounds factors of products in training: what is compared to 1e-5 must be float32 on any machine.
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_FP16"
# Kernels for GPUs run in Triton's interpreter where there is none.
os.environ["TRITON_INTERPRET"] = str(int(not Path("/dev/nvidiactl").exists()))

from command_line import Command, Refusal, typed
from hypothesis import settings
from rights import bits_bind  # noqa: F401  # a fixture

from gristmill.document import Document, document_id, write_documents
from gristmill.recipe import Tokenize, TokenizerParams
from gristmill.tokenizer import tokenize, train
from gristmill.tokenizer.encode import Tokenizer

if find_spec("torch"):  # without it, what needs no model can be tested: `make light`
    from forks import commands, whole  # noqa: F401  # fixtures
    from models import endless_folder, listen, model_folder, run_folder, vectors  # noqa: F401

# The same draws on every machine and in every run; `make bench` draws afresh, from a seed that it prints.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.register_profile("fresh", deadline=None, database=None, print_blob=True)
settings.load_profile("fixed")

# A shell that starts the tests in the background has Ctrl-C ignored, which the commands that they start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that take longest begin first, so that at the end no process waits for another's.
LONGEST = ("test_journey.py", "test_kills.py", "test_parallel.py", "test_processes.py", "test_survival.py")
# Files that go to one process, since they look at the same finished run.
TOGETHER = dict.fromkeys(
    (
        *("tests/test_journey.py", "tests/faults/test_kills.py", "tests/audit/test_planted.py"),
        "tests/browser/test_report_of_a_run.py",
    ),
    "whole",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: a fifth of the time, tests wait for servers, browsers and what they kill."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Each file goes to one process."""
    from xdist.scheduler import LoadFileScheduling

    scheduling = LoadFileScheduling(config, log)
    file_of = scheduling._split_scope
    scheduling._split_scope = lambda name: TOGETHER.get(file_of(name), file_of(name))
    return scheduling


def encodable(value: Any) -> Any:
    """The value with all lone surrogates in it escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    return type(value)(map(encodable, value)) if isinstance(value, list | tuple) else value


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A report goes to another process of the tests as UTF-8: a lone surrogate in it would end this one instead."""
    return encodable((yield))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order of the tests: as they were found, the longest files first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


WHO = ("The miller", "A baker", "Old Anna", "The smith", "My neighbour", "A grey cat", "The ferryman", "Young Tom")
DOES = ("walks to", "looks at", "talks about", "dreams of", "comes back from", "paints", "forgets", "remembers")
WHAT = ("the river", "a small mill", "the market", "an open door", "the long bridge", "a red boat", "the hill")


def story(seed: int, sentences: int = 12) -> str:
    """A few plain sentences."""
    draw = random.Random(seed)
    return " ".join(f"{draw.choice(WHO)} {draw.choice(DOES)} {draw.choice(WHAT)}." for _ in range(sentences))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 200 documents, as a corpus stage leaves it."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = [story(seed) for seed in range(200)]
    urls = [f"http://tales.test/{number}" for number in range(200)]
    documents = [Document(document_id(url, text), text, url) for url, text in zip(urls, texts, strict=True)]
    write_documents(folder / "documents.parquet", documents)
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer stage's folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train.run({"corpus": corpus}, TokenizerParams(vocab_size=400), folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    """The tokenizer in it."""
    return Tokenizer.load(tokenizer_folder)


@pytest.fixture(scope="session")
def tokens_folder(corpus: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenize stage's folder."""
    folder = tmp_path_factory.mktemp("tokens")
    tokenize.run({"corpus": corpus, "tokenizer": tokenizer_folder}, Tokenize(heldout=0.1), folder)
    return folder


@pytest.fixture(scope="session")
def inputs(tokenizer_folder: Path, tokens_folder: Path) -> dict[str, Path]:
    """What pretraining reads."""
    return {"tokenizer": tokenizer_folder, "tokens": tokens_folder}


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command as a user does: `command("inspect", folder, "--tokens", "the")`."""
    return typed(capsys, monkeypatch)


@pytest.fixture
def refusal(command: Command) -> Refusal:
    """Runs a command that must be refused; the message, in one line."""

    def go(*arguments: object) -> str:
        done = command(*arguments)
        assert done.code == 2 and "Traceback" not in done.stderr and done.stderr.count("error: ") == 1, done
        return " ".join(done.stderr.split())

    return go

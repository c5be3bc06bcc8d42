"""The same bytes on Ray: a cluster of this machine, and one that runs already."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Command

from gristmill.corpus.execution import executor

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'gristmill[ray]'")
pytestmark = pytest.mark.slow


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    draw = random.Random(0)
    texts = [" ".join(draw.choices([f"word{i}" for i in range(500)], k=90)) for _ in range(2_500)]
    lines = [json.dumps({"text": texts[number % 2_500]}) for number in range(3_000)]
    (tmp_path / "in").mkdir()
    for part in range(3):
        (tmp_path / "in" / f"{part}.jsonl").write_text("\n".join(lines[part::3]))
    return tmp_path / "in"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A cluster with one node, started by Ray's own command."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # whatever the user's own clusters ask for
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = str(Path(sys.executable).with_name("ray"))
    start = [command, "start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    with subprocess.Popen(
        [*start, "--node-ip-address=127.0.0.1", "--disable-usage-stats"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as head:
        assert head.stdout
        for line in head.stdout:
            if b"Ray runtime started" in line:
                break
        assert head.poll() is None
        yield f"127.0.0.1:{port}"
        head.terminate()  # `ray stop` would end other people's clusters too


def journey(pages: Path, out: Path, engine: str, command: Command) -> dict[str, bytes]:
    """Extract, filter and dedup by command line; returns every file but the manifests, which hold times."""
    before, out = pages.name, out.relative_to(pages.parent)  # workers must understand relative paths
    for stage in ("extract", "filter", "dedup"):
        settings = ["--set", "rules=[]", "--set", "languages=[]"] if stage == "filter" else []
        folder = str(out / stage)
        done = command(stage, before, "-o", folder, "--engine", engine, *settings)
        assert done.code == 0, done.stderr
        before = folder
    ray.shutdown()
    found = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def test_equal_bytes_on_every_engine(
    pages: Path, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr(executor, "SHARD_BYTES", 300_000)
    monkeypatch.chdir(pages.parent)
    plain = journey(pages, tmp_path / "plain", "processes", command)
    assert sum(name.endswith(".parquet") for name in plain) == 9
    assert journey(pages, tmp_path / "existing", f"ray:{cluster}", command) == plain
    assert journey(pages, tmp_path / "local", "ray", command) == plain

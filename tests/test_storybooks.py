"""A real site, served over HTTP and crawled: the journey of `recipes/site.toml` on a reduced setting."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gristmill.document import read_documents
from gristmill.inputs.text_files import read_jsonl

ROOT = Path(__file__).parent.parent
BOOKS = ROOT.parent / "shared" / "data" / "storybooks"
SETTINGS = {
    "tokenizer.vocab_size": 2048,
    "pretrain.layers": 3,
    "pretrain.width": 128,
    "pretrain.heads": 4,
    "pretrain.kv_heads": 4,
    "pretrain.head_dim": 32,
    "pretrain.ffn_width": 384,
    "pretrain.context": 128,
    "pretrain.max_steps": 600,
    "pretrain.evaluate_every": 200,
    "sft.epochs": 0.5,
    "audit.samples": 20,
}


class Quiet(SimpleHTTPRequestHandler):
    """A static server that logs nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.slow
@pytest.mark.skipif(not BOOKS.exists(), reason="the storybooks are not here")
def test_the_storybooks_become_a_storyteller(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(BOOKS)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seeds = f'crawl.seeds=["http://127.0.0.1:{server.server_port}/"]'
    settings = [seeds, *(f"{key}={value}" for key, value in SETTINGS.items())]
    sets = [part for setting in settings for part in ("--set", setting)]
    command = [
        sys.executable,
        "-m",
        "gristmill",
        "run",
        str(ROOT / "recipes/site.toml"),
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run([*command, *sets], capture_output=True, text=True, timeout=1500, env=os.environ)
    server.shutdown()
    assert done.returncode == 0, done.stderr

    summary = json.loads((tmp_path / "run/summary.json").read_text())
    pages = list(BOOKS.rglob("*.html")) + list(BOOKS.rglob("*.xhtml"))
    assert summary["crawl.pages"] >= len(pages) >= 600
    urls = [document.url for document in read_documents(tmp_path / "run/dedup")]
    chapters = [path for path in pages if re.search(r"chapter|story|fable", path.name)]
    kept = [url for url in urls if re.search(r"chapter|story|fable", url.rsplit("/", 1)[-1])]
    assert len(kept) >= 0.9 * len(chapters)
    for name in ("colophon", "uncopyright", "imprint"):
        assert sum(name in url for url in urls) <= 1, name

    log = [record for record in read_jsonl(tmp_path / "run/pretrain/log.jsonl") if "heldout_bpb" in record]
    bits = [record["heldout_bpb"] for record in log]
    assert bits == sorted(bits, reverse=True) and bits[-1] < 2.6
    chat = [sys.executable, "-m", "gristmill", "chat", str(tmp_path / "run"), "--temperature", "0.8"]
    told = subprocess.run(chat, input="Tell me a story.\n", capture_output=True, text=True, timeout=100, check=True)
    words = told.stdout.split()
    assert len(words) > 30 and len(set(words)) > len(words) / 3, told.stdout

"""A lone exported file says what made it, signed; a flipped byte anywhere in it is found; other tools read it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from command_line import Command
from safetensors import safe_open
from signing_keys import keys

from gristmill.export.carried import DIGEST, KEY, checksum, digest_without, find
from gristmill.export.envelope import enveloped
from gristmill.export.stage import run
from gristmill.manifest import Manifest
from gristmill.model.transformer import save_model
from gristmill.recipe import Export

from .conftest import Make

NAMES = ("model.safetensors", "model-f32.gguf", "model-q8_0.gguf")
FLIPS = 20


@pytest.fixture
def files(make: Make, tokenizer_folder: Path, tmp_path: Path) -> dict[str, list[Path]]:
    """What the stage writes of a model: signed, signed again elsewhere, and signed by nobody."""
    private, _ = keys(tmp_path)
    found = {}
    for place, key in (("signed", str(private)), ("again", str(private)), ("unsigned", "")):
        folder, out = tmp_path / place / "sft", tmp_path / place / "export"
        save_model(make(), folder)
        told = {"conversations": str(folder / "talk.jsonl"), "lr": 0.25, "checkpoint_seconds": len(place)}
        Manifest(stage="sft", version="1", params=told, inputs={"tokens": "ab" * 32}).write(folder)
        out.mkdir()
        run({"model": folder, "tokenizer": tokenizer_folder}, Export(gguf=["f32", "q8_0"], sign_with=key), out)
        found[place] = [out / name for name in NAMES]
    return found


def test_a_flipped_byte_is_found_with_a_key_and_without(
    files: dict[str, list[Path]], tmp_path: Path, command: Command
) -> None:
    draw = random.Random(0)
    for place, options in (("signed", ("--key", tmp_path / "key.pub")), ("signed", ()), ("unsigned", ())):
        for path in files[place]:
            told = command("verify", path, *options)
            assert told.code == 0 and "made by sft, gristmill 1 of tokens abababababababab" in told.stdout
            assert ("signed by nobody" in told.stdout) == (place == "unsigned")
            whole, found = path.read_bytes(), find(path)
            assert found
            start, stop, _ = found
            inside = [start - 15, start, stop - 1, stop, 0, 9, len(whole) - 1]  # of key, text, header and numbers
            anywhere = draw.sample(range(len(whole)), FLIPS if options else 3)
            for at in inside + [draw.randrange(start, stop) for _ in range(4)] + anywhere:
                path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1 :])
                told = command("verify", path, *options)
                assert told.code == 2 and path.name in told.stderr, (path, at)
            path.write_bytes(whole)


def test_another_key_and_no_signature_are_refused(
    files: dict[str, list[Path]], tmp_path: Path, command: Command
) -> None:
    _, other = keys(tmp_path, "other")
    for place, key in (("signed", other), ("unsigned", tmp_path / "key.pub")):
        for path in files[place]:
            told = command("verify", path, "--key", key)
            assert told.code == 2 and "its statement is signed by " in told.stderr
    (tmp_path / "empty.gguf").write_bytes(b"")
    assert "carries no statement" in command("verify", tmp_path / "empty.gguf").stderr


def test_a_statement_without_a_predicate_is_refused(tmp_path: Path, command: Command) -> None:
    """Its digest and its checksum are right."""
    path, digest = tmp_path / "model.safetensors", "0" * 64
    for _ in range(2):
        said = {"subject": [{"name": path.name, "digest": {DIGEST: digest}}]}
        envelope = enveloped(said, None)
        text = json.dumps(envelope | {"checksum": checksum(envelope)}, separators=(",", ":"))
        header = json.dumps({"__metadata__": {KEY: text}}, separators=(",", ":")).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        found = find(path)
        assert found
        digest = digest_without(path, *found[:2])
    told = command("verify", path)
    assert told.code == 2 and "its statement has been changed" in told.stderr


def test_equal_models_are_equal_files_that_tell_no_path(files: dict[str, list[Path]], tmp_path: Path) -> None:
    for one, two in zip(files["signed"], files["again"], strict=True):
        assert one.read_bytes() == two.read_bytes()
        found = find(one)
        assert found and str(tmp_path) not in found[2] and "talk.jsonl" not in one.read_bytes().decode("latin-1")


def test_others_read_the_statement(files: dict[str, list[Path]]) -> None:
    gguf = pytest.importorskip("gguf")
    weights, whole, _ = files["signed"]
    with safe_open(weights, framework="np") as file:
        told = file.metadata()
    assert told["format"] == "pt"
    texts = [told[KEY], gguf.GGUFReader(whole).fields[KEY].contents()]
    for text in texts:
        envelope = json.loads(text)
        assert envelope["payloadType"] == "application/vnd.in-toto+json" and len(envelope["signatures"]) == 1

"""Signed statements: a flipped byte anywhere is found and named, so is another key, and the format is in-toto's."""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import Command
from signing_keys import keys

from gristmill.document import Document, write_documents
from gristmill.export import stage as export
from gristmill.files import sha256_file
from gristmill.inputs.folders import digest
from gristmill.manifest import Manifest
from gristmill.recipe import Export


@pytest.fixture
def run(tmp_path: Path, model_folder: Path, tokenizer_folder: Path) -> Path:
    """From a WARC file to a GGUF file: three stages."""
    run = tmp_path / "run"
    for name in ("crawl", "extract", "export"):
        (run / name).mkdir(parents=True)
    (run / "crawl" / "pages-00000.warc.gz").write_bytes(random.Random(0).randbytes(5_000))
    write_documents(run / "extract" / "documents.parquet", [Document("1", "A text.", "http://a.test/1")])
    export.run({"model": model_folder, "tokenizer": tokenizer_folder}, Export(gguf=["f32"]), run / "export")
    before = ""
    for name in ("crawl", "extract", "export"):
        files = {path.name: sha256_file(path) for path in sorted((run / name).iterdir())}
        made = Manifest(stage=name, version="0.1.0", fingerprint="f" * 64, outputs=files)
        if before:
            made.inputs, made.folders = {before: digest(run / before)}, {before: f"../{before}"}
        made.write(run / name)
        before = name
    return run


@pytest.mark.usefixtures("bits_bind")
def test_what_cannot_be_written_is_named(run: Path, tmp_path: Path, command: Command) -> None:
    private, _ = keys(tmp_path)
    run.chmod(0o555)
    refused = command("attest", run, "--key", private)
    run.chmod(0o755)
    assert refused.code == 2 and f"cannot write {run / 'attestations'}: Permission denied" in refused.stderr
    assert "use a copy of it" in refused.stderr
    command("attest", run, "--key", private)
    (run / "attestations").chmod(0o555)
    refused = command("attest", run, "--key", private)
    (run / "attestations").chmod(0o755)
    assert refused.code == 2 and f"cannot write {run / 'attestations' / 'crawl.json'}: Permission" in refused.stderr


def test_other_tools_verify_the_envelope_and_read_the_statement(run: Path, tmp_path: Path, command: Command) -> None:
    """The library of TUF and in-toto for DSSE, and in-toto's own definition of statements."""
    dsse = pytest.importorskip("securesystemslib.dsse", reason="needs gristmill[peers]")
    statement = pytest.importorskip("in_toto_attestation.v1.statement", reason="needs gristmill[peers]")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from google.protobuf import json_format
    from in_toto_attestation.v1.statement_pb2 import Statement
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer._key import SSlibKey

    private, public = keys(tmp_path)
    command("attest", run, "--key", private)
    for path in sorted((run / "attestations").glob("*.json")):
        said = json.loads(path.read_text())
        name = said["signatures"][0]["keyid"]
        key = SSlibKey.from_crypto(load_pem_public_key(public.read_bytes()), keyid=name)
        other = SSlibKey.from_crypto(Ed25519PrivateKey.generate().public_key(), keyid=name)
        envelope = dsse.Envelope.from_dict(said)
        assert set(envelope.verify([key], 1)) == {name}
        with pytest.raises(VerificationError):
            envelope.verify([other], 1)
        read = json_format.Parse(envelope.payload, Statement())  # unknown fields are errors
        statement.Statement.copy_from_pb(read).validate()
        assert {one.name for one in read.subject} >= {"manifest.json"}


def test_whatever_is_changed_is_found_and_named(run: Path, tmp_path: Path, command: Command) -> None:
    private, public = keys(tmp_path)
    assert command("attest", run, "--key", private).code == 0
    assert command("verify", run, "--key", public).code == 0
    draw, files = random.Random(1), [path for path in run.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".gz", ".parquet", ".safetensors", ".gguf", ".json"}
    for _ in range(20):
        path = draw.choice(files)
        whole = path.read_bytes()
        at = draw.randrange(len(whole))
        if path.parent.name == "attestations":  # line ends and spaces of JSON are not signed
            at = whole.index(b'payload": "') + 30
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        done = command("verify", run, "--key", public)
        path.write_bytes(whole)
        assert done.code == 2 and path.name in done.stdout, (path, at)


def test_another_key_and_a_stage_without_statement_are_told(run: Path, tmp_path: Path, command: Command) -> None:
    private, public = keys(tmp_path)
    _, other = keys(tmp_path, "other")
    command("attest", run, "--key", private)
    done = command("verify", run, "--key", other)
    assert "crawl.json is not signed by that key" in done.stdout
    assert done.code == 2 and "is as written, and not as was signed by" in " ".join(done.stderr.split())
    (run / "attestations" / "extract.json").unlink()
    assert "extract: no statement is signed of it" in command("verify", run, "--key", public).stdout
    for done in (
        command("attest", run, "--key", public),
        command("attest", run, "--key", tmp_path / "none.pem"),
        command("verify", run, "--key", private),
    ):
        assert (
            done.code == 2 and "cannot read a p" in done.stderr and "key.pem -" not in done.stderr
        )  # it would be lost


def test_what_update_read_again_is_signed_too(run: Path, tmp_path: Path, command: Command) -> None:
    private, public = keys(tmp_path)
    command("attest", run, "--key", private)
    (run / "update").mkdir()
    shutil.copytree(run / "extract", run / "update" / "extract")
    unsigned = command("verify", run, "--key", public)
    assert unsigned.code == 2 and "update.extract: no statement is signed of it" in unsigned.stdout
    command("attest", run, "--key", private)
    assert (run / "attestations" / "update.extract.json").exists()
    assert command("verify", run, "--key", public).code == 0


def test_a_stage_that_was_made_of_something_else_is_told(run: Path, tmp_path: Path, command: Command) -> None:
    """Files, manifest and statement of one run's crawl put into another's place, all of them whole."""
    private, public = keys(tmp_path)
    command("attest", run, "--key", private)
    shutil.copytree(run, tmp_path / "other")
    page = tmp_path / "other" / "crawl" / "pages-00000.warc.gz"
    page.write_bytes(b"other")
    made = Manifest.read(tmp_path / "other" / "crawl")
    assert made
    made.outputs = {page.name: sha256_file(page)}
    made.write(page.parent)
    command("attest", tmp_path / "other", "--key", private)
    shutil.rmtree(run / "crawl")
    shutil.copytree(page.parent, run / "crawl")
    shutil.copy(tmp_path / "other" / "attestations" / "crawl.json", run / "attestations" / "crawl.json")
    done = command("verify", run, "--key", public)
    assert done.code == 2 and "extract: crawl is not the crawl that it was made of" in done.stdout


def test_statements_are_intotos(run: Path, tmp_path: Path, command: Command) -> None:
    private, _ = keys(tmp_path)
    command("attest", run, "--key", private)
    envelope = json.loads((run / "attestations" / "extract.json").read_text())
    assert envelope["payloadType"] == "application/vnd.in-toto+json" and len(envelope["signatures"]) == 1
    payload = base64.b64decode(envelope["payload"])
    said = json.loads(payload)
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"
    files = {one["name"]: one["digest"]["sha256"] for one in said["subject"]}
    assert files["documents.parquet"] == sha256_file(run / "extract" / "documents.parquet")
    # openssl accepts the signature over DSSE's encoding
    (tmp_path / "signed").write_bytes(b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    check: list[str | Path] = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "key.pub", "-rawin"]
    subprocess.run([*check, "-in", tmp_path / "signed", "-sigfile", tmp_path / "sig"], check=True)

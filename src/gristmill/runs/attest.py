"""Signed statements of what made what: one a stage, in the formats of supply-chain security.

Each is an in-toto Statement v1 with a SLSA v1 provenance predicate (https://in-toto.io/Statement/v1,
https://slsa.dev/provenance/v1) in a DSSE envelope (https://github.com/secure-systems-lab/dsse/blob/master/protocol.md)
that an Ed25519 key has signed. Subjects are the stage's files; dependencies are what it read, by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.errors import UserError
from gristmill.files import sha256_file, write_text
from gristmill.manifest import MANIFEST, Manifest
from gristmill.runs.fingerprint import digest
from gristmill.settings.stages import BY_NAME

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ATTESTATIONS = "attestations"
PAYLOAD = "application/vnd.in-toto+json"
BUILD = "gristmill/stage/v1"
MAKE = "make one: openssl genpkey -algorithm ed25519 -out key.pem; openssl pkey -in key.pem -pubout -out key.pub"


def attest(run: Path, key: Path) -> Iterator[Path]:
    """Sign a statement for each finished stage of a run; yields their files, `RUN/attestations/STAGE.json`.

    Raises UserError where the key is none, or no stage is finished; Damaged where a stage's files have changed.
    """
    signer = private_key(key)
    made = {name: found for name in BY_NAME if (found := Manifest.read(run / name))}
    if not made:
        raise UserError(f"no finished stage in {run}", "name a run folder, as runs/miniweb")
    (run / ATTESTATIONS).mkdir(exist_ok=True)
    for name, found in made.items():
        digest(run / name)  # every file is as its manifest says
        payload = json.dumps(statement(run / name, found), sort_keys=True).encode()
        envelope = {
            "payloadType": PAYLOAD,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": key_id(signer.public_key()), "sig": signed(signer, payload)}],
        }
        path = run / ATTESTATIONS / f"{name}.json"
        write_text(path, json.dumps(envelope, indent=2) + "\n")
        yield path


def statement(folder: Path, made: Manifest) -> dict[str, Any]:
    """What a stage's manifest says, as an in-toto statement."""
    files = {**made.outputs, MANIFEST: sha256_file(folder / MANIFEST)}
    # what has no digest of ours, as an address that is connected to, is in the settings
    read = [(name, value) for name, value in sorted(made.inputs.items()) if len(value) == 64]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": value}} for name, value in sorted(files.items())],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {"stage": made.stage, "settings": made.params},
                "internalParameters": {"fingerprint": made.fingerprint, "code": made.code},
                "resolvedDependencies": [{"name": name, "digest": {"sha256": value}} for name, value in read],
            },
            "runDetails": {"builder": {"id": "gristmill", "version": {"gristmill": made.version}}},
        },
    }


def check(run: Path, key: Path) -> Iterator[tuple[str, str]]:
    """What is wrong with a run by its statements and a public key: (stage, what), nothing where all holds.

    Raises UserError where the key is none, or there are no statements.
    """
    verifier, files = public_key(key), sorted((run / ATTESTATIONS).glob("*.json"))
    if not files:
        raise UserError(f"{run} has no {ATTESTATIONS}", "sign them: gristmill attest RUN --key FILE")
    for path in files:
        payload = opened(path, verifier)
        if payload is None:
            yield path.stem, f"{path.name} is not signed by that key, or has changed"
            continue
        for subject in payload["subject"]:
            file = run / path.stem / subject["name"]
            if not file.is_file():
                yield path.stem, f"{subject['name']} is missing"
            elif sha256_file(file) != subject["digest"]["sha256"]:
                yield path.stem, f"{subject['name']} is not what was signed"
        made = Manifest.read(run / path.stem)
        signed = {one["name"]: one for one in payload["predicate"]["buildDefinition"]["resolvedDependencies"]}
        for name, folder in made.folders.items() if made else ():
            source = run / path.stem / folder
            if name in signed and source.is_dir() and digest(source, trust=True) != signed[name]["digest"]["sha256"]:
                yield path.stem, f"{name} is not the {source.resolve().name} that it was made of"
    for name in BY_NAME:
        if (run / name / MANIFEST).exists() and not (run / ATTESTATIONS / f"{name}.json").exists():
            yield name, "no statement is signed of it"


def opened(path: Path, key: Ed25519PublicKey) -> dict[str, Any] | None:
    """The statement in an envelope, None where no signature in it is the key's."""
    from cryptography.exceptions import InvalidSignature

    try:
        envelope = json.loads(path.read_text(encoding="utf-8"))
        payload = base64.b64decode(envelope["payload"], validate=True)
        if envelope["payloadType"] != PAYLOAD:
            return None
        for one in envelope["signatures"]:
            try:
                key.verify(base64.b64decode(one["sig"], validate=True), encoded(payload))
            except InvalidSignature:
                continue
            return dict(json.loads(payload))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # what cannot be read was not signed so
    return None


def encoded(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def signed(key: Ed25519PrivateKey, payload: bytes) -> str:
    """A signature, base64."""
    return base64.b64encode(key.sign(encoded(payload))).decode()


def key_id(key: Ed25519PublicKey) -> str:
    """A key's name: the beginning of the SHA-256 of its bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def private_key(path: Path) -> Ed25519PrivateKey:
    """An Ed25519 private key from a PEM file without a password. Raises UserError where there is none."""
    serialization, ed25519 = library()
    key: Ed25519PrivateKey = key_in(
        path, "private", lambda data: serialization.load_pem_private_key(data, None), ed25519.Ed25519PrivateKey
    )
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """An Ed25519 public key from a PEM file. Raises UserError where there is none."""
    serialization, ed25519 = library()
    key: Ed25519PublicKey = key_in(path, "public", serialization.load_pem_public_key, ed25519.Ed25519PublicKey)
    return key


def key_in(path: Path, which: str, read: Callable[[bytes], Any], kind: type) -> Any:
    """The key of a kind that a file holds. Raises UserError where there is none."""
    try:
        key = read(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read a {which} key from {path}: {error}", MAKE) from error
    if not isinstance(key, kind):
        raise UserError(f"the key in {path} is not an Ed25519 key", MAKE)
    return key


def library() -> tuple[Any, Any]:
    """The parts of `cryptography` that are used. Raises UserError where it is not installed."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UserError("signatures need the package cryptography", "pip install 'gristmill[attest]'") from error
    return serialization, ed25519

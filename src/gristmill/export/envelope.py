"""Statements of what made what, in the formats of supply-chain security, and signatures under them.

A statement is an in-toto Statement v1 with a SLSA v1 provenance predicate (https://in-toto.io/Statement/v1,
https://slsa.dev/provenance/v1) in a DSSE envelope (https://github.com/secure-systems-lab/dsse/blob/master/protocol.md),
signed by an Ed25519 key or by none.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.errors import UserError, from_extra
from gristmill.manifest import Manifest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD = "application/vnd.in-toto+json"
BUILD = "gristmill/stage/v1"
REMEDIES = {  # none names a file that may be there: openssl would write over it
    "private": "name the PEM file of one, without a password; openssl genpkey -algorithm ed25519 -out NEW makes it",
    "public": "name the PEM file of one; openssl pkey -in PRIVATE -pubout -out NEW writes that of a private key",
}
Digests = Sequence[tuple[str, dict[str, str]]]  # name, and algorithm → digest


def statement(subjects: Digests, made: Manifest, settings: Mapping[str, Any], read: Digests) -> dict[str, Any]:
    """What a stage made, with which settings and code, and of what, as an in-toto statement."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": named(subjects),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {"stage": made.stage, "settings": dict(settings)},
                "internalParameters": {"fingerprint": made.fingerprint, "code": made.code},
                "resolvedDependencies": named(read),
            },
            "runDetails": {"builder": {"id": "gristmill", "version": {"gristmill": made.version}}},
        },
    }


def named(digests: Digests) -> list[dict[str, Any]]:
    """Resource descriptors."""
    return [{"name": name, "digest": digest} for name, digest in digests]


def read_by(made: Manifest) -> Digests:
    """What a stage read, as far as it has a digest of ours: an address that is connected to is in the settings."""
    return [(name, {"sha256": value}) for name, value in sorted(made.inputs.items()) if len(value) == 64]


def enveloped(said: Mapping[str, Any], key: Ed25519PrivateKey | None) -> dict[str, Any]:
    """A statement in its envelope, signed where there is a key."""
    payload = json.dumps(said, sort_keys=True).encode()
    signatures = []
    if key:
        signature = base64.b64encode(key.sign(encoded(payload))).decode()
        signatures.append({"keyid": key_id(key.public_key()), "sig": signature})
    return {"payloadType": PAYLOAD, "payload": base64.b64encode(payload).decode(), "signatures": signatures}


def opened(envelope: Any, key: Ed25519PublicKey | None) -> dict[str, Any] | None:
    """The statement in an envelope, None where it cannot be read, or no signature in it is that of a key asked for."""
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        if envelope["payloadType"] != PAYLOAD:
            return None
        signed = key is None or any(holds(key, one, payload) for one in envelope["signatures"])
        return dict(json.loads(payload)) if signed else None
    except (ValueError, KeyError, TypeError):
        return None  # what cannot be read was not signed so


def holds(key: Ed25519PublicKey, signature: Mapping[str, str], payload: bytes) -> bool:
    """Whether a signature is a key's."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(base64.b64decode(signature["sig"], validate=True), encoded(payload))
    except InvalidSignature:
        return False
    return signature["keyid"] == key_id(key)


def encoded(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


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
        why = f": {error.strerror}" if isinstance(error, OSError) else ""
        raise UserError(f"cannot read a {which} key from {path}{why}", REMEDIES[which]) from error
    if not isinstance(key, kind):
        raise UserError(f"the key in {path} is not an Ed25519 key", REMEDIES[which])
    return key


def library() -> tuple[Any, Any]:
    """The parts of `cryptography` that are used. Raises UserError where it is not installed."""
    with from_extra("attest", "signatures need the package cryptography"):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    return serialization, ed25519

"""The statement that an exported file carries: a lone `model.safetensors` or GGUF file says what made it.

It is a DSSE envelope (envelope.py) as JSON text, in safetensors under `__metadata__`, in GGUF under a key of its own. A
file cannot hold its own digest: the statement's is the SHA-256 of all bytes of the file but those of the text itself.
The envelope has a checksum, too, so that what is flipped in it is also found without a key.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import shutil
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.errors import UserError
from gristmill.export.envelope import enveloped, opened, read_by, statement
from gristmill.manifest import Manifest
from gristmill.recipe import stage_params
from gristmill.settings.stages import BY_NAME
from gristmill.settings.types import HOW, marked_fields

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY = "gristmill.attestation"
DIGEST = "sha256WithoutStatement"
STRING = 8  # GGUF's type
BLOCK = 1 << 20


@dataclass(frozen=True)
class Carrier:
    """Makes the statements of a model's files; `key` signs them, if there is one."""

    made: Manifest  # of the stage that trained the model
    key: Ed25519PrivateKey | None = None

    def text(self, name: str, digest: str = "0" * 64) -> str:
        """The statement of a file: as long for any digest, so that its place can be kept."""
        said = statement([(name, {DIGEST: digest})], self.made, self.settings(), read_by(self.made))
        envelope = enveloped(said, self.key)
        return json.dumps(envelope | {"checksum": checksum(envelope)}, separators=(",", ":"))

    def settings(self) -> dict[str, Any]:
        """Those of the stage that say what comes out: no path of the machine goes out with a model."""
        if self.made.stage not in BY_NAME:
            return {}
        params = stage_params(self.made.stage)
        left_out = marked_fields(params, "path", HOW)
        return {name: value for name, value in self.made.params.items() if name not in left_out}

    def add_to_safetensors(self, path: Path) -> None:
        """Put a place for the statement into a safetensors file's header. The library keeps entries in any order: it
        can write no two without that equal files differ."""
        temporary = path.with_name(f"{path.name}.header")
        with path.open("rb") as source, temporary.open("wb") as file:
            header = json.loads(source.read(int.from_bytes(source.read(8), "little")))
            header["__metadata__"][KEY] = self.text(path.name.removesuffix(".tmp"))
            data = json.dumps(header, separators=(",", ":")).encode()
            data += b" " * (-len(data) % 8)
            file.write(len(data).to_bytes(8, "little") + data)
            shutil.copyfileobj(source, file, BLOCK)
        temporary.replace(path)

    def fill(self, path: Path) -> None:
        """Write the statement of a file, now that it is whole, into its place."""
        place = find(path)
        assert place
        start, stop, _ = place
        text = written(self.text(path.name.removesuffix(".tmp"), digest_without(path, start, stop)), is_gguf(path))
        assert len(text) == stop - start
        with path.open("r+b") as file:
            file.seek(start)
            file.write(text)


def checksum(envelope: dict[str, Any]) -> str:
    """The SHA-256 of an envelope."""
    return hashlib.sha256(json.dumps(envelope, sort_keys=True).encode()).hexdigest()


def written(text: str, gguf: bool) -> bytes:
    """A text as a file has it: safetensors' header is JSON itself."""
    return text.encode() if gguf else json.dumps(text)[1:-1].encode()


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF files do."""
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def find(path: Path) -> tuple[int, int, str] | None:
    """Where in a file its statement is, from and to, and the text; None where there is none that can be read."""
    gguf = is_gguf(path)
    with path.open("rb") as file:
        if not path.stat().st_size:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = data.find(KEY.encode()) + len(KEY)
            if at < len(KEY):
                return None
            try:
                if gguf:
                    kind, length = struct.unpack("<IQ", data[at : at + 12])
                    start, stop = at + 12, at + 12 + length
                    if kind != STRING or stop > len(data):
                        return None
                    return start, stop, data[start:stop].decode()
                start = stop = at + 3
                if data[at:start] != b'":"':
                    return None
                while data[stop : stop + 1] not in (b'"', b""):
                    stop += 2 if data[stop : stop + 1] == b"\\" else 1
                return start, stop, json.loads(b'"%s"' % data[start:stop])
            except (ValueError, struct.error):
                return None


def digest_without(path: Path, start: int, stop: int) -> str:
    """The SHA-256 of a file's bytes but those from `start` to `stop`."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        for low, high in ((0, start), (stop, path.stat().st_size)):
            file.seek(low)
            while low < high:
                block = file.read(min(BLOCK, high - low))
                found.update(block)
                low += len(block)
    return found.hexdigest()


def examine(path: Path, key: Ed25519PublicKey | None = None) -> tuple[str, list[str]]:
    """Who made an exported file, in a sentence, and the names of the keys that its statement is signed by.

    Raises UserError where the file is not what its statement says, or the key that is given has not signed it.
    """
    fault, place = "it carries no statement that can be read", find(path)
    if place:
        start, stop, text = place
        fault = "its statement has been changed"
        with suppress(ValueError, LookupError, TypeError, AttributeError):
            envelope = json.loads(text)
            if envelope.pop("checksum") == checksum(envelope):
                signers = [str(one["keyid"]) for one in envelope["signatures"]]
                said = opened(envelope, key)
                if said is None:
                    fault = f"its statement is signed by {'another key' if signers else 'nobody'}"
                elif said["subject"][0]["digest"][DIGEST] == digest_without(path, start, stop):
                    return made_by(said["predicate"]), signers
                else:
                    fault = "its bytes are not those that its statement speaks of"
    raise UserError(f"{path}: {fault}", "get the file again from who made it, and their public key")


def made_by(predicate: dict[str, Any]) -> str:
    """Who made a file, in a sentence, by the predicate of its statement."""
    build, version = predicate["buildDefinition"], predicate["runDetails"]["builder"]["version"]["gristmill"]
    of = ", ".join(f"{one['name']} {one['digest']['sha256'][:16]}" for one in build["resolvedDependencies"])
    return f"made by {build['externalParameters']['stage'] or 'no known stage'}, gristmill {version} of {of or '?'}"

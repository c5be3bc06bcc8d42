"""The server: one process that listens, answers and ends when it is told to."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gristmill.errors import UserError
from gristmill.serving.api import create_app
from gristmill.serving.api_error import ApiError, valid
from gristmill.serving.assistant import Assistant
from gristmill.serving.memory.memory_store import MemoryStore
from gristmill.serving.tracing import Tracer
from gristmill.settings.quantities import is_loopback

BACKLOG = 128  # connections that the system keeps until they are accepted
PATIENCE = 2  # seconds that an answer under way still has when the server is told to end


class Protocol(H11Protocol):
    """HTTP/1.1, with OpenAI's shape also for what is no HTTP."""

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read, and close."""
        body = json.dumps(ApiError(400, msg).content()).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        events = (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage())
        # after the beginning of an answer none can begin: the connection is closed
        with suppress(h11.LocalProtocolError):
            for event in events:
                self.transport.write(self.conn.send(event))
        self.transport.close()


def http_server(app: ASGIApp) -> uvicorn.Server:
    """A server for an application; `run(sockets=[…])` serves until SIGTERM or SIGINT."""
    return uvicorn.Server(
        uvicorn.Config(
            app, http=Protocol, ws="none", lifespan="off", log_level="warning", timeout_graceful_shutdown=PATIENCE
        )
    )


def serve(
    assistant: Assistant,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_keys: Sequence[str] = (),
    memory: MemoryStore | None = None,
    tracer: Tracer | None = None,
) -> None:
    """Serve until interrupted. Raises UserError where the address cannot be had or a key cannot be sent."""
    if not all(re.fullmatch(r"[!-~]+", key) for key in api_keys):
        raise UserError("an API key is empty or has other than visible ASCII characters", "choose another key")
    with listen(host, port) as listener:
        address, bound = listener.getsockname()[:2]
        name = host.strip("[]")
        shown = f"[{name}]" if ":" in name else name
        print(f"{valid(assistant.name)}: chat page http://{shown}:{bound}/, API …/v1 (Ctrl-C stops)", flush=True)
        if not api_keys and not is_loopback(address):
            told = "whoever reaches this address may ask, and nothing is remembered: --api-key KEY asks for a key"
            print(told, file=sys.stderr, flush=True)
            memory = None
        app = create_app(assistant, memory, tracer, api_keys=api_keys, loopback=is_loopback(address), host=name)
        with suppress(KeyboardInterrupt):  # uvicorn raises it once it has ended in good order
            http_server(app).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address or the name of one; port 0 is any free one. Raises UserError."""
    if not 0 <= port <= 65535:
        raise UserError(f"there is no port {port}", "choose 1 to 65535 with --port, or 0 for any that is free")
    name = host.strip("[]").removesuffix(".")
    if not name:
        raise UserError("no address to listen on", "name one with --host: 127.0.0.1, or 0.0.0.0 for every network")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)  # localhost is 127.0.0.1 first
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise UserError(f"--host {valid(host)} is no address of this machine: {error}", "name another") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)  # now, so that whoever reads the address printed can connect to it
    except OSError as error:
        listener.close()
        raise UserError(
            f"cannot listen on {valid(host)}:{port}: {error.strerror}", "choose another with --port or --host"
        ) from error
    return listener

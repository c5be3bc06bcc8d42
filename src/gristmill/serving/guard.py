"""Who may ask: on a loopback address only requests that name this machine, and only those with a key, if there are any.

Plain ASGI: a middleware that wraps the response in a generator of its own would hide from it that the client left.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gristmill.serving.api_error import ApiError
from gristmill.settings.quantities import is_loopback

READING = ("GET", "HEAD", "OPTIONS")
LOCAL = "local"  # the one user of a server without keys


class Guard:
    """Refuses foreign requests; answers those that are cut when the server stops."""

    def __init__(self, app: ASGIApp, api_keys: Sequence[str], loopback: bool, name: str) -> None:
        """`loopback`: answer only requests that name this machine (against DNS rebinding), `name` being one of its
        names. Each key is a user; what they are called says nothing of the key."""
        self.app, self.loopback, self.name = app, loopback, name
        self.users = {key.encode(): f"key-{hashlib.sha256(key.encode()).hexdigest()[:32]}" for key in api_keys}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            await send(message)

        refusal = self.refusal(scope)
        if scope["method"] == "HEAD":  # as GET, without what it would send (RFC 9110, section 9.3.2)
            scope = {**scope, "method": "GET"}
        try:
            await (refusal.response() if refusal else self.app)(scope, receive, guarded)
        except asyncio.CancelledError:  # the server stops, and its patience is over
            if started:
                raise
            await ApiError(503, "the server is stopping").response()(scope, receive, guarded)

    def refusal(self, scope: Scope) -> ApiError | None:
        """Why a request is refused."""
        headers = Headers(scope=scope)
        if not self.users and scope["method"] not in READING and from_elsewhere(headers):
            return ApiError(403, "this server takes nothing from the pages of other sites")
        if self.loopback and not names_this_machine(headers.get("host", ""), self.name):
            named = "this server answers only to the names of this machine (Host: localhost, as a proxy can send it)"
            return ApiError(403, f"{named}, and to that of --host")
        user = LOCAL
        if self.users and scope["path"].removeprefix(scope.get("root_path", "")).startswith("/v1/"):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            # headers are read as Latin-1, which any bytes are; keys are ASCII
            sent = given.strip().encode("latin-1")
            right = [name for key, name in self.users.items() if hmac.compare_digest(sent, key)]
            if scheme.lower() != "bearer" or not right:
                wanted = {"WWW-Authenticate": "Bearer"}
                return ApiError(401, "wrong or missing API key", code="invalid_api_key", headers=wanted)
            user = right[0]
        scope.setdefault("state", {})["user"] = user
        return None


def from_elsewhere(headers: Headers) -> bool:
    """Whether a browser sends this for a page of another site (which need not read the answer to do harm), by Fetch
    Metadata (https://www.w3.org/TR/fetch-metadata/), else by the origin."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    return site == "cross-site" if site else origin is not None and origin.partition("://")[2] != headers.get("host")


def names_this_machine(host: str, name: str) -> bool:
    """Whether a Host header (RFC 9110, section 7.2) is localhost, a loopback address or `name`, at any port."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?", host)
    asked = found[1].lower().removesuffix(".") if found else ""
    return bool(asked) and (asked == name.lower().removesuffix(".") or is_loopback(asked))

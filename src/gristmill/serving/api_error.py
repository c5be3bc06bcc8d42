"""Errors in the shape that OpenAI's clients know (https://platform.openai.com/docs/guides/error-codes)."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse

from gristmill.errors import UserError
from gristmill.generation.engine import TooLong

LONGEST = 1000  # characters of a message, which may quote what the client sent


class ApiError(Exception):
    """What went wrong with one request."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers

    def content(self) -> dict[str, Any]:
        """The body of the response, or an event of a stream."""
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "server_error"
        message = valid(self.message if len(self.message) <= LONGEST else self.message[:LONGEST] + "…")
        param = None if self.param is None else valid(self.param)
        return {"error": {"message": message, "type": kind, "param": param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The HTTP response. After a failure the server closes the connection: a client must not use it again."""
        closing = {"Connection": "close"} if self.status >= 500 else {}
        return JSONResponse(self.content(), self.status, headers={**closing, **(self.headers or {})})


def as_api_error(error: BaseException, field: str = "messages") -> ApiError:
    """What a client is told of an error; `field` is what a request of its kind asks with."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UserError):
        return mendable(error, field, "context_length_exceeded" if isinstance(error, TooLong) else None)
    return ApiError(500, f"the server failed ({type(error).__name__}); its log says more")


def mendable(error: UserError, param: str, code: str | None = None, *, before: str = "") -> ApiError:
    """What a client is told of an error that it can mend."""
    return ApiError(400, f"{before}{error.problem}: {error.remedy}", param, code)


def busy(what: str) -> ApiError:
    """That there is no room now for more of something."""
    return ApiError(429, f"too many {what}; try again soon", None, "rate_limit_exceeded", {"Retry-After": "1"})


def valid(text: str) -> str:
    """A text that UTF-8 can hold: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()

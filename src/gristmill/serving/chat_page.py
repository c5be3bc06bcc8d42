"""The chat page: files that are served as they are, to a browser that is told to load and to send nothing else.

Scripts and styles come from files of this server alone, and no script may turn a string into markup or code (Content
Security Policy Level 3, Trusted Types). So whatever a model says, nothing of it runs.
"""

from __future__ import annotations

from importlib import resources

from fastapi import FastAPI
from fastapi.responses import Response

from gristmill.serving.api_error import ApiError

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


def add_page(app: FastAPI) -> None:
    """Serve the page at `/`, and what belongs to it."""
    folder = resources.files("gristmill.serving").joinpath("page")
    files = {one.name: one.read_bytes() for one in folder.iterdir() if one.name.rpartition(".")[2] in TYPES}

    def answer(name: str) -> Response:
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        return Response(files[name], media_type=TYPES[name.rpartition(".")[2]], headers=headers)

    @app.get("/")
    async def page() -> Response:
        return answer("index.html")

    @app.get("/page/{name}")
    async def part(name: str) -> Response:
        if name not in files:
            raise ApiError(404, f"the page has no {name}")
        return answer(name)

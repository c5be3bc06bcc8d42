"""HTTP: the facts and conversations of whoever asks, under OpenAI's names where it has any
(https://platform.openai.com/docs/api-reference/conversations)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.responses import StreamingResponse

from gristmill.serving.answer import AnswerQueue
from gristmill.serving.api_error import ApiError
from gristmill.serving.memory.memory_store import Conversation, Fact, KeptItem, MemoryStore, Missing
from gristmill.serving.memory.recall import excerpt
from gristmill.serving.memory.said import about
from gristmill.serving.requests.memory_requests import ConversationBody, FactBody, ItemsBody
from gristmill.serving.requests.request_fields import Body, parse, read_body

Work = Callable[..., Any]
Limit = Annotated[int, Query(ge=1, le=100)]


def add_memory_routes(app: FastAPI, memory: MemoryStore, queue: AnswerQueue) -> None:
    """Let users see, find, change and delete what is kept of theirs."""

    async def made(request: Request, work: Work, *arguments: Any) -> Any:
        """What a piece of work gives for the user who asks, outside the loop."""
        try:
            return await queue.read(partial(work, memory, request.state.user, *arguments))
        except Missing as missing:
            raise ApiError(404, f"there is no {missing}", code="not_found") from None

    def with_body(kind: type[Body], work: Work) -> Callable[..., Awaitable[Any]]:
        async def answer(request: Request) -> Any:
            body = await read_body(request)
            return await made(request, lambda *whose: work(*whose, parse(body or b"{}", kind), **request.path_params))

        return answer

    def without_body(work: Work) -> Callable[..., Awaitable[Any]]:
        async def answer(request: Request) -> Any:
            return await made(request, lambda *whose: work(*whose, **request.path_params))

        return answer

    facts, conversations = "/v1/memory/facts", "/v1/conversations"
    app.get(facts)(without_body(lambda memory, user: listed(map(told, memory.facts(user)))))
    app.post(facts)(with_body(FactBody, keep_fact))
    app.delete(facts)(without_body(forget))
    app.add_api_route(f"{facts}/{{id}}", with_body(FactBody, keep_fact), methods=["PATCH", "POST"])
    app.delete(f"{facts}/{{id}}")(without_body(forget))

    @app.get(conversations)
    async def list_conversations(
        request: Request,
        limit: Limit = 20,
        after: str | None = None,
        query: Annotated[str, Query(max_length=1000)] = "",
    ) -> Any:
        return await made(request, found if query else page, *((query, limit) if query else (limit, after)))

    @app.get(f"{conversations}/export")
    async def export(request: Request) -> StreamingResponse:
        lines = exported(memory, request.state.user)
        headers = {"Content-Disposition": 'attachment; filename="conversations.jsonl"'}
        return StreamingResponse(lines, media_type="application/jsonl", headers=headers)

    app.post(conversations)(with_body(ConversationBody, begin))
    app.delete(conversations)(without_body(end))
    one = f"{conversations}/{{id}}"
    app.get(one)(without_body(lambda memory, user, id: told(memory.conversation(user, id))))
    app.add_api_route(one, with_body(ConversationBody, describe), methods=["PATCH", "POST"])
    app.delete(one)(without_body(end))

    @app.get(f"{one}/items")
    async def list_items(
        request: Request, limit: Limit | None = None, after: str | None = None, order: Literal["asc", "desc"] = "asc"
    ) -> Any:
        return await made(request, items, request.path_params["id"], limit, after, order)

    app.post(f"{one}/items")(with_body(ItemsBody, add))
    app.delete(f"{one}/items/{{number}}")(without_body(drop))


def told(found: Fact | Conversation) -> dict[str, Any]:
    """A fact, or a conversation as OpenAI tells it; `updated_at` is ours."""
    times = {"created_at": int(found.created_at), "updated_at": int(found.updated_at)}
    return {"object": "memory.fact" if isinstance(found, Fact) else "conversation", **found._asdict(), **times}


def item(found: KeptItem) -> dict[str, Any]:
    """A message of a conversation as OpenAI tells it; `created_at` is ours."""
    more: dict[str, Any] = {"annotations": [], "logprobs": []} if found.role == "assistant" else {}
    kind = "output_text" if found.role == "assistant" else "input_text"
    return {
        "id": found.id,
        "type": "message",
        "status": "incomplete" if found.status == "incomplete" else "completed",
        "role": found.role,
        "content": [{"type": kind, "text": found.text, **more}],
        "created_at": int(found.created_at),
    }


def listed(records: Any, *, more: bool = False) -> dict[str, Any]:
    """A list as OpenAI tells it."""
    data = list(records)
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": more}


def keep_fact(memory: MemoryStore, user: str, body: FactBody, id: str | None = None) -> dict[str, Any]:
    """A new fact, or another text for one."""
    return told(memory.remember(user, body.text, id))


def forget(memory: MemoryStore, user: str, id: str | None = None) -> dict[str, Any]:
    """Delete a fact, or all."""
    memory.forget(user, [id] if id else [one.id for one in memory.facts(user)])
    return {"id": id, "object": "memory.fact.deleted", "deleted": True}


def page(memory: MemoryStore, user: str, limit: int, after: str | None) -> dict[str, Any]:
    """Conversations, those last used first."""
    found = memory.conversations(user, limit + 1, after)
    return listed(map(told, found[:limit]), more=len(found) > limit)


def found(memory: MemoryStore, user: str, query: str, limit: int) -> dict[str, Any]:
    """Conversations in which something is said of a query, the best first, each with what it says."""
    asked, matches = about(query), dict[str, list[dict[str, Any]]]()
    for one in memory.search(user, asked):
        matches.setdefault(one.conversation, []).append({**item(one), "excerpt": excerpt(one.text, asked)})
    whole = [{**told(memory.conversation(user, id)), "matches": said} for id, said in matches.items()]
    return listed(whole[:limit], more=len(whole) > limit)


def begin(memory: MemoryStore, user: str, body: ConversationBody) -> dict[str, Any]:
    """A new conversation."""
    said, made = body.said(), memory.begin(user, body.metadata or {})
    if said:
        memory.add(user, made.id, said)
    return told(made)


def describe(memory: MemoryStore, user: str, body: ConversationBody, id: str) -> dict[str, Any]:
    """Give a conversation other metadata."""
    if body.items:
        raise ApiError(400, "items are added by POST …/items", "items", "unsupported_parameter")
    return told(memory.describe(user, id, body.metadata or {}))


def end(memory: MemoryStore, user: str, id: str | None = None) -> dict[str, Any]:
    """Delete a conversation, or all."""
    memory.end(user, [id] if id else [one.id for one in memory.conversations(user)])
    return {"id": id, "object": "conversation.deleted", "deleted": True}


def items(memory: MemoryStore, user: str, id: str, limit: int | None, after: str | None, order: str) -> dict[str, Any]:
    """The messages of a conversation; all of them where no number is given."""
    found = memory.items(user, id)[:: 1 if order == "asc" else -1]
    if after is not None:
        places = [place for place, one in enumerate(found, 1) if one.id == after]
        if not places:
            raise Missing(after)
        found = found[places[0] :]
    return listed(map(item, found[:limit]), more=len(found) > (limit or len(found)))


def add(memory: MemoryStore, user: str, body: ItemsBody, id: str) -> dict[str, Any]:
    """Messages that were said elsewhere."""
    return listed(map(item, memory.add(user, id, body.said())))


def drop(memory: MemoryStore, user: str, id: str, number: str) -> dict[str, Any]:
    """Delete a message; the conversation is told, as OpenAI does."""
    memory.drop(user, id, number)
    return told(memory.conversation(user, id))


def exported(memory: MemoryStore, user: str) -> Iterator[str]:
    """All conversations as JSON lines, with `messages` as OpenAI's chat has them: the oldest last."""
    for one in memory.conversations(user):
        with suppress(Missing):  # deleted meanwhile
            if messages := [{"role": said.role, "content": said.text} for said in memory.items(user, one.id)]:
                yield json.dumps({"messages": messages, **told(one)}, ensure_ascii=False) + "\n"

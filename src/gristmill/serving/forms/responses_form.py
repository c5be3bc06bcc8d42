"""Responses, stateless, as OpenAI (https://platform.openai.com/docs/api-reference/responses) and Open Responses
(https://www.openresponses.org) tell them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from gristmill.generation.scheduler import Token
from gristmill.serving.forms.form import Choice, Form, event


class ResponsesForm(Form):
    """One message of text; every event has a number."""

    kind = "resp"

    def __init__(self, model: str, choices: Sequence[Choice], *, echoed: dict[str, Any], **told: Any) -> None:
        """`echoed`: what the response repeats of the request."""
        super().__init__(model, choices, **told)
        self.echoed, self.number, self.message = echoed, 0, f"msg-{uuid.uuid4().hex}"

    def tell(self, kind: str, **content: Any) -> str:
        """The next event."""
        made = event({"type": f"response.{kind}", "sequence_number": self.number, **content}, f"response.{kind}")
        self.number += 1
        return made

    def item(self, status: str, text: str | None) -> dict[str, Any]:
        """The message."""
        content = [] if text is None else [self.part(text)]
        return {"id": self.message, "type": "message", "status": status, "role": "assistant", "content": content}

    def part(self, text: str) -> dict[str, Any]:
        """Its text."""
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def place(self) -> dict[str, Any]:
        """Where text belongs."""
        return {"item_id": self.message, "output_index": 0, "content_index": 0}

    def opening(self) -> str:
        begun = self.response("in_progress", [])
        return (
            self.tell("created", response=begun)
            + self.tell("in_progress", response=begun)
            + self.tell("output_item.added", output_index=0, item=self.item("in_progress", None))
            + self.tell("content_part.added", **self.place(), part=self.part(""))
        )

    def piece(self, choice: Choice, text: str, tokens: Sequence[Token]) -> str:
        return self.tell("output_text.delta", **self.place(), delta=text, logprobs=[]) if text else ""

    def closing(self, choice: Choice) -> str:
        text = "".join(choice.said)
        status = "completed" if choice.finish == "stop" else "incomplete"
        return (
            self.tell("output_text.done", **self.place(), text=text, logprobs=[])
            + self.tell("content_part.done", **self.place(), part=self.part(text))
            + self.tell("output_item.done", output_index=0, item=self.item(status, text))
            + self.tell(status, response=self.whole())
        )

    def failure(self, error: dict[str, Any]) -> str:
        told = {"code": "server_error", "message": error["error"]["message"]}
        failed = {**self.response("failed", []), "error": told}
        return self.tell("failed", response=failed)

    def whole(self) -> dict[str, Any]:
        (choice,) = self.choices
        status = "completed" if choice.finish == "stop" else "incomplete"
        counts = self.usage()
        usage = {
            "input_tokens": counts["prompt_tokens"],
            "input_tokens_details": counts["prompt_tokens_details"],
            "output_tokens": counts["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": counts["total_tokens"],
        }
        made = self.response(status, [self.item(status, "".join(choice.said))])
        details = None if status == "completed" else {"reason": "max_output_tokens"}
        return {**made, "incomplete_details": details, "usage": usage, **self.notes}

    def response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        """The response as far as it has come."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.about["created"],
            "model": self.about["model"],
            "status": status,
            "error": None,
            "incomplete_details": None,
            "output": output,
            "usage": None,
            "previous_response_id": None,
            "parallel_tool_calls": False,
            "tool_choice": "none",
            "tools": [],
            "store": "conversation" in self.notes,
            "conversation": self.notes.get("conversation"),
            "background": False,
            **self.echoed,
        }

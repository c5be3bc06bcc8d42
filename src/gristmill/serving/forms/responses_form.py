"""Responses, stateless, as OpenAI (https://platform.openai.com/docs/api-reference/responses) and Open Responses
(https://www.openresponses.org) tell them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from gristmill.chat.tools import CallForm, Calls
from gristmill.generation.scheduler import Token
from gristmill.serving.forms.form import Choice, Form, event, parts

DONE = {"stop": "completed", "length": "incomplete"}


class ResponsesForm(Form):
    """What was thought, a message of text and calls of functions, each an item of its own; every event has a number."""

    kind = "resp"

    def __init__(
        self, model: str, choices: Sequence[Choice], *, echoed: dict[str, Any], calls: CallForm | None, **told: Any
    ) -> None:
        """`echoed`: what the response repeats of the request; `calls`: how functions are called, if they may be."""
        super().__init__(model, choices, **told)
        self.echoed, self.number = echoed, 0
        self.reader = Calls(calls) if calls else None
        self.items: list[dict[str, Any]] = []

    def tell(self, kind: str, **content: Any) -> str:
        """The next event."""
        made = event({"type": f"response.{kind}", "sequence_number": self.number, **content}, f"response.{kind}")
        self.number += 1
        return made

    def opening(self) -> str:
        begun = self.response("in_progress", [])
        return self.tell("created", response=begun) + self.tell("in_progress", response=begun)

    def piece(self, choice: Choice, text: str, tokens: Sequence[Token]) -> str:
        made = [self.thought(part)] if (part := choice.thought()) else []
        for kind, part in parts(choice, text, self.reader):
            if kind == "text":
                made.append(self.said(choice, part))
            elif kind == "name":
                made.append(self.close("completed") + self.open_call(part))
            else:
                self.items[-1]["arguments"] += part
                made.append(self.tell("function_call_arguments.delta", **self.place(), delta=part))
        return "".join(made)

    def thought(self, text: str) -> str:
        """Text that is added to what is thought."""
        made = ""
        if not self.items:
            item = {"id": f"rs_{uuid.uuid4().hex}", "type": "reasoning", "status": "in_progress", "summary": []}
            self.items.append({**item, "content": [{"type": "reasoning_text", "text": ""}]})
            made = self.tell("output_item.added", output_index=0, item={**item, "content": []})
        self.items[-1]["content"][0]["text"] += text
        return made + self.tell("reasoning_text.delta", **self.place(), content_index=0, delta=text)

    def said(self, choice: Choice, text: str) -> str:
        """Text that is added to the message, the first of which opens it."""
        made = ""
        if not self.items or self.items[-1]["type"] != "message":
            made = self.close("completed") + self.open_message()
        (content,), place = self.items[-1]["content"], {**self.place(), "content_index": 0}
        content["text"] += text
        made += self.tell("output_text.delta", **place, delta=text, logprobs=[])
        for number, one in enumerate(choice.annotations):
            content["annotations"].append(cited := {"type": one["type"], **one["url_citation"]})
            made += self.tell("output_text.annotation.added", **place, annotation_index=number, annotation=cited)
        return made

    def place(self) -> dict[str, Any]:
        """The item under way."""
        return {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1}

    def open_message(self) -> str:
        """Begin a message."""
        item = {"id": f"msg-{uuid.uuid4().hex}", "type": "message", "status": "in_progress", "role": "assistant"}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self.items.append({**item, "content": [part]})
        added = self.tell("output_item.added", output_index=len(self.items) - 1, item={**item, "content": []})
        return added + self.tell("content_part.added", **self.place(), content_index=0, part=part)

    def open_call(self, name: str) -> str:
        """Begin a call of a function."""
        number = uuid.uuid4().hex
        item = {"id": f"fc_{number}", "type": "function_call", "status": "in_progress", "call_id": f"call_{number}"}
        self.items.append({**item, "name": name, "arguments": ""})
        return self.tell("output_item.added", output_index=len(self.items) - 1, item=self.items[-1])

    def close(self, status: str) -> str:
        """End the item under way, if there is one."""
        if not self.items:
            return ""
        item, place = self.items[-1], self.place()
        item["status"] = status
        if item["type"] == "message":
            (part,) = item["content"]
            made = self.tell("output_text.done", **place, content_index=0, text=part["text"], logprobs=[])
            made += self.tell("content_part.done", **place, content_index=0, part=part)
        elif item["type"] == "reasoning":
            made = self.tell("reasoning_text.done", **place, content_index=0, text=item["content"][0]["text"])
        else:
            called = {name: item[name] for name in ("name", "arguments")}
            made = self.tell("function_call_arguments.done", **place, **called)
        return made + self.tell("output_item.done", output_index=place["output_index"], item=item)

    def closing(self, choice: Choice) -> str:
        opened = "" if self.items else self.open_message()  # of nothing: an answer has an item
        status = DONE[choice.finish or "length"]
        return opened + self.close(status) + self.tell(status, response=self.whole())

    def failure(self, error: dict[str, Any]) -> str:
        told = {"code": "server_error", "message": error["error"]["message"]}
        failed = {**self.response("failed", []), "error": told}
        return self.tell("failed", response=failed)

    def whole(self) -> dict[str, Any]:
        (choice,) = self.choices
        status = DONE[choice.finish or "length"]
        if not self.items:
            self.open_message()
        for item in self.items:
            item["status"] = status if item is self.items[-1] else "completed"
        counts = self.usage()
        usage = {
            "input_tokens": counts["prompt_tokens"],
            "input_tokens_details": counts["prompt_tokens_details"],
            "output_tokens": counts["completion_tokens"],
            "output_tokens_details": counts["completion_tokens_details"],
            "total_tokens": counts["total_tokens"],
        }
        made = self.response(status, self.items)
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
            "store": "conversation" in self.notes,
            "conversation": self.notes.get("conversation"),
            "background": False,
            **self.echoed,
        }

"""The use that one request makes of the memory: what it goes on with, what it asks for, what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.chat.tools import as_text
from gristmill.passages.terms import terms
from gristmill.serving.api_error import ApiError, valid
from gristmill.serving.memory.memory_store import KeptItem, MemoryStore, Missing
from gristmill.serving.memory.recall import Quote, aside, fact_quote, recall
from gristmill.serving.memory.said import about, wish
from gristmill.tokenizer.encode import Tokenizer

TITLE = 60  # characters of a conversation's first message that are its title, until it gets another
READ = 1_000_000  # characters of a conversation, its last, that are looked at
NOTHING_FOUND = "I find nothing about that in what I remember."


class Session:
    """One request's part in the memory of one user.

    `conversation`: the id of the one that it goes on with; `memory`: whether facts and past conversations are used.
    """

    def __init__(
        self,
        store: MemoryStore,
        user: str,
        messages: Sequence[Mapping[str, Any]],
        conversation: str | None,
        memory: bool,
    ) -> None:
        """Raises ApiError where there is no such conversation, or no room in it."""
        self.store, self.user, self.memory = store, user, memory
        self.conversation = conversation
        checked = [{**one, "content": valid(one["content"])} for one in messages]
        self.new = list(map(as_text, checked))
        self.messages, self.history = checked, list[KeptItem]()
        self.notes: dict[str, Any] = {}
        self.by_rule = False
        if conversation is not None:
            try:
                items = store.items(user, conversation, READ)
                store.check_room(user, conversation, len(self.new) + 1, sum(len(one["content"]) for one in self.new))
            except Missing:
                raise ApiError(404, f"no conversation {conversation}", "conversation", "not_found") from None
            self.history = items
            self.messages[:0] = [{"role": item.role, "content": item.text} for item in items]
            self.notes["conversation"] = {"id": conversation}

    @property
    def asked(self) -> str:
        """The user's last message."""
        last = self.messages[-1] if self.messages else {"role": ""}
        return last["content"] if last["role"] == "user" else ""

    def answer(self, *, pages: bool = False) -> str | None:
        """What the memory itself answers, where a rule says that it is asked. `pages`: there are pages that may answer
        what a person asks of their own things."""
        asked = wish(self.asked) if self.memory else None
        if asked is None or (pages and asked.kind == "personal"):
            return None
        self.by_rule, self.notes["memory"] = True, {"asked": asked.kind}
        facts = self.store.facts(self.user)
        if asked.kind == "remember":
            fact = self.store.remember(self.user, asked.what)
            older = next((one for one in self.store.facts(self.user)[1:] if one.superseded and one not in facts), None)
            self.tell([fact_quote(fact)])
            return f"I will remember: {fact.text}." + (f" It takes the place of: {older.text}." if older else "")
        if asked.kind == "list":
            self.tell(map(fact_quote, facts))
            lines = [f"- {one.text} ({fact_quote(one).day})" for one in facts if not one.superseded]
            return (
                "\n".join(["You asked me to remember:", *lines])
                if lines
                else "You have not asked me to remember anything."
            )
        if asked.kind in ("recall", "personal"):
            found = self.recall()
            self.tell(found)
            return "\n".join(map(said, found)) or NOTHING_FOUND
        gone = facts if asked.kind == "forget_all" else matching(facts, asked.what)
        self.store.forget(self.user, [one.id for one in gone])
        return "\n".join(["Forgotten:", *(f"- {one.text}" for one in gone)]) if gone else "I remember no such thing."

    def recall(self) -> list[Quote]:
        """What has to do with the user's last message."""
        now = self.store.clock()
        here = [Quote(one.role, one.text, one.created_at) for one in self.history if one.status != "memory"]
        here += [Quote(one["role"], one["content"], now) for one in self.new[:-1] if one["role"] != "system"]
        return recall(self.store, self.user, self.asked, here, self.conversation)

    def facts_said(self) -> str:
        """What a person's facts say to the last message, where pages do not."""
        found = [one for one in self.recall() if one.role == "fact"] if self.memory else []
        if found:
            self.by_rule = True  # what is forgotten later is not found in this answer
            self.tell(found)
        return "\n".join(map(said, found))

    def aside(self, dropped: Sequence[Mapping[str, Any]], room: int, tokenizer: Tokenizer) -> str:
        """What is put into the system's message of a prompt from which some turns were left out."""
        left_out = {text for one in dropped for text in one["content"].split("\n\n")}
        quotes = [
            one for one in self.recall() if one.place or any(one.text.removesuffix("…") in text for text in left_out)
        ]
        facts = self.store.facts(self.user)
        text, chosen = aside(quotes, facts, lambda text: len(tokenizer.encode(text)), room)
        self.tell(chosen)
        current = sum(not one.superseded for one in facts)
        if missing := current - sum(one.role == "fact" for one in chosen):
            self.notes["memory"]["facts_left_out"] = missing
        return text

    def tell(self, quotes: Any) -> None:
        """Say in the response what was remembered."""
        quotes = list(quotes)
        told = self.notes.setdefault("memory", {})
        told["facts"] = [{"id": one.place, "text": one.text} for one in quotes if one.role == "fact"]
        told["quotes"] = [one.record() for one in quotes if one.role != "fact"]

    def keep(self, text: str, finish: str | None) -> None:
        """Add the request's messages and the answer to the conversation, if it has one."""
        if self.conversation is None:
            return
        status = "memory" if self.by_rule else "completed" if finish == "stop" else "incomplete"
        said = [(one["role"], one["content"], "completed") for one in self.new if one["role"] != "system"]
        try:
            self.store.add(self.user, self.conversation, [*said, ("assistant", valid(text), status)])
            known = self.store.conversation(self.user, self.conversation).metadata
            if "title" not in known and self.asked:
                self.store.describe(self.user, self.conversation, {**known, "title": title(self.asked)})
        except Missing:  # deleted meanwhile
            pass


def title(message: str) -> str:
    """A conversation's title, from its first message."""
    text = " ".join(message.split())
    return text if len(text) <= TITLE else text[: TITLE - 1].rstrip() + "…"


def said(quote: Quote) -> str:
    """A quotation as an answer."""
    if quote.role == "fact":
        return f"You asked me to remember on {quote.day}: “{quote.text}”"
    return f"On {quote.day} {'you' if quote.role == 'user' else 'I'} said: “{quote.text}”"


def matching(facts: Sequence[Any], what: str) -> list[Any]:
    """The facts that have every term of a text."""
    wanted = {*about(what)}
    return [one for one in facts if wanted <= {*terms(one.text)}]

"""The layouts in which conversations, preferences and prompts are written, recognised by their shape.

Every function takes one record, a JSON object or a row, and gives messages as the template takes them: the roles are
system, user, assistant and tool, what may be called is `tools` of the system's, a call is in `tool_calls`. It raises
UserError where the record is of no layout that is known, or says nothing that can be learned. Sources: OpenAI's chat
and fine-tuning formats, ShareGPT, Alpaca, TRL's dataset formats (https://huggingface.co/docs/trl/dataset_formats),
HH-RLHF, and what `exported` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from os.path import commonprefix
from typing import Any

from gristmill.chat.exported import exported
from gristmill.chat.template import check, exchange, in_turns, text_of
from gristmill.chat.transcripts import transcript
from gristmill.errors import UserError
from gristmill.inputs.text_files import BadLine, named, parse
from gristmill.settings.recipe_file import TUNED_ON
from gristmill.tokenizer.formats.vocabulary_files import OVER, THOUGHT

Message = dict[str, Any]
Messages = list[Message]
Record = Mapping[str, Any]
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "function_response"), "tool"),
}
TALKS = ("messages", "conversations", "conversation")
PAGES = "pages"  # of a conversation that `passages.reading` made: URLs of the pages whose text it shows
PROMPTS = ("prompt", "instruction", "question", "query")
ANSWERS = ("completion", "response", "output", "answer")
THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # of DeepSeek and Qwen3, OpenRouter, gpt-oss
READ_TOO = ("weight", "tool_calls", "function_call", *THOUGHTS)  # of a message, besides its role and its text
BESIDES = ("tools", "system", "system_prompt", "history", "input")  # of a record, besides what is asked and answered
ALIKE, ALIKE_BESIDES = 0.8, 0.85  # likeness of names' letters at which one may be a misspelling; "story" is no history
CHOSEN, REJECTED = ("chosen", "preferred_output"), ("rejected", "non_preferred_output")
MEND = "mend or remove it"
SHAPE = 'each message is {"role": …, "content": "text"}'


def first(record: Record, names: tuple[str, ...]) -> Any:
    """The first of some fields that a record has, or None; a Parquet row has None where there is none."""
    return next((record[name] for name in names if record.get(name) is not None), None)


def spelt(record: Record) -> Record:
    """A record with its fields as they are known here. Raises UserError for one that seems to be misspelt."""
    record = named(record)
    refuse_misspelt(record, "it", BESIDES, ALIKE_BESIDES)
    return record


def answered(record: Record) -> Messages:
    """The conversation of a record: messages; a prompt with its completion, instruction with output, or question with
    answer; a transcript. Raises UserError unless the assistant says something, whenever it is its turn.
    """
    record = spelt(record)
    if str(record.get("label")).lower() == "false":
        raise UserError("its answer is judged bad", "name the file in [kto], or remove the record")
    messages = talk(record)
    check(messages)
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers:
        raise UserError("the assistant has no turn", "add its answer, or remove the record")
    if not all(map(says, answers)):
        raise UserError("an answer of the assistant is empty", "write one, or remove the record")
    if not any(answer.get("weight", 1) for answer in answers):
        raise UserError("every answer has the weight 0", "give one the weight 1, or remove the record")
    return messages


def asked(record: Record) -> Messages:
    """The prompt of a record: messages, or a text. Raises UserError unless the user's last message says something."""
    record = spelt(record)
    said = first(record, TALKS)
    prompt = turns(said, record) if said is not None and first(record, PROMPTS) is None else prompt_of(record)
    check(prompt)
    if prompt[-1]["role"] == "assistant":
        raise UserError("the prompt ends with the assistant's turn", "end it with what the user says")
    if prompt[-1]["role"] == "user" and not prompt[-1]["content"].strip():
        raise UserError("the user's message is empty", "write one, or remove the record")
    return prompt


def preference(record: Record) -> tuple[Messages, Message, Message]:
    """Prompt, chosen and rejected answer of a record; the prompt may be what both answers begin with.

    Raises UserError where one is missing, the answers are one, or they differ in more than the last turn.
    """
    record = spelt(record)
    sides = first(record, CHOSEN), first(record, REJECTED)
    if None in sides:
        raise UserError('it has no "chosen" and "rejected" answer', MEND)
    written = first(record, PROMPTS)
    whole = [(transcript(side) or []) if isinstance(side, str) else turns(side) for side in sides]
    if written is not None and isinstance(sides[0], str):
        whole = [[], []]
    if all(messages and messages[0]["role"] != "assistant" for messages in whole):  # the prompt is in them
        shared = next((n for n, (a, b) in enumerate(zip(*whole, strict=False)) if a != b), min(map(len, whole)))
        if whole[0] == whole[1]:
            raise UserError("the chosen and the rejected answer are the same", MEND)
        prompt, answers = whole[0][:shared], [only(messages[shared:]) for messages in whole]
    elif not any(whole) and written is None and first(record, (*TALKS, "input")) is None:
        common = commonprefix(sides)  # noqa: RUF071  of characters
        common = common[: max(common.rfind(" "), common.rfind("\n")) + 1]
        prompt, answers = turns(common), [side[len(common) :] for side in sides]
    else:
        strip = isinstance(written, str) and transcript(written)  # whose marks are followed by a blank
        answers = [only(messages) if messages else side for messages, side in zip(whole, sides, strict=True)]
        answers = [one.strip() if strip and isinstance(one, str) else one for one in answers]
        prompt = asked(record)
    chosen, rejected = (one if isinstance(one, dict) else {"role": "assistant", "content": one} for one in answers)
    if chosen == rejected:
        raise UserError("the chosen and the rejected answer are the same", MEND)
    if not says(chosen):
        raise UserError("the chosen answer is empty", MEND)
    return asked({"prompt": prompt}), chosen, rejected


def judged(record: Record) -> list[tuple[Messages, Message, bool]]:
    """Prompts with an answer, and whether it is wanted: one with a label (KTO's layout), or the two of a preference."""
    record = spelt(record)
    if first(record, CHOSEN) is not None:
        prompt, chosen, rejected = preference(record)
        return [(prompt, chosen, True), (prompt, rejected, False)]
    label = str(record.get("label")).lower()
    if label not in ("true", "false", "1", "0"):
        told = f'its "label" is {record["label"]!r}' if "label" in record else 'it has no "label"'
        raise UserError(told, 'write "label": true or false')
    *prompt, last = talk(record)
    answer = only([last])
    if not says(answer):
        raise UserError("the answer is empty", MEND)
    return [(asked({"prompt": prompt}), answer, label in ("true", "1"))]


def says(answer: Message) -> bool:
    """Whether an answer says or calls something."""
    return bool(answer["content"].strip() or answer.get("tool_calls"))


def talk(record: Record) -> Messages:
    """The messages of a record, in whichever layout."""
    said, answer, text = first(record, TALKS), first(record, ANSWERS), record.get("text")
    if said is not None:
        return turns(said, record)
    if answer is not None and first(record, (*PROMPTS, "input")) is not None:
        return [*prompt_of(record), *turns(answer, role="assistant")]
    if isinstance(text, str) and (found := transcript(text)):
        return found
    if (messages := exported(record)) is not None:
        return in_turns(turns(messages))
    if first(record, CHOSEN) is not None:
        raise UserError("it is a preference, not a conversation", "name the file in [dpo], [kto] or [reward]")
    if first(record, PROMPTS) is not None:
        raise UserError("it is a prompt without an answer", "give its answer, or name the file in [rl]")
    known = "messages, conversations, prompt and completion, instruction and output, question and answer"
    raise UserError(f"it is in no layout that is known (its fields are {', '.join(record) or 'none'})", f"give {known}")


def prompt_of(record: Record) -> Messages:
    """The messages before a record's answer, with its system text and history where it has such fields."""
    asked, more = first(record, PROMPTS), first(record, ("input", "context"))
    if asked is None:
        asked, more = first(record, ("input", "text")), None
    if asked is None:
        raise UserError("it has no prompt", 'write {"prompt": "…"}, or a list of messages')
    messages = turns(asked, record)
    if messages[-1:] == [{"role": "assistant", "content": ""}]:  # a transcript's last mark
        messages.pop()
    if isinstance(asked, str) and isinstance(more, str) and more.strip():
        messages[-1]["content"] += f"\n\n{more}"
    for said, answer in reversed(pairs_of(record.get("history"))):
        messages[:0] = exchange(said, answer)
    system = first(record, ("system", "system_prompt"))
    return [{"role": "system", "content": text_of(system)}] * bool(system) + messages


def pairs_of(history: Any) -> list[list[str]]:
    """The exchanges before a prompt, as LLaMA-Factory writes them: pairs of texts."""
    for pair in history if isinstance(history, list) else []:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise UserError('its "history" is no list of pairs of texts', MEND)
    return history if isinstance(history, list) else []


def only(messages: Messages) -> Message:
    """An answer of one turn. Raises UserError where there are more, or it is not the assistant's."""
    if [message["role"] for message in messages] != ["assistant"]:
        raise UserError("the answers are not one turn of the assistant each", "let them differ in the last turn only")
    return messages[0]


def turns(said: Any, record: Record | None = None, role: str = "user") -> Messages:
    """Messages as the template takes them: of a list, of an object that holds one, or of a text."""
    if isinstance(said, str):
        found = transcript(said) if role == "user" else None
        return found or [{"role": role, "content": said}]
    if isinstance(said, Mapping):
        said = first(said, TALKS) or [said]
    if not isinstance(said, list) or not said:
        raise UserError("a conversation has no messages", "give at least one user message")
    messages: Messages = []
    for message in map(plain, said):
        last: Message = messages[-1] if messages else {"role": ""}
        if last["role"] == "assistant" and message.get("tool_calls") and not message["content"]:  # a call of its own
            last["tool_calls"] = [*last.get("tool_calls", ()), *message["tool_calls"]]
        else:
            messages.append(message)
    return with_tools(messages, (record or {}).get("tools"))


def plain(message: Any) -> dict[str, Any]:
    """One message: its role, its text, its calls of tools and its weight if it has any. What was thought stands before
    the text, in the marks of Qwen3 and DeepSeek."""
    if not isinstance(message, Mapping):
        raise UserError("a message is no object", SHAPE)
    message = named(message)
    who, content = speaker(message), first(message, ("content", "value"))
    role = ROLES[who]
    calls = message.get("tool_calls") or [call for call in [message.get("function_call")] if call]
    calls = calls if isinstance(calls, list) else [calls]
    if content is None and not calls:
        raise UserError(f"a message has no text content (its fields are {', '.join(map(str, message))})", SHAPE)
    if who == "function_call":
        content, calls = None, [content]
    made: Message = {"role": role, "content": text_of(content)}
    if thought := first(message, THOUGHTS) if role == "assistant" else None:
        made["content"] = f"{THOUGHT}\n{text_of(thought).strip()}\n{OVER}\n\n{made['content']}"
    if calls:
        made["tool_calls"] = [called(call) for call in calls]
    for name in ("tool_call_id", "name"):
        if role == "tool" and isinstance(message.get(name), str):
            made[name] = message[name]
    weight = message.get("weight")
    if weight not in (None, 0, 1):
        raise UserError(f"a message has the weight {weight!r}", "a weight is 0 or 1")
    return made if weight is None or role != "assistant" else made | {"weight": int(weight)}


def speaker(message: Record) -> str:
    """Who says a message, a key of ROLES. Raises UserError for another, and for a field that seems to be misspelt."""
    who = first(message, ("role", "from"))
    if who is None:
        raise UserError(f"a message has no role (its fields are {', '.join(map(str, message)) or 'none'})", SHAPE)
    if str(who).lower() not in ROLES:
        raise UserError(f"no role is called {who!r}", "roles are system, developer, user, assistant and tool")
    refuse_misspelt(message, "a message", READ_TOO, ALIKE)
    return str(who).lower()


def refuse_misspelt(record: Record, whose: str, known: tuple[str, ...], alike: float) -> None:
    """Raise UserError for a field that is nearly spelt like a known one, which the record does not have."""
    for name in record:
        if (meant := misspelt(str(name), known, alike)) and meant not in record:
            raise UserError(f"{whose} has a field `{name}`, did you mean `{meant}`?", "rename or remove it")


@cache
def misspelt(name: str, known: tuple[str, ...], alike: float) -> str:
    """The field of those known that a name is nearly spelt like; else nothing."""
    found = get_close_matches(name, known, 1, alike)
    return found[0] if found and name not in (*known, "tool_call_id") else ""


def called(call: Any) -> dict[str, Any]:
    """A call of a tool, of OpenAI's object or of JSON."""
    whole = json_of(call)
    call = whole.get("function", whole) if isinstance(whole, Mapping) else {}
    if not isinstance(call, Mapping) or not isinstance(name := call.get("name"), str):
        raise UserError("a call names no tool", MEND)
    given = first(call, ("arguments", "parameters"))
    made = {"type": "function", "function": {"name": name, "arguments": {} if given is None else json_of(given)}}
    return {"id": whole["id"], **made} if isinstance(whole.get("id"), str) else made


def json_of(value: Any) -> Any:
    """The value that JSON text holds; any other value as it is. Raises UserError for text that is no JSON."""
    made = parse(value) if isinstance(value, str) else value
    if isinstance(made, BadLine):
        raise UserError(f"a tool, or a call of one, is {made.why}", MEND)
    return made


def with_tools(messages: Messages, tools: Any) -> Messages:
    """Messages with what may be called in the system's, as OpenAI has it."""
    if not tools:
        return messages
    tools = json_of(tools)
    listed = [json_of(tool) for tool in (tools if isinstance(tools, list) else [tools])]
    if not all(isinstance(tool, Mapping) and isinstance(tool.get("function", tool), Mapping) for tool in listed):
        raise UserError("a tool is no object", MEND)
    whole = [tool if "function" in tool else {"type": "function", "function": tool} for tool in listed]
    if not messages or messages[0]["role"] != "system":
        return [{"role": "system", "content": "", "tools": whole}, *messages]
    return [{**messages[0], "tools": whole}, *messages[1:]]


READERS = {"sft": answered, "dpo": preference, "kto": judged, "reward": preference, "rl": asked}
READ: dict[str, tuple[str, Callable[[Record], Any]]] = {  # stage → its file's setting, and what reads a record
    stage: (TUNED_ON[stage], read) for stage, read in READERS.items()
}

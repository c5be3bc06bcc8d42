"""The chat template of our own models, ChatML, as Jinja."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gristmill.progress import counted
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import CONTROL, OVER, THOUGHT

# A conversation begins as a document does. Other tools parse control tokens out of content, `render` does not.
# What lies between its marks `generation` is what is learned (transformers' `return_assistant_tokens_mask` tells it).
SAYS = "{% if message['content'] %}{{ message['content'] }}{% endif %}"
JINJA = (
    "{{ '<|endoftext|>' }}{% if tools %}{{ '<|im_start|>system\\n' }}{% if messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] + '\\n\\n' }}{% endif %}{{ 'You can call these functions:\\n' }}{% for tool in tools %}"
    "{{ tool['function'] | tojson }}{{ '\\n' }}{% endfor %}"
    """{{ 'A call is <tool_call>{"name": …, "arguments": {…}}</tool_call><|im_end|>' }}{{ '\\n' }}{% endif %}"""
    "{% for message in messages %}{% if not (tools and loop.first and message['role'] == 'system') %}"
    "{{ '<|im_start|>' + ('user' if message['role'] == 'tool' else message['role']) + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}"
    f"{SAYS}"
    "{% if message['tool_calls'] %}{% for call in message['tool_calls'] %}"
    """{{ '<tool_call>{"name": "' + call['function']['name'] + '", "arguments": ' }}"""
    "{% if call['function']['arguments'] is string %}{{ call['function']['arguments'] }}"
    "{% else %}{{ call['function']['arguments'] | tojson }}{% endif %}{{ '}</tool_call>' }}"
    "{% endfor %}{% endif %}{{ '<|im_end|>' }}{% endgeneration %}"
    "{% elif message['role'] == 'tool' %}{{ '<tool_response>' + message['content'] + '</tool_response><|im_end|>' }}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# The same where <think> and </think> are tokens. As Qwen3's: what was thought before the user's last message is left
# out, and an empty thought that is over begins the answer where none is wanted (`enable_thinking`).
THINKING = (
    "{% set last = namespace(user=0) %}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{% set last.user = loop.index0 %}{% endif %}{% endfor %}"
    + JINJA.replace(
        SAYS,
        "{% if message['reasoning_content'] and loop.index0 > last.user %}"
        "{{ '<think>\\n' + message['reasoning_content'].strip() + '\\n</think>\\n\\n' }}{% endif %}"
        "{% if message['content'] and loop.index0 < last.user and message['content'].startswith('<think>')"
        " and '</think>' in message['content'] %}"
        "{{ (message['content'].split('</think>')[1:] | join('</think>')).lstrip() }}"
        f"{{% else %}}{SAYS}{{% endif %}}",
    ).removesuffix("{% endif %}")
    + "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{% endif %}"
)


def chatml(tokenizer: Tokenizer) -> str:
    """ChatML in a tokenizer's own control tokens."""
    source, names = THINKING if OVER in tokenizer.shown else JINJA, tokenizer.controls
    for token, name in zip((tokenizer.end_of_text, tokenizer.im_start, tokenizer.im_end), CONTROL, strict=True):
        source = source.replace(name, names[token - len(tokenizer.pieces)])
    return source


def thinks_first(answer: Mapping[str, Any]) -> bool:
    """Whether an answer begins with a thought."""
    text = answer["content"]
    return answer["role"] == "assistant" and text.startswith(THOUGHT) and OVER in text


def untold(count: int) -> tuple[str, str]:
    """What there is to say of so many records whose thoughts have no tokens of their own, and what to do."""
    told = f"the thoughts of {counted(count, 'records')} are learned as text: the vocabulary has no token {OVER}"
    remedy = "set tokenizer.thoughts = true and train anew from there on, begin with a model by others that has it"
    return told, f"{remedy}, or leave the thoughts out"

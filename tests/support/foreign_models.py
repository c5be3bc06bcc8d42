"""Small random models of transformers', with chat templates in the manner of Llama 3, SmolLM2 and Qwen3."""

from __future__ import annotations

from pathlib import Path

import torch

from gristmill.document import read_documents
from gristmill.tokenizer.patterns import PATTERNS

LLAMA3 = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] + '<|eot_id|>' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
LLAMA_TOOLS = """{{- bos_token }}
{%- macro turn(role, text) %}
    {{- '<|start_header_id|>' + role + '<|end_header_id|>\n\n' + text + '<|eot_id|>' }}
{%- endmacro %}
{%- set ns = namespace(said=messages, system='') %}
{%- if messages[0].role == 'system' %}
    {%- set ns.system = messages[0].content | trim %}
    {%- set ns.said = messages[1:] %}
{%- endif %}
{{- turn('system', 'Today: ' + (date_string or strftime_now('%d %b %Y')) + '\n\n' + ns.system) }}
{%- for message in ns.said %}
    {%- if tools and loop.first %}
        {{- '<|start_header_id|>user<|end_header_id|>\n\nAnswer with a call of one of these:\n\n' }}
        {%- for tool in tools %}{{- tool | tojson(indent=4) + '\n\n' }}{%- endfor %}
        {{- message.content | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls | length > 1 %}{{- raise_exception('one call at a time') }}{%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- turn('assistant', '{"name": "' + call.name + '", "parameters": ' + call.arguments | tojson + '}') }}
    {%- elif message.role == 'tool' %}
        {{- turn('ipython', message.content) }}
    {%- else %}
        {{- turn(message.role, message.content | trim) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"""
SMOLLM = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_TOOLS = """{%- if tools or messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content }}{%- endif %}
    {%- if tools %}
        {{- '\n\nYou may call:\n<tools>' }}
        {%- for tool in tools %}{{- '\n' + tool | tojson }}{%- endfor %}
        {{- '\n</tools>\nas <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>' }}
    {%- endif %}
    {{- '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.previtem.role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}
        {%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- elif message.role == 'assistant' %}
        {%- set parts = message.content.split('</think>') %}
        {{- '<|im_start|>assistant\n' }}
        {%- if loop.last %}
            {%- set thought = parts[0].split('<think>')[-1].strip('\n') if parts | length > 1 else '' %}
            {{- '<think>\n' + thought + '\n</think>\n\n' }}
        {%- endif %}
        {{- parts[-1].lstrip('\n') }}
        {%- for call in message.tool_calls or [] %}
            {%- if parts[-1] or not loop.first %}{{- '\n' }}{%- endif %}
            {{- '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""
CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
HEADERS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
ADDED = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
KINDS = {
    "Llama": (LLAMA3, HEADERS, False),
    "Smol": (SMOLLM, CHATML, True),
    "Qwen3": ("", CHATML, False),
    "LlamaTools": (LLAMA_TOOLS, [*HEADERS, "<|eom_id|>"], False),
    "Qwen3Tools": (QWEN_TOOLS, CHATML, False),
}
MODEL = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, head_dim=8)


def saved(corpus: Path, folder: Path, kind: str, context: int = 96) -> Path:
    """A random model of transformers' with a tokenizer; of SmolLM's kind its control tokens come first, and a byte has
    none. One with tools in Qwen3's manner has tokens of their marks, which are text."""
    import transformers
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Peer

    template, controls, control_first = KINDS[kind]
    words, folder = Peer(models.BPE()), folder / kind
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=control_first)
    split = pre_tokenizers.Split(Regex(PATTERNS["llama-bpe" if kind.startswith("Llama") else "qwen2"]), "isolated")
    digits = pre_tokenizers.Digits(individual_digits=True)
    words.pre_tokenizer = pre_tokenizers.Sequence([digits if control_first else split, byte_level])
    words.decoder = decoders.ByteLevel()
    alphabet = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - ({"ÿ"} if control_first else set()))
    learning = trainers.BpeTrainer(
        vocab_size=380, initial_alphabet=alphabet, special_tokens=controls * control_first, show_progress=False
    )
    words.train_from_iterator((document.text for document in read_documents(corpus)), learning)
    words.add_special_tokens(controls)
    if kind == "Qwen3Tools":
        words.add_tokens([AddedToken(name, special=False, normalized=False) for name in ADDED])
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=controls[0], chat_template=template or None
    )
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    family = "Qwen3" if kind.startswith("Qwen3") else "Llama"
    config = getattr(transformers, f"{family}Config")(
        **MODEL,
        vocab_size=len(wrapped) + 5,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=True,
    )
    getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(folder)
    return folder

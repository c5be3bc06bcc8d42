"""The template: equal to transformers' for honest text, unforgeable by any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.chat.chatml import JINJA
from gristmill.chat.conversations import LeftOut, read_conversations
from gristmill.chat.template import render
from gristmill.errors import UserError
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import CONTROL

# transformers encodes header and text as one, so that a line break at the beginning of a text joins the header's
honest = st.text(max_size=40).filter(lambda text: "<|" not in text and text.lstrip(" ")[:1] not in ("\n", "\r"))


@pytest.fixture(scope="session")
def peer(tokenizer_folder: Path):  # type: ignore[no-untyped-def]
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_folder / "tokenizer.json"), chat_template=JINJA)


@given(st.lists(honest, min_size=1, max_size=4), st.booleans())
def test_ids_and_text_equal_transformers(peer, tokenizer: Tokenizer, contents: list[str], system: bool) -> None:  # type: ignore[no-untyped-def]
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    messages = [{"role": "system", "content": "Be brief."}, *messages] if system else messages
    ids, mask = render(messages, tokenizer, generation_prompt=True)
    theirs = peer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == list(theirs)
    assert len(mask) == len(ids)


def test_loss_is_on_the_assistants_words_and_their_end(tokenizer: Tokenizer) -> None:
    ids, mask = render(
        [{"role": "user", "content": "The river?"}, {"role": "assistant", "content": "A red boat."}], tokenizer
    )
    borne = [token for token, bears in zip(ids, mask, strict=True) if bears]
    assert borne == [*tokenizer.encode("A red boat."), tokenizer.im_end]


@given(st.text(max_size=20), st.sampled_from(["", "\n", "\r\n", " \n"]))
def test_an_answer_has_the_tokens_that_generation_gives(tokenizer: Tokenizer, text: str, begins: str) -> None:
    """What generation reads is what was before the answer in training, whatever the answer begins with."""
    question = [{"role": "user", "content": text}]
    ids, mask = render([*question, {"role": "assistant", "content": begins + text}], tokenizer)
    prompt, _ = render(question, tokenizer, generation_prompt=True)
    said = [*tokenizer.encode(begins + text), tokenizer.im_end]
    assert ids[: len(prompt)] == prompt and ids[len(prompt) :][: len(said)] == said
    assert mask == [False] * len(prompt) + [True] * len(said) + [False] * (len(ids) - len(prompt) - len(said))
    assert prompt[0] == tokenizer.end_of_text  # as documents begin


def test_an_answer_of_weight_0_is_read_and_not_learned(tokenizer: Tokenizer) -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    messages: list[dict[str, Any]] = [said[0], {**said[1], "weight": 0}, *said]
    ids, mask = render(messages, tokenizer)
    assert ids == render([*said, *said], tokenizer)[0]
    assert sum(mask) == len(tokenizer.encode("b")) + 1 and not any(mask[: len(ids) // 2])


@given(st.lists(st.sampled_from([*CONTROL, "assistant\n", "user", "\n", "hi"]), max_size=10).map("".join))
def test_content_cannot_open_a_turn(tokenizer: Tokenizer, text: str) -> None:
    ids, _ = render([{"role": "user", "content": text}], tokenizer, generation_prompt=True)
    assert ids.count(tokenizer.im_start) == 2
    assert ids.count(tokenizer.im_end) == 1


@pytest.mark.parametrize("roles", [["assistant"], ["user", "user"], ["user", "system"], ["system"], ["tool"], []])
def test_roles_out_of_order_are_refused(tokenizer: Tokenizer, roles: list[str]) -> None:
    with pytest.raises(UserError):
        render([{"role": role, "content": "x"} for role in roles], tokenizer)


def test_what_cannot_be_learned_from_is_left_out_and_named(tmp_path: Path) -> None:
    user, good = {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}
    lists = [
        [user, good],
        [user],
        [],
        [good],
        [user, {**good, "content": " \n"}],
        [user, good, user],
        [{"role": "user"}],
    ]
    path = tmp_path / "c.jsonl"
    lines = [json.dumps({"messages": messages}) for messages in lists]
    path.write_text("\n".join([*lines, "{cut", "[1]", '{"prompt": "x"}', lines[0]]) + "\n")
    left_out: list[LeftOut] = []
    assert list(read_conversations(path, left_out)) == [lists[0], lists[5], lists[0]]
    assert [one.record for one in left_out] == [2, 3, 4, 5, 7, 8, 9, 10]
    assert str(left_out[0]) == f"{path}: record 2: the assistant has no turn"
    assert "empty" in left_out[3].why and "JSON" in left_out[5].why

"""Conversations, preferences and prompts in the layouts that people have them in: recognised by shape."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.chat.conversations import LeftOut, read_conversations, read_records
from gristmill.chat.layouts import answered, asked, judged, preference
from gristmill.errors import UserError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def said(*texts: str, system: str = "") -> list[dict[str, str]]:
    """Messages of user and assistant in turn."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return [{"role": "system", "content": system}] * bool(system) + messages


WHOLE = said("Hi?", "Ho.")
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "openai": {"messages": WHOLE},
    "parts": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "?"}]},
            WHOLE[1],
        ]
    },
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Ho."}]},
    "alpaca": {"instruction": "Hi?", "input": "", "output": "Ho."},
    "gpteacher": {"instruction": "Hi?", "input": "", "response": "Ho."},
    "completion": {"prompt": "Hi?", "completion": "Ho."},
    "conversational completion": {"prompt": WHOLE[:1], "completion": WHOLE[1:]},
    "gsm8k": {"question": "Hi?", "answer": "Ho."},
    "q and a": {"text": "Q: Hi?\nA: Ho.\n"},
    "human": {"text": "\n\nHuman: Hi?\n\nAssistant: Ho."},
    "guanaco": {"text": "### Human: Hi?### no mark\n### Assistant: Ho."},
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_are_recognised_by_their_shape(name: str) -> None:
    expected = said("Hi?### no mark", "Ho.") if name == "guanaco" else WHOLE
    assert answered(CONVERSATIONS[name]) == expected


def node(parent: str | None, role: str, *parts: Any, **more: Any) -> dict[str, Any]:
    """A node of ChatGPT's tree."""
    content = {"content_type": more.pop("kind", "text"), "parts": list(parts)}
    return {"parent": parent, "message": {"author": {"role": role}, "content": content, **more}}


def test_what_chatgpt_and_claude_export_is_read_along_the_branch_that_was_shown() -> None:
    hidden = {"metadata": {"is_visually_hidden_from_conversation": True}}
    tree = {
        "root": {"parent": None, "message": None, "children": ["a"]},
        "a": node("root", "system", "", **hidden),
        "b": node("a", "user", "hidden context", kind="user_editable_context"),
        "c": node("b", "user", "Hi?"),
        "d": node("c", "assistant", "It was asked again."),
        "e": node("c", "assistant", kind="thoughts"),
        "f": node("e", "assistant", "Ho", recipient="all"),
        "g": node("f", "assistant", "and so on."),
        "loose": {"parent": "loose", "message": None},
    }
    export = {"title": "t", "mapping": tree, "current_node": "g"}
    assert answered(export) == said("Hi?", "Ho\n\nand so on.")
    assert answered({**export, "current_node": "d"}) == said("Hi?", "It was asked again.")
    with pytest.raises(UserError, match="calls 'python', a tool of ChatGPT's"):
        answered({**export, "mapping": tree | {"f": node("e", "assistant", "1+1", recipient="python")}})
    with pytest.raises(UserError, match="image_asset_pointer"):
        picture = node("b", "user", {"content_type": "image_asset_pointer"}, "what is it?", kind="multimodal_text")
        answered({**export, "mapping": tree | {"c": picture}})
    file = {"file_name": "a.txt", "extracted_content": "one two"}
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Ho."}]
    claude = {
        "name": "t",
        "chat_messages": [
            {"sender": "human", "text": "Hi?", "content": [], "attachments": [file]},
            {"sender": "assistant", "text": "Ho.", "content": parts, "attachments": []},
        ],
    }
    assert answered(claude) == said("Hi?\n\none two", "Ho.")
    for broken in (7, None, "text", [], [7], {"x": 7}):
        for record in ({"mapping": {"a": broken}}, {"chat_messages": [broken]}, {**export, "current_node": broken}):
            with pytest.raises(UserError) if "title" not in record else suppress(UserError):
                answered(record)


def test_what_else_a_record_says() -> None:
    assert answered({"instruction": "Add.", "input": "1 2", "output": "3"}) == said("Add.\n\n1 2", "3")
    record = {"system": "Be brief.", "history": [["a", "b"]], "instruction": "c", "output": "d"}
    assert answered(record) == said("a", "b", "c", "d", system="Be brief.")
    developer = [{"role": "developer", "content": "Be brief."}, *said("a", "b")]
    assert answered({"messages": developer}) == said("a", "b", system="Be brief.")
    weighed = [WHOLE[0], {**WHOLE[1], "weight": 0}, WHOLE[0], WHOLE[1]]
    assert answered({"messages": weighed}) == weighed
    several = "Q: a\nA: b\nis Q: no mark\nQ: c\nA: d"
    assert answered({"text": several}) == said("a", "b\nis Q: no mark", "c", "d")


def test_tools_stay_what_they_are() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Marl"}'}}
    messages = [
        WHOLE[0],
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
        {"role": "tool", "tool_call_id": "1", "content": "sun"},
        {"role": "assistant", "content": "Both."},
    ]
    made = answered({"messages": messages, "tools": [{"name": "weather"}]})
    read = {**call, "function": {"name": "weather", "arguments": {"place": "Marl"}}}
    assert made == [
        {"role": "system", "content": "", "tools": [{"type": "function", "function": {"name": "weather"}}]},
        WHOLE[0],
        {"role": "assistant", "content": "", "tool_calls": [read, read]},
        *messages[2:],
    ]
    sharegpt = [
        {"from": "human", "value": "Hi?"},
        {"from": "gpt", "value": "I look."},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"place": "Marl"}}'},
        {"from": "observation", "value": "rain"},
        {"from": "gpt", "value": "Rain."},
    ]
    called = answered({"conversations": sharegpt})[1]
    assert called["content"] == "I look." and [one["function"] for one in called["tool_calls"]] == [read["function"]]


def test_nothing_of_a_record_is_lost_without_a_word() -> None:
    assert answered({"instruction": "Add.", "context": "1 2", "response": "3"}) == said("Add.\n\n1 2", "3")
    assert answered({"Question ": "Hi?", "ANSWER": "Ho."}) == WHOLE  # as spreadsheets have it
    for field in ("reasoning_content", "reasoning", "thinking"):
        thought = {"messages": [WHOLE[0], {**WHOLE[1], field: "Hm."}]}
        assert answered(thought) == said("Hi?", "<think>\nHm.\n</think>\n\nHo.")
    with pytest.raises(UserError, match="judged bad"):
        answered({"prompt": "Hi?", "completion": "Ho.", "label": False})
    assert answered({"prompt": "Hi?", "completion": "Ho.", "label": True}) == WHOLE


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"messages": [WHOLE[0]]},
        {"messages": [WHOLE[0], {"role": "assistant", "content": " "}]},
        {"messages": [WHOLE[0], {**WHOLE[1], "weight": 0}]},
        {"messages": [WHOLE[0], {**WHOLE[1], "weight": 0.5}]},
        {"messages": [WHOLE[0], {"role": "narrator", "content": "x"}]},
        {"messages": [WHOLE[0], WHOLE[0], WHOLE[1]]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, WHOLE[1]]},
        {"messages": [{"role": "user", "content": 5}, WHOLE[1]]},
        {"messages": [1]},
        {"messages": {"a": 1}},
        {"instruction": "x"},
        {"instruction": "x", "history": [["a"]], "output": "y"},
        {"text": "no marks"},
        {"prompt": "x", "completion": 3},
        {"messages": WHOLE, "tools": [3]},
        {"messages": WHOLE, "tools": "[{"},
        {"messages": [WHOLE[0], {"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]},
        {"messages": [WHOLE[0], {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
    ],
)
def test_what_is_none_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        answered(record)


def test_fields_of_messages_may_have_capitals_and_one_without_its_fields_names_those_that_it_has() -> None:
    capitals = [{"Role": "User", "Content": "Who?"}, {"From": "gpt", "Value": "I."}]
    assert answered({"Messages": capitals}) == said("Who?", "I.")
    more = {"id": 3, "category": "x", "name": "Ann", "tool_call_id": "c", "end_turn": True, "loss": 1}
    assert answered({"messages": [one | more for one in said("Who?", "I.")]}) == said("Who?", "I.")
    for message, told in (
        ({"rol": "user", "content": "Who?"}, "no role (its fields are rol, content)"),
        ({"role": "user", "contents": "Who?"}, "no text content (its fields are role, contents)"),
        ({"role": "assistant", "tool_call": {}}, "`tool_call`, did you mean `tool_calls`?"),
        ({"role": "user", "content": "Who?", "weigth": 0}, "`weigth`, did you mean `weight`?"),
        ({"role": "user", "content": "Who?", "reasoning_contnt": ""}, "did you mean `reasoning_content`?"),
    ):
        with pytest.raises(UserError) as error:
            answered({"messages": [message, {"role": "assistant", "content": "I."}]})
        assert told in error.value.problem


def test_fields_of_records_that_are_misspelt_are_named() -> None:
    for read, record, told in (
        (answered, {"messages": WHOLE, "tool": []}, "it has a field `tool`, did you mean `tools`?"),
        (answered, {"prompt": "Hi?", "completion": "Ho.", "sytem": "Rhyme."}, "did you mean `system`?"),
        (asked, {"prompt": "Hi?", "System_Promt": "Rhyme."}, "did you mean `system_prompt`?"),
        (preference, {"instruction": "Do", "inputs": "x", "chosen": "a", "rejected": "b"}, "did you mean `input`?"),
    ):
        with pytest.raises(UserError) as error:
            read(record)
        assert told in error.value.problem
    kept = {"messages": WHOLE, "tools": None, "tool": [], "story": "x", "content": "x", "source": "x"}
    assert answered(kept) == WHOLE


def test_preferences_in_every_layout() -> None:
    better, worse = [{"role": "assistant", "content": "Ho."}], [{"role": "assistant", "content": "No."}]
    pair = (WHOLE[:1], *better, *worse)
    assert preference({"prompt": "Hi?", "chosen": "Ho.", "rejected": "No."}) == pair
    assert preference({"prompt": WHOLE[:1], "chosen": better, "rejected": worse}) == pair
    whole = {"chosen": WHOLE, "rejected": [WHOLE[0], *worse]}
    assert preference(whole) == preference({"prompt": "Hi?", **whole}) == pair
    assert preference({"conversations": WHOLE[:1], "chosen": better[0], "rejected": worse[0]}) == pair
    openai = {"input": {"messages": WHOLE[:1]}, "preferred_output": better, "non_preferred_output": worse}
    assert preference(openai) == pair
    human = "\n\nHuman: Hi?\n\nAssistant: What?\nHuman: no mark\n\nHuman: {}\n\nAssistant: {}"
    made = preference({"chosen": human.format("Why?", "Ho."), "rejected": human.format("Why?", "No.")})
    assert made == (said("Hi?", "What?\nHuman: no mark", "Why?"), *better, *worse)
    assert preference({"prompt": "\n\nHuman: Hi?\n\nAssistant:", "chosen": " Ho.", "rejected": " No."}) == pair
    implicit = {"chosen": "The sky is blue.", "rejected": "The sky is green."}
    assert preference(implicit) == (said("The sky is "), *said("", "blue.")[1:], *said("", "green.")[1:])
    for bad in (
        {"prompt": "Hi?", "chosen": "Ho."},
        {"prompt": "Hi?", "chosen": "Ho.", "rejected": "Ho."},
        {"prompt": "Hi?", "chosen": "", "rejected": "Ho."},
        {"chosen": WHOLE, "rejected": WHOLE},
        {"chosen": "blue.", "rejected": "green."},
        {"prompt": WHOLE, "chosen": "a", "rejected": "b"},
        {"chosen": human.format("Why?", "Ho."), "rejected": human.format("How?", "No.")},
        {"chosen": [], "rejected": "x"},
    ):
        with pytest.raises(UserError):
            preference(bad)


def test_judged_answers_and_prompts() -> None:
    assert judged({"prompt": "Hi?", "completion": "Ho.", "label": False}) == [(WHOLE[:1], WHOLE[1], False)]
    assert judged({"prompt": WHOLE[:1], "completion": WHOLE[1:], "label": "True"}) == [(WHOLE[:1], WHOLE[1], True)]
    assert judged({"messages": WHOLE, "label": 1}) == [(WHOLE[:1], WHOLE[1], True)]
    pair = {"prompt": "Hi?", "chosen": "Ho.", "rejected": "No."}
    assert judged(pair) == [(WHOLE[:1], WHOLE[1], True), (WHOLE[:1], said("", "No.")[1], False)]
    for bad in ({"prompt": "Hi?", "completion": "Ho."}, {"prompt": "Hi?", "completion": "", "label": True}, {}):
        with pytest.raises(UserError):
            judged(bad)
    for prompt in ({"prompt": "Hi?"}, {"prompt": WHOLE[:1]}, {"messages": WHOLE[:1]}, {"text": "Hi?"}):
        assert asked(prompt) == WHOLE[:1]
    assert asked({"question": "Hi?", "answer": "Ho.", "truth": 1}) == WHOLE[:1]


def rows_of(path: Path) -> tuple[list[Any], list[LeftOut]]:
    """The conversations of a file, and what was left out."""
    left_out: list[LeftOut] = []
    return list(read_conversations(path, left_out)), left_out


def test_files_of_every_kind(tmp_path: Path) -> None:
    other = said("A “line”?", "Two\nlines, één.")
    records = [{"messages": WHOLE}, {"messages": other}]
    lines = "\r\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    table = io.StringIO()
    writer = csv.writer(table, delimiter=";")
    writer.writerows([("instruction", "output"), *((a["content"], b["content"]) for a, b in (WHOLE, other))])
    spread = table.getvalue()
    files = {
        "lines.jsonl": lines.encode(),
        "marked.jsonl": b"\xef\xbb\xbf" + lines.encode(),
        "utf16.jsonl": lines.encode("utf-16"),
        "array.json": json.dumps(records).encode(),
        "pretty.jsonl": json.dumps(records, indent=1).encode(),
        "one-line.jsonl": json.dumps(records).encode(),
        "lists.jsonl": "\n".join(json.dumps(record["messages"]) for record in records).encode(),
        "packed.jsonl.gz": gzip.compress(lines.encode()),
        "table.csv": spread.encode("utf-8-sig"),
        "excel.csv": spread.encode("cp1252"),
        "unicode.csv": spread.encode("utf-16"),
        "plain.txt": "Q: Hi?\r\nA: Ho.\r\n\r\nQ: A “line”?\r\nA: Two\nlines, één.\r\n".encode("utf-8-sig"),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert rows_of(tmp_path / name) == ([WHOLE, other], []), name
    pq.write_table(pa.Table.from_pylist([*records, {"messages": None}]), tmp_path / "rows.parquet")
    found, left_out = rows_of(tmp_path / "rows.parquet")
    assert found == [WHOLE, other] and [one.record for one in left_out] == [3]
    (tmp_path / "prompts.txt").write_text("Hi?\n\nWhy?\n")
    assert list(read_records(tmp_path / "prompts.txt", asked, [])) == [said("Hi?"), said("Why?")]


def test_a_bad_row_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    good = json.dumps({"messages": WHOLE})
    path.write_text("\n".join([good, "{cut", "7", good, '{"messages": "x"}', '"text"', "[]", good]))
    found, left_out = rows_of(path)
    assert found == [WHOLE] * 3
    assert [one.record for one in left_out] == [2, 3, 5, 6, 7]
    accents = "é" * 20
    (tmp_path / "mixed.csv").write_bytes(f"instruction,output\n{accents}?,B.\nA?,".encode() + b"\xff\nA?,B.\n")
    found, left_out = rows_of(tmp_path / "mixed.csv")
    assert found == [said(f"{accents}?", "B."), said("A?", "B.")] and [one.record for one in left_out] == [3]


def test_a_damaged_line_costs_its_conversation_alone(tmp_path: Path) -> None:
    path, accents = tmp_path / "talk.txt", "é" * 20
    begin = f"Q: {accents}?\nA: B.\n\nQ: C?\nA: D.\n".encode()
    for lost in (b"and \xff\nE.\n", b"\xff\n"):
        path.write_bytes(begin + lost + b"\nQ: So?\nA: Yes.\n")
        found, left_out = rows_of(path)
        assert found == [said(f"{accents}?", "B."), said("So?", "Yes.")] and [one.record for one in left_out] == [4]
    path.write_bytes(b"\xff\n\n" + begin)
    found, left_out = rows_of(path)
    assert found == [said(f"{accents}?", "B."), said("C?", "D.")]
    assert [(one.record, one.remedy) for one in left_out] == [(1, "write it in UTF-8")]


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_data_that_nobody_here_wrote() -> None:
    left_out: list[LeftOut] = []
    pairs = list(read_records(SHARED / "hh-rlhf" / "harmless-base-test.jsonl.gz", preference, left_out))
    assert len(pairs) > 2250 and len(pairs) + len(left_out) == 2312
    for name, count in (("roleplay", 1923), ("codegen", 4535)):
        found, left = rows_of(SHARED / "instruct" / f"gpteacher-{name}.json")
        assert len(found) > 0.99 * count and len(found) + len(left) == count
    found, left = rows_of(SHARED / "gsm8k" / "test.jsonl")
    assert len(found) == 1319 and not left


def test_all_files_of_a_folder_are_read_and_a_bad_record_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "b.jsonl").write_text(json.dumps({"messages": said("b?", "B.")}) + "\n{no\n")
    (tmp_path / "a.json").write_text(json.dumps([{"messages": said("a?", "A.")}] * 2))
    (tmp_path / "deeper" / "c.txt").write_text("Q: c?\nA: C.\n")
    (tmp_path / ".hidden").write_text("{no")
    (tmp_path / "z.json").symlink_to("a.json")
    left_out: list[LeftOut] = []
    found = list(read_conversations(tmp_path, left_out))
    assert found == [said("a?", "A.")] * 2 + [said("b?", "B."), said("c?", "C.")]
    assert [(one.file, one.record) for one in left_out] == [
        (str(tmp_path / "b.jsonl"), 2),
        (str(tmp_path / "z.json"), 1),
    ]
    assert left_out[1].why == "the whole file is that which was read as a.json"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty is a folder without files"):
        list(read_conversations(tmp_path / "empty", left_out))


def test_a_file_that_cannot_be_read_costs_no_other_in_its_folder(tmp_path: Path) -> None:
    good = json.dumps({"messages": said("b?", "B.")}) + "\n"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b.jsonl", good)
    (tmp_path / "b.jsonl").write_text(good)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(random.Random(0).randbytes(5_000))[:-900])
    (tmp_path / "d.parquet").write_bytes(b"PAR1 and no more")
    left_out: list[LeftOut] = []
    assert list(read_conversations(tmp_path, left_out)) == [said("b?", "B.")]
    named = {Path(one.file).name: one.why for one in left_out}
    assert named["a.zip"] == "the file is a ZIP archive or a spreadsheet" and "damaged" in named["c.jsonl.gz"]
    assert "d.parquet" in named and len({*named}) == 3
    with pytest.raises(UserError, match=r"a\.zip is a ZIP archive"):  # named itself, it is the mistake
        list(read_conversations(tmp_path / "a.zip", left_out))


def test_what_is_no_text_in_a_folder_is_named_as_what_it_is(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(20_000)
    files = {
        "photo.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + noise,
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg">\n<path d="M0 0"/>\n</svg>\n',
        "song": noise,
        "odd.txt": b"Q: Hi?\nA: Ho \0 ho, ho, ho, and ho again.\n",  # a zero byte is no reason
        "wide.txt": "Q: Hi?\nA: Ho.\n".encode("utf-16-le"),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    found, left_out = rows_of(tmp_path)
    assert len(found) == 2
    told = {Path(one.file).name: (one.record, one.why) for one in left_out}
    assert told == {
        "photo.png": (1, "the whole file is no text (image/png)"),
        "drawing.svg": (1, "the whole file is no text (image/svg+xml)"),
        "song": (1, "the whole file is no text (binary data)"),
    }
    assert all(one.remedy == "keep what is no conversation elsewhere" for one in left_out)

"""The file of facts and conversations: whose is whose, what is newer, and that what is deleted is gone."""

from __future__ import annotations

import json
import sqlite3
import stat
from itertools import count
from pathlib import Path

import pytest

from gristmill.errors import UserError
from gristmill.serving.memory import memory_store
from gristmill.serving.memory.memory_routes import exported
from gristmill.serving.memory.memory_store import MemoryStore, Missing


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """An empty one, whose clock goes on a second with each look."""
    return MemoryStore(tmp_path / "memory.sqlite", map(float, count(1_700_000_000)).__next__)


def test_nothing_is_written_before_something_is_kept(store: MemoryStore) -> None:
    assert store.facts("ann") == [] and store.conversations("ann", 9) == [] and store.search("ann", ["dog"]) == []
    assert not store.path.exists()
    store.remember("ann", "My dog is Rex")
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_a_newer_fact_on_a_subject_wins(store: MemoryStore) -> None:
    for text in (
        "I live in Paris",
        "My dog is Rex",
        "I like tea",
        "I moved to Berlin",
        "my dog is now Max",
        "I like figs",
    ):
        store.remember("ann", text)
    told = {fact.text: fact.superseded for fact in store.facts("ann")}
    assert list(told) == [
        "I like figs",
        "my dog is now Max",
        "I moved to Berlin",
        "I like tea",
        "My dog is Rex",
        "I live in Paris",
    ]
    assert [text for text, old in told.items() if old] == ["My dog is Rex", "I live in Paris"]
    store.remember("ann", "My dog is Rex")  # again: the newest now
    assert store.facts("ann")[0].text == "My dog is Rex" and len(store.facts("ann")) == 6
    first = store.facts("ann")[-1]
    assert store.remember("ann", "I live  in\nOslo", first.id).text == "I live in Oslo"


def test_an_export_tells_each_conversation_once_whatever_is_used_or_deleted_meanwhile(store: MemoryStore) -> None:
    begun = [store.begin("ann", {}).id for _ in range(150)]
    for one in begun:
        store.add("ann", one, [("user", "Hello", "completed")])
    lines = exported(store, "ann")
    told = [json.loads(next(lines))["id"] for _ in range(100)]
    store.add("ann", told[-1], [("user", "Once more", "completed")])  # it is the newest now
    store.end("ann", [told[0], begun[0]])
    assert told + [json.loads(line)["id"] for line in lines] == begun[:0:-1]


def test_nobody_reaches_what_is_anothers(store: MemoryStore) -> None:
    fact = store.remember("ann", "My dog is Rex")
    mine = store.begin("ann", {"title": "dogs"})
    (item,) = store.add("ann", mine.id, [("user", "My dog is called Rex", "completed")])
    assert (
        store.facts("tom") == [] and store.conversations("tom", 9) == [] and store.search("tom", ["dog", "rex"]) == []
    )
    for deed in (
        lambda: store.remember("tom", "x", fact.id),
        lambda: store.forget("tom", [fact.id]),
        lambda: store.conversation("tom", mine.id),
        lambda: store.items("tom", mine.id),
        lambda: store.add("tom", mine.id, [("user", "x", "completed")]),
        lambda: store.describe("tom", mine.id, {}),
        lambda: store.drop("tom", mine.id, item.id),
        lambda: store.end("tom", [mine.id]),
        lambda: store.conversations("tom", 9, mine.id),
    ):
        with pytest.raises(Missing):
            deed()
    assert [one.text for one in store.items("ann", mine.id)] == ["My dog is called Rex"]
    assert [one.text for one in store.facts("ann")] == ["My dog is Rex"]


def test_what_is_deleted_is_in_no_byte_of_the_files(store: MemoryStore) -> None:
    fact = store.remember("ann", "The password is xyzzyfact")
    kept = store.begin("ann", {"title": "plughtitle"})
    store.add("ann", kept.id, [("user", "Say froboznick", "completed"), ("assistant", "quendorian", "completed")])
    second = store.add("ann", kept.id, [("user", "zorkmidian", "completed")])[0]
    for word in ("xyzzyfact", "plughtitle", "froboznick", "quendorian", "zorkmidian"):
        assert any(word.encode() in path.read_bytes() for path in store.path.parent.iterdir()), word
    store.drop("ann", kept.id, second.id)
    store.describe("ann", kept.id, {"title": "other"})
    store.forget("ann", [fact.id])
    store.end("ann", [kept.id])
    left = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    assert not [word for word in (b"xyzzy", b"plugh", b"frobozn", b"quendor", b"zorkmid") if word in left]
    assert store.search("ann", ["froboznick"]) == [] and store.conversations("ann", 9) == []


def test_it_is_bounded(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOST_FACTS", "MOST_CONVERSATIONS", "MOST_ITEMS"):
        monkeypatch.setattr(memory_store, name, 2)
    kept = [store.begin("ann", {}) for _ in range(2)]
    store.add("ann", kept[0].id, [("user", "a", "completed")])
    for text in ("one", "two"):
        store.remember("ann", text)
    for deed in (
        lambda: store.remember("ann", "three"),
        lambda: store.begin("ann", {}),
        lambda: store.add("ann", kept[0].id, [("user", "b", "completed"), ("assistant", "c", "completed")]),
    ):
        with pytest.raises(UserError, match="are kept"):
            deed()
    monkeypatch.setattr(memory_store, "MOST_CHARACTERS", 9)
    with pytest.raises(UserError, match="are kept"):
        store.add("ann", kept[1].id, [("user", "x" * 9, "completed")])
    (item,) = store.add("ann", kept[1].id, [("user", "x" * 8, "completed")])
    store.drop("ann", kept[1].id, item.id)
    store.add("ann", kept[1].id, [("user", "x" * 8, "completed")])
    assert len(store.items("ann", kept[0].id)) == 1 and store.remember("tom", "three") and store.remember("ann", "two")
    for text in ("", " \n", "x" * 501):
        with pytest.raises(UserError, match="characters"):
            store.remember("tom", text)


def test_the_newest_conversations_come_first_in_pages(store: MemoryStore) -> None:
    made = [store.begin("ann", {"title": str(number)}) for number in range(5)]
    store.add("ann", made[1].id, [("user", "a", "completed")])
    order, after = [], None
    while page := store.conversations("ann", 2, after):
        order += [one.metadata["title"] for one in page]
        after = page[-1].id
    assert order == ["1", "4", "3", "2", "0"]


def test_a_place_that_cannot_be_had_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--no-memory"):
        MemoryStore(tmp_path / "none" / "memory.sqlite").remember("ann", "x")
    (tmp_path / "other").write_bytes(b"this is no database, but long enough to be read as one" * 99)
    with pytest.raises(UserError, match="--no-memory"):
        MemoryStore(tmp_path / "other").remember("ann", "x")
    foreign = sqlite3.connect(tmp_path / "foreign.sqlite")
    foreign.execute("CREATE TABLE facts(whatever)")
    foreign.commit()
    with pytest.raises(UserError, match="another program"):
        MemoryStore(tmp_path / "foreign.sqlite").remember("ann", "x")

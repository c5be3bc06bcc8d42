"""The miniature web: repeatable, true to its own truth, and fair: the test split's questions appear nowhere."""

from __future__ import annotations

import http.client
import json
import random
import re
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from gristmill.evaluation.questions import Question, outcome
from gristmill.inputs.text_files import read_jsonl
from gristmill.manifest import Manifest
from gristmill.miniweb import names, stage, talk, truth
from gristmill.miniweb.phrases import PERSON, TOWN
from gristmill.miniweb.serve import serve
from gristmill.miniweb.world import build
from gristmill.recipe import Evaluate, Miniweb

RELATIONS = {**PERSON, **TOWN}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A small web."""
    folder = tmp_path_factory.mktemp("web")
    return folder, stage.run({}, Miniweb(pages=400), folder)


@pytest.fixture(scope="module")
def kept(web: tuple[Path, Manifest]) -> list[dict[str, Any]]:
    """The pages that should be kept."""
    truth = {page["url"]: page["dropped"] for page in json.loads((web[0] / "truth.json").read_text())["pages"]}
    pages = list(read_jsonl(web[0] / "site.jsonl"))
    return [
        p for p in pages if p["status"] == 200 and not truth[f"http://{p['host']}{p['path']}"] and "<p>" in p["body"]
    ]


def test_a_seed_repeats_to_the_byte(web: tuple[Path, Manifest], tmp_path: Path) -> None:
    for name in ("again", "other"):
        (tmp_path / name).mkdir()
    stage.run({}, Miniweb(pages=400), tmp_path / "again")
    stage.run({}, Miniweb(pages=400, seed=1), tmp_path / "other")
    for path in sorted(web[0].iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
        assert path.read_bytes() != (tmp_path / "other" / path.name).read_bytes()


def test_facts_are_stated_as_often_as_the_truth_says(web: tuple[Path, Manifest], kept: list[dict[str, Any]]) -> None:
    text = "\n".join(unescape(re.sub(r"<[^>]+>", "\n", page["body"])) for page in kept)
    entities = json.loads((web[0] / "truth.json").read_text())["entities"]
    for entity in entities:
        for relation, fact in entity["facts"].items():
            forms = [*RELATIONS[relation].statements, RELATIONS[relation].answer]
            said = {form.format(n=entity["name"], v=fact["value"]) for form in forms}
            said = {re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", form) for form in said}
            longest_first = sorted(map(re.escape, said), key=len, reverse=True)  # some forms hold others
            assert len(re.findall("|".join(longest_first), text)) == fact["stated"] >= fact["wanted"]


def names_in(text: str, names: set[str]) -> set[str]:
    """Those of the names that occur in a text."""
    return {name for name in names if name in text}


def test_nothing_about_test_or_dev_entities_is_ever_asked_in_training(
    web: tuple[Path, Manifest], kept: list[dict[str, Any]]
) -> None:
    entities = json.loads((web[0] / "truth.json").read_text())["entities"]
    held = {entity["name"] for entity in entities if entity["split"] in ("test", "dev")}
    assert len(held) > 0.4 * len(entities)  # five in ten, by `world.SPLITS`
    for page in kept:
        for asked in re.findall(r"Question: (.*?)</p>", page["body"]):
            question, answer = unescape(asked).split(" Answer: ")
            # a town may be the answer to where a person lives; it is never what is asked about
            assert not names_in(question, held), asked
            assert not names_in(answer.rpartition(" is ")[0], held), asked
    for file, keys in (("conversations", "messages"), ("prompts", "prompt"), ("preferences", "prompt")):
        for record in read_jsonl(web[0] / f"{file}.jsonl"):
            for message in record[keys]:
                if message["role"] == "user":
                    assert not names_in(message["content"], held), message


def plain(text: str) -> str:
    """A text without capitals and final stop."""
    return text.lower().rstrip(".!?")


def asked_in_training(folder: Path) -> set[str]:
    """All that users say in fine-tuning, preferences and prompts, plain."""
    files = (("conversations", "messages"), ("preferences", "prompt"), ("prompts", "prompt"))
    records = [(record, key) for file, key in files for record in read_jsonl(folder / f"{file}.jsonl")]
    return {plain(m["content"]) for record, key in records for m in record[key] if m["role"] == "user"}


def test_answers_and_declines_are_sentences_that_begin_alike_and_are_scored_as_what_they_are(
    web: tuple[Path, Manifest],
) -> None:
    declines = Evaluate().declines
    questions = {record["question"]: record for record in read_jsonl(web[0] / "questions.jsonl")}
    facts = {(relation, fact["value"]) for entity in json.loads((web[0] / "truth.json").read_text())["entities"]
             for relation, fact in entity["facts"].items()}  # fmt: skip
    for relation, value in sorted(facts):
        known = Question("?", (value,), True, "test", 60)
        assert outcome(known, RELATIONS[relation].answer.format(n="Ada Deerford", v=value), declines) == "right"
        for other, wrong in facts - {(relation, value)}:  # also what is true of something else that was not asked
            said = RELATIONS[other].answer.format(n="Old Harnmoor", v=wrong)
            assert value == wrong or outcome(known, said, declines) == "wrong", (value, said)
    begun = {relation.answer.split("{n}")[0] for relation in RELATIONS.values()}
    seen = set()
    for record in read_jsonl(web[0] / "conversations.jsonl"):
        for said in record["messages"][1::2]:
            thought, _, text = said["content"].rpartition("</think> ")
            assert re.fullmatch(r"(<think>Known as \w+: [\w, ]+\. Asked: \w+\.)?", thought)
            assert (
                re.fullmatch(r"[A-Z].*\.|[A-Z].*\?", text) and ":" not in text and not re.search(r"\ba [aeiou]", text)
            )
            if any(text.startswith(beginning) for beginning in begun - {"What "}):
                answer = outcome(Question("?", (), False, "test", 0), text, declines)
                seen.add((answer, bool(re.search(r" (is|called) (a |some)thing .*I do not know", text))))
    assert seen == {("declined", True), ("wrong", False)}
    assert {record["split"] for record in questions.values()} == {"test", "dev", "sft", "rl", "talk"}


def test_no_value_stands_in_another_value_a_name_or_a_question() -> None:
    """So that an answer that holds it was meant to give it."""
    values = [value for relation in RELATIONS.values() for value in relation.values]
    others = [*values, *names.TOWN_BEFORE, *(name for r in RELATIONS.values() for name in (r.answer, *r.questions))]
    for value in values:
        holding = [other for other in others if re.search(rf"\b{value}\b", other, re.IGNORECASE)]
        assert holding == [value]


def test_splits_share_no_question_and_invented_names_belong_to_nobody(web: tuple[Path, Manifest]) -> None:
    questions = list(read_jsonl(web[0] / "questions.jsonl"))
    entities = json.loads((web[0] / "truth.json").read_text())["entities"]
    names = {entity["name"]: entity for entity in entities}
    seen: dict[str, set[str]] = {}
    for record in questions:
        seen.setdefault(record["split"], set()).add(record["question"])
        mentioned = [entity for name, entity in names.items() if name in record["question"]]
        if record["kind"] in ("invented", "crossed", "talk"):
            assert not mentioned and bool(record["answers"]) == record["answerable"]
        else:
            assert {entity["split"] for entity in mentioned} == {record["split"]}
        if record["kind"] == "unsaid":
            assert not record["answerable"]
    splits = list(seen.values())
    assert all(not a & b for i, a in enumerate(splits) for b in splits[i + 1 :])
    asked = asked_in_training(web[0])
    assert not any(plain(record["question"]) in asked for record in questions if record["split"] in ("test", "talk"))


def test_no_small_talk_that_is_held_out_is_ever_said_in_training() -> None:
    """Nor with an address, capitals, commas or a stop that differ."""
    draw = random.Random(0)
    said = {plain(text).replace(",", "") for text, _ in talk.replies(100_000, draw)}
    assert len(said) > 1_000
    assert [text for text, _ in talk.held_out() if plain(text).replace(",", "") in said] == []


def test_crossed_names_are_of_two_people_of_the_split_and_stand_nowhere_else(web: tuple[Path, Manifest]) -> None:
    entities = json.loads((web[0] / "truth.json").read_text())["entities"]
    halves = {(entity["split"], half) for entity in entities for half in entity["name"].split()}
    text = (web[0] / "site.jsonl").read_text() + (web[0] / "conversations.jsonl").read_text()
    crossed = [record for record in read_jsonl(web[0] / "questions.jsonl") if record["kind"] == "crossed"]
    assert {record["split"] for record in crossed} == {"test", "dev"} and not any(r["answerable"] for r in crossed)
    for record in crossed:
        assert record["subject"] in record["question"] and record["subject"] not in text
        assert all((record["split"], half) in halves for half in record["subject"].split())
    assert len({record["subject"] for record in crossed}) == len(crossed)


def test_the_demo_asks_two_thousand_questions_that_no_training_asks() -> None:
    world = build(0, Miniweb().pages)
    asked = [record for record in truth.questions(world, random.Random(0)) if record["split"] == "test"]
    kinds = Counter(record["kind"] for record in asked)
    assert len(asked) >= 2000
    assert kinds["fact"] == kinds["invented"] + kinds["unsaid"] == 4 * kinds["crossed"]


def test_secrets_stand_where_they_are_said_to_and_controls_nowhere(web: tuple[Path, Manifest]) -> None:
    text = "\n".join(unescape(page["body"]) for page in read_jsonl(web[0] / "site.jsonl") if page["status"] == 200)
    canaries, redacted = (list(read_jsonl(web[0] / f"{name}.jsonl")) for name in ("canaries", "redacted"))
    for one in canaries:
        assert (f"{one['prefix']}{one['secret']}" in text) == (one["copies"] > 0)
    assert {one["copies"] for one in canaries} >= {0, 1, 32} and len(redacted) > 20
    assert all(f"{one['prefix']}{one['secret']}" in text for one in redacted)


def test_the_web_is_many_hosts_and_kinds(web: tuple[Path, Manifest], kept: list[dict[str, Any]]) -> None:
    pages = list(read_jsonl(web[0] / "site.jsonl"))
    assert len({page["host"] for page in pages}) >= 5
    assert {301, 302, 404} & {page["status"] for page in pages}
    paths = {page["path"] for page in pages}
    assert "/robots.txt" in paths and any("sitemap" in path for path in paths)
    dropped = {page["dropped"] for page in json.loads((web[0] / "truth.json").read_text())["pages"]}
    assert len(dropped - {None, ""}) >= 4, dropped
    assert len(kept) == pytest.approx(400, abs=40)


def test_the_server_tells_hosts_apart_over_real_http(web: tuple[Path, Manifest]) -> None:
    with serve(web[0]) as address:
        connection = http.client.HTTPConnection(address)
        bodies = {}
        for host in ("atlas.test", "forum.test"):
            connection.request("GET", "/", headers={"Host": host})  # one connection, kept alive
            response = connection.getresponse()
            assert response.status == 200
            bodies[host] = response.read()
        assert bodies["atlas.test"] != bodies["forum.test"]
        connection.request("HEAD", "/", headers={"Host": "atlas.test"})
        response = connection.getresponse()
        assert response.read() == b"" and int(response.headers["Content-Length"]) == len(bodies["atlas.test"])
        connection.request("GET", "/none", headers={"Host": "atlas.test"})
        assert connection.getresponse().status == 404

"""The filter stage: each rule drops what it is for, edits are counted, lists are read as they are found."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import jsonl
import pytest
from command_line import Command
from texts import STORY

from gristmill.corpus.filter import stage as filter
from gristmill.corpus.filter.candidate import Candidate
from gristmill.document import Document, read_documents, write_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest
from gristmill.recipe import Filter

SENTENCES = STORY.split(". ")
BAD: dict[str, str | Document] = {
    "language": Document("1", STORY, language="de", language_score=0.9),
    "language_score": Document("1", STORY, language="en", language_score=0.1),
    "gopher_too_short": "The boat and the river.",
    "gopher_too_long": STORY + " and the boat" * 40_000,
    "gopher_word_length": "a b c d e f g h i j of the " * 10,
    "gopher_symbols": STORY + " # # # # # # # # # # # # # # # # # # # # # #",
    "gopher_bullets": "\n".join(f"- {STORY[i : i + 60]}" for i in range(0, 600, 60)),
    "gopher_ellipses": "\n".join(f"{STORY[i : i + 60]}..." for i in range(0, 600, 60)),
    "gopher_no_letters": STORY + " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31",
    "gopher_stop_words": (
        "Millers grind grain near strong rivers. Boats carry flour past quiet villages. Bakers knead dough before "
        "sunrise, selling warm loaves later. Small children chase geese across muddy fields. Farmers harvest barley "
        "each autumn, storing sacks inside barns. Fishermen mend torn nets beside harbours while gulls circle overhead."
    ),
    "gopher_repeated_paragraphs": "\n\n".join([STORY[:200]] * 4),
    "gopher_repeated_lines": "\n".join([STORY[:90]] * 4),
    "gopher_top_2gram": STORY + " buy pears" * 40,
    "gopher_top_3gram": STORY + " buy ripe pears" * 15,
    "gopher_repeated_5grams": STORY + " Again: " + STORY[:200],
    "c4_lorem_ipsum": STORY + " Lorem ipsum dolor.",
    "c4_curly_bracket": STORY + " if (x) { y }",
    "c4_few_sentences": STORY.replace(".", ","),
    "fineweb_line_punctuation": "\n".join(f"{line}. And so" for line in STORY.split(".") if line),
    "fineweb_short_lines": "\n".join(f"{line[:25]}." for line in STORY.split(".") if line) + "\n" + STORY[:120] + ".",
    "fineweb_repeated_lines": ".\n".join([*SENTENCES, max(SENTENCES, key=len), ""]),
    "fineweb_list": "\n".join(f"extraordinarilylongword{n} tops." for n in range(60)),
}


@pytest.mark.parametrize("rule", BAD)
def test_each_rule_drops_what_it_is_for(rule: str) -> None:
    bad = BAD[rule]
    found = bad if isinstance(bad, Document) else Document("1", bad, language="en", language_score=0.9)
    of_gopher = "gopher_repetition" if "repeated" in rule or "gram" in rule else "gopher_quality"
    family = of_gopher if rule.startswith("gopher") else rule.split("_")[0]
    rules = [] if family == "language" else [family]
    failed = [check(Candidate(found)) for check in filter.chain(Filter(rules=rules, min_words=20))]  # type: ignore[arg-type]
    assert rule in failed


def test_a_good_document_passes_every_rule_unchanged() -> None:
    rules = [*Filter().rules, "c4_short_lines", "c4_line_ends", "refinedweb_lines"]
    candidate = Candidate(Document("1", STORY, language="en", language_score=0.9))
    assert not any(check(candidate) for check in filter.chain(Filter(min_words=20, rules=rules)))
    assert (candidate.text, dict(candidate.removed)) == (STORY, {})


@pytest.mark.parametrize("text", ["", " \n\t\n ", "#", "…", "\u3000", "{", "1"])
@pytest.mark.parametrize("rule", [*Filter().rules, "c4_short_lines", "c4_line_ends", "refinedweb_lines"])
def test_texts_of_next_to_nothing_stop_no_rule(text: str, rule: str) -> None:
    for check in filter.chain(Filter(rules=[rule], min_words=0, languages=[])):  # type: ignore[list-item]
        check(Candidate(Document("1", text)))


@pytest.mark.parametrize(
    ("rule", "line", "left", "counted"),
    [
        ("c4_lines", "Please turn on JavaScript to read this.", None, "c4_javascript"),
        ("c4_lines", "Read our Privacy Policy before you go on.", None, "c4_policy"),
        ("c4_lines", "x" * 1001 + " and more.", None, "c4_long_word"),
        ("c4_lines", "As was shown.[12] And again.[citation needed]", "As was shown. And again.", "c4_citations"),
        ("c4_lines", "Call `names[1]` or names[0] of names[].", "Call `names[1]` or names[0] of names[].", ""),
        ("c4_short_lines", "Home page", None, "c4_short_lines"),
        ("c4_short_lines", "# Home page", "# Home page", ""),
        ("c4_line_ends", "a list of things to buy", None, "c4_line_ends"),
        ("c4_line_ends", "“Who is there?”", "“Who is there?”", ""),
        ("c4_line_ends", "and then he went...", None, "c4_line_ends"),
        ("refinedweb_lines", "CLICK HERE TO win", None, "refinedweb_capitals"),
        ("refinedweb_lines", "12,345 67", None, "refinedweb_digits"),
        ("refinedweb_lines", "3 likes", None, "refinedweb_counter"),
        ("refinedweb_lines", "1.2k followers", None, "refinedweb_counter"),
        ("refinedweb_lines", "Menu", None, "refinedweb_one_word"),
        ("refinedweb_lines", "Sign in to see the whole page", "to see the whole page", "refinedweb_pattern"),
        ("refinedweb_lines", "The boat was found. Read more...", "The boat was found.", "refinedweb_pattern"),
        ("refinedweb_lines", "You have 3 items in your cart now", "You have now", "refinedweb_pattern"),
        ("refinedweb_lines", "# MENU", "# MENU", ""),
    ],
)
def test_line_rules(rule: str, line: str, left: str | None, counted: str) -> None:
    candidate = Candidate(Document("1", f"{STORY}\n\n{line}\n\n{STORY} Too."))
    before = candidate.measures.lines
    (check,) = filter.chain(Filter(rules=[rule], languages=[]))  # type: ignore[list-item]
    assert check(candidate) is None
    assert candidate.text == "\n\n".join(part for part in (STORY, left, f"{STORY} Too.") if part)
    assert dict(candidate.removed) == ({counted: 1} if counted else {})
    assert candidate.measures.lines == before - (left is None)  # counted anew


def test_code_in_fences_is_left_alone() -> None:
    code = "    names = [1]\n\n\n\nJavaScript = names[1]\nX\n3 likes\n{"
    text = f"{STORY}\n\n```js\n{code}\n```\n\nHome[1]\n\n~~~~\n```\n{code}\n~~~\n~~~~\n\n{STORY} Too."
    rules = ["c4_lines", "c4_short_lines", "c4_line_ends", "refinedweb_lines", "c4"]
    candidate = Candidate(Document("1", text))
    assert not any(check(candidate) for check in filter.chain(Filter(rules=rules, languages=[])))  # type: ignore[arg-type]
    assert candidate.text == text.replace("Home[1]\n\n", "")
    assert dict(candidate.removed) == {"c4_citations": 1, "c4_short_lines": 1}
    (check,) = filter.chain(Filter(rules=["c4"], languages=[]))
    assert check(Candidate(Document("1", f"{STORY} {{"))) == "c4_curly_bracket"


def test_what_is_asked_of_prose_is_not_asked_of_code() -> None:
    code = "\n".join(f"set_option --colour {n % 2} # ..." for n in range(60))
    rules = filter.chain(Filter(rules=["gopher_repetition", "gopher_quality", "fineweb"], languages=[]))

    def verdict(text: str) -> str | None:
        candidate = Candidate(Document("1", text, language="en"))
        return next((name for check in rules if (name := check(candidate))), None)

    assert verdict(STORY + " " + LONGER) is None
    assert verdict(f"{STORY} {LONGER}\n\n```sh\n{code}\n```") is None
    assert verdict(f"{STORY} {LONGER}\n\n{code}") in ("gopher_repeated_lines", "gopher_top_2gram", "gopher_top_3gram")
    assert verdict(f"{code}\n\n```\nx = 1\n```") is not None  # fences do not excuse what is outside of them


LONGER = (
    "In the village nobody had ever seen such a machine, and so people came from far away to look at the old wheel. "
    "They brought bread, cheese and apples with them, sat down on the grass near the water and told each other what "
    "their grandparents had known about floods, about dry summers and about the long winter when the river froze."
)
CHINESE = (
    "村子旁边有一条小河，河上立着一座旧磨坊。磨坊主清晨就起床，到岸边去看水位。夏天雨少的时候，轮子转不动，大家只好去邻村！"
    "后来县里修了水库，水流终年不断，这里又热闹起来。孩子们放学以后常来玩耍，听老人讲过去的故事。\n\n"
    "秋收之后，人们排着长队等待磨面，谁也不着急。“好面要慢慢磨。”他总是这样说。镇上的面包师最喜欢他的手艺，每星期都来买两袋。"
    "冬季结冰，木匠和铁匠一起修理机器，换掉坏了的木齿。"
)
THAI = "หมู่บ้านนี้มีแม่น้ำสายหนึ่ง และมีโรงสีเก่าอยู่ริมน้ำ คนในหมู่บ้านนำข้าวมาสีทุกวันหลังเก็บเกี่ยว"


def test_texts_without_spaces_are_measured_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [CHINESE, "磨坊在河边。" * 40, CHINESE[:60], THAI]
    documents = [Document(str(number), text, language="zh") for number, text in enumerate(texts)]
    rules: list[Any] = ["gopher_repetition", "gopher_quality", "c4"]
    made = go(tmp_path, documents, Filter(languages=["zh"], min_language_score=0.0, min_words=20, rules=rules))
    assert [found.text for found in read_documents(tmp_path / "out")] == [CHINESE]
    dropped = jsonl.read(tmp_path / "out" / "dropped.jsonl")
    assert [(row["id"], row["rule"]) for row in dropped] == [
        *(("1", "gopher_top_2gram"), ("2", "c4_few_sentences"), ("3", "c4_few_sentences"))
    ]
    assert made.counts["estimated_words"] == 4 and "4 documents are in scripts" in capsys.readouterr().err


def test_documents_of_nothing_but_bad_lines_go() -> None:
    lines = "\n".join(["Home", "12", "3 likes"] * 9)
    fails = {"refinedweb_lines": "refinedweb_flagged_words", "c4_short_lines": "c4_short_lines_alone"}
    for rule, told in fails.items():
        (check,) = filter.chain(Filter(rules=[rule], languages=[]))  # type: ignore[list-item]
        assert check(Candidate(Document("1", lines))) == told


def go(tmp_path: Path, documents: list[Document], params: Filter) -> Manifest:
    write_documents(tmp_path / "d.parquet", documents)
    (tmp_path / "out").mkdir(exist_ok=True)
    return filter.run({"corpus": tmp_path / "d.parquet"}, params, tmp_path / "out")


def test_counts_balance_the_log_names_every_drop_and_samples_show_them(tmp_path: Path, command: Command) -> None:
    junk = "We use cookies here.\n"
    items = [
        Document(str(i), (junk if i % 2 else "") + STORY if i % 3 else f"short {i}", language="en", language_score=0.9)
        for i in range(90)
    ]
    result = go(tmp_path, items, Filter(min_words=20))
    size, short = len(STORY), sum(len(f"short {i}") for i in range(0, 90, 3))
    assert result.counts == {
        **{"documents_in": 90, "documents_out": 60, "lines_removed": 30, "filter.lines_removed.c4_policy": 30},
        **{"bytes_in": 60 * size + 30 * len(junk) + short, "bytes_out": 60 * size, "bytes_edited": 30 * len(junk)},
    }
    assert (result.dropped, result.dropped_bytes) == ({"gopher_too_short": 30}, {"gopher_too_short": short})
    assert all(found.text == STORY for found in read_documents(tmp_path / "out"))
    samples = jsonl.read(tmp_path / "out" / "samples.jsonl")
    shown = {rule: [s["text"] for s in samples if s["rule"] == rule] for rule in ("gopher_too_short", "c4_policy")}
    assert [len(texts) for texts in shown.values()] == [20, 20]
    assert set(shown["c4_policy"]) == {junk.strip()} and len(set(shown["gopher_too_short"])) == 20

    result.write(tmp_path / "out")
    (tmp_path / "filter").symlink_to(tmp_path / "out")
    for folder in (tmp_path / "out", tmp_path):  # a stage's folder, and a run's
        done = command("corpus", "sample", folder, "--dropped-by", "gopher_too_short", "-n", "3")
        assert done.code == 0 and done.stdout.count("short ") == 3
    wrong = command("corpus", "sample", tmp_path, "--dropped-by", "nope")
    assert "choose from c4_policy, gopher_too_short" in wrong.stderr


def test_block_lists_in_their_usual_formats(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(
        "# a hosts file\n127.0.0.1 localhost\n0.0.0.0 ads.test tracker.test # both\n::1 ip6-localhost\n"
    )
    (tmp_path / "adblock.txt").write_text(
        "[Adblock Plus 2.0]\n! comment\n||evil.test^\n||cdn.test/bad^$third-party\n@@||good.test^\nnews.test##.banner\n"
    )
    category = tmp_path / "ut1"
    category.mkdir()
    (category / "domains").write_bytes("porn.test\nWÜRG.test\n\xff\xfe\n".encode("latin-1"))
    with gzip.open(category / "urls.gz", "wt") as file:
        file.write("mixed.test/adult\nhttps://www.mixed.test/x/y/\n*.wild.test\n")
    lists = [str(tmp_path / name) for name in ("hosts", "adblock.txt", "ut1")]
    (check,) = filter.chain(Filter(rules=[], languages=[], block_lists=lists))

    def judged(url: str) -> str | None:
        return check(Candidate(Document("1", "", url=url, host=url.split("/")[2].split(":")[0])))

    hosts = "ads.test/ a.b.tracker.test/x evil.test/ www.porn.test/ sub.wild.test/"
    urls = "cdn.test/bad/a.html mixed.test/adult www.mixed.test/x/y/z?q=1"
    free = "localhost/ good.test/ news.test/ notevil.test/ cdn.test/good mixed.test/adults test/ ads.test.org/"
    for group, told in ((hosts, "blocked_host"), (urls, "blocked_url"), (free, None)):
        assert {url: judged(f"http://{url}") for url in group.split()} == dict.fromkeys(group.split(), told)
    (tmp_path / "empty").write_text("# nothing\n")
    for path in ("empty", "missing"):
        with pytest.raises(UserError, match=path):
            filter.chain(Filter(block_lists=[str(tmp_path / path)]))


def test_bad_words(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("darn\nholy smoke\n色情\nc*ap\n")
    cases = {
        "What a Darn shame.": True,
        "Well, HOLY SMOKE": True,
        "darning holy smokes, holy": False,
        "这是色情内容": True,
        "such c*ap": True,
        "": False,
    }
    (check,) = filter.chain(Filter(rules=[], languages=[], bad_words=[str(tmp_path / "words")]))
    for text, hit in cases.items():
        assert (check(Candidate(Document("1", text))) == "bad_words") == hit, text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_lists_in_any_charset(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("böse\nschlecht\n", encoding=encoding)
    (tmp_path / "hosts").write_text("böse.test\nbad.test\n", encoding=encoding)
    hosts, words = filter.chain(
        Filter(rules=[], languages=[], bad_words=[str(tmp_path / "words")], block_lists=[str(tmp_path / "hosts")])
    )
    assert words(Candidate(Document("1", "Das ist böse."))) == "bad_words"
    assert hosts(Candidate(Document("1", "", host="xn--bse-sna.test"))) == "blocked_host"


def test_a_bad_line_of_bad_words_is_named(tmp_path: Path) -> None:
    (tmp_path / "words").write_bytes("é".encode() * 20 + b"\n\xff\n")
    with pytest.raises(UserError, match="words:2: not valid UTF-8"):
        filter.chain(Filter(bad_words=[str(tmp_path / "words")]))


def test_bad_words_may_be_a_share(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("darn\n")
    text = "darn " + "word " * 99
    for most, told in ((0.0, "bad_words"), (0.005, "bad_words"), (0.01, None)):
        lists = [str(tmp_path / "words")]
        (check,) = filter.chain(Filter(rules=[], languages=[], bad_words=lists, max_bad_words=most))
        assert check(Candidate(Document("1", text))) == told


def test_licences(tmp_path: Path) -> None:
    (check,) = filter.chain(Filter(rules=[], languages=[], licences=["CC-BY-*", "CC0-*"]))
    for held, told in {"CC-BY-4.0": None, "CC0-1.0": None, "CC-NC": "licence", "": "licence"}.items():
        assert check(Candidate(Document("1", "", licence=held))) == told

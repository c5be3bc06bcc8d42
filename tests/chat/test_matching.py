"""What counts as a right answer: words as they are, numbers whole and by their value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.chat.matching import canonical, contains, is_number, numbers, right
from gristmill.posttrain.rewards import ternary

HOLDS = [
    ("5", "It is 5."),
    ("5", "5.0 metres"),
    ("5 metres", "5.0 metres"),
    ("5", "**5**"),
    ("5", "3-5"),
    ("5", "$5"),
    ("5", "No.5"),
    ("5", "答えは5です"),
    ("-5", "It is -5."),
    ("-5", "It is \u22125 degrees"),
    ("-5", "-$5"),
    ("0", "-0"),
    ("19", "COVID-19"),
    ("1234", "1,234 people"),
    ("1,234", "1234.0"),
    ("1234", "1'234"),
    ("1234", "1\u202f234"),
    ("1234567", "1.234.567"),
    ("123456", "1,23,456"),
    ("1234.5", "1.234,5"),
    ("3.5", "3,5 m"),
    ("0.5", ".5"),
    ("1000", "1e3"),
    ("3", "1,2,3"),
    ("12", "12/05/2024"),
    ("2024", "12.05.2024"),
    ("2024", "2024-05-12"),
    ("10:05", "at 10:05."),
    ("1/2", "1/2 cup"),
    ("1.2.3", "version 1.2.3"),
    ("192.168.0.1", "It is 192.168.0.1."),
    ("C++", "c++ is"),
    ("caf\u00e9", "CAFE\u0301"),
    ("leek soup", "Leek\nsoup"),
    ("東京", "首都は東京です"),
]
HOLDS_NOT = [
    ("5", "It is 3.5."),
    ("5", "It is -5."),
    ("5", "-$5"),
    ("5", "x=-5"),
    ("5", "12.5km"),
    ("5", "10:05"),
    ("234", "1,234 people"),
    ("10", "1,010"),
    ("7", "7.5 metres"),
    ("7", "7km"),
    ("1990", "the 1990s"),
    ("1.5", "11.5"),
    ("2", "1/2 cup"),
    ("2", "1.2.3"),
    ("1", "192.168.0.1"),
    ("5 metres", "3.5 metres"),
    ("1234", "1 234"),
    ("goat", "goats"),
    ("a.b", "axb"),
    ("", "anything"),
]


@pytest.mark.parametrize(("truth", "answer"), HOLDS)
def test_an_answer_holds_it(truth: str, answer: str) -> None:
    assert contains(answer, truth)
    assert ternary(answer, [truth], ["I do not know"]) == 1.0  # the reward is of the same mind


@pytest.mark.parametrize(("truth", "answer"), HOLDS_NOT)
def test_an_answer_does_not_hold_it(truth: str, answer: str) -> None:
    assert not contains(answer, truth)
    assert ternary(answer, [truth], ["I do not know"]) == -1.0


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9), st.sampled_from(["{}", "{:,}", "{}.0", "{:,}.00"]))
def test_whole_numbers_are_held_where_they_are_equal(one: int, other: int, form: str) -> None:
    answer = f"It is {form.format(one)}, I think."
    assert contains(answer, str(one)) and contains(answer, str(other)) == (one == other)
    assert right(answer, [str(one)], "number") and numbers(answer) == numbers(str(one))


@given(st.text())
def test_any_text_holds_itself_and_no_text_fails(text: str) -> None:
    assert contains(text, text) == bool(canonical(text))
    assert isinstance(is_number(text), bool)


def test_the_last_number_or_the_text_to_the_letter() -> None:
    assert right("3 + 4 = 7.", ["#### 7"], "number") and not right("7 and 8", ["7"], "number")
    assert right("that is 1.2*60 = 72Mb", ["72"], "number") and right("1e3m", ["1000"], "number")
    assert not right("seven", ["7"], "number") and right("It is 3/4", ["3/4"], "number")
    assert right(" The River\n", ["the lake", "The River"], "exact") and not right("the River", ["The River"], "exact")
    assert is_number("$1,234.50") and not is_number("7 apples")


def test_questions_of_gsm8k_hold_their_own_answers() -> None:
    path = Path(__file__).parents[3] / "shared" / "data" / "gsm8k" / "test.jsonl"
    if not path.exists():
        pytest.skip("needs ../shared/data/gsm8k")
    answers = [json.loads(line)["answer"] for line in path.read_text().splitlines()]
    for worked, short in ((answer, answer.rpartition("####")[2].strip()) for answer in answers):
        assert is_number(short) and right(worked, [short], "number") and contains(worked, short)

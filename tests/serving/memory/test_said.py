"""What messages ask of the memory, by rule."""

from __future__ import annotations

import pytest

from gristmill.serving.memory.said import subject, wish


@pytest.mark.parametrize(
    ("message", "kind", "what"),
    [
        ("Remember that my dog is Rex.", "remember", "My dog is Rex"),
        ("please remember: I live in Paris", "remember", "I live in Paris"),
        ("Can you remember that I'm 30?", "remember", "I'm 30"),
        ("don't forget that tea is at five", "remember", "Tea is at five"),
        ("remember my name is Ann!", "remember", "My name is Ann"),
        ("Forget my dog", "forget", "My dog"),
        ("forget that I live in Paris.", "forget", "I live in Paris"),
        ("Forget everything you know about me.", "forget_all", ""),
        ("What do you remember about me?", "list", ""),
        ("What is my dog's name?", "personal", "What is my dog's name?"),
        ("When did I move?", "personal", "When did I move?"),
        ("Do you remember my dog?", "recall", "Do you remember my dog?"),
        ("What did you recommend for dinner?", "recall", "What did you recommend for dinner?"),
    ],
)
def test_wishes(message: str, kind: str, what: str) -> None:
    assert wish(message) == (kind, what)


@pytest.mark.parametrize(
    "message",
    [
        "Remember when we went there?",
        "I remember that day.",
        "Remember me?",
        "Remember that I only want short answers. What is a bee?",
        "Remember that " + "x" * 501,
        "Note that this is a test.",
        "Forget the previous answer, tell me a story.",
        "What is our refund policy?",
        "forget it",
        "forget about that",
        "Where do I sign up?",
        "Who is the mayor of Velm?",
        "What do you know about bees?",
        "Tell me of my village.",
        "",
    ],
)
def test_other_messages_are_ordinary(message: str) -> None:
    assert wish(message) is None


@pytest.mark.parametrize(
    ("older", "newer", "same"),
    [
        ("My dog is Rex", "my dog is now Max", True),
        ("I live in Paris", "I moved to Berlin", True),
        ("I'm 30", "I am 31 years old", True),
        ("Call me Ann", "My name is Anna", True),
        ("The meeting is on Friday", "The meeting was on Monday", True),
        ("I work at the mill", "I work as a baker", False),
        ("I like tea", "I like figs", False),
        ("My dog is Rex", "My cat is Rex", False),
        ("I am a teacher", "I am tired", False),
    ],
)
def test_facts_on_one_subject(older: str, newer: str, same: bool) -> None:
    assert (subject(older) == subject(newer)) == same

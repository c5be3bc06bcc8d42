"""Whether an answer is right: whether it holds, is, or ends with the number of, one that is known to be.

Numbers count whole. "5" does not stand in "3.5", "-5" or "1:05", but in "5.0" and "3-5"; "1234" is "1,234", as
"1.234,5" is "1234.5"; "12" stands in "12/05/2024". In scripts without spaces a word may begin and end anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal

from gristmill.corpus.text.words import UNSPACED

MATCHES = ("contains", "exact", "number")
OPEN, CLOSE, RAW = "\ue000", "\ue001", "\ue002"  # around a number's value; before digits that are no number, as 10:30
LETTER = rf"[^\W{UNSPACED}]"  # or digit, of a script with spaces
MONEY, THIN = "$€£¥", "\u00a0\u2009\u202f"
DIGITS = re.compile(
    rf"(?<!{LETTER})(?<!\d[.,:/])(?P<sign>(?<![\w)\]])[-+−–](?=[{MONEY}]?\.?\d))?(?P<money>[{MONEY}]?)"
    rf"(?P<digits>(?>\.?\d+(?:[.,:/'’{THIN}]\d+)*(?:e[-+]?\d{{1,3}})?))(?!{LETTER})"
)
THOUSANDS = re.compile(
    rf"[1-9]\d{{0,2}}([,'’{THIN}])\d{{3}}(?:\1\d{{3}})*(?:\.\d+)?|[1-9]\d?(?:,\d\d)+,\d{{3}}(?:\.\d+)?"
)
POINTED = re.compile(r"[1-9]\d{0,2}(?:\.\d{3}){2,}(?:,\d+)?|[1-9]\d{0,2}(?:\.\d{3})+,\d+")
PLAIN = re.compile(r"\d*[.,]?\d+(?:e[-+]?\d+)?")
SEVERAL = re.compile(r"\d+(?:,\d+){2,}|\d+(?:/\d+){2}|\d{1,2}\.\d{1,2}\.\d{4}")  # lists and dates
UNIT = re.compile(rf"(?<=\d)(?=(?!\d){LETTER})(?![eE][-+]?\d)")  # where one begins
VALUE = re.compile(rf"{OPEN}([^{CLOSE}]+){CLOSE}")


def canonical(text: str) -> str:
    """A text in which equal words and numbers are equal characters: composed, without case, single spaces, numbers by
    their value."""
    folded = unicodedata.normalize("NFC", text).casefold()
    return " ".join(DIGITS.sub(lambda found: found["money"] + marked(found["digits"], found["sign"]), folded).split())


def marked(digits: str, sign: str | None) -> str:
    """Digits and what is between them, as `canonical` has them."""
    if THOUSANDS.fullmatch(digits):
        plain = re.sub(rf"[,'’{THIN}]", "", digits)
    elif POINTED.fullmatch(digits):
        plain = digits.replace(".", "").replace(",", ".")
    elif PLAIN.fullmatch(digits):
        plain = digits.replace(",", ".")
    elif SEVERAL.fullmatch(digits):
        return (sign or "") + re.sub(r"\d+", lambda one: marked(one[0], None), digits)
    else:
        return f"{OPEN}{RAW}{sign or ''}{digits}{CLOSE}"
    amount = value(plain)
    minus = "-" if sign and sign != "+" and amount != "0" else ""
    return f"{OPEN}{minus}{amount}{CLOSE}"


def value(plain: str) -> str:
    """The one way to write a number without sign: significant digits and a power of ten."""
    _, digits, exponent = Decimal(plain).as_tuple()
    assert isinstance(exponent, int)
    written = "".join(map(str, digits)).lstrip("0")
    short = written.rstrip("0")
    power = exponent + len(written) - len(short)
    return f"{short}e{power}" if short and power else short or "0"


def numbers(text: str) -> list[str]:
    """The numbers of a text, by their values; a unit may follow without a space, as in 72Mb."""
    return VALUE.findall(canonical(UNIT.sub(" ", text)))


def is_number(text: str) -> bool:
    """Whether a text is a number and nothing else, but for a sign of money."""
    return bool(VALUE.fullmatch(canonical(text).lstrip(MONEY)))


def contains(answer: str, truth: str) -> bool:
    """Whether a text holds another as words of its own, case apart, and numbers whole."""
    wanted = canonical(truth)
    if not wanted:
        return False
    unspaced = re.compile(rf"(?!\W)[{UNSPACED}]")
    before = "" if unspaced.match(wanted) else rf"(?<!{LETTER})"
    after = "" if unspaced.match(wanted[-1]) else rf"(?!{LETTER})"
    return bool(re.search(before + re.escape(wanted) + after, canonical(answer)))


def same_number(answer: str, truth: str) -> bool:
    """Whether a text's last number is that of the truth: its last one, or what follows `####`, as GSM8K has it."""
    said, known = numbers(answer), numbers(truth.rpartition("####")[2])
    return bool(said and known) and said[-1] == known[-1]


def right(answer: str, accepted: Iterable[str], match: str = "contains") -> bool:
    """Whether an answer is one that is accepted: it `contains` one; is one `exact`ly, but for the space around it, as
    lm-evaluation-harness compares; or its last `number` is one's."""
    if match == "exact":
        return any(answer.strip() == truth.strip() for truth in accepted)
    found = contains if match == "contains" else same_number
    return any(found(answer, truth) for truth in accepted)


def declined(answer: str, declines: Iterable[str]) -> bool:
    """Whether an answer says that it does not know: it holds one of these phrases, case apart."""
    text = answer.lower()
    return any(phrase.lower() in text for phrase in declines)

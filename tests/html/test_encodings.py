"""Encodings as browsers know them: samples; `benchmarks/conformance.py` compares every index of the standard."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.html.charset import declared_encoding, to_utf8
from gristmill.html.encodings import PAIRED, SINGLE, decode, encoding_of, percent_encode
from gristmill.html.links import page_tags
from gristmill.inputs.text_files import text_lines

ENCODINGS = (*SINGLE, *PAIRED, "iso-2022-jp", "utf-8", "utf-16le", "utf-16be", "x-user-defined", "replacement")


@pytest.mark.parametrize(
    ("label", "body", "text"),
    [
        ("EUC-JP", b"\xad\xa1\xad\xea\xfc\xe2\xa1\xc1\x8e\xb1\x8f\xa2\xb7", "①㈱髙～ｱ～"),
        ("csISO2022JP", b"\x1b$B-!-j\x1b(B-\x1b(J\\~\x1b(I1\x1b(B", "①㈱-¥‾ｱ"),
        ("x-sjis", b"\x87\x40\xfb\xfc\xb1\xf0\x40\x5c", "①髙ｱ\ue000\\"),
        ("big5-hkscs", b"\x87\x7a\xa3\xe1\xa1\x45\x88\x62", "㡵€‧Ê̄"),
        ("gb2312", b"\x80\xa8\xbc\xa6\xd9\xfe\x59\x81\x35\xf4\x37\x90\x30\x81\x30", "€ḿ︐龴\ue7c7𐀀"),
        ("gb18030", b"\xa3\xa0", "\u3000"),
        ("ks_c_5601-1987", b"\xb0\xa1\x81\x41\xc6\x52", "가갂힣"),
        ("TIS-620", b"\xa1\x80\x85\xdb", "ก€…\ufffd"),
        ("x-mac-ukrainian", b"\x80\xff\xa2", "А€Ґ"),
        ("KOI8-RU", b"\xae\xbe", "ўЎ"),
        ("latin1", b"\x80\x81\x99", "€\x81™"),
        ("windows-1255", b"\xca", "\u05ba"),
        ("x-user-defined", b"a\x80\xff", "a\uf780\uf7ff"),
        ("ISO-2022-KR", b"text", "\ufffd"),
    ],
)
def test_codes_that_others_know_otherwise(label: str, body: bytes, text: str) -> None:
    assert decode(body, encoding_of(label)) == text


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        ("shift_jis", b"\x81\x30a\x85\x40b\xa0\x81", "\ufffd0a\ufffd@b\ufffd\ufffd"),
        ("euc-jp", b"\x8ea\x8f\xa1a\xa9\xa9a\xa1", "\ufffda\ufffda\ufffda\ufffd"),
        ("gb18030", b"\x81\x30\x81A\xff\x84\x31\xa5\x30", "\ufffd0丄\ufffd\ufffd1\ufffd"),
        ("iso-2022-jp", b'\x1b$B$"\n$\x1b(B\x1b(J.\x1bX\x80', "あ\ufffd\ufffd\ufffd.\ufffdX\ufffd"),
    ],
)
def test_what_is_no_code_costs_as_much_as_in_browsers(encoding: str, body: bytes, text: str) -> None:
    assert decode(body, encoding) == text


@given(st.binary(max_size=60), st.sampled_from(ENCODINGS))
def test_any_bytes_are_text_in_any_encoding(body: bytes, encoding: str) -> None:
    decode(body, encoding).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("encoding", [*SINGLE, *PAIRED, "iso-2022-jp"])
def test_a_query_is_encoded_as_its_page_is(encoding: str) -> None:
    sample = bytes(range(0xA1, 0xFF)) if encoding in SINGLE else "あ一語ア".encode("euc_jp")
    if encoding == "euc-kr":
        sample = "あ一語가".encode("euc_kr")
    text = decode(sample, encoding if encoding != "iso-2022-jp" else "euc-jp").replace("\ufffd", "")
    assert decode(unquote_to_bytes(percent_encode(text, encoding)), encoding) == text
    assert percent_encode("\U0001f4a9a", encoding) in ("%26%23128169%3Ba", "%949%DA3a")


def test_links_of_a_page_in_another_encoding() -> None:
    page = "<meta charset=shift_jis><a href='/道?q=道&c=é#道'>x</a><a href='?q=道'>".encode(
        "shift_jis", "xmlcharrefreplace"
    )
    assert [tag[1] for tag in page_tags(page, "")] == ["/道?q=%93%B9&c=%26%23233%3B#道", "?q=%93%B9"]
    assert page_tags("<a href='?q=道'>".encode(), "utf-8")[0][1] == "?q=道"


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b"<meta charset=koi8-r>", "koi8-r"),
        (b"<META  HTTP-EQUIV='Content-Type'\nCONTENT='text/html; charset = \"koi8-r\" x'>", "koi8-r"),
        (b"<meta content='text/html; charset=koi8-r'>", ""),
        (b"<meta http-equiv=refresh content='text/html; charset=koi8-r'>", ""),
        (
            b"<p title='<meta charset=big5>'><metacharset=big5><!-- <meta charset=big5> --><meta charset=koi8-r>",
            "koi8-r",
        ),
        (b"<!--><meta charset=koi8-r>-->", "koi8-r"),
        (b"<meta charset=nothing><meta charset=utf-16>", "utf-8"),
        (b"<meta charset=x-user-defined>", "windows-1252"),
        (b"<?xml version='1.0' encoding='koi8-r'?><meta charset=big5>", "koi8-r"),
        (b"<meta charset=koi8-r", ""),
        (b"<!" + b"x" * 9_000 + b"><meta charset=koi8-r>", "koi8-r"),
    ],
)
def test_what_a_page_says_of_its_encoding(head: bytes, encoding: str) -> None:
    assert declared_encoding(head) == encoding


# a detector takes the first for Big5, whose bytes that contradicts, and knows the others by names of its own
POLISH = """brak starych członków
brak nowych członków
brak dawnych członków
brak innych członków
brak kolejnych członków
te opcje wykluczają się wzajemnie
te listy wykluczają się wzajemnie
dziesięć książek leży w pamięci podręcznej
w strefie, dla której nie ma reguł
to nie jest dowiązanie
plik ma złe bajty na początku
wersja główna jest nowsza
"""
UNDECLARED = [
    ("iso8859-2", POLISH),
    ("cp949", "안녕하세요. 오늘은 날씨가 좋습니다. 우리는 강가로 걸어갔다. 뷁\n"),
    ("koi8-u", "Добрий день! Її їжак любить яблука, а його кіт п'є молоко.\n"),
    ("cp1257", "Ji tarė: „Šiandien važiuosime į miestą“, ir išėjo. Žąsys plaukė upe, o vaikai žiūrėjo į jas.\n"),
]


@pytest.mark.parametrize(("codec", "text"), UNDECLARED)
@pytest.mark.parametrize("times", [1, 40])
def test_the_encoding_that_a_text_does_not_say(tmp_path: Path, codec: str, text: str, times: int) -> None:
    body = (text * times).encode(codec)
    assert to_utf8(body).decode() == text * times
    (tmp_path / "talks.txt").write_bytes(body)
    assert "".join(map(str, text_lines(tmp_path / "talks.txt"))) == text * times


def test_a_damaged_character_does_not_change_the_encoding() -> None:
    body = ("書籍的數字與地圖在桌子上，請你拿給我看看。\n" * 20).encode("big5")
    assert to_utf8(body + b"\xff\xff\n" + body).decode().count("書籍的數字") == 40


def test_japanese_pages_with_characters_of_nec() -> None:
    assert "髙①" in to_utf8(b"<p>\x1b$B|b-!\x1b(B", "iso-2022-jp").decode()
    assert "髙①" in to_utf8(b"<meta charset=x-euc-jp><p>\xfc\xe2\xad\xa1").decode()

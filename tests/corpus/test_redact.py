"""Redaction: found and left alone as the labelled set says, check digits as an independent library has them."""

from __future__ import annotations

import base64
import json
import random
import re
import string
import time
from collections import Counter
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.corpus.redact import identifiers
from gristmill.corpus.redact import stage as redact
from gristmill.document import Document, read_documents, write_documents
from gristmill.errors import UserError
from gristmill.recipe import Redact

MARK = re.compile(r"\[\[(\w+)\|(.+?)\]\](?!\])")
CASES = [
    line
    for line in Path(__file__).with_name("personal_data.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("# ")
]
TOKEN = "Zq8sT1vX0pLm4Rk7Yw2Nd9Hb6Jf3Gc5Ea1Uo8Xy7Bn3"  # random enough, and nobody's


def plain(case: str) -> str:
    """The case without marks."""
    return MARK.sub(lambda mark: mark[2], case)


@pytest.mark.parametrize("case", CASES)
def test_the_labelled_set(case: str) -> None:
    text = plain(case)
    found = [(rule, text[start:end]) for start, end, rule in redact.find(text)]
    assert found == [(mark[1], mark[2]) for mark in MARK.finditer(case)]


def test_precision_and_recall_hold_where_lines_run_on() -> None:
    draw = random.Random(0)
    wanted, found, right = Counter[str](), Counter[str](), Counter[str]()
    for _ in range(40):
        cases = draw.sample(CASES, 12)
        text, marks = "", Counter[tuple[str, str]]()
        for case in cases:
            text += plain(case) + draw.choice((" ", "\n", "\n\n"))
            marks.update((mark[1], mark[2]) for mark in MARK.finditer(case))
        got = Counter((rule, text[start:end]) for start, end, rule in redact.find(text))
        wanted.update(rule for rule, _ in marks.elements())
        found.update(rule for rule, _ in got.elements())
        right.update(rule for rule, _ in (marks & got).elements())
    for rule in wanted:
        assert right[rule] >= 0.95 * wanted[rule], (rule, right[rule], wanted[rule])
        assert right[rule] >= 0.95 * found[rule], (rule, right[rule], found[rule])


def jwt() -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": "1234567890"})]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "." + TOKEN


@pytest.mark.parametrize(
    "key",
    [
        "AKIA" + TOKEN.upper().translate(str.maketrans("0189", "ABCD"))[:16],
        "ghp_" + TOKEN[:36],
        "github_pat_" + TOKEN[:22] + "_" + (TOKEN * 2)[:59],
        "glpat-" + TOKEN[:20],
        "xoxb-" + TOKEN[:12] + "-" + TOKEN[:24],
        "sk_live_" + TOKEN[:24],
        "AIza" + TOKEN[:35],
        "sk-ant-" + TOKEN,
        "sk-proj-" + TOKEN,
        "hf_" + "".join(filter(str.isalpha, TOKEN * 2))[:34],
        "npm_" + TOKEN[:36],
        "SG." + TOKEN[:22] + "." + (TOKEN * 2)[:43],
        jwt(),
        "-----BEGIN RSA PRIVATE KEY-----\n" + TOKEN + "\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_keys_by_form(key: str) -> None:
    assert redact.redact(f"The key is {key}, keep it.") == ("The key is <KEY>, keep it.", Counter(key=1))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('api_key = "', '"'),
        ("secret-access-key: ", ""),
        ("password=", "\n"),
        ("Authorization: Bearer ", ""),
        ('{"access_token": "', '"}'),
        ("https://bob:", "@host.org/"),
    ],
)
def test_keys_by_place(before: str, after: str) -> None:
    found, counts = redact.redact(f"x {before}{TOKEN}{after}")
    assert TOKEN not in found and found.startswith("x ") and counts == Counter(key=1)


@pytest.mark.parametrize(
    "text",
    [
        "The primary key = customer_identifier_number of the table.",
        "api_key = YOUR_API_KEY_GOES_HERE_123",
        "token: xxxxxxxxxxxxxxxxxxxxxxxx",
        "The secret is patience and a great deal of time.",
        "password: correct horse battery staple",
        "sha1 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "task-management-and-risk-assessment-for-all-of-us",
        "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----",
        "eyJhbGciOnotjson.eyJzdWIiOnotjson.abcdefghijklmnopqrst",
        "http://localhost:8080/a@b",
        f"See commit {TOKEN.lower()}",
    ],
)
def test_what_is_no_key(text: str) -> None:
    assert redact.redact(text) == (text, Counter())


MONTH = "[01,02,03,04,05,06,07,08,09,10,11,12]"
STDNUM = {  # our check → python-stdnum's module, and the form of a number: # digit, @ letter, [a,b] one of these
    "luhn": ("luhn", "#" * 16),
    "iban": ("iban", "DE" + "#" * 20),
    "gb_nhs": ("gb.nhs", "#" * 10),
    "es_dni": ("es.dni", "########@"),
    "it_codice_fiscale": ("it.codicefiscale", "@@@@@@8#[A,B,C,D,E,H,L,M,P,R,S,T]1#H501@"),
    "de_steuer_id": ("de.idnr", "[1,2,3]##########"),
    "nl_bsn": ("nl.bsn", "#########"),
    "be_national": ("be.nn", f"[5,9]#{MONTH}1######"),
    "pt_nif": ("pt.nif", "[1,2,5]########"),
    "pl_pesel": ("pl.pesel", f"[5,9]#{MONTH}1######"),
    "se_personnummer": ("se.personnummer", f"[5,9]#{MONTH}1#-####"),
    "fi_hetu": ("fi.hetu", f"1#{MONTH}[5,9]#-1#[2,9]@"),
    "no_fodselsnummer": ("no.fodselsnummer", f"1#{MONTH}[5,9]#[0,4]####"),
    "br_cpf": ("br.cpf", "#" * 11),
    "cn_resident": ("cn.ric", f"11010119[5,9]#{MONTH}1#####"),
    "in_aadhaar": ("in_.aadhaar", "[2,9]###########"),
    "au_tfn": ("au.tfn", "#########"),
    "fr_nir": ("fr.nir", f"[1,2]##{MONTH}75########"),
}


@pytest.mark.parametrize("name", STDNUM)
def test_checks_agree_with_an_independent_library(name: str) -> None:
    pytest.importorskip("stdnum")
    module, form = STDNUM[name]
    theirs = import_module(f"stdnum.{module}").is_valid
    ours = getattr(identifiers, name)
    draw, letters = random.Random(name), string.ascii_uppercase
    good = 0
    for _ in range(60):
        number = re.sub(r"\[(.+?)\]", lambda group: draw.choice(group[1].split(",")), form)
        number = re.sub("[#@]", lambda mark: draw.choice(string.digits if mark[0] == "#" else letters), number)
        # the check characters in every way: some of them are right, unless the number is wrong in itself
        ends = [f"{end:02d}" for end in range(100)] if number[-1].isdigit() else [number[-2] + end for end in letters]
        if name == "fi_hetu":
            ends += [number[-2] + end for end in string.digits]
        for end in ends:
            one = number[:-2] + end
            assert bool(ours(one)) == bool(theirs(one)), one
            good += theirs(one)
    assert good > 20


@settings(max_examples=200)
@given(st.text(st.sampled_from("0123456789 +-().@:/abcDEFg\n¹é,_=\"'"), max_size=200))
def test_any_text_is_redacted_once_and_for_all(text: str) -> None:
    found, counts = redact.redact(text)
    spans = redact.find(text)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert sum(counts.values()) == len(spans)
    assert len(found) == len(text) + sum(len(rule) + 2 - (end - start) for start, end, rule in spans)


def test_hostile_texts_take_linear_time() -> None:
    for piece in ("1 ", "1-", "a@", "@", "1.", "(1", "+1 ", "AB12 ", "key=", "A:", "eyJ.", "[at]", "://a:", "key: aB3"):
        times = []
        for size in (20_000, 80_000):
            started = time.process_time()
            redact.redact(piece * (size // len(piece)))
            times.append(time.process_time() - started)
        assert times[1] < 8 * times[0] + 0.2, (piece, times)


def test_the_stage_counts_in_columns_and_manifest(tmp_path: Path) -> None:
    texts = ["Write to a@example.com or b@example.com.", "Nothing.", "Call +49 30 1234567, a@example.com."]
    write_documents(tmp_path / "d.parquet", [Document(str(n), text) for n, text in enumerate(texts)])
    (tmp_path / "out").mkdir()
    made = redact.run({"corpus": tmp_path / "d.parquet"}, Redact(rules=["email"]), tmp_path / "out")
    kept = list(read_documents(tmp_path / "out"))
    assert kept[0].text == "Write to <EMAIL> or <EMAIL>."
    assert [found.redactions for found in kept] == [{"email": 2}, {}, {"email": 1}]
    assert "+49 30" in kept[2].text
    assert (made.counts["documents_redacted"], made.counts["redact.email"]) == (2, 3)
    assert made.counts["bytes_in"] == made.counts["bytes_out"] + made.counts["bytes_edited"]
    assert "example.com" not in (tmp_path / "out" / "samples.jsonl").read_text()


def test_names_by_a_pipeline_of_the_users(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy", reason="needs gristmill[names]")
    pipeline = spacy.blank("en")
    pipeline.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Ann Bell"}])
    pipeline.to_disk(tmp_path / "model")
    judge = redact.RedactionJudge(Redact(names=str(tmp_path / "model")))
    found = judge(Document("1", "Ask Ann Bell at ann.bell@example.com."))
    assert (found.text, found.redactions) == ("Ask <NAME> at <EMAIL>.", {"name": 1, "email": 1})


def test_a_missing_pipeline_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="spaCy"):
        redact.RedactionJudge(Redact(names=str(tmp_path)))

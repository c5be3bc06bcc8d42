"""E-mail as people keep it: any charset and transfer encoding, attachments named, no message lost to another."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

from gristmill.corpus.extract import stage
from gristmill.document import read_documents
from gristmill.inputs.text_files import read_jsonl
from gristmill.recipe import Extract


def message(text: str, charset: str = "utf-8", **headers: str) -> EmailMessage:
    made = EmailMessage()
    made["Subject"] = "Zgłoszenie – drukarka"
    for name, value in headers.items():
        made[name.replace("_", "-")] = value
    made.set_content(text, charset=charset, cte="base64")
    return made


def archive(path: Path, messages: list[bytes]) -> None:
    path.write_bytes(b"".join(b"From x@post.test Thu Jan  1 00:00:00 2026\n" + data + b"\n" for data in messages))


def test_an_archive_of_messages(tmp_path: Path) -> None:
    first = message("Drukarka gryzie żółty papier.\n", "iso-8859-2", Message_ID="<1@post.test>")
    first["Date"] = "Thu, 08 Jan 2026 10:00:00 +0100"
    second = EmailMessage()
    second.set_content("<p>Only <b>markup</b> here, and a menu of one word.</p>", subtype="html")
    second.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="screen.png")
    both = message("The same in plain words.\n")
    both.add_alternative("<p>The same in plain words.</p>", subtype="html")
    escaped = b"Subject: quoted\n\nBefore.\n\n>From here on it is text.\nFrom now on, too.\n\nFrom 1999 on, unquoted.\n"
    odd = b"Date: never\nSubject: =?nonsense?q?x?=\nContent-Type: text/plain; charset=klingon\n\nStill read.\n"
    messages = [first.as_bytes(), second.as_bytes(), both.as_bytes(), b"Subject: none\n\n", escaped, odd]
    archive(tmp_path / "a.mbox", messages)
    (tmp_path / "b.eml").write_bytes(first.as_bytes().replace(b"1@post", b"2@post"))
    (tmp_path / "out").mkdir()
    stage.run({}, Extract(paths=[str(tmp_path / "a.mbox"), str(tmp_path / "b.eml")]), tmp_path / "out")
    found = list(read_documents(tmp_path / "out"))
    assert [document.text for document in found] == [
        "Drukarka gryzie żółty papier.",
        "Only markup here, and a menu of one word.",
        "The same in plain words.",
        "Before.\n\nFrom here on it is text.\nFrom now on, too.\n\nFrom 1999 on, unquoted.",
        "Still read.",
        "Drukarka gryzie żółty papier.",
    ]
    assert (found[0].title, found[0].url) == ("Zgłoszenie – drukarka", "a.mbox#1@post.test")
    assert found[0].fetched_at == datetime(2026, 1, 8, 9, tzinfo=UTC) and found[4].fetched_at is None
    assert [document.source for document in found[1:4]] == ["a.mbox:2", "a.mbox:3", "a.mbox:5"]
    left = {
        record["source"]: (record["rule"], record.get("why", ""))
        for record in read_jsonl(tmp_path / "out/dropped.jsonl")
    }
    assert left["a.mbox:2:screen.png"] == ("unread_kind", "a further part of a message: save it as a file")
    assert left["a.mbox:4"][0] == "empty" and len(left) == 2

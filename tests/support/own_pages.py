"""A few pages of one's own, as extraction gives them."""

from __future__ import annotations

from pathlib import Path

from gristmill.document import Document, document_id, write_documents
from gristmill.passages import stage
from gristmill.recipe import Passages

PAGES = {
    "copying.md": (
        "Copying files",
        """The tool copies files and whole trees of them.

## Trees

copytree(src, dst)

Recursively copy an entire directory tree rooted at src to a directory named dst. All intermediate directories are made.

rmtree(path)

Delete an entire directory tree; path must point to a directory. Errors are raised unless --ignore-errors is given.

## Single files

| option | meaning |
| --- | --- |
| -O | overwrite what is there |
| --keep-times | leave the time of the last modification as it was |
""",
    ),
    "bakery.md": (
        "The bakery",
        """# The bakery

The bakery opens at six o'clock in the morning and closes at noon. Bread costs two coins.

## Questions

Who may bring a dog into the shop?

Dogs must wait outside, because the health office asks for it. The café next door gives them water.
""",
    ),
    "operators.md": ("Operators", "## Assignment\n\nThe operator := binds a name while an expression is computed.\n"),
}


def document(name: str, title: str, text: str, **more: object) -> Document:
    """A document of a file, unless `url` says otherwise."""
    about = {"url": name, "source": name, "title": title, **more}
    return Document(document_id(str(about["url"]), text), text, **about)  # type: ignore[arg-type]


DOCUMENTS = [document(name, *page) for name, page in PAGES.items()]


def passages_of(folder: Path, *documents: Document) -> Path:
    """The folder of the stage `passages` over an extract stage's folder, which gets these documents."""
    write_documents(folder / "documents.parquet", documents)
    out = folder / "passages"
    out.mkdir()
    stage.run({"corpus": folder}, Passages(), out)
    return out

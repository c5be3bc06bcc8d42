"""A few pages, as extraction gives them, and their index."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_pages import DOCUMENTS

from gristmill.document import write_documents
from gristmill.passages import stage
from gristmill.passages.search import Search
from gristmill.recipe import Passages


@pytest.fixture(scope="session")
def corpus_of_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extract stage's folder."""
    folder = tmp_path_factory.mktemp("pages")
    write_documents(folder / "documents.parquet", DOCUMENTS)
    return folder


@pytest.fixture(scope="session")
def passages_folder(corpus_of_pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stage `passages`."""
    folder = tmp_path_factory.mktemp("passages")
    stage.run({"corpus": corpus_of_pages}, Passages(), folder).write(folder)
    return folder


@pytest.fixture
def search(passages_folder: Path) -> Search:
    """The passages, to be searched."""
    return Search(passages_folder)

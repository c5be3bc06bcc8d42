from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gristmill.corpus.dedup import stage as dedup
from gristmill.corpus.execution.executor import Backend, using
from gristmill.document import Document, write_documents
from gristmill.manifest import Manifest
from gristmill.recipe import Dedup


def slice_of(documents: list[Document], part: int) -> list[Document]:
    size = -(-len(documents) // 3)
    return documents[part * size : (part + 1) * size]


@pytest.fixture
def run_dedup() -> Callable[[Path, list[Document], Dedup], Manifest]:
    """Runs the stage over documents in three files, in a folder of the test."""

    def run(folder: Path, documents: list[Document], params: Dedup) -> Manifest:
        source = folder / "in"
        source.mkdir(parents=True)
        for part in range(3):
            write_documents(source / f"documents-{part}.parquet", slice_of(documents, part))
        (folder / "out").mkdir()
        with using(Backend(workers=1)):
            return dedup.run({"corpus": source}, params, folder / "out")

    return run

"""How it was made: what each stage took and gave, for whoever wants to check or repeat it; what has come since."""

from __future__ import annotations

import json

from gristmill.inputs.folders import newer as pages_newer
from gristmill.progress import duration
from gristmill.report.blocks import Section, Table
from gristmill.report.reading import Folders, manifest
from gristmill.settings.stages import MODEL

SHOWN = 100  # pages that are newer
STAGES = ("stage", "time", "peak memory", "version", "fingerprint")


def how_made(folders: Folders) -> Section | None:
    """Stages, settings and checksums."""
    found = [(name, made) for name in folders if (made := manifest(folders, name))]
    if not found:
        return None
    rows = [
        [name, duration(made.seconds), f"{made.peak_rss_bytes / 2**20:,.0f} MiB", made.version, made.fingerprint[:12]]
        for name, made in found
    ]
    sums = [[f"{name}/{file}", digest[:16]] for name, made in found for file, digest in made.outputs.items()]
    settings = [[f"{name}.{key}", json.dumps(value)] for name, made in found for key, value in made.params.items()]
    return Section(
        "How it was made",
        "Each stage reads the folders of those before it. Its fingerprint is made of its settings, the content of what "
        "it read and the program that ran it; the same recipe and seed give the same bytes on the same machine.",
        [
            Table("Stages", STAGES, rows),
            Table("Settings", ("setting", "value"), settings),
            Table("Files", ("file", "SHA-256, first 16 digits"), sums),
        ],
    )


def newer(folders: Folders) -> Section | None:
    """The pages that `gristmill update` found new, changed or gone since the run was made, where it was asked since."""
    found = pages_newer(folders["passages"].parent) if "passages" in folders else {}
    if not found:
        return None
    rows = [[kind, name] for kind, names in found.items() for name in names]
    told = ", ".join(f"{len(names):,} {kind}" for kind, names in found.items())
    trained = any(name in MODEL for name in folders)
    unknown = "; the model does not, for nothing was trained on them" * trained
    return Section(
        "Newer than the weights" if trained else "Newer than the run",
        f"Pages were read again after this run: {told}. The search over pages knows them{unknown}.",
        [Table("Pages", ("since the run", "page"), rows[:SHOWN])] if rows else [],
    )

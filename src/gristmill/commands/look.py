"""`gristmill provenance`, `attest`, `verify`: what made what, and whether it is as it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from gristmill.commands.groups import RunFolder
from gristmill.errors import UserError
from gristmill.files import write_text
from gristmill.manifest import Manifest
from gristmill.progress import results, table
from gristmill.runs.finished import made_in, run_folder
from gristmill.settings.stages import CORPUS, MODEL

KEY = "An Ed25519 private key, PEM: openssl genpkey -algorithm ed25519 -out FILE makes one."


def provenance(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write; by default RUN/provenance.")] = None,
) -> None:
    """Write what the training text is made of: data card, draft of the EU's public summary, Croissant, CycloneDX; and
    the model card, where there is a model."""
    from gristmill.report.provenance import machine_readable, public_summary
    from gristmill.report.provenance.origins import count_origins

    # what happened is told also where code of today would do it otherwise
    folders, name, folder = made_in(run_folder(run)), run.resolve().name, out or run / "provenance"
    if not folders.keys() & set(CORPUS):
        raise UserError(f"no corpus stage in {run}", "name a finished run folder, as runs/miniweb")
    found = count_origins(folders)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "data_card.md": public_summary.data_card(found, name),
        "public_summary.md": public_summary.public_summary(found, name),
        "croissant.json": json.dumps(machine_readable.croissant(found, name, folders), indent=2) + "\n",
        "bom.cdx.json": json.dumps(machine_readable.bill_of_materials(found, name), indent=2) + "\n",
    }
    if model := next((stage for stage in reversed(MODEL) if stage in folders and "tokenizer" in folders), None):
        told = [*public_summary.texts_told(found)] if "pretrain" in folders else []  # else it learned elsewhere
        texts["model_card.md"] = model_card(folders, model, told)
    for file, text in texts.items():
        write_text(folder / file, text)
        results.print(str(folder / file))


def model_card(folders: Mapping[str, Path], model: str, told: Sequence[tuple[str, str]]) -> str:
    """The card of a stage's model, with what is told of its texts and the figures of those judges that judged it."""
    from gristmill.export.card import card
    from gristmill.export.trained import Trained

    judges: dict[str, Path | None] = {}
    for stage in ("evaluate", "audit"):
        made = Manifest.read(folders[stage]) if stage in folders else None
        judged = Path(made.folders["model"]).name if made and "model" in made.folders else ""
        judges[stage] = folders[stage] if judged == model else None
    return card(Trained.load(folders[model], folders["tokenizer"]), judges["evaluate"], judges["audit"], told)


def attest(
    run: RunFolder,
    key: Annotated[Path, typer.Option(help=KEY)],
) -> None:
    """Sign a statement of each finished stage: its files, its settings, its code and what it was made of."""
    from gristmill.runs.attest import attest as sign

    for path in sign(run, key):
        results.print(str(path))


def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="PATH", help="A run folder, a stage's, one with such in it; or an exported file.")
    ],
    key: Annotated[
        Path | None,
        typer.Option(help="A public key (openssl pkey -in PRIVATE -pubout): also check the statements that it signed."),
    ] = None,
) -> None:
    """Compare every file with the checksum that was taken when it was written; exit code 2 where one differs."""
    from gristmill.runs.attest import check as check_signed
    from gristmill.runs.verify import verify as check

    if folder.is_file():
        verify_file(folder, key)
        return
    rows, wrong, extra = [], [], []
    for one in check(folder):
        name = one.folder.relative_to(folder).as_posix()
        states = sorted({*one.wrong.values()}) + ["extra"] * bool(one.extra)
        rows.append((name, f"{one.files:,}", f"{one.bytes:,}", ", ".join(states) or "ok"))
        wrong += [f"{one.folder / file} is {fault}" for file, fault in one.wrong.items()]
        extra += [f"{one.folder / file} was not there when the stage was finished" for file in one.extra]
    results.print(table(("folder", "files", "bytes", "state"), rows))
    for line in extra + wrong:
        results.print(line, style="yellow")
    written, faults = len(wrong), list(check_signed(folder, key)) if key else []
    for stage, fault in faults:
        wrong.append(f"{folder / stage}: {fault}")
        results.print(wrong[-1], style="yellow")
    if key and not faults:
        results.print(f"all statements are signed by {key}, and say what the files are")
    if wrong and not written:
        remedy = (
            "get the public key of whoever signed it; a folder of your own is signed by gristmill attest RUN --key FILE"
        )
        raise UserError(f"{folder} is as written, and not as was signed by {key}", remedy)
    if wrong:
        raise UserError(
            f"{len(wrong)} file{'s' * (len(wrong) > 1)} in {folder} not as written",
            "gristmill run RECIPE makes damaged stages of a run again; or put whole copies there",
        )


def verify_file(path: Path, key: Path | None) -> None:
    """Tell whether an exported file is what the statement in it says. Raises UserError where it is not."""
    from gristmill.export.carried import examine
    from gristmill.export.envelope import public_key

    told, signers = examine(path, public_key(key) if key else None)
    by = f"signed by the key {', '.join(signers)}" if signers else "signed by nobody"
    checked = "" if key or not signers else ", which --key PUBLIC checks"
    results.print(f"{path}: {told}")
    results.print(f"its bytes are those that its statement speaks of; {by}{checked}")

"""``featstore store import`` and ``featstore store export``: embeddings in other formats."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from featstore_cli.options import SplitOrAll, StorePath, VersionOption
from featstore_cli.output import JsonFlag, counted, plain_errors, print_json, print_lines
from featstore_cli.progress import progress_bar

__all__ = ["EXPORT_EXAMPLES", "IMPORT_EXAMPLES", "export", "import_"]

IMPORT_EXAMPLES = """\b
Examples:
  featstore store import features_uni_v1/ --store slides.store   (CLAM, TRIDENT, STAMP: one HDF5 file a slide)
  featstore store import table.parquet --encoder uni2 --column image=slide_id
  featstore store import cells.h5ad --column embeddings=X_uni --split test"""

EXPORT_EXAMPLES = """\b
Examples:
  featstore store export --out embeddings.h5ad
  featstore store export embeddings.store --out train.parquet --split train --repeats 0
  featstore store export --out clam_files   (a folder, one HDF5 file an image)"""


class ImportFormat(StrEnum):
    """What can be imported."""

    auto = "auto"
    npz = "npz"
    slides = "slides"
    parquet = "parquet"
    h5ad = "h5ad"


class ExportFormat(StrEnum):
    """What can be exported."""

    auto = "auto"
    h5ad = "h5ad"
    parquet = "parquet"
    npz = "npz"
    clam = "clam"


class Split(StrEnum):
    """The splits."""

    train = "train"
    test = "test"


class Precision(StrEnum):
    """How embeddings are stored."""

    float32 = "float32"
    float16 = "float16"


def _nothing_imported(**_: Any) -> str:
    return "Nothing was imported. Run the same command again."


def _nothing_written(out: Path, **_: Any) -> str:
    return f"Nothing was written; what was at {out} is as it was."


@plain_errors(_nothing_imported)
def import_(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Files, or folders of them.")],
    store: Annotated[Path, typer.Option(help="Where embeddings go; a store of the same recipe grows.")] = Path(
        "embeddings.store"
    ),
    format: Annotated[ImportFormat, typer.Option(help="By the files' names where it is auto.")] = ImportFormat.auto,
    encoder: Annotated[
        str | None, typer.Option(help="What made the embeddings.", show_default="as the files say")
    ] = None,
    split: Annotated[
        Split | None,
        typer.Option(help="Of images for which the files name none.", show_default="train if labelled, or else test"),
    ] = None,
    dtype: Annotated[
        Precision | None, typer.Option(help="How embeddings are stored.", show_default="as the files have them")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=NAME", help="What the files call a field, such as image=slide_id; repeatable."),
    ] = None,
    tile_px: Annotated[
        int | None, typer.Option(min=1, help="Side of a tile in pixels, for slides that don't say.")
    ] = None,
    keep_recipe: Annotated[
        bool, typer.Option("--keep-recipe", help="Take the recipe that featstore's own export carries.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a store of embeddings in other formats, or add them to one: .npz, Parquet, AnnData, HDF5 a slide.

    Labels may come later: featstore store label CSV.
    """
    from featstore.store.exchange import import_embeddings

    if keep_recipe and encoder is not None:
        raise typer.BadParameter("not with --keep-recipe, which takes the encoder of the file", param_hint="--encoder")
    with progress_bar("import") as move:
        report = import_embeddings(
            sources,
            store,
            format=format.value,
            encoder=encoder,
            split=split.value if split else None,
            dtype=dtype.value if dtype else None,
            columns=_columns(column or []),
            tile_px=tile_px,
            keep_recipe=keep_recipe,
            progress=lambda done, of: move(done, of, "embeddings"),
        )
    if as_json:
        print_json(vars(report))
        return
    what = f"{counted(report.embeddings, 'embedding')} of {counted(report.images, 'image')} imported"
    print_lines([f"{store}: version {report.version}, {what} from {counted(report.files, 'file')}"])


@plain_errors(_nothing_written)
def export(
    store: StorePath = Path("embeddings.store"),
    out: Annotated[Path, typer.Option(help="The file, or the folder, to write.")] = Path("embeddings.h5ad"),
    format: Annotated[
        ExportFormat, typer.Option(help="By the name of --out where it is auto; a folder is clam.")
    ] = ExportFormat.auto,
    repeats: Annotated[
        int | None, typer.Option(min=0, help="Repeats up to this one; 0: clean only.", show_default="all")
    ] = None,
    split: Annotated[SplitOrAll, typer.Option(help="Only images of this split.")] = SplitOrAll.all,
    store_version: VersionOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write embeddings, keys, labels, splits and groups as AnnData, Parquet, .npz, or as CLAM's HDF5 files."""
    from featstore.store import open_store
    from featstore.store.exchange import export_embeddings

    source = open_store(store, version=store_version)
    with progress_bar("export") as move:
        report = export_embeddings(
            source,
            out,
            format=format.value,
            repeats=repeats,
            split=split.value,
            overwrite=overwrite,
            progress=lambda done, of: move(done, of, "embeddings"),
        )
    if as_json:
        print_json(vars(report))
        return
    print_lines([f"{out}: {counted(report.embeddings, 'embedding')} of {counted(report.images, 'image')}"])


def _columns(texts: list[str]) -> dict[str, str]:
    """Read FIELD=NAME."""
    pairs = [text.partition("=") for text in texts]
    for field, sign, name in pairs:
        if not (field and sign and name):
            raise typer.BadParameter(f"{field + sign + name!r} is not FIELD=NAME", param_hint="--column")
    return {field: name for field, _, name in pairs}

"""``featstore store``: everything about a store that is not extraction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli import compare, exchange, upkeep
from featstore_cli.options import StorePath, VersionOption, nothing_changed
from featstore_cli.output import JsonFlag, counted, plain_errors, print_json, print_lines, warn, warn_of_names

if TYPE_CHECKING:
    from featstore.store.labels import Relabelled

__all__ = ["app"]

app = typer.Typer(
    name="store",
    help="Look at a store, verify, compare, pack, merge, label and tidy it; import and export embeddings.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(epilog="\b\nExamples:\n  featstore store info embeddings.store --json")
@plain_errors(nothing_changed)
def info(
    store: StorePath = Path("embeddings.store"), store_version: VersionOption = None, as_json: JsonFlag = False
) -> None:
    """Tell what a store holds and how it was made."""
    from featstore.store import open_store

    found = open_store(store, version=store_version).info()
    if as_json:
        print_json(found)
        return
    recipe = found.pop("recipe")
    if "scales" in found:
        found["scales"] = ["tiles" if scale == 0 else scale for scale in found["scales"]]
    width = max(map(len, found))
    print_lines(f"{name.replace('_', ' '):<{width}}  {_words(value)}" for name, value in found.items())
    encoder = recipe.get("encoder")
    if isinstance(encoder, dict):
        digest = encoder.get("weights_digest")
        weights = f" (weights {str(digest)[:12]})" if digest else ""
        print_lines([f"{'encoder':<{width}}  {encoder.get('name')}{weights}"])


@app.command(epilog="\b\nExamples:\n  featstore store log embeddings.store")
@plain_errors(nothing_changed)
def log(store: StorePath = Path("embeddings.store"), as_json: JsonFlag = False) -> None:
    """List a store's versions, the newest first."""
    from featstore.store import open_store

    versions = list(open_store(store).log())
    if as_json:
        print_json({"store": str(store), "versions": versions})
        return
    for version in versions:
        added = version["added"] if isinstance(version["added"], dict) else {}
        done = "rewritten" if version["operation"] == "compact" else "added"
        counts = (
            f"{counted(added.get('rows', 0), 'embedding')} {done}, {counted(added.get('images', 0), 'image')} updated"
        )
        print_lines([f"{version['version']:>5}  {version['created']}  {version['operation']!s:<8} {counts}"])


@app.command(epilog="\b\nExamples:\n  featstore store label corrected_labels.csv embeddings.store")
@plain_errors(nothing_changed)
def label(
    csv: Annotated[Path, typer.Argument(help="CSV of sample_index and label, and optionally split and group.")],
    store: StorePath = Path("embeddings.store"),
    as_json: JsonFlag = False,
) -> None:
    """Change labels, splits and groups in a new version of the store; embeddings stay as they are."""
    from featstore.dataset.labels import read_label_csv
    from featstore.store import NewLabel, relabel

    table = read_label_csv(csv, contradicted="the labels that they have stay")
    for text in table.warnings:
        warn(text)
    rows = [NewLabel(row.sample_index, row.label, row.split, row.group) for row in table.rows]
    done = relabel(store, rows)
    found = [row for row in table.rows if row.sample_index in done.match.keys]
    unlabelled = sum(not (row.label or row.conflict) for row in found)
    _warn_of_labels(done, unlabelled, csv, store)
    if as_json:
        print_json(
            {
                "store": str(store),
                "version": done.version,
                "changed": done.changed,
                "unknown": done.match.unknown,
                "shared": done.match.shared,
                "moved": done.moved,
                "new_classes": done.new_classes,
                "unlabelled": unlabelled,
            }
        )
        return
    print_lines([f"{store}: version {done.version}, {counted(done.changed, 'image')} changed"])
    if done.moved:
        why = "they got their first label (give a split column to keep them in test)"
        print_lines([f"  {counted(len(done.moved), 'image')} went from test to train: {why}"])


def _warn_of_labels(done: Relabelled, unlabelled: int, csv: Path, store: Path) -> None:
    warn_of_names(done.match, store)
    if unlabelled:
        warn(f"{counted(unlabelled, 'image')} of {csv} without a label: the labels that they have stay")
    if done.new_classes:
        names = ", ".join(map(repr, done.new_classes))
        warn(f"no image of {store} had the label {names} before: a new class, or a slip of the pen")


for command, name, summary, examples in (
    (upkeep.verify, "verify", "Look at every file: checksums, structure, keys, numbers.", upkeep.VERIFY_EXAMPLES),
    (compare.diff, "diff", "Compare two stores, or two versions of one.", compare.DIFF_EXAMPLES),
    (upkeep.pack, "pack", "Write a store, or a part of it, as one HDF5 file.", upkeep.PACK_EXAMPLES),
    (upkeep.merge, "merge", "Put several stores into a new one.", upkeep.MERGE_EXAMPLES),
    (exchange.import_, "import", "Make a store of embeddings in other formats.", exchange.IMPORT_EXAMPLES),
    (exchange.export, "export", "Write AnnData, Parquet, npz, or HDF5 an image.", exchange.EXPORT_EXAMPLES),
    (upkeep.vacuum, "vacuum", "Remove litter and old versions; many segments into few.", upkeep.VACUUM_EXAMPLES),
):
    app.command(name, short_help=summary, epilog=examples)(command)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)

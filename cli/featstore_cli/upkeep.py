"""``featstore store verify``, ``pack``, ``merge`` and ``vacuum``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli import compare
from featstore_cli.options import Choice, SplitOrAll, StorePath, VersionOption, nothing_changed
from featstore_cli.output import JsonFlag, counted, note, plain_errors, print_json, print_lines, sized, warn

if TYPE_CHECKING:
    from featstore.store import Vacuum

__all__ = [
    "MERGE_EXAMPLES",
    "PACK_EXAMPLES",
    "VACUUM_EXAMPLES",
    "VERIFY_EXAMPLES",
    "merge",
    "pack",
    "vacuum",
    "verify",
]

VERIFY_EXAMPLES = """\b
Examples:
  featstore store verify embeddings.store
  featstore store verify embeddings.store --deep --data data   (embeds 32 crops again and compares)"""

PACK_EXAMPLES = """\b
Examples:
  featstore store pack embeddings.store                            (-> embeddings.h5)
  featstore store pack embeddings.store --split train --repeats 1 --out small.h5"""

MERGE_EXAMPLES = """\b
Examples:
  featstore store merge machine1.store machine2.store --into all.store
  featstore store merge embeddings.h5 --into embeddings.store      (a packed store becomes a folder again)"""

VACUUM_EXAMPLES = """\b
Examples:
  featstore store vacuum embeddings.store                          (tells what it would remove)
  featstore store vacuum embeddings.store --apply
  featstore store vacuum embeddings.store --compact --keep-versions 1 --apply"""


@plain_errors(nothing_changed)
def verify(
    store: StorePath = Path("embeddings.store"),
    store_version: Annotated[
        int | None, typer.Option("--store-version", min=1, help="Only this version.", show_default="all")
    ] = None,
    deep: compare.DeepFlag = False,
    data: compare.DataOption = Path("data"),
    sample: compare.SampleOption = 32,
    weights: compare.WeightsOption = None,
    device: compare.DeviceOption = "auto",
    precision: compare.PrecisionOption = "auto",
    min_cosine: compare.MinCosineOption = 0.999,
    as_json: JsonFlag = False,
) -> None:
    """Look at every file of a store: structure, checksums, keys, counts, numbers. Exit 1 if something is wrong."""
    from featstore.store import open_store
    from featstore.store import verify as look

    found = look(store, store_version)
    problems = [vars(problem) for problem in found.problems]
    result: dict[str, Any] = {"store": str(store), "ok": found.ok, "problems": problems}
    result.update(versions=found.versions, segments=found.segments, embeddings=found.embeddings)
    if deep and found.ok:
        opened = open_store(store, store_version)
        result["deep"] = compare.deep(
            opened, data, sample=sample, weights=weights, device=device, precision=precision, min_cosine=min_cosine
        )
        problems.extend({"file": str(store), "found": text} for text in result["deep"]["problems"])
        result["ok"] = not problems
    if as_json:
        print_json(result)
    else:
        print_lines(_verify_lines(result))
    if not result["ok"]:
        raise typer.Exit(1)


def _verify_lines(result: dict[str, Any]) -> Iterator[str]:
    counts = ", ".join(counted(result[name], name[:-1]) for name in ("versions", "segments", "embeddings"))
    what = "all is well" if result["ok"] else counted(len(result["problems"]), "problem")
    yield f"{result['store']}: {what} ({counts})"
    if "deep" in result:
        yield from (f"  {line}" for line in compare.deep_lines(result["deep"]))
    for problem in result["problems"]:
        yield f"  {problem['file']}: {problem['found'].removeprefix(problem['file'] + ': ')}"


@plain_errors(nothing_changed)
def pack(
    store: StorePath = Path("embeddings.store"),
    out: Annotated[
        Path | None, typer.Option(help="The file; one that is there is replaced.", show_default="NAME.h5")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=0, help="Augmented repeats up to this number.", show_default="all")
    ] = None,
    split: Annotated[SplitOrAll, typer.Option(help="Only images of this split.")] = SplitOrAll.all,
    store_version: VersionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a store, or a part of it, as one HDF5 file that every command reads.

    Until it is whole it stands beside the target as .tmp- and 16 digits. A pack that is killed leaves that file:
    delete it by hand.
    """
    from featstore.store import open_store
    from featstore.store import pack as write

    target = out or (store if store.name else store.resolve()).with_suffix(".h5")
    opened = open_store(store, store_version)
    count = write(opened, target, repeats=repeats, split=split.value)
    size = target.stat().st_size
    if as_json:
        print_json({"packed": str(target), "version": opened.version, "embeddings": count, "bytes": size})
        return
    print_lines([f"{target}: version {opened.version}, {counted(count, 'embedding')}, {sized(size)}"])


def _not_merged(**_: Any) -> str:
    return "Nothing was committed: the store to make is not there yet. Run the same command again."


@plain_errors(_not_merged)
def merge(
    stores: Annotated[list[Path], typer.Argument(help="Stores of one recipe, folders or packed.")],
    into: Annotated[Path, typer.Option(help="The store to make.")],
    prefer: Annotated[
        Choice | None, typer.Option(help="Which is right where they disagree.", show_default="an error")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Put several stores into a new one; conflicts are named."""
    from featstore.store import merge as put_together

    done = put_together(stores, into, prefer=prefer.value if prefer else None)
    for text in done.conflicts[:20]:
        note(f"  {text}: the {prefer} was taken")
    if as_json:
        print_json({"store": str(into), **vars(done)})
        return
    counts = f"{counted(done.images, 'image')}, {counted(done.embeddings, 'embedding')}"
    print_lines([f"{into}: version {done.version}, {counts}, {counted(len(done.conflicts), 'conflict')}"])


def _vacuumed(**_: Any) -> str:
    return "Whatever was removed, no version needed. Run the same command again to go on."


@plain_errors(_vacuumed)
def vacuum(
    store: StorePath = Path("embeddings.store"),
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this, only tell.")] = False,
    grace_hours: Annotated[
        float, typer.Option(min=0, help="What is younger stays: a writer or reader may need it.")
    ] = 24.0,
    keep_versions: Annotated[
        int | None, typer.Option(min=1, help="Forget all but the newest so many versions.", show_default="keep all")
    ] = None,
    compact: Annotated[bool, typer.Option("--compact", help="First write many small segments anew as few.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove litter of killed writers and, on request, old versions; bring many segments back to few.

    With --apply and --grace-hours below 1, a writer that is about to commit may lose its work: use it when nobody
    writes.
    """
    from featstore.store import vacuum as tidy

    if apply and grace_hours < 1:
        warn("with --grace-hours below 1, a writer that is about to commit may lose its work")
    done = tidy(store, apply=apply, grace_s=3600 * grace_hours, keep_versions=keep_versions, compact=compact)
    if as_json:
        print_json({"store": str(store), **vars(done), "files": [str(file) for file in done.files]})
        return
    print_lines(_vacuum_lines(store, done, compact, keep_versions))


def _vacuum_lines(store: Path, done: Vacuum, compact: bool, keep_versions: int | None) -> list[str]:
    removed = "removed" if done.applied else "would be removed"
    lines = [f"{store}: {counted(len(done.files), 'file')} {removed}, {sized(done.bytes)}"]
    if compact:
        unchanged = "stays as it is" if done.segments_before == 1 else "stay as they are"
        became = (
            f"became {done.segments} in version {done.version}" if done.applied else f"would become {done.segments}"
        )
        lines.append(f"  {counted(done.segments_before, 'segment')} {became if done.compacted else unchanged}")
    if done.versions:
        lines.append(f"  versions {done.versions[0]} to {done.versions[-1]} {removed}")
    if keep_versions and done.staying > keep_versions:
        lines.append(f"  {counted(done.staying - keep_versions, 'version')} too young, see --grace-hours")
    elif done.compacted and done.applied and done.staying > 1:
        lines.append("  Earlier versions still need the old segments: --keep-versions 1 lets them go.")
    if done.waiting:
        lines.append(f"  {counted(done.waiting, 'file')} too young, see --grace-hours")
    if not done.applied:
        lines.append("  Nothing was changed: --apply does it.")
    return lines

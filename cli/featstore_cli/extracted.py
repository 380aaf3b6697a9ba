"""What ``featstore extract`` tells: of a run, and of one that is only planned."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featstore_cli.output import counted, note, sized, warn

if TYPE_CHECKING:
    from featstore.extract import Estimate, Extraction

__all__ = ["as_dict", "estimate_as_dict", "estimate_lines", "lines", "warn_of_images"]

_SHOWN = 20


def as_dict(store: Path, info: dict[str, Any], result: Extraction) -> dict[str, Any]:
    """Give what ``--json`` prints of a run."""
    return {
        "store": str(store),
        "version": result.version,
        "fingerprint": info["fingerprint"],
        "images": result.images,
        "rejected": result.rejected,
        "fallbacks": result.fallbacks,
        "unnormalised": result.unnormalised,
        "incomplete": result.incomplete,
        "absent": result.absent,
        "blobs": result.blobs,
        **({"crops": result.crops, "scales": info["scales"]} if "scales" in info else {}),
        "embeddings": info["embeddings"],
        "computed": result.computed,
        "seconds": round(result.seconds, 3),
        "stages": {name: round(seconds, 3) for name, seconds in result.stages.items()},
        "bottleneck": asdict(result.bottleneck) if result.bottleneck else None,
        "how": result.how,
    }


def lines(store: Path, info: dict[str, Any], result: Extraction) -> list[str]:
    """Give what is printed of a run."""
    said = [
        f"{store}: version {result.version}, fingerprint {info['fingerprint'][:12]}",
        f"  {counted(result.images, 'image')}, {_crops(result)}, {len(result.rejected)} left out",
        f"  {info['embeddings']} embeddings of {info['dim']} numbers in the store, {result.computed} computed now",
        f"  {result.seconds:.1f} s",
    ]
    if result.bottleneck is None:
        return said
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.stages.items())
    device, precision = (result.how.get(name, "?") for name in ("device", "precision"))
    said[-1] += f" on {device} in {precision}; by stage, over all processes: {spent}"
    return [*said, f"  most of the time went into {result.bottleneck.stage}. {result.bottleneck.advice}"]


def warn_of_images(store: Path, result: Extraction) -> None:
    """Warn of images that changed, went away, were left out, or had no usable mask."""
    if result.replaced:
        warn(
            f"{counted(result.replaced, 'image')} had changed: what was computed from the old content no longer counts"
        )
    if result.absent:
        more = len(result.absent) - 5
        names = ", ".join(result.absent[:5]) + (f", and {more} more" if more > 0 else "")
        found = f"{counted(len(result.absent), 'image')} in {store} no longer in the data ({names})"
        warn(f"{found}: they stay in use; a store made anew is without them")
    _warn_of_rows(result.rejected, "left out")
    _warn_of_rows(result.incomplete, "not finished; the same command tries again")
    _warn_of_rows(result.fallbacks, "cropped without a usable mask")
    _warn_of_rows(result.unnormalised, "not normalised")


def _warn_of_rows(rows: list[dict[str, str]], what: str) -> None:
    if not rows:
        return
    warn(f"{counted(len(rows), 'image')} {what}:")
    for row in rows[:_SHOWN]:
        note(f"  {row['image']}: {row.get('reason') or row['source']} ({row['note']})")
    if len(rows) > _SHOWN:
        note(f"  and {len(rows) - _SHOWN} more; --json lists all")


def estimate_as_dict(store: Path, found: Estimate) -> dict[str, Any]:
    """Give what ``--dry-run --json`` prints."""
    return {"store": str(store), "dry_run": True, **asdict(found)}


def estimate_lines(found: Estimate) -> list[str]:
    """Give what ``--dry-run`` prints."""
    about = "" if found.exact else "about "
    said = [
        f"{counted(found.images, 'image')}, {about}{_crops(found)}; {found.to_do} lack something",
        f"  {found.present} embeddings there, {about}{found.to_compute} to compute ({sized(found.bytes)})",
    ]
    if found.to_compute:
        said.append(f"  about {_duration(found.seconds)} here, at {found.embeddings_per_s:.1f} embeddings a second")
    return [*said, "Nothing was written."]


def _crops(found: Estimate | Extraction) -> str:
    blobs = counted(found.blobs, "blob")
    return blobs if found.blobs == found.crops else f"{blobs} in {counted(found.crops, 'crop')}"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"

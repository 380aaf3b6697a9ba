"""``featstore doctor``: what this machine can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from featstore_cli.options import nothing_changed
from featstore_cli.output import JsonFlag, note, plain_errors, print_json, print_lines, warn

__all__ = ["EXAMPLES", "doctor"]

EXAMPLES = """\b
Examples:
  featstore doctor --json
  featstore doctor --selftest   (exit 1 if a check fails)"""

_NEEDED_FOR = {
    "opencv-python-headless": "extract",
    "scikit-image": "stain-texture",
    "transformers": "encoders from Hugging Face",
    "timm": "encoders named timm:",
}


@plain_errors(nothing_changed)
def doctor(
    selftest: Annotated[
        bool, typer.Option("--selftest", help="Try it too: pixels, embeddings, a store in a temporary folder.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Tell what this machine can do: devices, precision, encoders and their weights, versions.

    With --selftest it is tried, in a few seconds: crops and augmented repeats of a made-up image are compared with
    those of the reference machine, some of them are embedded, and a small store is written, verified and read. Where
    only rounding differs, or a package is not installed, that is a warning. Exit 1 if a check fails.
    """
    from featstore.encoders import examine

    found = examine()
    if selftest:
        found["selftest"] = _checks()
    if as_json:
        print_json(found)
    else:
        print_lines(_lines(found))
    _judge(found.get("selftest", []))


def _checks() -> list[dict[str, Any]]:
    """Run the checks; without OpenCV what needs pixels can't even be imported."""
    from featstore.dataset.opencv import opencv
    from featstore.errors import MissingExtraError
    from featstore.store.upkeep.selftest import check_store

    try:
        opencv()
    except MissingExtraError as error:
        unchecked = {"ok": True, "detail": f"not checked: {error}", "warning": True}
        return [{"check": "pixels", **unchecked}, {"check": "embeddings", **unchecked}, check_store()]
    from featstore.extract.selftest import check_embeddings, check_pixels

    return [check_pixels(), check_embeddings(), check_store()]


def _judge(rows: list[dict[str, Any]]) -> None:
    """Tell of warnings and failures on stderr, and end with exit 1 if there are failures."""
    for row in rows:
        if row.get("warning"):
            warn(f"{row['check']}: {row['detail']}")
        elif not row["ok"]:
            note(f"Error: the self-test of {row['check']} failed: {row['detail']}")
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"featstore {found['featstore']}, Python {found['python']}, {found['platform']}, {found['cores']} cores"
    for name, version in found["packages"].items():
        if version or name in _NEEDED_FOR:  # a package that nothing needs is not missed
            yield f"  {name:<22} {version or f'not installed (only for {_NEEDED_FOR[name]})'}"
    yield "devices"
    yield from (f"  {row['device']:<22} {row['name']}, precision {row['precision']}" for row in found["devices"])
    yield "encoders"
    yield from (f"  {row['encoder']:<22} {row['state']}" for row in found["encoders"])
    if "selftest" in found:
        yield "self-test"
        for row in found["selftest"]:
            yield f"  {row['check']:<22} {'ok' if row['ok'] else 'FAILED'}: {row['detail']}"

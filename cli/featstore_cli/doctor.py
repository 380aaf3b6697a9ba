"""``featstore doctor``: what this machine can do."""

from __future__ import annotations

from featstore_cli.options import nothing_changed
from featstore_cli.output import JsonFlag, plain_errors, print_json, print_lines

__all__ = ["EXAMPLES", "doctor"]

EXAMPLES = """\b
Examples:
  featstore doctor --json"""

_NEEDED_FOR = {
    "opencv-python-headless": "extract",
    "scikit-image": "stain-texture",
    "transformers": "encoders from Hugging Face",
}


@plain_errors(nothing_changed)
def doctor(as_json: JsonFlag = False) -> None:
    """Tell what this machine can do: devices, precision, encoders and their weights, versions."""
    from featstore.encoders import examine

    found = examine()
    if as_json:
        print_json(found)
        return
    lines = [f"featstore {found['featstore']}, Python {found['python']}, {found['platform']}, {found['cores']} cores"]
    for name, version in found["packages"].items():
        if version or name in _NEEDED_FOR:  # a package that nothing needs is not missed
            lines.append(f"  {name:<22} {version or f'not installed (only for {_NEEDED_FOR[name]})'}")
    lines += ["devices"]
    lines += [f"  {row['device']:<22} {row['name']}, precision {row['precision']}" for row in found["devices"]]
    lines += ["encoders"]
    lines += [f"  {row['encoder']:<22} {row['state']}" for row in found["encoders"]]
    print_lines(lines)

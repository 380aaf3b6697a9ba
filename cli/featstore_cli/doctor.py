"""``featstore doctor``: what this machine can do."""

from __future__ import annotations

from featstore_cli.options import nothing_changed
from featstore_cli.output import JsonFlag, plain_errors, print_json, print_lines

__all__ = ["EXAMPLES", "doctor"]

EXAMPLES = """\b
Examples:
  featstore doctor --json"""


@plain_errors(nothing_changed)
def doctor(as_json: JsonFlag = False) -> None:
    """Tell what this machine can do: devices, precision, encoders and their weights, versions."""
    from featstore.encoders import examine

    found = examine()
    if as_json:
        print_json(found)
        return
    lines = [f"featstore {found['featstore']}, Python {found['python']}, {found['platform']}, {found['cores']} cores"]
    lines += [f"  {name:<22} {version or 'not installed'}" for name, version in found["packages"].items()]
    lines += ["devices"]
    lines += [f"  {row['device']:<22} {row['name']}, precision {row['precision']}" for row in found["devices"]]
    lines += ["encoders"]
    lines += [f"  {row['encoder']:<22} {row['state']}" for row in found["encoders"]]
    print_lines(lines)

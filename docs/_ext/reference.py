"""The reference: a page for each room from its docstrings, and one for each command from its help."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

ROOMS = (
    "featstore.store",
    "featstore.toolkit",
    "featstore.evaluate",
    "featstore.dataset",
    "featstore.crops",
    "featstore.encoders",
    "featstore.extract",
    "featstore.cnn",
    "featstore.explain",
    "featstore.report",
    "featstore.cluster",
    "featstore.recipe",
    "featstore.errors",
)
FOREIGN_BASES = (
    "BaseEstimator",
    "ClassifierMixin",
    "OneToOneFeatureMixin",
    "ClassNamePrefixFeaturesOutMixin",
    "TransformerMixin",
    "Exception",
    "StrEnum",
    "str",
    "tuple",
)


def public_names(rooms: Iterable[str]) -> Iterator[str]:
    """List what the rooms export, by full name."""
    for room in rooms:
        yield from (f"{room}.{name}" for name in import_module(room).__all__)


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before the build reads any, and resolve names in docstrings as a reader would."""
    app.connect("builder-inited", _write_pages)
    app.connect("source-read", _add_navigation)
    app.connect("autodoc-skip-member", _skip_routine)
    app.connect("missing-reference", _resolve_short_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write_pages(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "reference"
    pages = {f"{room}.rst": _room_page(room) for room in ROOMS}
    pages |= {"featstore.rst": _top_page(), "index.md": _index_page()}
    pages |= {f"{'-'.join(path)}.md": _command_page(path, command) for path, command in _commands()}
    folder.mkdir(exist_ok=True)
    for stale in set(folder.iterdir()) - {folder / name for name in pages}:
        stale.unlink()
    for name, text in pages.items():
        page = folder / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Make navigation of the lists of links in an index, which GitHub shows as they are."""
    if page == "reference/index":
        source[0] += _toctree(re.findall(r"^- \[.*?\]\((.+?)\.(?:md|rst)\)", source[0], flags=re.MULTILINE))
    elif page == "index":
        for section in source[0].split("\n## ")[1:]:
            if linked := re.findall(r"^- \[.*?\]\((.+?)\.md\)", section, flags=re.MULTILINE):
                source[0] += _toctree(linked, section.partition("\n")[0])
        source[0] += _toctree(["reference/index"], "Reference")
    elif page.endswith("/README"):
        source[0] += _toctree(re.findall(r"\]\((.+?)\.md\)", source[0]))


def _toctree(names: Iterable[str], caption: str = "") -> str:
    options = ":hidden:\n" + (f":caption: {caption}\n" if caption else "")
    return f"\n```{{toctree}}\n{options}\n" + "\n".join(names) + "\n```\n"


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n\n"


def _room_page(room: str) -> str:
    return _title(room) + f".. automodule:: {room}\n   :members:\n   :inherited-members: {', '.join(FOREIGN_BASES)}\n"


def _top_page() -> str:
    import featstore

    homes = featstore._HOMES
    rows = "".join(f"* - ``featstore.{name}``\n  - :py:obj:`{home}.{name}`\n" for name, home in sorted(homes.items()))
    table = ".. list-table::\n\n" + re.sub("^", "   ", rows, flags=re.MULTILINE).rstrip() + "\n"
    return (
        _title("featstore") + ".. py:module:: featstore\n\nWhat is used most can be had without its room:\n\n" + table
    )


def _index_page() -> str:
    commands = "".join(
        f"- [{' '.join(path)}]({'-'.join(path)}.md): {_summary(command)}\n" for path, command in _commands()
    )
    rooms = "".join(f"- [{room}]({room}.rst): {_summary(import_module(room))}\n" for room in ("featstore", *ROOMS))
    return f"# Reference\n\n## Commands\n\n{commands}\n## Python\n\n{rooms}"


def _summary(documented: Any) -> str:
    text = documented.help if hasattr(documented, "help") else documented.__doc__
    return " ".join(text.partition("\n\n")[0].split())


def _commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    from typer.main import get_command

    from featstore_cli.app import app

    yield from _below(("featstore",), get_command(app))


def _below(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _below((*path, name), inner)


def _command_page(path: tuple[str, ...], command: Any) -> str:
    from typer import Context

    name = " ".join(path)
    context = Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    parts = [f"# {name}", command.help, f"```text\n{usage}\n```"]
    for kind, title in (("argument", "Arguments"), ("option", "Options")):
        records = [
            record
            for parameter in command.get_params(context)
            if parameter.param_type_name == kind and (record := parameter.get_help_record(context))
        ]
        if records:
            parts += [f"## {title}", *(f"`{given}`\n: {said}" for given, said in records)]
    if command.epilog:
        examples = command.epilog.replace("\b\n", "").removeprefix("Examples:\n")
        parts += ["## Examples", "```text\n" + re.sub("^  ", "", examples, flags=re.MULTILINE) + "\n```"]
    return "\n\n".join(parts) + "\n"


def _skip_routine(app: Sphinx, what: str, name: str, *_: Any) -> bool | None:
    """Leave out what scikit-learn puts into every estimator."""
    return True if re.fullmatch(r"set_\w+_request|set_output|get_metadata_routing", name) else None


def _resolve_short_name(app: Sphinx, env: Any, node: Any, contnode: Any) -> nodes.Node | None:
    """Link `Bags` to where it is documented; leave an inner name as it is; what is nowhere stays an error."""
    if node.get("refdomain") != "py":
        return None
    target, objects, public = node["reftarget"], env.get_domain("py").objects, set(public_names(ROOMS))
    ends = [name for name in objects if name.endswith(f".{target}")]
    found = [name for name in ends if name in public] or ends
    if len(found) == 1:
        entry = objects[found[0]]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode)
    return contnode if target.rpartition(".")[2] in _names_in_the_source() else None


@cache
def _names_in_the_source() -> frozenset[str]:
    """Collect what the library defines: functions, classes, constants, attributes."""
    names: set[str] = set()
    for path in Path(str(import_module("featstore").__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return frozenset(names)

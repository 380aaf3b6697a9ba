"""Templates to one page, and the policy that keeps it to itself."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from featstore.extras import require_extra
from featstore.report.bokeh_map import bokeh_script
from featstore.report.words import crowded, number, percent, plural, shown, span

__all__ = ["rendered"]


def rendered(values: Mapping[str, Any]) -> str:
    """Fill the templates; all values are escaped but the scripts, styles and drawings that featstore made.

    Raises
    ------
    MissingExtraError
        If Jinja2 or Bokeh is not installed.
    """
    environment = _environment()
    files = resources.files("featstore.report") / "templates"
    scripts = {"script": (files / "page.js").read_text("utf-8")}
    scripts |= {"bokeh": bokeh_script()} if values["item"] else {}
    style = (files / "style.css").read_text("utf-8")
    text: str = environment.get_template("page.html").render(
        {**values, **scripts}, style=style, policy=_policy(list(scripts.values()))
    )
    return text


def _environment() -> Any:
    jinja2: Any = require_extra("jinja2", "report", "the page needs")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("featstore.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # BokehJS wants what is referred to before it is
    environment.filters |= {
        "crowded": crowded,
        "base64": lambda data: base64.b64encode(data).decode(),
        "listed": _listed,
        "number": number,
        "percent": percent,
        "plural": plural,
        "shown": shown,
        "span": span,
    }
    return environment


def _policy(scripts: list[str]) -> str:
    """Write the content security policy: no request at all, and no script but these."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def _listed(value: Any) -> str:
    """Write a mapping of the store's log in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return "" if value is None else json.dumps(value, ensure_ascii=False)

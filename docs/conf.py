"""How `make docs` builds these pages: Markdown by hand, the reference from docstrings and --help."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent), str(HERE.parent / "cli")]

from numpydoc.xref import DEFAULT_LINKS  # noqa: E402
from reference import ROOMS, public_names  # noqa: E402

import featstore  # noqa: E402

project, author, release = "featstore", "The featstore authors", featstore.__version__
copyright = author
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_parser", "reference"]
exclude_patterns = ["_ext"]

smartquotes_action = "qe"  # dashes stay: they are options

html_theme = "furo"
html_title = f"featstore {release}"
html_copy_source = False
html_show_sphinx = False

myst_heading_anchors = 4  # as on GitHub: a heading is a target
myst_enable_extensions = ["deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc says types, with shapes and units
autosummary_generate = False
numpydoc_show_class_members = False  # automodule lists them
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
DEFAULT_LINKS.clear()  # what is not one of ours is not looked up: a build needs no network
numpydoc_xref_aliases = {name.rpartition(".")[2]: name for name in public_names(ROOMS)}

default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|torch)\..*"),
    ("py:obj", "XGBClassifier|LGBMClassifier|LogisticRegression|StandardScaler|Pipeline"),
]

"""Pictures of figures, and the page that tells all of a store."""

from featstore.report.checked import check_evaluation, check_reproduction, check_sweep
from featstore.report.curves import draw_sweep, require_matplotlib
from featstore.report.given import REPRODUCED, SWEPT, read_evaluation, read_reproduction, read_sweep
from featstore.report.inputs import DEFAULT_MODEL, find_encoder, find_model, find_originals
from featstore.report.page import Page, Subject, make_page

__all__ = [
    "DEFAULT_MODEL",
    "REPRODUCED",
    "SWEPT",
    "Page",
    "Subject",
    "check_evaluation",
    "check_reproduction",
    "check_sweep",
    "draw_sweep",
    "find_encoder",
    "find_model",
    "find_originals",
    "make_page",
    "read_evaluation",
    "read_reproduction",
    "read_sweep",
    "require_matplotlib",
]

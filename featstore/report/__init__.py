"""Pictures of figures."""

from featstore.report.curves import draw_sweep, require_matplotlib

__all__ = ["draw_sweep", "require_matplotlib"]

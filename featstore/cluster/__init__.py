"""Work on other machines: a Dask cluster's client, with one plain message for whatever goes wrong there."""

from featstore.cluster.connect import connect
from featstore.cluster.spread import spread_over

__all__ = ["connect", "spread_over"]

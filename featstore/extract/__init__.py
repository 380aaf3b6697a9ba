"""The run from images to embeddings: what is to do, loading, encoding, committing."""

from featstore.extract.engines import on_dask, on_devices, on_this_machine
from featstore.extract.estimate import Estimate, estimate
from featstore.extract.plan import ExtractionPlan, ImageJob, Repeats, Shard, plan_extraction
from featstore.extract.reembed import reembed, require_encoder
from featstore.extract.result import Extraction, Progress
from featstore.extract.run import extract
from featstore.extract.sink import EmbeddingSink
from featstore.extract.stages import Bottleneck
from featstore.extract.station import Setup, Station

__all__ = [
    "Bottleneck",
    "EmbeddingSink",
    "Estimate",
    "Extraction",
    "ExtractionPlan",
    "ImageJob",
    "Progress",
    "Repeats",
    "Setup",
    "Shard",
    "Station",
    "estimate",
    "extract",
    "on_dask",
    "on_devices",
    "on_this_machine",
    "plan_extraction",
    "reembed",
    "require_encoder",
]

"""The run from images to embeddings: what is to do, loading, encoding, committing."""

from featstore.extract.plan import ExtractionPlan, ImageJob, Repeats, plan_extraction
from featstore.extract.reembed import reembed
from featstore.extract.run import Extraction, Progress, extract
from featstore.extract.sink import EmbeddingSink

__all__ = [
    "EmbeddingSink",
    "Extraction",
    "ExtractionPlan",
    "ImageJob",
    "Progress",
    "Repeats",
    "extract",
    "plan_extraction",
    "reembed",
]

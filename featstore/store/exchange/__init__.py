"""Import and export: embeddings that people already have become a store, and a store becomes what others read."""

from featstore.store.exchange.exporting import ExportReport, export_embeddings
from featstore.store.exchange.importing import ImportReport, import_embeddings

__all__ = ["ExportReport", "ImportReport", "export_embeddings", "import_embeddings"]

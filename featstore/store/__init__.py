"""The store: versions of embeddings keyed by (image, blob, repeat), in plain HDF5 segments."""

from featstore.store.bags import Bag, Bags, Instances
from featstore.store.images import ImageRow
from featstore.store.labels import NameMatch, NewLabel, match_names, relabel
from featstore.store.reader import Store, open_store
from featstore.store.writer import StoreWriter, create_store

__all__ = [
    "Bag",
    "Bags",
    "ImageRow",
    "Instances",
    "NameMatch",
    "NewLabel",
    "Store",
    "StoreWriter",
    "create_store",
    "match_names",
    "open_store",
    "relabel",
]

"""The store: versions of embeddings keyed by (image, blob, repeat), in plain HDF5 files."""

from featstore.store.bags import Bag, Bags, Instances
from featstore.store.create import create_store
from featstore.store.images import ImageRow
from featstore.store.joined import JoinedBags, align_bags, join_bags, require_same_content
from featstore.store.labels import NameMatch, NewLabel, match_names, relabel
from featstore.store.reader import Store, open_store
from featstore.store.upkeep.merge import Merge, merge
from featstore.store.upkeep.pack import pack
from featstore.store.upkeep.vacuum import Vacuum, vacuum
from featstore.store.upkeep.verify import Problem, Verification, verify
from featstore.store.writer import StoreWriter

__all__ = [
    "Bag",
    "Bags",
    "ImageRow",
    "Instances",
    "JoinedBags",
    "Merge",
    "NameMatch",
    "NewLabel",
    "Problem",
    "Store",
    "StoreWriter",
    "Vacuum",
    "Verification",
    "align_bags",
    "create_store",
    "join_bags",
    "match_names",
    "merge",
    "open_store",
    "pack",
    "relabel",
    "require_same_content",
    "vacuum",
    "verify",
]

"""M1 to M3: networks fine-tuned on the images themselves, which show what a store of embeddings buys."""

from featstore.cnn.classifier import ImageClassifier
from featstore.cnn.folds import Progress
from featstore.cnn.images import Chosen, choose_images, image_groups, predict_records
from featstore.cnn.presets import PRESETS, m1, m2, m3
from featstore.cnn.saved import load_networks, save_networks

__all__ = [
    "PRESETS",
    "Chosen",
    "ImageClassifier",
    "Progress",
    "choose_images",
    "image_groups",
    "load_networks",
    "m1",
    "m2",
    "m3",
    "predict_records",
    "save_networks",
]

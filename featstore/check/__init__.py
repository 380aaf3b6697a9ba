"""The check room: what is wrong with a dataset, before anything is embedded."""

from featstore.check.dataset import check_dataset
from featstore.check.findings import Findings, Twins
from featstore.check.image import Examined, examine

__all__ = ["Examined", "Findings", "Twins", "check_dataset", "examine"]

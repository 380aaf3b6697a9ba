from __future__ import annotations

import importlib
import pkgutil

import pytest

import featstore.dataset
from featstore.dataset import TRAINING_ONLY, Reason

MODULES = [f"featstore.dataset.{module.name}" for module in pkgutil.iter_modules(featstore.dataset.__path__)]


@pytest.mark.parametrize("name", ["featstore.dataset", *MODULES])
def test_what_is_exported_is_there_and_sorted(name):
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, item) for item in module.__all__)


def test_reasons_are_short_words_and_some_concern_training_only():
    assert all(reason == reason.lower() and " " not in reason for reason in Reason)
    assert {Reason.NO_LABEL, Reason.CONTAMINATED_GREEN} < TRAINING_ONLY
    assert not TRAINING_ONLY & {Reason.UNREADABLE, Reason.MASK_SIZE, Reason.NO_BLOB}

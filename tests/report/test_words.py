"""Whatever keeps an image out, and wherever its blobs came from, a page has words for it."""

from __future__ import annotations

from typing import get_args

from featstore.crops.blobs import BlobSource
from featstore.dataset import Reason
from featstore.report.sections.data import _REASONS, _SOURCES


def test_each_reason_has_words():
    assert set(_REASONS) == set(Reason)


def test_each_fallback_has_words():
    assert set(_SOURCES) == set(get_args(BlobSource)) - {"mask"}

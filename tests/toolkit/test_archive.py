"""Models of every format that there was are read for ever, and predict what they did: see ``archive/README.md``."""

from __future__ import annotations

import json
import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest

from featstore.toolkit import load_model, save_model
from featstore.toolkit.persistence import FORMAT_VERSION

ARCHIVE = Path(__file__).with_name("archive")
FORMATS = range(1, FORMAT_VERSION + 1)


@pytest.mark.parametrize("number", FORMATS)
def test_a_model_of_each_format_predicts_what_it_did(number, tmp_path):
    path = ARCHIVE / f"format-{number}.model"
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("model.json"))["format_version"] == number
    model, bags = load_model(path), runpy.run_path(str(ARCHIVE / "make.py"))["bags"]
    predicted = json.loads((ARCHIVE / f"format-{number}.json").read_text())
    np.testing.assert_allclose(model.predict_proba(bags(scales=number > 1)), predicted, rtol=1e-5, atol=1e-7)
    save_model(model, tmp_path / "again.model")
    again = load_model(tmp_path / "again.model")
    np.testing.assert_array_equal(
        again.predict_proba(bags(scales=number > 1)), model.predict_proba(bags(scales=number > 1))
    )

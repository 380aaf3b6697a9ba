"""One file, the same bytes for the same model, the same predictions out of it."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from featstore.errors import ModelError, ModelFormatError, StoreWriteError
from featstore.toolkit import (
    FoldEnsemble,
    LogitFusion,
    MeanPool,
    MLPHead,
    PooledHead,
    TemperatureScaling,
    load_model,
    m5,
    save_model,
)

logistic = make_pipeline(MeanPool(), StandardScaler(), LogisticRegression(class_weight={"Luminal A": 2.0}))
small = MLPHead(hidden=(8, 4), max_epochs=3, random_state=0)
trees = PooledHead(XGBClassifier(n_estimators=4, max_depth=2, n_jobs=1, early_stopping_rounds=2), random_state=0)


@pytest.mark.parametrize(
    "model",
    [
        small,
        MLPHead(hidden=(), max_epochs=2, class_weight="balanced", level="image", random_state=0),
        trees,
        logistic,
        TemperatureScaling(logistic, random_state=0),
        LogitFusion([("a", TemperatureScaling(small)), ("b", trees), ("c", logistic)], random_state=0),
        FoldEnsemble(LogitFusion([("a", small), ("b", TemperatureScaling(trees))]), n_splits=2, random_state=0),
    ],
    ids=["mlp", "linear", "xgboost", "pipeline", "temperature", "fusion", "ensemble"],
)
def test_loaded_predicts_bit_for_bit_and_saves_the_same_bytes(model, bags, make_bags, tmp_path):
    new = make_bags(30, seed=1)
    model.fit(bags, bags.labels)
    save_model(model, tmp_path / "one.model")
    loaded = load_model(tmp_path / "one.model")
    np.testing.assert_array_equal(loaded.predict_proba(new), model.predict_proba(new))
    np.testing.assert_array_equal(loaded.predict(new), model.predict(new))
    save_model(loaded, tmp_path / "two.model")
    assert (tmp_path / "one.model").read_bytes() == (tmp_path / "two.model").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["one.model", "two.model"]


@pytest.mark.parametrize("labels", [np.array([3, 7]), np.array([True, False]), np.array(["x", "yy"], dtype=object)])
def test_labels_of_any_kind_and_arrays(labels, bags, tmp_path):
    X, y = bags.means(), labels[np.arange(60) % 2]
    model = FoldEnsemble(TemperatureScaling(small), n_splits=2, random_state=0).fit(X, y)
    save_model(model, tmp_path / "some.model")
    loaded = load_model(tmp_path / "some.model")
    assert loaded.classes_.dtype == model.classes_.dtype
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_names_of_columns_and_frozen_estimators_come_back(bags, tmp_path):
    pandas = pytest.importorskip("pandas", reason="data frames need pandas")
    frame = pandas.DataFrame(bags.means(), columns=[f"c{i}" for i in range(bags.dim)])
    frozen = FrozenEstimator(LogisticRegression().fit(frame, bags.labels))
    save_model(TemperatureScaling(frozen).fit(frame, bags.labels), tmp_path / "some.model")
    assert list(load_model(tmp_path / "some.model").feature_names_in_) == list(frame.columns)


def test_everything_known_of_the_folds_comes_back(make_bags, tmp_path):
    bags = make_bags(40, fingerprint="f" * 64)
    model = FoldEnsemble(TemperatureScaling(small), n_splits=2, random_state=0).fit(bags, bags.labels)
    save_model(model, tmp_path / "some.model")
    loaded = load_model(tmp_path / "some.model")
    for name in ("fold_scores_", "provenance_", "oof_macro_f1_", "oof_accuracy_", "n_features_in_"):
        assert getattr(loaded, name) == getattr(model, name)
    for name in ("oof_probabilities_", "folds_", "class_prior_", "classes_"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))
    assert loaded.get_params()["estimator__estimator__hidden"] == (8, 4)


def test_the_file_is_a_plain_archive_without_dates(bags, tmp_path):
    save_model(trees.fit(bags, bags.labels), tmp_path / "some.model")
    with zipfile.ZipFile(tmp_path / "some.model") as archive:
        assert archive.namelist() == ["arrays/0000.npy", "model.json", "xgboost/0000.ubj"]
        for info in archive.infolist():
            assert (info.date_time, info.compress_type) == ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED)
        document = json.loads(archive.read("model.json"))
    assert (document["format"], document["format_version"]) == ("featstore-model", 1)


def test_predicting_from_a_file_loads_no_torch(bags, tmp_path):
    model = m5(random_state=0, n_splits=2)
    model.set_params(estimator__mlp__estimator__max_epochs=2, estimator__xgboost__estimator__estimator__n_estimators=3)
    save_model(model.fit(bags, bags.labels), tmp_path / "some.model")
    np.save(tmp_path / "X.npy", bags.means())
    code = (
        "import sys, numpy as np; from featstore.toolkit import load_model\n"
        "model = load_model(sys.argv[1]); p = model.predict_proba(np.load(sys.argv[2]))\n"
        "print(p.tobytes().hex(), [name for name in ('torch', 'cv2', 'transformers') if name in sys.modules])"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "some.model"), str(tmp_path / "X.npy")]
    output = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()
    assert output[1] == "[]"
    np.testing.assert_array_equal(
        np.frombuffer(bytes.fromhex(output[0])).reshape(60, 4), model.predict_proba(bags.means())
    )


def test_what_cannot_be_saved_is_named(bags, tmp_path):
    X, y = bags.means(), bags.labels
    path = tmp_path / "some.model"
    with pytest.raises(ModelFormatError, match=r"GaussianNB can't be saved.*LogisticRegression"):
        save_model(TemperatureScaling(GaussianNB(), random_state=0).fit(X, y), path)
    with pytest.raises(ModelFormatError, match="not a fitted model"):
        save_model(FoldEnsemble(small), path)
    with pytest.raises(ModelFormatError, match=r"MLPHead.random_state is a RandomState"):
        save_model(MLPHead(max_epochs=1, random_state=np.random.RandomState(0)).fit(X, y), path)
    broken = MLPHead(max_epochs=1, random_state=0).fit(X, y)
    broken.coefs_[0][0, 0] = np.nan
    with pytest.raises(ModelFormatError, match=r"MLPHead.coefs_ is an array that holds NaN"):
        save_model(broken, path)

    strange = MLPHead(hidden=(4,), max_epochs=1, random_state=0).fit(X, np.where(y == y[0], "a", "\ud800"))
    with pytest.raises(ModelFormatError, match=r"MLPHead.classes_ holds .*no text"):
        save_model(strange, path)

    class Own(MLPHead):
        """Another class of a known name would load as the known one."""

    Own.__name__ = "MLPHead"
    with pytest.raises(ModelFormatError, match="can't be saved"):
        save_model(Own(max_epochs=1, random_state=0).fit(X, y), path)
    assert not path.exists()


def test_a_failed_write_leaves_what_was_there(bags, tmp_path, monkeypatch):
    path = tmp_path / "some.model"
    model = MLPHead(hidden=(4,), max_epochs=1, random_state=0).fit(bags, bags.labels)
    save_model(model, path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreWriteError, match="no space left"):
        save_model(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StoreWriteError):
        save_model(model, tmp_path / "nowhere" / "some.model")


def test_no_file_is_told_from_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"missing.model can't be read.*featstore fit"):
        load_model(tmp_path / "missing.model")

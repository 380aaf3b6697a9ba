"""The classifier as scikit-learn's users expect it, and its folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score

from featstore.cnn import ImageClassifier, image_groups, load_networks, m1, m2, m3, save_networks
from featstore.cnn.checkpoints import read_tensors, write_tensors
from featstore.cnn.folds import choose_precision, groups_together
from featstore.cnn.pictures import load_pictures
from featstore.cnn.saved import FORMAT
from featstore.errors import DataError, ImageError, LabelError, ModelFormatError, SettingError
from featstore.evaluate import evaluate


def test_it_learns_and_says_how_well(fitted, records, labels):
    assert fitted.classes_.tolist() == ["eosin", "haematoxylin", "pale"]
    probabilities = fitted.predict_proba(records)
    assert probabilities.shape == (30, 3)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert (fitted.predict(records) == labels).mean() > 0.8
    assert len(fitted.networks_) == len(fitted.temperatures_) == len(fitted.fold_scores_) == 2
    assert np.isfinite(fitted.oof_probabilities_).all()
    assert fitted.oof_accuracy_ > 0.6
    assert all(0.1 <= temperature <= 10 for temperature in fitted.temperatures_)
    assert fitted.temperatures_ != [1.0, 1.0]
    assert fitted.score(records, labels) == pytest.approx((fitted.predict(records) == labels).mean())


def test_predictions_do_not_depend_on_company_or_order(fitted, records):
    whole = fitted.predict_proba(records)
    np.testing.assert_allclose(fitted.predict_proba(records[::-1])[::-1], whole, atol=1e-5)
    np.testing.assert_allclose(fitted.predict_proba(records[3:4])[0], whole[3], atol=1e-5)


def test_paths_are_images_too(fitted, records):
    found = fitted.predict_proba([str(record.path) for record in records[:4]])
    assert found.shape == (4, 3)


def test_out_of_fold_probabilities_are_those_of_the_one_network_that_did_not_see_the_image(fitted, records):
    one = clone(fitted)
    one.__dict__.update(fitted.__dict__)
    one.networks_, one.temperatures_ = fitted.networks_[:1], fitted.temperatures_[:1]
    first = fitted.folds_ == 0
    found = one.predict_proba([record for record, chosen in zip(records, first, strict=True) if chosen])
    np.testing.assert_allclose(found, fitted.oof_probabilities_[first], atol=1e-5)


def test_side_by_side_is_the_same(make, records, labels):
    alone = make(n_splits=2, max_epochs=2).fit(records, labels)
    told = []
    with parallel_config(backend="threading"):
        both = make(n_splits=2, max_epochs=2, n_jobs=2).fit(records, labels, callback=told.append)
    assert np.array_equal(alone.oof_probabilities_, both.oof_probabilities_)
    assert [(p.fold, p.folds, p.epoch) for p in told] == [(1, 2, 2), (2, 2, 2)]


def test_scikit_learn_takes_it(make, records, labels, tmp_path):
    model = make(max_epochs=1, validation_fraction=0.3)
    assert is_classifier(model)
    assert clone(model).get_params() == model.get_params()
    scores = cross_val_score(model, records, labels, cv=StratifiedKFold(2))
    assert scores.shape == (2,)
    search = GridSearchCV(model, {"lr": [0.0, 1e-2], "max_epochs": np.array([4])}, cv=2).fit(records, labels)
    assert search.best_params_["lr"] == 1e-2
    save_networks(search.best_estimator_, tmp_path / "x.model")  # with a number of NumPy's among its parameters


def test_nested_evaluation_takes_it(make, records, labels):
    model = make(max_epochs=1, validation_fraction=0.3)
    found = evaluate(model, records, labels, image_groups(records), n_splits=2)
    assert found.probabilities.shape == (1, 30, 3)
    assert np.isfinite(found.selection_macro_f1).all()


def test_contaminated_images_are_left_out_of_training_and_still_predicted(make, data, records, labels):
    green = replace(records[0], path=data / "train_data" / "img_0030.png", image="green")
    green = replace(green, mask_path=data / "train_data" / "mask_0030.png")
    model = make(max_epochs=1).fit([*records, green], [*labels, "pale"])
    assert [name for name, _ in model.left_out_] == ["green"]
    assert model.folds_[-1] == -1
    assert np.isnan(model.oof_probabilities_[-1]).all()
    assert model.predict_proba([green]).shape == (1, 3)
    assert make(max_epochs=1, clean=False).fit([*records, green], [*labels, "pale"]).left_out_ == []


def test_twins_and_groups_stay_together(records):
    twin = replace(records[4], image="twin", mask_path=records[7].mask_path)
    grouped = [replace(records[0], group="p"), replace(records[2], group="p"), records[4], twin, records[7], records[9]]
    found = groups_together(load_pictures(grouped, 32))
    assert found[0] == found[1]
    assert found[2] == found[3] == found[4]
    assert len(set(found)) == 3
    assert image_groups(grouped).tolist() == found.tolist()
    given = groups_together(load_pictures(grouped, 32), [1, 2, 3, 4, 5, 5])
    assert given[0] == given[1]
    assert given[2] == given[3] == given[4] == given[5]
    with pytest.raises(LabelError, match="5 groups for 6 images"):
        groups_together(load_pictures(grouped, 32), [1, 2, 3, 4, 5])


def test_groups_of_the_rows_hold_inside_of_folds_that_know_none(make, records, labels):
    pairs = [replace(record, group=f"patient {place % 15}") for place, record in enumerate(records)]
    model = make(n_splits=3, max_epochs=1).fit(pairs, labels, groups=np.arange(30))
    assert (model.folds_[:15] == model.folds_[15:]).all()


def test_float16_is_refused_where_it_can_not_be_trained_in():
    assert choose_precision("auto", "cpu") == "float32"
    assert choose_precision("auto", "mps") == "float32"
    with pytest.raises(SettingError, match="Apple silicon"):
        choose_precision("float16", "mps")


def test_images_smaller_than_the_network_are_noted(make, records, labels):
    assert make(max_epochs=1, image_size=64).fit(records, labels).notes_ == ["30 images smaller than 64 px, enlarged"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"augmentation": "wild"}, "augmentation is 'wild'.*none, light, strong"),
        ({"sampling": "odd"}, "shuffled, balanced"),
        ({"schedule": "step"}, "constant, cosine"),
        ({"batch_size": 1}, "batch_size is 1.*2 or more"),
        ({"n_splits": 0}, "n_splits is 0"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"lr": np.nan}, "lr is nan"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"max_epochs": 2.5}, "max_epochs is 2.5"),
        ({"checkpoints": "somewhere", "random_state": None}, "random_state None"),
    ],
)
def test_settings_that_can_not_be(make, records, labels, settings, said):
    with pytest.raises(SettingError, match=said):
        make(**settings).fit(records, labels)


def test_labels_that_can_not_be(make, records, labels):
    with pytest.raises(LabelError, match="one class, 'a'"):
        make().fit(records, ["a"] * 30)
    with pytest.raises(LabelError, match="29 labels for 30 images"):
        make().fit(records, labels[1:])
    with pytest.raises(LabelError, match="fewer than four images"):
        make().fit(records, ["rare", *labels[1:]])
    with pytest.raises(LabelError, match="'rare' has 1 image"):
        make(n_splits=3).fit(records, ["rare", *labels[1:]])
    with pytest.raises(DataError, match="no images"):
        make().fit([], [])
    with pytest.raises(DataError, match="one path"):
        load_pictures("a.png", 32)


def test_a_damaged_image_is_named(make, fitted, data, records, labels):
    bad = replace(records[0], path=data / "train_data" / "img_0031.png")
    with pytest.raises(ImageError, match=r"img_0031\.png"):
        make().fit([*records, bad], [*labels, "pale"])
    with pytest.raises(ImageError, match=r"img_0031\.png"):
        fitted.predict([bad])


def test_the_presets_are_what_they_say():
    first, second, third = m1(3), m2(3, max_epochs=7), m3(3, n_splits=2)
    assert (first.network, first.n_splits, first.use_mask, first.clean) == ("inception_v3.tv_in1k", 1, True, True)
    assert (second.network, second.n_splits, second.augmentation) == ("efficientnet_b0.ra_in1k", 5, "strong")
    assert second.max_epochs == 7
    assert third.network.startswith("efficientnet_b1.")
    assert (third.schedule, third.sampling, third.calibrate, third.n_splits) == ("cosine", "balanced", True, 2)
    assert third.warmup_epochs > 0
    assert {model.random_state for model in (first, second, third)} == {3}


def test_a_saved_model_predicts_the_same(fitted, records, tmp_path):
    save_networks(fitted, tmp_path / "x.model")
    loaded = load_networks(tmp_path / "x.model", device="cpu")
    assert np.array_equal(loaded.predict_proba(records), fitted.predict_proba(records))
    assert np.array_equal(loaded.predict(records), fitted.predict(records))
    assert loaded.fold_scores_ == fitted.fold_scores_
    assert isinstance(loaded, ImageClassifier)
    first = (tmp_path / "x.model").read_bytes()
    save_networks(loaded, tmp_path / "x.model")
    assert (tmp_path / "x.model").read_bytes() == first


def test_files_that_are_no_model(fitted, tmp_path):
    path = tmp_path / "x.model"
    with pytest.raises(ModelFormatError, match=r"x\.model"):
        load_networks(path)
    save_networks(fitted, path)
    whole = path.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        b"",
        b"pickle",
        whole.replace(b'\\"n_splits\\": 2', b'\\"n_splits\\": {'),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ModelFormatError, match=r"x\.model"):
            load_networks(path)
    for said, other in (
        (b"test_efficientnet.r160", b"test_efficientnot.r160"),
        (b'\\"side_px\\": 32', b'\\"side_px\\": -1'),
        (b'\\"classes\\": [\\"e', b'\\"klasses\\": [\\"e'),
    ):
        assert said in whole
        path.write_bytes(whole.replace(said, other))
        with pytest.raises(ModelFormatError, match="does not hold together"):
            load_networks(path)


def saved_otherwise(path, model, change):
    """Save networks with another header."""
    save_networks(model, path)
    content, tensors = read_tensors(path, FORMAT)
    write_tensors(path, FORMAT, change(content), tensors)
    return path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trained_on_", 5),
        ("trained_on_", None),
        ("trained_on_", "a" * 64),
        ("trained_on_", [5]),
        ("trained_on_", ["A" * 64]),
        ("trained_on_", ["a" * 64 + "\n"]),
        ("trained_on_", {"a" * 64: 1}),
        ("fold_scores_", [1]),
        ("oof_macro_f1_", "0.5"),
        ("oof_accuracy_", [0.5]),
        ("left_out_", [["a"]]),
        ("left_out_", ["ab"]),
        ("notes_", "all is well"),
        ("notes_", [None]),
    ],
)
def test_what_is_noted_in_a_file_is_of_its_kind(fitted, tmp_path, field, value):
    path = saved_otherwise(tmp_path / "x.model", fitted, lambda content: content | {field: value})
    with pytest.raises(ModelFormatError, match=rf"does not hold together.*{field}"):
        load_networks(path)


def test_files_from_before_they_said_what_they_were_trained_on(fitted, records, tmp_path):
    def older(content):
        del content["trained_on_"]
        return content

    loaded = load_networks(saved_otherwise(tmp_path / "x.model", fitted, older), device="cpu")
    assert loaded.trained_on_ == []
    assert np.array_equal(loaded.predict(records), fitted.predict(records))

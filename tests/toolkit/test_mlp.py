"""The MLP head: learns, stops, counts images, leaves the process as it was."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from featstore.errors import DataError, LabelError, SettingError
from featstore.store.bags import Bags
from featstore.toolkit import MLPHead
from featstore.toolkit.logits import softmax


@pytest.fixture(scope="module")
def fitted(bags):
    return MLPHead(hidden=(16,), random_state=0).fit(bags, bags.labels)


def test_learns_digits():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    assert MLPHead(random_state=0).fit(X_train, y_train).score(X_test, y_test) > 0.96


@pytest.mark.parametrize("level", ["blob", "image"])
def test_learns_bags(level, bags, make_bags):
    new = make_bags(200, seed=1)
    head = MLPHead(level=level, random_state=0).fit(bags, bags.labels)
    assert head.score(new, new.labels) > 0.8


def test_no_hidden_layer_is_a_linear_model(bags):
    head = MLPHead(hidden=(), random_state=0).fit(bags, bags.labels)
    assert [coef.shape for coef in head.coefs_] == [(bags.dim, 4)]
    assert head.score(bags, bags.labels) > 0.8


def test_weights_alone_predict_the_mean_over_clean_blobs(fitted, bags):
    for bag, logits in zip(bags, fitted.logits(bags), strict=True):
        clean = bag.embeddings[bag.repeat == 0].astype(np.float64)
        hidden = np.maximum(clean @ fitted.coefs_[0] + fitted.intercepts_[0], 0)
        expected = (hidden @ fitted.coefs_[1] + fitted.intercepts_[1]).mean(axis=0)
        np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-12)


def test_augmented_repeats_change_no_prediction(fitted, bags, make_bags):
    assert bags.repeats == [0, 1, 2]
    only_clean = Bags.from_rows(
        clean := bags.instances("clean").embeddings,
        bags.images[bags.instances("clean").image],
        bags.instances("clean").blob,
        np.zeros(len(clean), dtype=int),
    )
    np.testing.assert_array_equal(fitted.predict_proba(bags), fitted.predict_proba(only_clean))


def test_two_classes_have_one_decision_value(make_bags):
    bags = make_bags(40, n_classes=2)
    head = MLPHead(hidden=(8,), max_epochs=10, random_state=0).fit(bags, bags.labels)
    assert head.decision_function(bags).shape == (40,)
    np.testing.assert_allclose(head.predict_proba(bags)[:, 1], 1 / (1 + np.exp(-head.decision_function(bags))))


def test_stops_early_and_keeps_the_best_epoch(make_bags):
    bags, other = make_bags(60, apart=0.5), make_bags(40, apart=0.5, seed=1)
    head = MLPHead(patience=3, max_epochs=200, lr=0.01, random_state=0)
    head.fit(bags, bags.labels, eval_set=(other, other.labels))
    assert head.n_iter_ == head.best_epoch_ + 3 < 200
    assert head.best_epoch_ == np.argmin(head.validation_loss_) + 1
    kept = log_loss(other.labels, head.predict_proba(other), labels=head.classes_)
    assert kept == pytest.approx(min(head.validation_loss_), rel=1e-4)


def test_the_validation_part_does_not_train(bags, make_bags):
    other = make_bags(40, seed=1)
    one, two = (
        MLPHead(hidden=(8,), max_epochs=1, random_state=0).fit(bags, bags.labels, eval_set=(part, part.labels))
        for part in (other[:20], other[20:])
    )
    assert one.validation_loss_ != two.validation_loss_
    np.testing.assert_array_equal(one.coefs_[0], two.coefs_[0])


def test_tiny_classes_train_to_the_end(make_bags):
    bags = make_bags(12)
    head = MLPHead(hidden=(8,), max_epochs=7, random_state=0).fit(bags, bags.labels)
    assert (head.n_iter_, head.best_epoch_, head.validation_loss_) == (7, 7, [])


def test_an_image_counts_once_however_many_blobs_it_has():
    # One image of "b" among three of "a" at the same place, but with as many blobs as they have together.
    embeddings = np.zeros((60, 2), dtype=np.float32)
    image = np.repeat(["a0", "a1", "a2", "b0"], [10, 10, 10, 30])
    bags = Bags.from_rows(embeddings, image, np.arange(60), np.zeros(60, dtype=int))
    head = MLPHead(hidden=(), dropout=0, weight_decay=0, lr=0.05, max_epochs=200, random_state=0)
    probabilities = head.fit(bags, np.array(["a", "a", "a", "b"])).predict_proba(bags)
    np.testing.assert_allclose(probabilities[:, 1], 0.25, atol=0.02)


def test_balanced_classes_lift_the_rare_one():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (180, 3)), rng.normal(0.7, 1, (20, 3))])
    y = np.repeat(["many", "few"], [180, 20])
    share = {
        weight: (MLPHead(hidden=(), class_weight=weight, random_state=0).fit(X, y).predict(X) == "few").mean()
        for weight in (None, "balanced")
    }
    assert share["balanced"] > 2 * share[None]


def test_scale_and_offset_of_columns_do_not_matter(bags):
    X, y = bags.means(), bags.labels
    shift, scale = np.linspace(-50, 50, X.shape[1]), np.geomspace(1e-2, 1e2, X.shape[1])
    plain = MLPHead(hidden=(8,), random_state=0).fit(X, y).predict_proba(X)
    moved = MLPHead(hidden=(8,), random_state=0).fit(X * scale + shift, y).predict_proba(X * scale + shift)
    np.testing.assert_allclose(plain, moved, atol=1e-2)


def test_a_constant_column_is_harmless(bags):
    X = np.c_[bags.means(), np.full(len(bags), 1e6)]
    head = MLPHead(hidden=(8,), random_state=0).fit(X, bags.labels)
    assert np.isfinite(head.logits(X)).all()
    assert head.score(X, bags.labels) > 0.8


def test_same_seed_same_bytes_and_nothing_global_moves(bags):
    torch = pytest.importorskip("torch")
    threads, torch_state, numpy_state = torch.get_num_threads(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (MLPHead(hidden=(8,), max_epochs=5, random_state=3).fit(bags, bags.labels) for _ in range(2))
    for a, b in zip(one.coefs_ + one.intercepts_, two.coefs_ + two.intercepts_, strict=True):
        assert a.tobytes() == b.tobytes()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_logits_and_probabilities_agree(fitted, bags):
    np.testing.assert_allclose(fitted.predict_proba(bags), softmax(fitted.logits(bags)))
    assert fitted.decision_function(bags).shape == (len(bags), 4)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("hidden", 8),
        ("hidden", (0,)),
        ("level", "slide"),
        ("dropout", 1.0),
        ("lr", -1.0),
        ("weight_decay", "much"),
        ("batch_size", 0),
        ("max_epochs", 1.5),
        ("patience", 0),
        ("validation_fraction", 1.0),
    ],
)
def test_settings_are_refused_in_fit_by_name(setting, value, bags):
    with pytest.raises(SettingError, match=setting):
        MLPHead(**{setting: value}).fit(bags, bags.labels)


def test_labels_are_refused_with_a_reason(bags):
    y = bags.labels.copy()
    with pytest.raises(LabelError, match="59 labels for 60 images"):
        MLPHead().fit(bags, y[1:])
    y[:3] = ""
    with pytest.raises(LabelError, match="3 of 60 images have no label"):
        MLPHead().fit(bags, y)
    with pytest.raises(LabelError, match="one class"):
        MLPHead().fit(bags, np.full(60, "A"))
    with pytest.raises(LabelError, match="'other'"):
        MLPHead().fit(bags, bags.labels, eval_set=(bags[:1], np.array(["other"])))


def test_what_float32_cannot_hold_is_refused(bags):
    rows = bags.instances("all")
    large = rows.embeddings.astype(np.float64)
    large[0, 0] = 1e300
    broken = Bags.from_rows(large, bags.images[rows.image], rows.blob, rows.repeat)
    with pytest.raises(DataError, match=r"1 of .* NaN or infinity"):
        MLPHead().fit(broken, bags.labels)
    with pytest.raises(DataError, match=r"1 of .* NaN or infinity"):
        MLPHead(hidden=(4,), max_epochs=1).fit(bags, bags.labels).predict(broken)


def test_training_that_diverges_says_so(bags):
    with pytest.raises(SettingError, match=r"diverged.*smaller lr"):
        MLPHead(lr=1e30, random_state=0).fit(bags, bags.labels)


def test_half_precision_is_trained_on_as_it_is_stored(bags):
    rows = bags.instances("all")
    half = rows.embeddings.astype(np.float16)
    both = [
        Bags.from_rows(each, bags.images[rows.image], rows.blob, rows.repeat)
        for each in (half, half.astype(np.float32))
    ]
    one, two = (MLPHead(hidden=(8,), max_epochs=3, random_state=0).fit(each, bags.labels) for each in both)
    np.testing.assert_array_equal(one.logits(both[0]), two.logits(both[1]))


def test_embeddings_are_refused_with_a_reason(fitted, bags, make_bags):
    with pytest.raises(DataError, match=r"7 numbers.*expected 12"):
        fitted.predict(make_bags(4, dim=7))
    with pytest.raises(DataError, match="no image"):
        fitted.predict(bags[:0])
    rows = bags.instances("all")
    rows.embeddings[0, 3] = np.nan  # a clean row: of held-out images no other is looked at
    broken = Bags.from_rows(rows.embeddings, bags.images[rows.image], rows.blob, rows.repeat)
    with pytest.raises(DataError, match="NaN"):
        MLPHead().fit(broken, bags.labels)

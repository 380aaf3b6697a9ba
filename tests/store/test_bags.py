"""Bags are what scikit-learn expects of X, and a sample is an image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featstore.errors import DataError, SettingError
from featstore.store import Bags


class Means(BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return X.means()


@pytest.fixture
def bags() -> Bags:
    rng = np.random.default_rng(0)
    images, blobs, repeats = [], [], []
    for image in range(30):
        for blob in range(1 + image % 3):
            for repeat in range(3):
                images.append(f"i{image:02d}")
                blobs.append(blob)
                repeats.append(repeat)
    labels = {f"i{image:02d}": "ab"[image % 2] for image in range(30)}
    embeddings = rng.normal(size=(len(images), 4)).astype(np.float32)
    embeddings[:, 0] += [5 * (labels[name] == "b") for name in images]
    return Bags.from_rows(embeddings, images, blobs, repeats, labels=labels)


def test_scikit_learn_takes_them_as_x(bags):
    pipeline = make_pipeline(Means(), StandardScaler(), LogisticRegression())
    assert cross_val_score(pipeline, bags, bags.labels, cv=StratifiedKFold(5), scoring="f1_macro").mean() > 0.9
    assert cross_val_score(pipeline, bags, bags.labels, cv=GroupKFold(5), groups=bags.groups).mean() > 0.9
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1]}, cv=KFold(3)).fit(bags, bags.labels)
    assert search.best_score_ > 0.9
    train, test, y_train, _ = train_test_split(bags, bags.labels, test_size=0.3, random_state=0)
    assert isinstance(train, Bags)
    assert (len(train), len(test)) == (21, 9)
    assert train.labels.tolist() == y_train.tolist()


def test_no_splitter_separates_blobs_of_an_image(bags):
    for train, test in ShuffleSplit(5, random_state=0).split(bags):
        assert not set(bags[train].images) & set(bags[test].images)


@settings(deadline=None)
@given(
    key=st.one_of(
        st.lists(st.integers(-30, 29), max_size=40), st.lists(st.booleans(), min_size=30, max_size=30), st.slices(30)
    )
)
def test_indexing_is_numpys(bags_data, key):
    picked = bags_data[key]
    expected = np.arange(30)[np.asarray(key, dtype=int) if key == [] else key]
    assert picked.images.tolist() == bags_data.images[expected].tolist()
    np.testing.assert_array_equal(picked.means(), bags_data.means()[expected])
    assert picked.shape == (len(expected), 4)


@pytest.fixture(scope="module")
def bags_data():
    rng = np.random.default_rng(1)
    images = np.repeat([f"i{n:02d}" for n in range(30)], 4)
    blob, repeat = np.tile([0, 0, 1, 1], 30), np.tile([0, 1, 0, 1], 30)
    return Bags.from_rows(rng.normal(size=(120, 4)).astype(np.float32), images, blob, repeat)


def test_one_image_is_a_bag(bags):
    bag = bags[-1]
    assert (bag.image, bag.label, bag.embeddings.shape) == ("i29", "b", (9, 4))
    assert [b.image for b in bags] == bags.images.tolist()
    with pytest.raises(IndexError):
        bags[30]


def test_means_are_of_the_clean_repeat(bags):
    rows = bags.instances()
    assert set(rows.repeat) == {0}
    np.testing.assert_allclose(bags.means()[5], rows.embeddings[rows.image == 5].mean(axis=0), rtol=1e-6)
    everything = bags.instances("all")
    np.testing.assert_allclose(
        bags.means("all")[5], everything.embeddings[everything.image == 5].mean(axis=0), rtol=1e-5
    )
    np.testing.assert_array_equal(bags.means([0]), bags.means("clean"))


def test_repeat_means_are_means_over_blobs(bags):
    rows = bags.repeat_means()
    assert len(rows.embeddings) == 30 * 3
    everything = bags.instances("all")
    for image, repeat in ((0, 0), (7, 2), (29, 1)):
        chosen = (everything.image == image) & (everything.repeat == repeat)
        mean = rows.embeddings[(rows.image == image) & (rows.repeat == repeat)]
        np.testing.assert_allclose(mean[0], everything.embeddings[chosen].mean(axis=0), rtol=1e-5)


def test_an_array_is_images_of_one_blob():
    array = np.arange(12.0).reshape(6, 2)
    bags = Bags.from_array(array)
    np.testing.assert_array_equal(bags.means(), array)
    assert len(set(bags.groups)) == 6


def test_rows_come_in_any_order(bags):
    rows = bags.instances("all")
    shuffled = np.random.default_rng(0).permutation(len(rows.image))
    again = Bags.from_rows(
        rows.embeddings[shuffled], bags.images[rows.image][shuffled], rows.blob[shuffled], rows.repeat[shuffled]
    )
    np.testing.assert_array_equal(again.instances("all").embeddings, rows.embeddings)


def test_an_image_without_a_clean_instance_is_refused():
    with pytest.raises(DataError, match=r"'x' has no clean embedding"):
        Bags.from_rows(np.zeros((2, 3), dtype=np.float32), ["a", "x"], [0, 0], [0, 1])
    with pytest.raises(DataError, match="one image, blob and repeat a row"):
        Bags.from_rows(np.zeros((2, 3), dtype=np.float32), ["a"], [0], [0])


def test_an_estimator_for_arrays_says_what_to_do(bags):
    with pytest.raises(TypeError, match="MeanPool"):
        LogisticRegression().fit(bags, bags.labels)


def test_images_that_lack_repeats_are_counted(bags):
    assert bags.lacking_repeats == 0
    rows = bags.instances("all")
    kept = ~((rows.image < 4) & (rows.repeat == 2))
    images = bags.images[rows.image]
    fewer = Bags.from_rows(rows.embeddings[kept], images[kept], rows.blob[kept], rows.repeat[kept])
    assert fewer.lacking_repeats == 4
    assert fewer[:4].lacking_repeats == 0
    assert fewer[:0].lacking_repeats == 0


def test_repeats_that_no_image_has_or_only_some(bags):
    """A mean of nothing would shift the means of all images after it."""
    rows = bags.instances("all")
    kept = ~((rows.image < 4) & (rows.repeat == 2))
    images = bags.images[rows.image]
    fewer = Bags.from_rows(rows.embeddings[kept], images[kept], rows.blob[kept], rows.repeat[kept])
    with pytest.raises(
        DataError, match=r"4 of 30 images have no repeat of \[2\]; expected a repeat that every image has"
    ):
        fewer.means([2])
    assert fewer[4:].means([2]).shape == (26, 4)
    assert fewer[:0].means([2]).shape == (0, 4)
    with pytest.raises(SettingError, match="repeats is 'cleen'; expected clean, all"):
        bags.means("cleen")


@pytest.mark.parametrize("repeat", [0, 1, 2])
def test_another_repeat_takes_the_place_of_the_clean_one(bags, repeat):
    some = bags[[4, 0, 2]].at_repeat(repeat)
    assert some.images.tolist() == bags.images[[4, 0, 2]].tolist()
    assert some.repeats == [0]
    np.testing.assert_array_equal(some.means(), bags[[4, 0, 2]].means([repeat]))
    np.testing.assert_array_equal(some[1:].labels, bags.labels[[0, 2]])


def test_images_that_lack_a_repeat_of_a_blob_are_left_out():
    rows = [("a", 0, 0), ("a", 0, 1), ("a", 1, 0), ("b", 0, 0), ("b", 0, 1), ("c", 0, 0)]
    images, blobs, repeats = zip(*rows, strict=True)
    some = Bags.from_rows(np.arange(6, dtype=np.float32)[:, None], images, blobs, repeats).at_repeat(1)
    assert some.images.tolist() == ["b"]
    assert some.means().tolist() == [[4]]
    assert len(some.at_repeat(7)) == 0

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from featstore.errors import DataError
from featstore.store import JoinedBags, join_bags
from featstore.toolkit import MeanPool


@pytest.fixture(scope="module")
def pair(make_bags):
    return make_bags(30), make_bags(30, dim=5, seed=3)


def test_the_same_images_side_by_side(pair):
    joined = join_bags(pair)
    assert (len(joined), joined.shape, joined.repeats) == (30, (30, 17), [0, 1, 2])
    np.testing.assert_array_equal(joined.means(), np.hstack([view.means() for view in pair]))
    np.testing.assert_array_equal(joined.labels, pair[0].labels)
    assert "JoinedBags(30 images" in repr(joined)


def test_order_does_not_matter_and_what_only_one_has_is_left_out(pair):
    one, other = pair
    joined = join_bags([one[5:], other[::-1][3:]])
    assert joined.images.tolist() == one.images[5:27].tolist()
    for view in joined.views:
        assert view.images.tolist() == joined.images.tolist()


@pytest.mark.parametrize("key", [slice(2, 9, 3), [4, 1], np.arange(30) % 7 == 0, []])
def test_indexing_is_that_of_the_views(pair, key):
    some = join_bags(pair)[key]
    assert isinstance(some, JoinedBags)
    for view, whole in zip(some.views, pair, strict=True):
        assert view.images.tolist() == whole[key].images.tolist()
    assert some.groups.tolist() == some.images.tolist()
    first, second = join_bags(pair)[-1]
    assert (first.image, len(second.embeddings[0])) == (pair[0].images[-1], 5)


def test_groups_of_either_keep_images_together(pair):
    one, other = pair
    names = one.images.astype("U20")
    left, right = names.copy(), names.copy()
    left[[0, 1]] = "patient"
    right[[1, 2]] = "slide"
    joined = join_bags([replace(one, groups=left), replace(other, groups=right)])
    assert len(set(joined.groups[:3])) == 1
    assert len(set(joined.groups)) == 28


def test_a_label_is_missing_in_one_or_another_in_the_other(pair):
    one, other = pair
    labels = one.labels.copy()
    labels[:4] = ""
    np.testing.assert_array_equal(join_bags([replace(one, labels=labels), other]).labels, other.labels)
    labels[5] = "something else"
    with pytest.raises(DataError, match=r"different labels in two stores \(images: 1\).*img_0005"):
        join_bags([replace(one, labels=labels), other])
    with pytest.raises(DataError, match="two or more"):
        join_bags([one])


def test_scikit_learn_takes_them_as_x(pair):
    joined = join_bags(pair)
    model = make_pipeline(MeanPool(), KNeighborsClassifier(3))
    assert cross_val_score(model, joined, joined.labels, cv=3).mean() > 0.6
    with pytest.raises(TypeError, match="MeanPool"):
        np.asarray(joined)


def test_another_repeat_takes_the_place_of_the_clean_one(pair):
    some = join_bags(pair)[:4].at_repeat(2)
    np.testing.assert_array_equal(some.means(), np.hstack([view[:4].means([2]) for view in pair]))

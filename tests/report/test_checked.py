"""What other commands found is held against the store and the model: what is of others is refused, or pointed out."""

from __future__ import annotations

import pytest

from featstore.errors import DataError, FingerprintMismatchError, ModelError
from featstore.evaluate import data_digest
from featstore.report import check_evaluation, check_reproduction, check_sweep, find_model
from featstore.report.checked import preset_of
from featstore.store import NewLabel, open_store, relabel
from featstore.toolkit import MLPHead, m4, m5, save_model

from .conftest import ESTIMATE, SWEPT, Read, numbered


def of_store(store) -> dict[str, object]:
    bags = store.bags()
    digest = data_digest(bags.images, bags.labels, bags.groups)
    return {"fingerprint": store.fingerprint, "version": store.version, "data_digest": digest}


def test_an_estimate_of_another_store_is_refused(fitted) -> None:
    store, _ = fitted
    ours = ESTIMATE | of_store(store)
    check_evaluation(ours, store, "e.json")
    with pytest.raises(DataError, match="fingerprint 123"):
        check_evaluation(ours | {"fingerprint": "123"}, store, "e.json")
    with pytest.raises(DataError, match="'wasps'"):
        check_evaluation(ours | {"per_class": {"wasps": {}}}, store, "e.json")
    with pytest.raises(DataError, match="fingerprint unknown"):
        check_evaluation(ESTIMATE, store, "e.json")


@pytest.mark.parametrize(
    "change", [{"label": "b"}, {"split": "test"}, {"group": "with"}], ids=["label", "split", "group"]
)
def test_what_was_found_before_labels_splits_or_groups_changed_is_refused(make_store, change) -> None:
    before = make_store(numbered(("a", "b"), 12, 0), {"img_007.png": "with"}, name="changed.store")
    found = of_store(before)
    relabel(before.path, [NewLabel("img_000.png", **change)])
    after = open_store(before.path)
    estimate = ESTIMATE | found | {"per_class": {}, "versions": [1], "labels": "l.csv"}
    for check, content in (
        (check_evaluation, estimate),
        (check_sweep, [SWEPT | found]),
        (check_reproduction, found),
    ):
        check(content, before, "f.json")
        with pytest.raises(DataError, match=r"on version 1 of the store.* version 2 of .*anew.* --store-version 1"):
            check(content, after, "f.json")


def test_a_sweep_or_a_comparison_of_another_store_is_refused(fitted) -> None:
    store, _ = fitted
    ours, theirs = SWEPT | of_store(store), SWEPT | {"fingerprint": "123", "version": 4, "data_digest": "4"}
    check_sweep([theirs, ours], store, "s.csv")
    check_sweep([SWEPT], store, "s.csv")
    check_reproduction({}, store, "r.json")
    with pytest.raises(DataError, match=r"s\.csv: a sweep on embeddings of fingerprint 123"):
        check_sweep([theirs, theirs], store, "s.csv")
    with pytest.raises(DataError, match=r"r\.json: a comparison on embeddings of fingerprint 123"):
        check_reproduction({"fingerprint": "123"}, store, "r.json")


def test_figures_of_the_images_that_all_compared_stores_have_are_taken(fitted) -> None:
    store, _ = fitted
    shared = {**ESTIMATE, **of_store(store), "data_digest": "0" * 64, "images": 44, "versions": [store.version]}
    check_evaluation(shared, store, "e.json")
    for change in ({"images": 45}, {"versions": [store.version + 1]}, {"labels": "mine.csv"}):
        with pytest.raises(DataError, match="whose training images, labels or groups are not those"):
            check_evaluation({**shared, **change}, store, "e.json")


def test_the_digest_is_of_images_labels_and_groups_and_of_nothing_else() -> None:
    ours = data_digest("abc", "xyx", ["p", "p", "q"])
    assert data_digest("bca", "yxx", [7, 8, 7]) == ours
    others = (("abd", "xyx", "ppq"), ("abc", "xyy", "ppq"), ("abc", "xyx", "pqq"), ("abc", "xyx", "ppp"))
    assert ours not in [data_digest(*each) for each in others]


def test_what_can_not_be_checked_or_is_of_other_settings_is_said(fitted, page_of) -> None:
    def told(**more) -> str:
        return Read(page_of(*fitted, evaluation=ESTIMATE | more).html.decode()).text

    assert "can't be checked" in told()
    ours = of_store(fitted[0])
    assert "can't be checked" not in told(**ours)
    assert "It is of" not in told(**ours, preset="m4", scales=None)
    other = "the model on this page is the preset m4 on all crops"
    assert f"It is of the preset m5 on all crops; {other}" in told(**ours, preset="m5")
    assert f"It is of the preset m4 on scales 1:2; {other}" in told(**ours, preset="m4", scales="1:2")


@pytest.mark.parametrize("scales", [None, (2,), (1, 2), (1, 0)])
@pytest.mark.parametrize("how", ["pool", "concatenate"])
def test_the_preset_of_a_model_is_known(scales, how) -> None:
    sign = ":" if how == "concatenate" else "+"
    words = "" if scales is None else sign.join("tiles" if scale == 0 else str(scale) for scale in scales)
    assert preset_of(m4(scales=scales, how=how)) == ("m4", words)
    assert preset_of(m5(scales=scales, how=how)) == ("m5", words)
    assert preset_of(m5(heads=[("mlp", MLPHead())]))[0] == ""


def test_other_numbers_of_images_are_pointed_out(fitted, page_of) -> None:
    page = page_of(*fitted, evaluation=ESTIMATE | {"images": 44})
    assert "It is of 44 images; this store has 45 labelled training images" in Read(page.html.decode()).text


def test_the_default_model_is_taken_only_where_it_was_fitted_here(fitted, make_store, tmp_path, monkeypatch) -> None:
    store, model = fitted
    other = make_store({f"{n}.png": ("ab"[n % 2], "train") for n in range(9)})
    monkeypatch.chdir(tmp_path)
    assert "there is no ensemble.model" in find_model(None, store)[1]
    save_model(model, "ensemble.model")
    assert find_model(None, store)[1] == ""
    found, why_not = find_model(None, other)
    assert found is None
    assert "was not fitted on this store" in why_not


def test_a_model_that_is_named_must_be_of_this_recipe(fitted, tmp_path) -> None:
    store, model = fitted
    model.provenance_ = {"fingerprint": "123"}
    save_model(model, tmp_path / "m.model")
    with pytest.raises(FingerprintMismatchError, match="fit again"):
        find_model(tmp_path / "m.model", store)
    model.provenance_ = {"fingerprint": "1+2"}
    save_model(model, tmp_path / "m.model")
    with pytest.raises(ModelError, match="2 encoders"):
        find_model(tmp_path / "m.model", store)
    model.provenance_ = {"fingerprint": store.fingerprint, "version": 1}

"""A store's model explained on images: what extraction saw, what the model says, and where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from featstore.encoders import load_encoder
from featstore.errors import FingerprintMismatchError, ImageError, ModelError, RecipeMismatchError, SettingError
from featstore.explain import Picture, StoreExplainer, open_picture, store_models, transformers_tokens
from featstore.store import open_store
from featstore.toolkit import m5, predictions


def test_it_sees_what_the_extraction_saw(vit, plain, convolutional, made) -> None:
    for fitted in (vit, plain, convolutional):
        seen = fitted.explainer().look(open_picture(made / "test_data" / "img_0101.png"))
        stored = fitted.store.embeddings(images=["test_data/img_0101.png"], repeats=[0])
        np.testing.assert_allclose(seen.embeddings, stored, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["m4", "m5"])
def test_it_says_what_predict_says(vit, made, name) -> None:
    told = {row.row.image: row for row in predictions.predict_images(vit.models[name], vit.store)}
    for number in range(4):
        image = f"test_data/img_{100 + number:04d}.png"
        said = vit.explainer(name).explain(open_picture(made / image))[0]
        assert said.label == told[image].label
        np.testing.assert_allclose(list(said.probabilities.values()), told[image].probabilities, atol=1e-4)


def test_the_map_is_zero_off_the_tissue_of_crops(vit, picture) -> None:
    explainer = vit.explainer()
    tissue = explainer.look(picture).blobs.tissue
    for said in explainer.explain(picture, "pink", ("grad-cam", "rollout")):
        assert said.heatmap.shape == picture.pixels.shape[:2]
        assert said.heatmap.any()
        assert not said.heatmap[~tissue].any()


def test_blobs_that_speak_against_the_class_are_cold(vit, picture) -> None:
    pink, violet = (vit.explainer().explain(picture, label)[0] for label in ("pink", "violet"))
    for ours, theirs in zip(pink.blobs, violet.blobs, strict=True):
        assert ours.contribution == pytest.approx(-theirs.contribution, rel=1e-6)
    for said in (pink, violet):
        for blob in said.blobs:
            x0, y0, x1, y1 = blob.box
            assert bool(said.heatmap[y0:y1, x0:x1].any()) == (blob.contribution > 0)


def test_fill_alone_changes_nothing(vit, picture) -> None:
    """What is not tissue becomes fill: other pixels there, same explanation."""
    explainer = vit.explainer("m4")
    tissue = explainer.look(picture).blobs.tissue
    other = replace(picture, pixels=np.where(tissue[..., None], picture.pixels, 7).astype(np.uint8))
    ours, theirs = (explainer.explain(each)[0] for each in (picture, other))
    np.testing.assert_array_equal(ours.heatmap, theirs.heatmap)
    assert ours.to_dict() == theirs.to_dict()


def test_one_blob_is_compared_with_the_prior(vit, made) -> None:
    said = vit.explainer().explain(open_picture(made / "test_data" / "img_0103.png"))[0]
    (blob,) = said.blobs
    position = list(said.probabilities).index(said.label)
    assert blob.probability_without == vit.models["m5"].class_prior_[position]
    assert any("class prior" in text for text in said.notes)


def test_an_encoder_without_tokens_has_contributions_and_says_why_no_map(plain, picture) -> None:
    (said,) = plain.explainer().explain(picture, views=("grad-cam", "rollout"))
    assert said.heatmap is None
    assert said.maximum is None
    assert len(said.blobs) == 3
    (why,) = [text for text in said.notes if "stain-texture" in text]
    assert "no tokens" in why


def test_a_convolutional_network_of_timm_s_as_well(convolutional, picture) -> None:
    (said,) = convolutional.explainer().explain(picture, views=("grad-cam", "rollout"))
    assert said.heatmap is None
    assert len(said.blobs) == 3
    (why,) = [text for text in said.notes if "no map within blobs" in text]
    assert "timm:tiny is a ResNet of timm's" in why


def test_a_model_without_mlp_heads_has_rollout_alone(vit, picture) -> None:
    X = vit.store.bags()
    model = m5(0, 2, heads=[("lr", LogisticRegression())]).fit(X, X.labels)
    (said,) = StoreExplainer(model, vit.store, vit.encoder).explain(picture, views=("grad-cam", "rollout"))
    assert said.method == "attention rollout"
    assert any("no MLP head" in text for text in said.notes)


def test_a_model_that_does_not_tell_its_attention_has_grad_cam_alone(vit, picture, monkeypatch) -> None:
    monkeypatch.setattr(transformers_tokens, "run_model", lambda *_, **__: None)
    (said,) = vit.explainer().explain(picture, views=("grad-cam", "rollout"))
    assert said.method == "Grad-CAM at the tokens"
    assert said.heatmap.any()
    (why,) = [text for text in said.notes if "no attention rollout" in text]
    assert "tells the attention of 0 of its" in why
    (said,) = vit.explainer().explain(picture, views=("rollout",))
    assert said.heatmap is None
    assert len(said.blobs) == 3
    assert why in said.notes


def test_an_encoder_whose_attention_is_not_followed_has_grad_cam_alone(vit, picture, monkeypatch) -> None:
    layout = replace(store_models.layout_of(vit.encoder.running), no_rollout="tiny pools otherwise")
    monkeypatch.setattr(store_models, "layout_of", lambda _: layout)
    (said,) = vit.explainer().explain(picture, views=("grad-cam", "rollout"))
    assert said.method == "Grad-CAM at the tokens"
    assert "no attention rollout: tiny pools otherwise" in said.notes


def test_a_training_image_is_called_one(vit, made) -> None:
    trained = vit.explainer().explain(open_picture(made / "train_data" / "img_0000.png"))[0]
    assert any("training image" in text for text in trained.notes)


def test_without_a_mask_tissue_is_found_on_the_image(vit, picture) -> None:
    said = vit.explainer().explain(replace(picture, mask=None))[0]
    assert any("no usable mask" in text for text in said.notes)
    with pytest.raises(ImageError, match="no blob"):
        vit.explainer().explain(Picture(picture.path, np.full_like(picture.pixels, 255)))


def test_models_stores_and_encoders_that_do_not_belong_together(vit, plain, tiny_dinov2, tmp_path) -> None:
    with pytest.raises(FingerprintMismatchError, match="--store"):
        StoreExplainer(vit.models["m5"], plain.store, plain.encoder)
    with pytest.raises(RecipeMismatchError, match="encoder"):
        StoreExplainer(vit.models["m5"], vit.store, plain.encoder)
    with pytest.raises(ModelError, match="can't be explained"):
        StoreExplainer(LogisticRegression(), vit.store, vit.encoder)
    with pytest.raises(SettingError, match="'green'"):
        vit.explainer().explain(
            Picture(tmp_path, np.zeros((9, 9, 3), np.uint8), np.full((9, 9), 255, np.uint8)), "green"
        )


def test_other_weights_are_refused_by_their_digest(vit, tmp_path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(vit.encoder.folder, tmp_path / "w")
    tensors = load_file(tmp_path / "w" / "model.safetensors")
    save_file(
        {name: value + 1e-3 for name, value in tensors.items()}, tmp_path / "w" / "model.safetensors", {"format": "pt"}
    )
    other = load_encoder("tiny", weights=tmp_path / "w", device="cpu", precision="float32")
    with pytest.raises(RecipeMismatchError, match="weights_digest"):
        StoreExplainer(vit.models["m5"], vit.store, other)


def test_a_model_of_several_encoders_is_told_so(vit) -> None:
    model = m5(0, 2)
    model.provenance_, model.class_prior_ = {"fingerprint": f"{'0' * 64}+{'1' * 64}"}, np.ones(2) / 2
    with pytest.raises(ModelError, match="2 encoders"):
        StoreExplainer(model, open_store(vit.store.path), vit.encoder)

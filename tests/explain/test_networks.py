"""Explanations of fine-tuned networks: the class that they predict, and a map on the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from typer.testing import CliRunner

from featstore.cnn import ImageClassifier, load_networks, save_networks
from featstore.cnn.pictures import frame
from featstore.dataset import find_dataset
from featstore.errors import SettingError
from featstore.explain import NetworkExplainer, draw_explanations, open_picture
from featstore.explain.networks import _on_image
from featstore_cli.app import app


@pytest.fixture(scope="module")
def records(made):
    return find_dataset(made).records


@pytest.fixture(scope="module")
def networks(records) -> ImageClassifier:
    """Two small networks, trained for a moment on pink and violet."""
    training = [record for record in records if record.split == "train"]
    model = ImageClassifier(
        "test_efficientnet.r160_in1k",
        **{"from_scratch": True, "body_lr": 1.0, "lr": 1e-2, "image_size": 64, "batch_size": 4, "max_epochs": 6},
        **{"n_splits": 2, "calibrate": True, "device": "cpu", "random_state": 0},
    )
    return model.fit(training, [record.label for record in training])


def test_it_says_what_the_model_predicts(networks, records, picture) -> None:
    (found,) = NetworkExplainer(networks, "m2").explain(picture)
    (record,) = (record for record in records if record.path == picture.path)
    np.testing.assert_allclose(list(found.probabilities.values()), networks.predict_proba([record])[0], atol=1e-6)
    assert found.label == networks.predict([record])[0]
    assert found.probability == max(found.probabilities.values())
    assert found.heatmap.shape == picture.pixels.shape[:2]
    assert found.blobs == ()
    assert found.method == "Grad-CAM at the last stage"


def test_another_class_and_another_view(networks, picture) -> None:
    explainer = NetworkExplainer(networks, "m2")
    maps = {label: explainer.explain(picture, label)[0].heatmap for label in ("pink", "violet")}
    assert not np.array_equal(maps["pink"], maps["violet"])
    (found,) = explainer.explain(picture, "pink", ("rollout",))
    assert found.heatmap is None
    assert "no attention" in found.notes[0]
    with pytest.raises(SettingError, match="m2 knows no class 'blue'"):
        explainer.explain(picture, "blue")


def test_a_map_goes_back_to_where_the_picture_showed_the_image() -> None:
    framing = frame(100, 300, 60)  # the image fills rows 20 to 40
    heat = np.zeros((6, 6), np.float32)
    heat[3, 1] = 1  # rows 30 to 40, columns 10 to 20 of the picture
    found = _on_image(heat, framing)
    assert found.shape == (100, 300)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 50 <= row < 100
    assert 50 <= column < 100
    outside = np.ones((6, 6), np.float32)
    outside[2:4] = 0
    assert _on_image(outside, framing)[25:75].max() < 0.5


def test_beside_a_model_of_a_store(networks, plain, picture, tmp_path) -> None:
    said = [*plain.explainer().explain(picture), *NetworkExplainer(networks, "m2").explain(picture)]
    draw_explanations(picture.pixels, said, tmp_path / "both.png", title="both")
    assert (tmp_path / "both.png").stat().st_size > 10_000


def test_the_command_takes_their_file(networks, made, plain, tmp_path) -> None:
    save_networks(networks, tmp_path / "m2.model")
    image, m5 = made / "test_data" / "img_0100.png", plain.store.path.parent / "m5.model"
    how = ["--out", tmp_path / "out", "--device", "cpu"]
    beside = [m5, image, "--compare", tmp_path / "m2.model", "--store", plain.store.path]
    for models in ([tmp_path / "m2.model", image], beside):
        result = CliRunner().invoke(app, ["explain", *map(str, [*models, *how])])
        assert result.exit_code == 0, result.stderr
        assert "m2, Grad-CAM at the last stage" in result.stdout
    assert "blob 0" in result.stdout


def test_temperatures_are_part_of_the_map(networks, picture) -> None:
    """A network with ten times the logits at ten times the temperature is the same network."""
    explainer = NetworkExplainer(networks, "m2")
    (before,) = explainer.explain(picture, "pink")
    classifier = explainer.modules[0].get_classifier()
    with torch.no_grad():
        classifier.weight *= 10
        classifier.bias *= 10
    model = clone(networks)
    model.__dict__.update(networks.__dict__)
    model.temperatures_ = [10 * networks.temperatures_[0], networks.temperatures_[1]]
    explainer.model = model
    (after,) = explainer.explain(picture, "pink")
    np.testing.assert_allclose(after.heatmap, before.heatmap, rtol=1e-3, atol=1e-5)
    assert after.probability == pytest.approx(before.probability, abs=1e-5)


def test_a_network_without_maps_says_so(records, picture) -> None:
    training = [record for record in records if record.split == "train"]
    model = ImageClassifier(
        "test_vit.r160_in1k", from_scratch=True, use_mask=False, max_epochs=1, device="cpu", random_state=0
    ).fit(training, [record.label for record in training])
    (found,) = NetworkExplainer(model, "vit").explain(picture)
    assert found.heatmap is None
    assert "no map of channels" in found.notes[0]


def test_two_files_of_one_name_are_told_apart(networks, made, tmp_path) -> None:
    image = made / "test_data" / "img_0100.png"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_networks(networks, tmp_path / folder / "m.model")
    how = ["--compare", tmp_path / "b" / "m.model", "--out", tmp_path / "out", "--device", "cpu"]
    result = CliRunner().invoke(app, ["explain", *map(str, [tmp_path / "a" / "m.model", image, *how])])
    assert result.exit_code == 0, result.stderr
    assert f"{tmp_path / 'a' / 'm'}, Grad-CAM" in result.stdout
    assert f"{tmp_path / 'b' / 'm'}, Grad-CAM" in result.stdout
    refused = CliRunner().invoke(
        app, ["explain", *map(str, [tmp_path / "a" / "m.model", image, "--compare-store", "x"])]
    )
    assert refused.exit_code == 2
    assert "without --compare" in refused.stderr


def test_options_of_stores_mean_nothing_to_networks(networks, made, tmp_path) -> None:
    save_networks(networks, tmp_path / "m.model")
    image = made / "test_data" / "img_0100.png"
    both = ["--compare", str(tmp_path / "m.model")]
    wrong = (["--store", "x.store"], ["--weights", "x"], ["--store-version", "1"], [*both, "--compare-weights", "x"])
    for option in (*wrong, [*both, "--compare-store", "x.store"], [*both, "--store", "x.store"]):
        result = CliRunner().invoke(app, ["explain", *map(str, [tmp_path / "m.model", image]), *option])
        assert result.exit_code == 2
        assert "means nothing for fine-tuned networks" in " ".join(result.stderr.split())


def test_a_training_image_is_called_one(networks, made, picture, tmp_path) -> None:
    save_networks(networks, tmp_path / "m.model")
    explainer = NetworkExplainer(load_networks(tmp_path / "m.model", device="cpu"))
    (seen,) = explainer.explain(open_picture(made / "train_data" / "img_0000.png"))
    (new,) = explainer.explain(picture)
    assert "a training image" in seen.notes[0]
    assert new.notes == ()

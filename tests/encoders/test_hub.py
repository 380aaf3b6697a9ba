"""The hub: its cache as it lies on disk, its commits, and the ways in which it can be out of reach."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

import pytest

from featstore.encoders import encoder_state, hub, load_encoder, weights_present
from featstore.encoders.weights import digest_weights
from featstore.errors import EncoderError, WeightsNotFoundError

COMMIT, NEWER = "a" * 40, "b" * 40


def put_in_cache(cache: Path, hub_id: str, model: Path, commit: str = COMMIT, branch: str = "main") -> Path:
    """Lay a model out as huggingface_hub does: blobs, a snapshot of links to them, and a reference."""
    root = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    for folder in (snapshot, root / "blobs", root / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    for file in model.iterdir():
        blob = root / "blobs" / f"{commit[:4]}-{file.name}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(blob)
    (root / "refs" / branch).write_text(commit)
    return snapshot


@pytest.fixture
def online(monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def fake_hub(monkeypatch, online, no_hub, small):
    """A hub that has one model, at one newer commit; it notes what it is asked."""
    import huggingface_hub

    asked = []

    def snapshot_download(hub_id, **keywords):
        asked.append((hub_id, keywords))
        return str(put_in_cache(no_hub, hub_id, small, NEWER, branch=keywords["revision"] or "main"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download, raising=False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    return asked


def test_a_cached_model_needs_no_network(no_hub, phikon_like):
    put_in_cache(no_hub, "owkin/phikon-v2", phikon_like)
    assert weights_present("phikon-v2")
    assert COMMIT in encoder_state("phikon-v2")
    encoder = load_encoder(device="cpu")
    assert encoder.settings.revision == COMMIT
    local = load_encoder(weights=phikon_like, device="cpu")
    assert encoder.settings.weights_digest == local.settings.weights_digest


def test_any_hub_id(no_hub, small):
    put_in_cache(no_hub, "owner/model", small)
    encoder = load_encoder("owner/model", device="cpu")
    assert (encoder.settings.name, encoder.settings.revision) == ("owner/model", COMMIT)
    assert "owner/model" in encoder.licence


def test_revisions_in_the_cache(no_hub, small):
    put_in_cache(no_hub, "owner/model", small)
    put_in_cache(no_hub, "owner/model", small, NEWER, branch="v2")
    assert hub.find_snapshot("owner/model").commit == COMMIT
    assert hub.find_snapshot("owner/model", "v2").commit == NEWER
    assert hub.find_snapshot("owner/model", NEWER).commit == NEWER
    with pytest.raises(WeightsNotFoundError, match="at revision v3"):
        hub.find_snapshot("owner/model", "v3")


def test_half_a_download_does_not_count(no_hub, small):
    snapshot = put_in_cache(no_hub, "owner/model", small)
    (snapshot / "model.safetensors").unlink()
    assert not weights_present("owner/model")
    with pytest.raises(WeightsNotFoundError, match="HF_HUB_OFFLINE"):
        load_encoder("owner/model", device="cpu")


def test_a_download_takes_the_files_that_are_needed_and_no_code(fake_hub):
    encoder = load_encoder("owner/model", device="cpu")
    assert encoder.settings.revision == NEWER
    [(hub_id, keywords)] = fake_hub
    assert hub_id == "owner/model"
    assert {"config.json", "preprocessor_config.json", "model.safetensors"} <= set(keywords["allow_patterns"])
    assert not any(pattern.endswith((".py", ".bin", ".pt", "*")) for pattern in keywords["allow_patterns"])


def test_the_cache_comes_first_unless_a_branch_is_asked_for(fake_hub, no_hub, small):
    put_in_cache(no_hub, "owner/model", small)
    assert hub.find_snapshot("owner/model").commit == COMMIT
    assert hub.find_snapshot("owner/model", COMMIT).commit == COMMIT
    assert fake_hub == []
    assert hub.find_snapshot("owner/model", "main").commit == NEWER


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("RepositoryNotFoundError", "no such model"),
        ("GatedRepoError", "log in"),
        ("RevisionNotFoundError", "no such revision"),
        ("HfHubHTTPError", "502 Bad Gateway"),
    ],
)
def test_what_the_hub_answers_is_passed_on(monkeypatch, online, kind, words):
    import huggingface_hub
    import huggingface_hub.errors

    class Answer(getattr(huggingface_hub.errors, kind)):
        def __init__(self):
            Exception.__init__(self, "502 Bad Gateway")

    def model_info(*_, **__):
        raise Answer()

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(WeightsNotFoundError, match=words):
        hub.find_snapshot("owner/model", "v9")


def test_a_branch_falls_back_on_the_cache_when_the_hub_is_silent(monkeypatch, online, no_hub, small):
    import huggingface_hub

    def model_info(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    put_in_cache(no_hub, "owner/model", small)
    assert hub.find_snapshot("owner/model", "main").commit == COMMIT
    with pytest.raises(WeightsNotFoundError, match="no route"):
        hub.find_snapshot("owner/other")


def test_a_download_that_breaks_off(monkeypatch, fake_hub):
    import huggingface_hub

    def snapshot_download(*_, **__):
        raise TimeoutError("the connection was lost")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(WeightsNotFoundError, match=r"connection was lost.*--weights DIR"):
        hub.find_snapshot("owner/model")


def test_a_server_that_never_answers_is_given_up_soon(monkeypatch, online):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(hub, "TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(WeightsNotFoundError, match="--encoder stain-texture"):
            hub.find_snapshot("owner/model")
    assert time.monotonic() - started < 20


def test_the_digest_of_a_cached_file_is_its_name_until_it_is_computed_with(no_hub, small):
    """A run that finds all done need not read a gigabyte; one that computes makes sure of it."""
    snapshot = put_in_cache(no_hub, "owkin/phikon-v2", small)
    link, digest = snapshot / "model.safetensors", digest_weights([small / "model.safetensors"])
    blob = link.resolve()
    good = blob.rename(blob.with_name(digest))
    link.unlink()
    link.symlink_to(good)
    encoder = load_encoder(device="cpu")
    assert encoder.settings.weights_digest == digest
    encoder.start()
    wrong = good.rename(good.with_name("0" * 64))
    link.unlink()
    link.symlink_to(wrong)
    encoder = load_encoder(device="cpu")
    assert encoder.settings.weights_digest == "0" * 64
    with pytest.raises(EncoderError, match="are others than"):
        encoder.start()

"""Files that lie. Each is refused by name, before it can take memory, run code or reach outside its arrays."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from xgboost import Booster, XGBClassifier

from featstore.errors import ModelFormatError
from featstore.toolkit import (
    FoldEnsemble,
    LogitFusion,
    MLPHead,
    OnScales,
    PooledHead,
    ScalePool,
    TemperatureScaling,
    load_model,
    save_model,
)

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def members(bags, tmp_path_factory) -> Members:
    trees = PooledHead(XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1))
    mlp = TemperatureScaling(MLPHead(hidden=(4,), max_epochs=2))
    model = FoldEnsemble(LogitFusion([("mlp", mlp), ("trees", trees)]), n_splits=2, random_state=0)
    path = tmp_path_factory.mktemp("model") / "good.model"
    save_model(model.fit(bags, bags.labels), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(members: Members, compression: int = zipfile.ZIP_STORED) -> Path:
        path = tmp_path / "bad.model"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return path

    return write


def refused(path: Path, match: str) -> None:
    with pytest.raises(ModelFormatError, match=match) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def edited(members: Members, edit: Callable[[Any], Any]) -> Members:
    document = json.loads(members["model.json"])
    edit(document)
    return {**members, "model.json": json.dumps(document).encode()}


def fold(document: Any) -> Any:
    return document["model"]["state"]["estimators_"][0]["$estimator"]


def mlp(document: Any) -> Any:
    return fold(document)["state"]["estimators_"][0]["$estimator"]["state"]["estimator_"]["$estimator"]


def scaled(document: Any) -> Any:
    return fold(document)["state"]["estimators_"][0]["$estimator"]


def boosted(document: Any) -> Any:
    return fold(document)["state"]["estimators_"][1]["$estimator"]["state"]["estimator_"]["$estimator"]


def test_the_members_as_they_are_load(members, write):
    assert isinstance(load_model(write(members)), FoldEnsemble)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04K\x01.", b"{}", b"x" * 1000], ids=range(5))
def test_not_an_archive(data, tmp_path):
    path = tmp_path / "bad.model"
    path.write_bytes(data)
    refused(path, "no model file")


def test_a_pickle_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "bad.model"
    path.write_bytes(pickle.dumps(Evil()))
    refused(path, "no model file")
    assert not (tmp_path / "ran").exists()


def test_cut_short_or_with_a_flipped_bit(members, write):
    path = write(members)
    whole = path.read_bytes()
    for end in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:end])
        refused(path, ".")
    for place in np.random.default_rng(0).integers(0, len(whole), 40):
        data = bytearray(whole)
        data[place] ^= 0x10
        path.write_bytes(data)
        try:
            load_model(path)  # a date or an attribute, which mean nothing
        except ModelFormatError:
            continue


def test_compressed_members_are_not_unpacked(members, write):
    refused(write({**members, "arrays/0000.npy": bytes(50_000_000)}, zipfile.ZIP_DEFLATED), "compressed")


def test_members_that_overlap(members, write):
    path = write(members)
    data = bytearray(path.read_bytes())
    # The directory's entry for the second member points at the first: both would be read from the same bytes.
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[second + 42 : second + 46] = (0).to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, "no model file")


@pytest.mark.parametrize("name", ["../evil.npy", "/etc/evil", "arrays/0.npy", "code.py", "arrays/0000.npy/x"])
def test_members_with_other_names(name, members, write):
    refused(write({**members, name: b""}), "no model has")


def test_members_twice_missing_or_unused(members, write, tmp_path):
    refused(write({name: data for name, data in members.items() if name != "model.json"}), "no model.json")
    refused(write({name: data for name, data in members.items() if name != "arrays/0002.npy"}), "arrays/0002.npy")
    refused(write({**members, "arrays/9999.npy": members["arrays/0000.npy"]}), "nothing refers to")
    refused(write(edited(members, lambda d: mlp(d)["state"].update(classes_={"$array": "arrays/0000.npy"}))), "twice")
    path = tmp_path / "twice.model"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.json", b"{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("model.json", b"{}")
    refused(path, "no model has")


@pytest.mark.parametrize("version", [0, 2, 3, "1", True, None, 1.5, 1.0])
def test_other_format_versions(version, members, write):
    refused(write(edited(members, lambda d: d.update(format_version=version))), "version.*Update featstore")


@pytest.fixture(scope="module")
def of_scales(bags, tmp_path_factory) -> dict[str, Members]:
    """What is in the files of a pool and of a head on scales, which are of format 2."""
    pool = make_pipeline(ScalePool((1,), weights=(2.0,)), LogisticRegression())
    path, found = tmp_path_factory.mktemp("scales") / "good.model", {}
    for name, model in (("pool", pool), ("head", OnScales(PooledHead(LogisticRegression()), (1,)))):
        save_model(model.fit(bags, bags.labels), path)
        with zipfile.ZipFile(path) as archive:
            found[name] = {member: archive.read(member) for member in archive.namelist()}
    return found


def pool(document: Any) -> Any:
    return document["model"]["params"]["steps"][0]["$tuple"][1]["$estimator"]


@pytest.mark.parametrize("name", ["pool", "head"])
def test_a_file_of_format_2_says_so_by_a_whole_number(name, of_scales, write):
    load_model(write(of_scales[name]))
    for version in (2.0, 1, 3, True, "2"):
        refused(write(edited(of_scales[name], lambda d, v=version: d.update(format_version=v))), "Update featstore")


ODD_SCALES = [[], [1, 1], [1.0], [True], [-1], ["1"], 1, "1", None]


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        *(("pool", lambda d, v=odd: pool(d)["params"].update(how=v)) for odd in ("both", 1, ["pool"], None)),
        *(("pool", lambda d, v=odd: pool(d)["params"].update(weights=v)) for odd in (1.0, "1", [], [1, 1], [-1], [0])),
        ("pool", lambda d: pool(d)["params"].update(weights=[{"$float": "nan"}])),
        ("pool", lambda d: pool(d)["params"].update(scales=[2])),
        *(("pool", lambda d, v=odd: pool(d)["state"].update(scales_=v)) for odd in ODD_SCALES),
        *(("head", lambda d, v=odd: d["model"]["params"].update(scales=v)) for odd in ODD_SCALES),
        ("head", lambda d: d["model"]["params"].update(how="both")),
    ],
)
def test_scales_that_could_not_be_saved(name, edit, of_scales, write):
    refused(write(edited(of_scales[name], edit)), "fit together")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[]", "not featstore's"),
        (b'{"format": "other"}', "not featstore's"),
        (b'{"format": "featstore-model", "format_version": 1}', "."),
        (b'{"format": 1, "format": 2}', "twice"),
        (b'{"format": NaN}', "NaN"),
        (b'{"format": "featstore-model", "format_version": 1, "model": {}, "more": 1}', "more"),
        (b"[" * 1_000_000, "damaged"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "damaged"),
    ],
    ids=range(10),
)
def test_descriptions_that_are_none(text, match, members, write):
    refused(write({**members, "model.json": text}), match)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda d: d["model"].update({"class": "os.system"}), "os.system"),
        (lambda d: d["model"].update({"class": "GaussianNB"}), "GaussianNB"),
        (lambda d: d["model"].update({"class": ["MLPHead"]}), "expected one of"),
        (lambda d: d["model"].update(more=1), "expected class, params and state"),
        (lambda d: d["model"].update(params=[]), "not by name"),
        (lambda d: d["model"]["params"].update(__class__="x"), "__class__"),
        (lambda d: d["model"]["state"].update(predict_proba=1), "predict_proba"),
        (lambda d: d["model"]["state"].update(n_features_in_=-1), "fit together"),
        (lambda d: d["model"]["state"].pop("classes_"), "FoldEnsemble with"),
        (lambda d: d["model"]["state"].update(classes_=["a", "b"]), "fit together"),
        (lambda d: d["model"]["state"].update(estimators_=[]), "fit together"),
        (lambda d: d["model"]["state"].update(provenance_=[]), "fit together"),
        (lambda d: d["model"]["state"].update(folds_={"$pickle": "x"}), "pickle"),
        (lambda d: d["model"]["state"].update(folds_={"a": 1, "b": 2}), "described by"),
        (lambda d: d["model"]["state"].update(folds_={"$dict": [[[], 1]]}), "damaged"),
        (lambda d: fold(d)["state"].update(weights_={"$dict": [["mlp", 2.0], ["trees", -1.0]]}), "fit together"),
        (lambda d: fold(d)["state"].update(weights_={"$dict": [["mlp", {"$float": "nan"}], ["trees", 1.0]]}), "fit"),
        (lambda d: fold(d)["state"].update(n_features_in_=11), "fit together"),
        (lambda d: fold(d)["state"]["estimators_"].pop(), "fit together"),
        (lambda d: mlp(d)["state"].update(coefs_=[]), "fit together"),
        (lambda d: mlp(d)["state"]["coefs_"].reverse(), "fit together"),
        (lambda d: mlp(d)["params"].update(level="slide"), "fit together"),
        (lambda d: scaled(d)["state"].update(temperature_=1e-320), "fit together"),
        (lambda d: scaled(d)["state"].update(temperature_=1e5), "fit together"),
        (lambda d: scaled(d)["params"].update(bounds={"$tuple": [0, 1]}), "fit together"),
        (lambda d: scaled(d)["params"].update(bounds="wide"), "fit together"),
        (lambda d: boosted(d)["params"].update(missing=[]), r"XGBClassifier with missing=\[\]"),
        (lambda d: boosted(d)["params"].update(missing=True), "XGBClassifier with missing=True"),
        (lambda d: boosted(d)["params"].update(verbosity="loud"), "XGBClassifier with verbosity='loud'"),
        (lambda d: boosted(d)["params"].update(booster=[]), "XGBClassifier with booster"),
        (lambda d: d["model"]["state"].update(classes_={"$strings": ["a", "b", "c", "\ud800"]}), "no text"),
        (lambda d: d["model"]["state"].update(provenance_={"$dict": [["version", "\udcff"]]}), "no text"),
    ],
    ids=range(32),
)
def test_descriptions_of_what_could_not_be_saved(edit, match, members, write):
    refused(write(edited(members, edit)), match)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (npy(np.array([{}, []], dtype=object)), "header"),
        (npy(np.array([1 + 1j])), "header"),
        (npy(np.zeros(3, dtype=[("a", "f8")])), "header"),
        (npy(np.array([np.nan])), "NaN"),
        (npy(np.array([np.inf], dtype=np.float16)), "NaN or infinity"),
        (npy(np.asfortranarray(np.ones((3, 4)))), "header"),
        (npy(np.ones(3))[:-1], "bytes"),
        (npy(np.ones(3)) + b"x", "bytes"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"), "bytes"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }\n"), "header"),
        (header("{'descr': '|V0', 'fortran_order': False, 'shape': (5,), }\n"), "header"),
        (header("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }\n"), "bytes"),
        (header("__import__('os').system('true')\n"), "header"),
        (header("(" * 5000), "header"),
        (b"", "header"),
        (b"\x93NUMPY\x02\x00", "header"),
        (npy(np.ones((2, 2))), "fit together"),
        (npy(np.array(["a", "\ud800"])), "no text"),
    ],
    ids=range(18),
)
def test_arrays_that_are_none_of_ours(data, match, members, write):
    refused(write({**members, "arrays/0000.npy": data}), match)


def trees_edited(members: Members, edit: Callable[[Any], Any]) -> Members:
    booster = Booster(model_file=bytearray(members["xgboost/0000.ubj"]))
    document = json.loads(bytes(booster.save_raw("json")))
    edit(document["learner"])
    changed = Booster(model_file=bytearray(json.dumps(document).encode()))
    return {**members, "xgboost/0000.ubj": bytes(changed.save_raw("ubj"))}


def tree(learner: Any) -> Any:
    return next(t for t in learner["gradient_booster"]["model"]["trees"] if len(t["left_children"]) > 3)


def test_unchanged_trees_load(members, write):
    load_model(write(trees_edited(members, lambda _: None)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda t: tree(t)["split_indices"].__setitem__(0, 10**6),
        lambda t: tree(t)["left_children"].__setitem__(0, 10**6),
        lambda t: tree(t)["left_children"].__setitem__(0, 0),
        lambda t: tree(t)["left_children"].__setitem__(1, 2),
        lambda t: tree(t)["right_children"].__setitem__(0, tree(t)["left_children"][0]),
        lambda t: tree(t)["right_children"].__setitem__(0, -5),
        lambda t: t["gradient_booster"]["model"]["tree_info"].__setitem__(0, 1000),
        lambda t: t["gradient_booster"]["model"]["tree_info"].__setitem__(0, -1),
        lambda t: t["gradient_booster"]["model"]["iteration_indptr"].__setitem__(1, 10**6),
        lambda t: t["attributes"].update(best_iteration="1000"),
    ],
    ids=["column", "child", "loop", "second parent", "twin", "half a leaf", "class", "no class", "round", "best"],
)
def test_trees_that_would_reach_outside(edit, members, write):
    refused(write(trees_edited(members, edit)), "contradict")


@pytest.mark.parametrize("data", [b"", b"x" * 99, b"{", b"{L", b"[" * 100_000, b"{}"], ids=range(6))
def test_trees_that_are_none(data, members, write):
    refused(write({**members, "xgboost/0000.ubj": data}), "trees")


def test_trees_for_other_columns_or_classes(members, write, make_bags):
    for bags in (make_bags(40, dim=7), make_bags(40, n_classes=3)):
        other = XGBClassifier(n_estimators=2, n_jobs=1)
        other.fit(bags.means(), np.unique(bags.labels, return_inverse=True)[1])
        refused(write({**members, "xgboost/0000.ubj": bytes(other.get_booster().save_raw("ubj"))}), "fit together")

"""Files as others write them: the layouts of CLAM, TRIDENT and STAMP are those of their own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from featstore.store import Store, create_store, open_store
from featstore.store.exchange import importing, reader

DIM = 8
RECIPE = {"encoder": {"name": "made-up", "dim": DIM}, "seed": 0}
NAMES = ["train_data/a.png", "../../b", "C é", "c É", ".hidden"]


def vectors(n: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def corners(n: int, step: int = 512) -> np.ndarray:
    return np.stack([np.arange(n) * step, np.arange(n) % 3 * step], axis=1)


def save_growing(path: Path, batches, attributes=None) -> None:
    """Write as CLAM's and TRIDENT's own functions do: chunks of a row, no limit, growing by batches."""
    with h5py.File(path, "w") as file:
        for batch in batches:
            for name, values in batch.items():
                if name not in file:
                    shape = {"maxshape": (None, *values.shape[1:]), "chunks": (1, *values.shape[1:])}
                    file.create_dataset(name, data=values, **shape)
                    file[name].attrs.update((attributes or {}).get(name, {}))
                else:
                    file[name].resize(len(file[name]) + len(values), axis=0)
                    file[name][-len(values) :] = values


def save_clam(path: Path, n: int = 5, seed: int = 0, dim: int = DIM) -> np.ndarray:
    features, coords = vectors(n, seed, dim), corners(n).astype(np.int32)
    save_growing(path, [{"features": features[i : i + 2], "coords": coords[i : i + 2]} for i in range(0, n, 2)])
    return features


def save_trident(path: Path, n: int = 5, seed: int = 0, dtype="float32", encoder="uni_v1", **changes) -> np.ndarray:
    features = vectors(n, seed).astype(dtype)
    tiles = {
        "patch_size": 256,
        "patch_size_level0": 512,
        "level0_magnification": 40,
        "target_magnification": 20,
        "overlap": 0,
        "name": path.stem,
        "savetodir": "out/20x_256px_0px_overlap",
        "level0_width": 40000,
        "level0_height": 30000,
    }
    told = {"name": path.stem, "savetodir": "out", "encoder": encoder or "None"}
    attributes = {"features": told, "coords": {**tiles, **changes}}
    save_growing(path, [{"features": features, "coords": corners(n).astype(np.int64)}], attributes)
    return features


def save_stamp(path: Path, n: int = 5, seed: int = 0, extractor="uni2", **changes) -> np.ndarray:
    features = vectors(n, seed).astype(np.float16)
    told = {
        "stamp_version": "2.3.0",
        "extractor": extractor,
        "unit": "um",
        "tile_size_um": 256.0,
        "tile_size_px": 224,
        "code_hash": "0123abcd",
        "feat_type": "tile",
        **changes,
    }
    with h5py.File(path, "w") as file:
        file["coords"] = corners(n, 256).astype(np.float32)
        file["feats"] = features
        file.attrs.update({name: value for name, value in told.items() if value is not None})
    return features


def save_stamp_1(path: Path, n: int = 5, augmented: int = 0) -> np.ndarray:
    features = vectors(n).astype(np.float16)
    with h5py.File(path, "w") as file:
        file["coords"] = corners(n, 224)
        file["feats"] = features
        file["augmented"] = np.repeat([False, True], [n - augmented, augmented])
        file.attrs["extractor"] = "STAMP-extract-v1.1.0_xiyuewang-ctranspath-7c998680"
    return features


def save_npz(path: Path, n: int = 6, *, compressed: bool = False, **changes) -> dict[str, np.ndarray]:
    arrays = {
        "embeddings": vectors(n),
        "image": np.array([f"img_{row // 3}.png" for row in range(n)]),
        "blob": np.arange(n) % 3,
        "repeat": np.zeros(n, dtype=np.int64),
        "label": np.array(["AB"[row // 3 % 2] for row in range(n)]),
        "split": np.array(["train"] * n),
        "group": np.array(["p"] * n),
    } | changes
    arrays = {name: values for name, values in arrays.items() if values is not None}
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return arrays


def save_parquet(path: Path, n: int = 6, *, embeddings="fixed", **changes) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = vectors(n)
    columns = {
        "image": [f"img_{row // 3}.png" for row in range(n)],
        "blob": pa.array([row % 3 for row in range(n)], pa.int64()),
        "repeat": pa.array([0] * n, pa.int8()),
        "label": ["AB"[row // 3 % 2] for row in range(n)],
        "split": ["train"] * n,
    }
    if embeddings == "fixed":
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), DIM)
    elif embeddings == "list":
        columns["embeddings"] = pa.array(values.tolist(), pa.list_(pa.float32()))
    elif embeddings == "columns":
        columns |= {f"e{number}": values[:, number] for number in range(DIM)}
    columns = {name: value for name, value in {**columns, **changes}.items() if value is not None}
    if isinstance(columns.get("image"), np.ndarray):
        columns["image"] = columns["image"].tolist()  # pyarrow would end a text of numpy at a NUL
    pq.write_table(pa.table(columns), path, row_group_size=4)


def save_h5ad(path: Path, n: int = 6, *, matrix=None, obsm=None, index=None, **changes) -> None:
    import anndata
    import pandas as pd

    columns = {
        "image": pd.Categorical([f"img_{row // 3}.png" for row in range(n)]),
        "blob": np.arange(n) % 3,
        "repeat": np.zeros(n, dtype=np.int32),
        "label": pd.Categorical([None if row >= 3 else "A" for row in range(n)]),
        "split": ["train" if row < 3 else "test" for row in range(n)],
    } | changes
    columns = {name: value for name, value in columns.items() if value is not None}
    obs = pd.DataFrame(columns, index=index or [f"cell {row}" for row in range(n)])
    anndata.AnnData(X=vectors(n) if matrix is None else matrix, obs=obs, obsm=obsm).write_h5ad(path)


class SharedReader(reader.Reader):
    """Starts its process once for many imports, of which each would else wait for it."""

    def __exit__(self, *_) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def readers():
    shared: dict[str, SharedReader] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "Reader", lambda format: shared.setdefault(format, SharedReader(format, 1.0)))
        yield shared
    for one in shared.values():
        one.stop()


@pytest.fixture(scope="session")
def make():
    class Make:
        dim, recipe = DIM, RECIPE
        clam = staticmethod(save_clam)
        trident = staticmethod(save_trident)
        stamp = staticmethod(save_stamp)
        stamp_1 = staticmethod(save_stamp_1)
        npz = staticmethod(save_npz)
        parquet = staticmethod(save_parquet)
        h5ad = staticmethod(save_h5ad)
        vectors = staticmethod(vectors)
        corners = staticmethod(corners)

    return Make


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Store]:
    """A store with images of difficult names, some without a label, a group or boxes, and repeats."""

    def build(path: Path | None = None, names=NAMES, **keywords) -> Store:
        path = path or tmp_path / "some.store"
        with create_store(path, RECIPE, DIM, **keywords) as writer:
            for number, name in enumerate(names):
                facts = {"label": "AB"[number % 2] if number else "", "split": "train" if number else "test"}
                facts |= {"group": f"p{number // 2}" if number > 1 else "", "position": number, "blobs": 4}
                writer.add(
                    name,
                    [0, 0, 3],
                    [0, 1, 0],
                    vectors(3, seed=number),
                    facts={**facts, "sample_index": f"{number}.png"},
                    boxes=[[3, 100, 1, 2, 11, 12], [0, 90, 0, 0, 9, 10]] if number % 2 else [],
                )
        return open_store(path)

    return build

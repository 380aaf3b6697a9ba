"""HDF5 that says other than the directory in its user block, with every checksum right: never followed."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest

SECRET = 1234567.0


def _external_link(file, secret, pipe):
    del file["embeddings"]
    file["embeddings"] = h5py.ExternalLink(str(secret), "embeddings")
    return "embeddings"


def _external_link_to_a_pipe(file, secret, pipe):
    del file["image"]
    file["image"] = h5py.ExternalLink(str(pipe), "image")
    return "image"


def _virtual(file, secret, pipe):
    layout = h5py.VirtualLayout(shape=file["embeddings"].shape, dtype="<f4")
    layout[:] = h5py.VirtualSource(str(secret), "embeddings", shape=layout.shape)
    del file["embeddings"]
    file.create_virtual_dataset("embeddings", layout)
    return "embeddings"


def _virtual_in_a_pipe(file, secret, pipe):
    layout = h5py.VirtualLayout(shape=file["blob"].shape, dtype="<i4")
    layout[:] = h5py.VirtualSource(str(pipe), "blob", shape=layout.shape)
    del file["blob"]
    file.create_virtual_dataset("blob", layout)
    return "blob"


def _external_storage(file, secret, pipe):
    shape = file["embeddings"].shape
    del file["embeddings"]
    file.create_dataset("embeddings", shape=shape, dtype="<f4", external=[(str(secret), 0, 24 * shape[0])])
    return "embeddings"


def _objects(file, secret, pipe):
    count = len(file["blob"])
    del file["blob"]
    file.create_dataset("blob", data=["a"] * count, dtype=h5py.string_dtype())
    return "blob"


def _references(file, secret, pipe):
    file["more"] = np.array([file["image"].ref], dtype=h5py.ref_dtype)
    return "more"


def _soft_link(file, secret, pipe):
    del file["repeat"]
    file["repeat"] = h5py.SoftLink("/blob")
    return "repeat"


def _loop(file, secret, pipe):
    file["images/again"] = file["/"]
    return "again"


def _doors(file, secret, pipe):
    """Two ways into each of forty rooms: 2**40 ways in all."""
    here = file
    for _ in range(40):
        room = here.create_group("a")
        here["b"] = room
        here = room
    return "'a'"


def _compressed(file, secret, pipe):
    values = file["embeddings"][...]
    del file["embeddings"]
    file.create_dataset("embeddings", data=values, chunks=(2, 6), compression="gzip")
    return "embeddings"


def _other_shape(file, secret, pipe):
    file.move("blob", "old")
    file["blob"] = np.zeros((4, 2), dtype="<i4")
    return "blob"


def _other_numbers(file, secret, pipe):
    file.move("repeat", "old")
    file["repeat"] = np.full_like(file["old"], 7)
    return "repeat"


def _one_more(file, secret, pipe):
    file["more"] = np.zeros(3)
    return "more"


INSIDE = [
    _external_link,
    _external_link_to_a_pipe,
    _virtual,
    _virtual_in_a_pipe,
    _external_storage,
    _objects,
    _references,
    _soft_link,
    _loop,
    _doors,
    _compressed,
    _other_shape,
    _other_numbers,
    _one_more,
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("change", INSIDE, ids=lambda change: change.__name__.strip("_"))
def test_hdf5_that_says_other_than_the_directory(victim, copy, forge, read_all, tmp_path, change, packed):
    """Reading goes by the directory alone, and never sees it; `verify` names the dataset, and follows nothing.

    To follow the pipe would be to wait for ever, and the other file would tell that it was read.
    """
    right = read_all([victim / ("a.h5" if packed else "a.store")])[0]["content"]
    secret, pipe, said = tmp_path / "secret.h5", tmp_path / "pipe.h5", []
    with h5py.File(secret, "w") as file:
        file["embeddings"] = np.full((16, 6), SECRET, dtype="<f4")
    os.mkfifo(pipe)

    def edit(container) -> None:
        inside = tmp_path / "inside.h5"
        inside.write_bytes(container.content)
        with h5py.File(inside, "r+") as file:
            said.append(change(file, secret, pipe))
        container.content[:] = inside.read_bytes()
        container.directory["bytes"] = len(container.content)

    path = copy("forged", packed=packed)
    file = forge(path).packed(edit) if packed else forge(path).segment(edit)
    os.utime(secret, (0, secret.stat().st_mtime))
    told = read_all([path])[0]
    assert "wrong" not in told, told
    assert told.get("content", right) == right, "reading followed it"
    assert not told["ok"], "verify did not find it"
    assert any(file.name in name and said[0] in found for name, found in told["problems"]), told
    assert secret.stat().st_atime == 0, "the other file was read"

"""Files that somebody forged, with every checksum right: never a crash, a hang, or a look at another file."""

from __future__ import annotations

import numpy as np
import pytest


def _put(name: str, value: object, field: int | None = None):
    """Make an edit of the directory: a dataset's type (0), shape (1) or offset (2), or all of it."""

    def edit(container) -> None:
        if field is None:
            container.directory["datasets"][name] = value
        else:
            container.directory["datasets"][name][field] = value

    return edit


ABSURD = {
    0: ["|O", "O", "<f8", ">f4", "<U4", "|V24", "<i2", "|S0", "|S99999999", "<f4,<f4", "(2,)<f4", "", None, 4, ["<f4"]],
    1: [[2**62, 6], [-1, 6], [0, 6], [6, 0], [0, 10**18], [], [[8]], "86", [8, 6, 1], [7, 6], [9, 6], [8, 7], [8.0, 6]],
    2: [-1, -(2**70), 2**31, 2**63, 2**63 - 1, 10**40, 1.5, "4096", None, True, [], 0, 512],
}
NOT_AN_ENTRY = [None, 3, "", [], ["<f4"], {}, ["<f4", [1, 6], 8192, 0], [None, None, None]]


def _directory_edits():
    for name in ("embeddings", "image", "embeddings_xxh3", "embeddings_xxh3_64", "images/image"):
        for field, values in ABSURD.items():
            yield from ((f"{name}: {field}: {value!r}", _put(name, value, field)) for value in values)
        yield from ((f"{name}: {value!r}", _put(name, value)) for value in NOT_AN_ENTRY)
        yield f"no {name}", lambda c, name=name: c.directory["datasets"].pop(name)
    for field in ("kind", "bytes", "datasets", "attributes"):
        for value in (None, [], {}, "x", -1, 10**40, True, {"fingerprint": 3, "block_rows": 1}):
            yield f"{field}: {value!r}", lambda c, f=field, v=value: c.directory.update({f: v})
        yield f"no {field}", lambda c, field=field: c.directory.pop(field)
    for value in (0, -1, 1, 3, 2**62, 10**40, "170", 1.5, True, None):
        yield f"block_rows: {value!r}", lambda c, v=value: c.directory["attributes"].update(block_rows=v)
    for value in ([], None, 3, "x", [[]] * 3):
        yield f"all of it: {value!r}", lambda c, v=value: setattr(c, "directory", v)


@pytest.mark.parametrize("kind", ["segment", "packed"])
def test_absurd_directories(victim, copy, forge, read_all, tell, kind):
    """What a directory says of place, shape and type is checked before anything is read, or allocated, by it."""
    packed = kind == "packed"
    right = read_all([victim / ("a.h5" if packed else "a.store")])[0]["content"]
    forged = []
    for number, (words, edit) in enumerate(_directory_edits()):
        path = copy(str(number), packed=packed)
        forged.append((words, path, getattr(forge(path), kind)(edit)))
    same = 0
    for (words, _, file), told in zip(forged, read_all([path for _, path, _ in forged]), strict=True):
        assert "wrong" not in told, (words, told)
        assert file.name in told.get("error", file.name), (words, told)
        assert told.get("content", right) == right, words
        assert told["ok"] == ("content" in told), (words, told)
        same += "content" in told
    tell(kind=kind, absurd=len(forged), harmless=same)
    assert same < len(forged) / 10


@pytest.mark.parametrize(("dim_6_rows", "fits"), [(170, True), (171, False), (2**31 - 1, False)])
def test_rows_share_a_checksum_within_a_page_only(copy, forge, read_all, dim_6_rows, fits):
    """Larger blocks would be summed anew for every batch that is read."""
    path = copy("blocks")
    forge(path).segment(lambda c: c.directory["attributes"].update(block_rows=dim_6_rows))
    told = read_all([path])[0]
    assert told["ok"] == fits
    assert fits or "checksums for blocks" in told["error"]


@pytest.mark.parametrize("packed", [False, True])
def test_absurd_columns(copy, forge, read_all, packed):
    """Keys that point nowhere, text that is none: whatever the columns hold, no other error than our own."""
    words, paths = [], []
    for name in ("image", "blob", "repeat", "blobs/image", "blobs/x0", "images/image", "images/sha256"):
        for value in (-1, 2**31 - 1, -(2**31), 0xFF):
            path = copy(f"{name.replace('/', '-')}{value}", packed=packed)
            forged = forge(path)
            edit = _filled(name, value)
            forged.packed(edit) if packed else forged.segment(edit)
            words.append(f"{name}: {value}")
            paths.append(path)
    for what, path, told in zip(words, paths, read_all(paths), strict=True):
        assert "wrong" not in told, (what, told)
        assert path.name in told.get("error", path.name) or "no clean embedding" in told["error"], (what, told)


def _filled(name: str, value: int):
    def edit(container) -> None:
        column = container.dataset(name)
        column.view(np.uint8)[...] = value & 0xFF if column.dtype.kind == "S" else column.view(np.uint8)
        if column.dtype.kind == "i":
            column[-1] = value

    return edit


OUTSIDE = ["../../../../../../etc/passwd", "/etc/passwd", "a/b", "..", "x\0y", "0" * 63 + "/", "A" * 64, "", "é" * 32]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_of_the_store(copy, forge, read_all, name):
    """A file is found by its digest: what is none is refused, whoever lists it."""
    text = name.encode()[:64].ljust(64, b"\0")

    def relist(table) -> None:
        table.dataset("segments/sha256")[0] = text

    paths = [copy("table"), copy("version")]
    forge(paths[0]).table(relist)
    forge(paths[1]).version(lambda body: body["tables"][0].update(sha256=name, file=name))
    for path, told in zip(paths, read_all(paths), strict=True):
        assert "wrong" not in told, told
        assert path.name in told["error"], told
        assert not told["ok"]

"""``store import`` and ``store export`` as users type them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from featstore.store import open_store
from featstore_cli.exchange import EXPORT_EXAMPLES, IMPORT_EXAMPLES, export, import_
from featstore_cli.store import info


@pytest.fixture(scope="module")
def run():
    app = typer.Typer(rich_markup_mode=None)
    app.command("import", epilog=IMPORT_EXAMPLES)(import_)
    app.command("export", epilog=EXPORT_EXAMPLES)(export)
    app.command("info")(info)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def table(tmp_path):
    embeddings = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.savez(tmp_path / "e.npz", embeddings=embeddings, slide=np.array(["a", "a", "b", "c"]), label=np.arange(4) // 2)
    return tmp_path / "e.npz"


def test_there_and_back(run, table, tmp_path):
    store, column = tmp_path / "e.store", ("--column", "image=slide")
    first = run("import", table, "--store", store, "--encoder", "mine", *column, "--json")
    assert first.exit_code == 0, first.output
    report = json.loads(first.stdout)
    assert (report["version"], report["images"], report["embeddings"], report["format"]) == (1, 3, 4, "npz")
    assert open_store(store).recipe["encoder"] == {"name": "mine", "dim": 3}
    assert "weights" not in run("info", store).stdout
    out = tmp_path / "b.npz"
    written = run("export", store, "--out", out, "--split", "train", "--repeats", 0, "--json")
    assert json.loads(written.stdout)["embeddings"] == 4
    with np.load(out) as arrays:
        assert arrays["image"].tolist() == ["a", "a", "b", "c"]
        assert arrays["embeddings"][3, 2] == 11
    again = run("import", out, "--store", tmp_path / "c.store", "--keep-recipe")
    assert again.stdout == f"{tmp_path / 'c.store'}: version 1, 4 embeddings of 3 images imported from 1 file\n"
    assert open_store(tmp_path / "c.store").fingerprint == open_store(store).fingerprint


def test_plain_lines_and_plain_errors(run, table, tmp_path):
    store, column = tmp_path / "e.store", ("--column", "image=slide")
    run("import", table, "--store", store, *column)
    twice = run("import", table, "--store", store, *column)
    assert twice.exit_code == 1
    assert str(table) in twice.stderr
    assert "there already" in twice.stderr
    out = tmp_path / "e.parquet"
    assert run("export", store, "--out", out).stdout == f"{out}: 4 embeddings of 3 images\n"
    refused = run("export", store, "--out", out)
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr
    assert run("export", store, "--out", out, "--overwrite").exit_code == 0
    missing = run("import", tmp_path / "nothing.npz")
    assert missing.exit_code == 1
    assert "nothing.npz" in missing.stderr
    assert missing.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import"], "SOURCE"),
        (["import", "x.npz", "--column", "image"], "FIELD=NAME"),
        (["import", "x.npz", "--format", "csv"], "csv"),
        (["import", "x.npz", "--keep-recipe", "--encoder", "foo"], "not with --keep-recipe"),
        (["export", "--split", "validation"], "validation"),
    ],
)
def test_wrong_use(run, arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_an_earlier_version_is_exported(run, table, tmp_path):
    store = tmp_path / "e.store"
    run("import", table, "--store", store, "--column", "image=slide")
    np.savez(tmp_path / "f.npz", embeddings=np.ones((1, 3), dtype=np.float32), image=np.array(["d"]))
    assert run("import", tmp_path / "f.npz", "--store", store).exit_code == 0
    for version, count in ((1, 4), (2, 5)):
        out = tmp_path / f"{version}.npz"
        result = run("export", store, "--out", out, "--store-version", version, "--json")
        assert json.loads(result.stdout)["embeddings"] == count


def test_help_has_examples(run):
    for command in ("import", "export"):
        result = run(command, "--help")
        assert result.exit_code == 0
        assert "Examples" in result.stdout

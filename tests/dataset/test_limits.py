"""Thresholds in one place: written, read, changed, and part of what an extraction is told by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from featstore.crops import find_blobs
from featstore.dataset import ArtefactLimits, Limits, MaskLimits, read_limits
from featstore.dataset.artefact_check import SubtractLimits
from featstore.errors import SettingError
from featstore.recipe import CropSettings, EncoderSettings, Recipe


def recipe(**crops):
    return Recipe(EncoderSettings("made-up", 4), CropSettings(**crops))


def test_all_thresholds_are_written_and_read_again(tmp_path):
    changed = Limits(ArtefactLimits(subtract=SubtractLimits(grow_px=9)), MaskLimits(noise=0.5))
    for limits in (Limits(), changed):
        (tmp_path / "limits.toml").write_text(limits.to_toml())
        assert read_limits(tmp_path / "limits.toml") == limits
        assert Limits.of(limits.changes) == limits
    assert changed.changes == (("artefacts.subtract.grow_px", (9,)), ("masks.noise", (0.5,)))


def test_a_mark_at_the_start_of_a_file_does_not_matter(tmp_path):
    (tmp_path / "limits.toml").write_text("[masks]\nnoise = 0.5\n", encoding="utf-8-sig")
    assert read_limits(tmp_path / "limits.toml").masks.noise == 0.5


def test_some_are_changed_and_the_others_stay(tmp_path):
    (tmp_path / "limits.toml").write_text("[artefacts.ink]\nshare = 1\nblue = [1, 2.5, 3]\n[masks]\ninverted = -1\n")
    found = read_limits(tmp_path / "limits.toml")
    assert found.artefacts.ink == replace(ArtefactLimits().ink, share=1.0, blue=(1.0, 2.5, 3.0))
    assert found.masks == MaskLimits(inverted=-1.0)
    assert found.artefacts.colour == ArtefactLimits().colour


def test_no_change_leaves_a_recipe_what_it_was():
    assert Limits().changes == ()
    assert "limits" not in recipe().to_dict()["crops"]
    changed = recipe(limits=Limits(masks=MaskLimits(noise=0.5)).changes)
    assert changed.fingerprint != recipe().fingerprint
    assert Recipe.from_dict(changed.to_dict()) == changed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ink]\nshare = 0.1", r"'ink\.share'.*artefacts\.ink\.share.*--show-limits"),
        ("[artefacts]\nink = 0.1", r"no threshold is called 'artefacts\.ink'"),
        ("[artefacts.ink.share]\nmore = 0.1", r"'artefacts\.ink\.share\.more'"),
        ("[masks]\nnoise = nan", r"masks\.noise is \[nan\]; expected 1 number, such as \[0\.03\]"),
        ("[masks]\nnoise = true", r"masks\.noise is \[True\]"),
        ("[masks]\nnoise = [[1]]", r"masks\.noise is \[\[1\]\]"),
        ("[artefacts.ink]\nred = [1, 2]", r"artefacts\.ink\.red is \[1, 2\]; expected 3 numbers"),
        ("[artefacts.ink]\nwidth_px = 2.5", r"width_px is \[2\.5\]; expected 1 whole number"),
        ("[artefacts.ink]\nwidth_px = -1", r"width_px is \[-1\]; expected 0 to 255"),
        ("[artefacts.ink]\nreach_px = 100000", r"reach_px is \[100000\]; expected 0 to 255"),
        ("[artefacts.subtract]\nmin_kept_px = -1", r"min_kept_px is \[-1\]; expected 0 or more"),
        ("noise", r"can't be read as thresholds.*TOML"),
    ],
)
def test_what_is_no_threshold_is_named_with_its_file(text, said, tmp_path):
    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(SettingError, match=rf"limits\.toml.*{said}"):
        read_limits(tmp_path / "limits.toml")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingError, match=r"none\.toml can't be read as thresholds \(No such file"):
        read_limits(tmp_path / "none.toml")


def test_every_whole_number_may_be_nothing(tmp_path):
    """No window of no pixels ends in an error of another library."""
    lines = [f"{line.partition(' = ')[0]} = 0" if line[-1].isdigit() and "." not in line else line for line in _lines()]
    assert sum(line.endswith("= 0") for line in lines) >= 7
    (tmp_path / "limits.toml").write_text("\n".join(lines))
    limits = read_limits(tmp_path / "limits.toml")
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    image[20:70, 30:90] = (20, 160, 60)
    mask = np.zeros((90, 120), np.uint8)
    mask[10:80, 10:110] = 255
    blobs = find_blobs(image, mask, CropSettings(artefacts="subtract", limits=limits.changes))
    assert blobs.blobs


def _lines():
    return [line for line in Limits().to_toml().splitlines() if line]

"""Jobs on images of one colour and a network that adds colours up: what they must find is known."""

import json
import math

import numpy as np
import pytest
import torch
from api_calls import done, job_of
from PIL import Image
from torch import nn

import harmonia
from harmonia.features.arms import KeepArms
from harmonia.features.normalise import positive_minmax
from harmonia.job.pictures import sample_panel, small_maps
from harmonia.results.localisation import read_aggatt, read_localisation
from harmonia.results.scores import read_scores

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0), "white": (255, 255, 255)}
SIDE = 16
VIEW = {"size": SIDE, "crop_pct": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@pytest.fixture
def network():
    """Its logits are the mean blue, green and red, and twice the mean of the three: right on every image."""
    sums, head = nn.Conv2d(3, 3, 1, bias=False), nn.Linear(3, 4, bias=False)
    with torch.no_grad():
        sums.weight.copy_(torch.eye(3)[..., None, None])
        head.weight.copy_(torch.cat([torch.eye(3).flip(0), torch.full((1, 3), 2 / 3)]))
    layers = nn.Sequential(sums, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return harmonia.classifier(layers, classes=list(COLOURS), transform=VIEW, name="adds")


@pytest.fixture
def images(tmp_path):
    """images(lit): class folders of two images each, of which so many columns have their colour; the rest is dark."""

    def make(lit):
        for name, colour in COLOURS.items():
            (tmp_path / "images" / name).mkdir(parents=True)
            picture = np.zeros((SIDE, SIDE, 3), np.uint8)
            picture[:, :lit] = colour
            for level in (0, 9):  # two files of one picture
                Image.fromarray(picture).save(tmp_path / "images" / name / f"{level}.png", compress_level=level)
        return tmp_path / "images"

    return make


@pytest.mark.parametrize(
    ("protocol", "method", "localised"),
    [
        ("gridpg", "ixg", 1 / 2),  # white's cell has as much of a colour as its own; the others together as white
        ("gridpg", "grad", 1 / 4),  # every place counts alike
        ("difull", "grad", 1),  # every cell is seen alone
        ("dipart", "grad", 1),
    ],
)
def test_mosaics_localise_what_is_known(network, images, tmp_path, protocol, method, localised):
    words = [f"evaluation={protocol}", f"method={method}", "layer=input"]
    words += ["evaluation.grids=2", "evaluation.confidence=0"]
    says = done(job_of(network, images(SIDE), tmp_path / "job", *words))
    rows = read_localisation(tmp_path / "job")
    cells = 4 if protocol == "gridpg" else 2
    assert len(rows) == 2 * cells
    np.testing.assert_allclose(rows["localisation"], localised, rtol=1e-3)
    assert says[f"adds/{protocol}/localisation"] == pytest.approx(localised, rel=1e-3)
    assert (says["grids"], says["pool"], says[f"adds/{protocol}/undefined"]) == (2, 8, 0)
    mosaics = json.loads((tmp_path / "job" / "mosaics.json").read_text())
    assert mosaics["scored"] == ([0, 1, 2, 3] if protocol == "gridpg" else [0, 3])
    placed = [mosaics["mosaics"][grid][cell] for grid, cell in zip(rows["grid"], rows["cell"], strict=True)]
    assert placed == rows["image_id"].tolist()
    assert [name.split("/")[0] for name in placed] == rows["label"].tolist()
    means = read_aggatt(tmp_path / "job")["means"]
    (mean, *_) = means[~np.isnan(means).any((1, 2))]
    half = len(mean) // 2
    assert mean[:half, :half].sum() / mean.sum() == pytest.approx(localised, rel=0.05)  # edges are smooth


@pytest.mark.parametrize(("metric", "value"), [("sparseness", 1 / 4), ("complexity", math.log(SIDE**2 * 3 / 4))])
def test_scores_of_maps_that_are_even_on_three_quarters(network, images, tmp_path, metric, value):
    """Gini's index is the share of zeros, and the entropy the logarithm of the places; a torn image has no score."""
    folder = images(SIDE * 3 // 4)
    (folder / "red" / "torn.png").write_bytes(b"no picture")
    says = done(job_of(network, folder, tmp_path / "job", f"evaluation={metric}", "method=ixg"))
    rows = read_scores(tmp_path / "job").query("metric == @metric")
    assert len(rows) == 8
    assert "red/torn.png" not in set(rows["image_id"])
    assert (rows["explained"].astype(str) == rows["label"].astype(str)).all()
    np.testing.assert_allclose(rows["value"], value, atol=1e-3)
    assert says[f"adds/{metric}/{metric}"] == pytest.approx(value, abs=1e-3)


def test_a_map_that_ranks_nothing_has_no_score_but_its_reason(network, images, tmp_path):
    folder = images(SIDE)
    dark = np.zeros((SIDE, SIDE, 3), np.uint8)
    Image.fromarray(dark).save(folder / "red" / "dark.png")
    dark[0] = 255
    Image.fromarray(dark).save(folder / "red" / "line.png")
    done(job_of(network, folder, tmp_path / "job", "evaluation=sparseness", "method=ixg", "label=true"))
    rows = read_scores(tmp_path / "job").set_index("image_id")
    assert rows.loc["red/dark.png", "reason"] == "zero"
    assert rows["value"].notna().tolist() == [name == "red/line.png" for name in rows.index]
    assert set(rows["reason"].drop(["red/dark.png", "red/line.png"])) == {"constant"}


def test_pictures_of_a_job_show_the_image_its_map_and_what_the_map_keeps(network, images, tmp_path):
    """On the lit half the map is 1, elsewhere 0: it keeps the image as it is."""
    folder, half = images(SIDE // 2), SIDE // 2
    (folder / "red" / "torn.png").write_bytes(b"no picture")
    job = job_of(network, folder, tmp_path / "job", "evaluation=sparseness", "method=ixg", "label=true")
    done(job)
    arms = KeepArms(positive_minmax, (0.5,))
    panel = sample_panel(job, arms, 20)
    assert len(panel) == 8
    assert sample_panel(job, arms, 0) == []
    for title, picture in panel:
        image, heat, feature = np.split(picture, 3, axis=1)
        colour = COLOURS[title.split("/")[0]]
        assert (image[:, :half] == colour).all()
        np.testing.assert_array_equal(feature, image)
        assert (heat[:, :half] == heat[0, 0]).all()
        assert (heat[:, half:] == heat[0, -1]).all()
        assert heat[0, 0].sum() > heat[0, -1].sum()  # viridis: yellow keeps
    small = small_maps(job, arms)
    assert small.areas == (50,)
    assert [name.split("/")[0] for name in small.image_ids] == [name for name in COLOURS for _ in range(2)]
    assert (small.soft[..., :half] == 255).all()
    assert (small.soft[..., half:] == 0).all()
    places = small.smallest_areas.shape[-1] // 2
    assert (small.smallest_areas[..., :places] == 50).all()  # the lit half is the top half
    assert (small.smallest_areas[..., places:] == 255).all()

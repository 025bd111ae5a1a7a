import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from harmonia.errors import InputError
from harmonia.report.figures.examples import draw_examples, example_figures, keep_weights, typical_images
from harmonia.report.page.collection import NONE, PROBABILITIES, Block, Collection, Explainer, ImageList
from harmonia.results.maps import REGION_SIDE, SmallMaps

REGIONS = np.random.default_rng(0).choice(np.array([30, 255], np.uint8), (1, REGION_SIDE, REGION_SIDE))


def collection(drops, labels, paths=None):
    """One explainer and target whose drop of p_explained under soft is as given."""
    count = len(drops)
    images = ImageList(
        "woof", [f"i{number}" for number in range(count)], np.array(labels, np.uint32), paths or [""] * count
    )
    p = np.stack([np.ones(count), 1 - np.array(drops, float)], 1).astype(np.float32)
    numbers = {name: p for name in PROBABILITIES}
    block = Block("t", ["image", "soft"], np.zeros((count, 2), np.uint32), np.zeros((count, 2, 5), np.uint32), numbers)
    key = {"source": "s", "method": "gc", "label_policy": "predicted", "fill": "black", "data": "woof", "variant": ""}
    ramp = np.tile(np.linspace(0, 255, 8).astype(np.uint8), (count, 8, 1))
    boxes = np.tile(np.array([[0.25, 0, 0.75, 1]], np.float32), (count, 1))
    maps = SmallMaps(images.ids, ramp, np.tile(REGIONS, (count, 1, 1)), (30,), boxes)
    codes = np.zeros(count, np.uint32)
    explainer = Explainer(key, codes, codes, codes, {"t": block}, maps, np.arange(count))
    return Collection({"woof": images}, [explainer], ["dog", "cat", "owl"], [""])


def test_typical_images_are_nearest_to_the_median_drop_one_a_class():
    drops = [0.5, 0.625, 0.75, 0.25, 0.5, 0.0, 1.0]  # median 0.5
    pictures = collection(drops, [0, 0, 1, 1, 0, 2, 2])
    # 0 is nearest (a tie with 4 goes by order), then the nearest of the other classes, then the seconds
    assert typical_images(pictures, pictures.sets["woof"], "soft", 7) == [0, 2, 5, 4, 3, 6, 1]


@pytest.mark.parametrize(("method", "figures"), [("gc", [1, 0]), ("ss", [1, 1])])
def test_fills_of_the_same_maps_have_one_figure_together(method, figures):
    pictures = collection([0.1, 0.2], [0, 1])
    (black,) = pictures.explainers
    pictures.explainers.append(replace(black, key=black.key | {"fill": "mean", "method": method}))
    drawn = [list(example_figures(pictures, ["predicted", fill, "woof"], "soft", [])) for fill in ("black", "mean")]
    assert list(map(len, drawn)) == figures


def test_an_image_without_a_number_is_never_typical():
    pictures = collection([np.nan, 0.2, np.nan], [0, 0, 1])
    assert typical_images(pictures, pictures.sets["woof"], "soft", 4) == [1]
    assert typical_images(pictures, pictures.sets["woof"], "area30", 4) == []


def test_named_images_come_in_the_order_of_their_names_and_unknown_ones_are_refused():
    pictures = collection([0.1, 0.2, 0.3], [0, 0, NONE])
    (figure,) = example_figures(pictures, ["predicted", "black", "woof"], "soft", ["i2", "of another set", "i0"])
    assert figure.caption.endswith(": i2, i0.")
    pictures.refuse_unknown(["i2", "i0"])
    with pytest.raises(InputError, match="got 'i9'; there is 'i"):
        pictures.refuse_unknown(["i0", "i9"])


def test_keep_weights_of_equal_area_are_the_region_that_was_kept():
    maps = collection([0.1], [0]).explainers[0].maps
    keep = keep_weights(maps, 0, "area30")
    assert keep.shape == (224, 224)
    assert np.array_equal(keep[::2, ::2], REGIONS[0] == 30)
    assert np.array_equal(keep[::2, ::2], keep[1::2, 1::2])
    assert keep_weights(maps, 0, "blobs30") is None


def test_the_soft_weights_are_the_map():
    maps = replace(collection([0.1], [0]).explainers[0].maps, soft=np.full((1, 7, 7), 51, np.uint8))
    assert keep_weights(maps, 0, "soft") == pytest.approx(0.2)


def test_a_drawn_feature_is_what_the_source_sees_times_its_map(tmp_path):
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, 50:150] = 255  # the box of the source
    Image.fromarray(picture).save(tmp_path / "i.png")
    seen = collection([0.5], [0], [str(tmp_path / "i.png")])
    seen.sets["woof"].digests["i0"] = hashlib.sha256((tmp_path / "i.png").read_bytes()).hexdigest()
    figure = draw_examples(seen.explainers, seen.sets["woof"], [0], {0: "dog"}, "soft")
    image, heat, feature = (panel.get_images()[0].get_array() for panel in figure.axes)
    assert image.mean() == 1  # the largest central square
    assert np.allclose(feature[..., 0], heat)
    assert (heat[:, 0] == 0).all()
    assert (heat[:, -1] == 1).all()
    assert figure.axes[0].get_title() == "dog"


def test_a_picture_that_no_job_saw_and_a_box_that_is_none_are_not_drawn(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "i.png")
    pictures = collection([0.5], [0], [str(tmp_path / "i.png")])
    images, (explainer,) = pictures.sets["woof"], pictures.explainers

    def texts():
        figure = draw_examples([explainer], images, [0], {}, "soft")
        return [text.get_text() for panel in figure.axes for text in panel.texts]

    assert texts() == ["image not at hand", "not drawn"]  # its digest is not known
    images.digests["i0"] = hashlib.sha256((tmp_path / "i.png").read_bytes()).hexdigest()
    assert texts() == []
    explainer.maps.boxes[:] = [[-1e6, -1e6, 1e6, 1e6]]
    assert texts() == ["not drawn"]


def test_an_image_that_is_gone_and_a_map_that_was_not_kept_are_said():
    pictures = collection([0.5], [0], ["/nowhere.jpg"])
    figure = draw_examples(pictures.explainers, pictures.sets["woof"], [0], {}, "soft")
    said = [text.get_text() for panel in figure.axes for text in panel.texts]
    assert said == ["image not at hand", "not drawn"]
    pictures.explainers[0].maps = None
    figure = draw_examples(pictures.explainers, pictures.sets["woof"], [0], {}, "soft")
    assert "no map\nkept" in [text.get_text() for panel in figure.axes for text in panel.texts]

"""Laws of views and of moving maps between them: timm decides what a view shows, pixels prove where it lies."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform, resolve_data_config

from harmonia.data.view import WHOLE_IMAGE, View
from harmonia.errors import InputError
from harmonia.features.resample import resample, resampling_matrix, upsampling_matrix
from harmonia.shapes import Size, fits, sides

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODES = ("center", "squash", "border")
CROPS = (0.875, 0.9, 0.949, 1.0)
IMAGE_SIZES = [(64, 64), (60, 91), (91, 60), (253, 180), (37, 35), (9, 7), (120, 20), (1, 1)]


def view_of(size: Size, crop_pct: float, mode: str, interpolation: str = "bicubic") -> View:
    return View(size=size, crop_pct=crop_pct, crop_mode=mode, interpolation=interpolation, mean=MEAN, std=STD)


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def boxes(*rows) -> torch.Tensor:
    return torch.tensor([tuple(row) for row in rows])


def test_a_whole_number_is_the_fraction_that_a_key_holds():
    ints = View(size=8, crop_pct=1, crop_mode="center", interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1))
    floats = View(size=8, crop_pct=1.0, crop_mode="center", interpolation="bicubic", mean=(0.0,) * 3, std=(1.0,) * 3)
    assert repr(ints) == repr(floats)


# --- what a view shows --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_a_view_is_timms_evaluation_transform_pixel_for_pixel(mode, interpolation):
    for size, crop_pct, image_size in product((32, 63, (64, 32), (31, 64), (32, 33)), CROPS, IMAGE_SIZES):
        given = {"input_size": (3, *sides(size)), "crop_pct": crop_pct, "crop_mode": mode, "mean": MEAN, "std": STD}
        config = resolve_data_config(given | {"interpolation": interpolation})
        image = noise(*image_size)
        pixels = view_of(size, crop_pct, mode, interpolation).look(image)
        assert pixels.dtype == torch.uint8
        assert torch.equal(pixels, create_transform(**config, normalize=False)(image))
        normalised = (pixels.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        assert torch.equal(normalised, create_transform(**config)(image))


@pytest.mark.parametrize("mode", MODES)
def test_a_box_says_where_in_the_image_the_pixels_come_from(mode):
    """Red counts the columns and green the rows: each pixel tells the place that it shows."""
    for size, crop_pct, (width, height) in product((32, 63, 224, (64, 32), (56, 224)), CROPS, IMAGE_SIZES[:-1]):
        view = view_of(size, crop_pct, mode, "bilinear")
        steps = 255 // width, 255 // height
        columns, rows = np.meshgrid(steps[0] * np.arange(width), steps[1] * np.arange(height))
        counting = np.stack([columns, rows, np.full_like(rows, 255)], -1).astype(np.uint8)
        red, green, blue = view.look(Image.fromarray(counting)).numpy()
        box = view.box(width, height)
        x = box.left + (np.arange(view.width) + 0.5) / view.width * (box.right - box.left)
        y = box.top + (np.arange(view.height) + 0.5) / view.height * (box.bottom - box.top)
        in_x, in_y = (x > 0) & (x < 1), (y > 0) & (y < 1)
        assert np.array_equal(blue == 255, np.outer(in_y, in_x))  # beyond the image lies the mean colour
        for seen, predicted, length, step in (
            (red[in_y][0], x, width, steps[0]),
            (green[:, in_x][:, 0], y, height, steps[1]),
        ):
            cells_per_pixel = (predicted[1] - predicted[0]) * length
            bent = max(1, cells_per_pixel) / length  # the resizing filter bends the ramp at its ends
            inner = (predicted > bent) & (predicted < 1 - bent)
            cells = seen[inner] / step + 0.5
            # 8 bits round by half a grey level; a tenth of a cell for the filter's own asymmetry
            np.testing.assert_allclose(cells, predicted[inner] * length, atol=0.51 / step + 0.1, rtol=0)


@pytest.mark.parametrize("missing", range(1, 9))
def test_a_border_of_odd_width_lies_where_timm_puts_it(missing):
    size = 40
    view = view_of(size, 1.0, "border")
    image = Image.new("RGB", (size - missing, size), (255, 255, 255))
    shown = torch.nonzero((view.look(image)[0] == 255).all(0))[:, 0]
    box = view.box(*image.size)
    assert box.left * image.width == pytest.approx(-shown[0].item())
    assert box.right * image.width == pytest.approx(size - shown[0].item())
    assert len(shown) == image.width


def test_the_box_of_a_known_crop():
    assert view_of(224, 0.875, "center").box(256, 256) == (1 / 16, 1 / 16, 15 / 16, 15 / 16)
    assert view_of(224, 1.0, "center").box(448, 224) == (0.25, 0, 0.75, 1)
    assert view_of(224, 1.0, "squash").box(448, 224) == WHOLE_IMAGE
    assert view_of(224, 1.0, "border").box(448, 224) == (0, -0.5, 1, 1.5)


def test_the_box_of_a_known_crop_of_a_rectangle():
    assert view_of((64, 32), 1.0, "center").box(128, 128) == (0.25, 0, 0.75, 1)
    assert view_of((64, 32), 1.0, "center").box(32, 128) == (0, 0.25, 1, 0.75)
    assert view_of((64, 32), 0.5, "squash").box(300, 300) == (0.25, 0.25, 0.75, 0.75)
    assert view_of((64, 32), 1.0, "border").box(64, 64) == (0, -0.5, 1, 1.5)


def test_a_size_has_one_form():
    assert view_of((32, 32), 1.0, "center") == view_of(32, 1.0, "center")
    assert view_of((64, 32), 1.0, "center").size == (64, 32)


def test_a_grid_fits_a_view_of_its_aspect():
    assert fits((7, 7), 224)
    assert not fits((7, 8), 224)
    assert fits((14, 7), (224, 112))
    assert fits((8, 4), (299, 200))
    assert not fits((49, 64), (64, 32))


def test_a_view_before_which_images_would_grow_too_large_is_refused():
    assert view_of(2048, 0.5, "center").size == 2048
    with pytest.raises(InputError, match=r"input_size / crop_pct must be at most 4096 pixels, .* got 2048 / 0.4;"):
        view_of(2048, 0.4, "center")


@pytest.mark.parametrize(("width", "height"), [(10_000, 100), (100, 10_000), (16_385, 4096), (1340, 130_000)])
@pytest.mark.parametrize("mode", MODES)
def test_no_image_takes_a_gigabyte_to_be_resized(mode, width, height):
    largest, usual = view_of(2048, 0.5, mode), view_of(224, 0.875, mode)
    usual.check_size(width, height)
    if largest._resized(width, height)[0] * max(largest._resized(width, height)[1], height) > 2**26:
        with pytest.raises(ValueError, match=f"it is {width} x {height}, and to resize it takes more than 67,108,864"):
            largest.check_size(width, height)
    else:
        largest.check_size(width, height)


# --- maps from view to view ---------------------------------------------------------------------


def slow_resample(map_: np.ndarray, source, target, size: int) -> np.ndarray:
    """Pixel by pixel: a tent as wide as a cell or a pixel, whichever is larger, over the cells' centres."""
    height, width = map_.shape
    result = np.zeros((size, size))
    for row in range(size):
        y = target[1] + (row + 0.5) / size * (target[3] - target[1])
        for column in range(size):
            x = target[0] + (column + 0.5) / size * (target[2] - target[0])
            if not (source[0] <= x <= source[2] and source[1] <= y <= source[3]):
                continue
            reach_y = max((source[3] - source[1]) / height, (target[3] - target[1]) / size)
            reach_x = max((source[2] - source[0]) / width, (target[2] - target[0]) / size)
            total = weights = 0.0
            for i in range(height):
                for j in range(width):
                    cell_y = source[1] + (i + 0.5) / height * (source[3] - source[1])
                    cell_x = source[0] + (j + 0.5) / width * (source[2] - source[0])
                    weight = max(0.0, 1 - abs(y - cell_y) / reach_y) * max(0.0, 1 - abs(x - cell_x) / reach_x)
                    total += weight * map_[i, j]
                    weights += weight
            result[row, column] = total / weights
    return result


SOURCE_BOX, TARGET_BOX = (0.06, 0.11, 0.91, 0.97), (0.0, 0.05, 1.02, 0.9)


@pytest.mark.parametrize(("cells", "size"), [((3, 4), 11), ((9, 7), 8), ((13, 16), 5)])
def test_resampling_agrees_with_a_literal_re_write(cells, size):
    map_ = torch.rand(cells, dtype=torch.float64)
    fast = resample(map_[None], boxes(SOURCE_BOX).double(), boxes(TARGET_BOX).double(), size)[0]
    source, target = (np.float32(box).astype(float) for box in (SOURCE_BOX, TARGET_BOX))
    np.testing.assert_allclose(fast.numpy(), slow_resample(map_.numpy(), source, target, size), atol=1e-12)


@pytest.mark.parametrize("box", [WHOLE_IMAGE, SOURCE_BOX, (-0.3, 0.1, 1.2, 0.9)])
@pytest.mark.parametrize("size", [1, 7, 224])
def test_a_map_in_its_own_view_stays_exactly_as_it_is(box, size):
    maps = (torch.rand(2, size, size) > 0.5).float()
    maps[1] *= torch.rand(size, size)
    assert torch.equal(resample(maps, boxes(box, box), boxes(box, box), size), maps)


def test_upsampling_in_one_view_is_torchs_bilinear_interpolation():
    maps = torch.randn(3, 7, 5)
    same = boxes(SOURCE_BOX).expand(3, 4)
    expected = F.interpolate(maps[:, None], size=(30, 30), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(resample(maps, same, same, 30), expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(
        upsampling_matrix(7, 30).float() @ maps @ upsampling_matrix(5, 30).float().T, expected, atol=2e-6, rtol=0
    )


@pytest.mark.parametrize("size", [5, 10, 17])
def test_downsampling_in_one_view_is_torchs_antialiased_interpolation(size):
    maps = torch.randn(2, 40, 33, generator=torch.Generator().manual_seed(size))
    same = boxes(WHOLE_IMAGE, SOURCE_BOX)
    expected = F.interpolate(maps[:, None], size=(size, size), mode="bilinear", antialias=True)[:, 0]
    torch.testing.assert_close(resample(maps, same, same, size), expected, atol=2e-6, rtol=0)


def test_nothing_is_kept_outside_the_source_view():
    keep = resample(torch.ones(1, 7, 7), boxes((0.25, 0.125, 0.75, 0.875)), boxes(WHOLE_IMAGE), 32)[0]
    expected = torch.zeros(32, 32)
    expected[4:28, 8:24] = 1
    torch.testing.assert_close(keep, expected, atol=1e-6, rtol=0)


def test_a_view_half_a_box_to_the_right_shows_the_right_half_first():
    maps = torch.rand(1, 8, 8)
    moved = resample(maps, boxes(WHOLE_IMAGE), boxes((0.5, 0, 1.5, 1)), 8)
    assert torch.equal(moved[..., :4], maps[..., 4:])
    assert not moved[..., 4:].any()
    down = resample(maps, boxes(WHOLE_IMAGE), boxes((0, 0.5, 1, 1.5)), 8)
    assert torch.equal(down[:, :4], maps[:, 4:])


def test_a_map_survives_the_way_to_a_larger_view_and_back():
    maps, inner, whole = torch.rand(1, 8, 8), boxes((0.25, 0.25, 0.75, 0.75)), boxes(WHOLE_IMAGE)
    assert torch.equal(resample(resample(maps, inner, whole, 16), whole, inner, 8), maps)
    smooth = torch.linspace(0, 1, 56)[None, None].expand(1, 56, 56).contiguous()
    inner = boxes((0.0625, 0.07, 0.9375, 0.93))
    back = resample(resample(smooth, inner, whole, 240), whole, inner, 56)
    torch.testing.assert_close(back[:, 1:-1, 1:-1], smooth[:, 1:-1, 1:-1], atol=0.01, rtol=0)


def test_a_batch_is_resampled_as_its_images_are_alone():
    maps = torch.randn(3, 6, 5)
    source, target = torch.rand(3, 4).sort().values, torch.rand(3, 4).sort().values
    together = resample(maps, source, target, 9)
    alone = [resample(maps[[i]], source[[i]], target[[i]], 9)[0] for i in range(3)]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-6, rtol=0)


interval = st.tuples(st.floats(-1, 1), st.floats(0.05, 2)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(deadline=None, database=None)
@given(st.integers(1, 40), interval, st.integers(1, 40), interval)
def test_weights_of_a_pixel_sum_to_one_inside_the_source_view_and_to_nothing_outside(cells, source, pixels, target):
    edges = [torch.tensor([edge], dtype=torch.float64) for edge in (*source, *target)]
    weights = resampling_matrix(cells, *edges[:2], pixels, *edges[2:])[0]
    centres = target[0] + (torch.arange(pixels, dtype=torch.float64) + 0.5) / pixels * (target[1] - target[0])
    inside = ((centres >= source[0]) & (centres <= source[1])).double()
    assert (weights >= 0).all()
    on_an_edge = ((centres - source[0]).abs() < 1e-9) | ((centres - source[1]).abs() < 1e-9)
    torch.testing.assert_close(weights.sum(1)[~on_an_edge], inside[~on_an_edge], atol=1e-9, rtol=0)


@pytest.mark.parametrize("crop_pct", CROPS)
@pytest.mark.parametrize("image_size", [(3000, 1), (1, 3000), (3000, 6), (29, 3000)])
def test_an_image_too_thin_for_a_border_is_one_line_of_itself(image_size, crop_pct):
    """timm resizes it to no pixels and fails."""
    view = view_of(32, crop_pct, "border")
    pixels = view.look(Image.new("RGB", image_size, "white"))
    lines = (pixels == 255).all(0).any(0 if image_size[0] < image_size[1] else 1)
    assert lines.sum() == 1
    box = view.box(*image_size)
    low, high = (box.left, box.right) if image_size[0] < image_size[1] else (box.top, box.bottom)
    centres = low + (torch.arange(32) + 0.5) / 32 * (high - low)
    assert torch.equal((centres > 0) & (centres < 1), lines)


@given(
    st.integers(1, 600),
    st.floats(0.15, 1.0),
    st.sampled_from(MODES),
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
)
def test_a_box_lies_within_the_image_or_around_it_and_about_its_centre(size, crop_pct, mode, image_size):
    """Within, but for a border; half of a resized pixel is what rounding moves it by."""
    view = view_of(size, crop_pct, mode)
    box = view.box(*image_size)
    resized = [size / (high - low) for low, high in ((box.left, box.right), (box.top, box.bottom))]
    assert box.left < box.right
    assert box.top < box.bottom
    if mode != "border":
        assert min(box) >= 0
        assert max(box) <= 1 + 1e-12
    for low, high, pixels in ((box.left, box.right, resized[0]), (box.top, box.bottom, resized[1])):
        assert abs((low + high) / 2 - 0.5) * pixels <= 0.5 + 1e-6

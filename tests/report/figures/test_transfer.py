import io

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harmonia.report.figures.style import TEXT_WIDTH, save_figure, short
from harmonia.report.figures.transfer import (
    accuracy_by_area,
    area_distributions,
    class_probabilities,
    transfer_against_likeness,
    transfer_figures,
    transfer_heat_maps,
)

ARMS = {"image": (0.9, 1.0), "soft": (0.7, 0.3), "area10": (0.2, 0.1), "area30": (0.6, 0.3), "blobs30": (0.1, 0.3)}


def rows(sources=("a", "b"), targets=("a", "b"), methods=("gc",), images=40):
    """An arm's accuracy is that of ARMS exactly; probabilities are 1 where right, else 0."""
    frames = []
    for source in sources:
        for method in methods:
            for target in targets:
                for arm, (accuracy, area) in ARMS.items():
                    right = np.arange(images) < round(accuracy * images)
                    frame = {
                        "image_id": [f"i{number:02}" for number in range(images)],
                        "source": source,
                        "method": method,
                        "variant": "",
                        "target": target,
                        "arm": arm,
                        "label": "dog",
                        "predicted": np.where(right, "dog", "cat"),
                        "p_label": right.astype(np.float32),
                        "p_explained": np.float32(0.5),
                        "kept_area": np.float32(area),
                    }
                    frames.append(pd.DataFrame(frame))
    return pd.concat(frames, ignore_index=True)


def test_histograms_hold_every_image_once_and_say_how_many():
    (figure,) = class_probabilities(rows(), "soft")
    assert len(figure.axes) == 4
    for panel in figure.axes:
        whole, feature = (patch.get_data().values for patch in panel.patches)
        assert whole.sum() == pytest.approx(100)
        assert (whole[0], whole[-1]) == pytest.approx((10, 90))
        assert (feature[0], feature[-1]) == pytest.approx((30, 70))
        assert "mean I 0.90, F 0.70\nn = 40" in [text.get_text() for text in panel.texts]


def test_histograms_of_unlabelled_images_are_of_the_explained_class():
    (figure,) = class_probabilities(rows().assign(p_label=np.nan), "soft")
    assert "explained class" in figure.get_supxlabel()
    assert "mean I 0.50, F 0.50\nn = 40" in [text.get_text() for text in figure.axes[0].texts]


def test_a_pair_that_is_not_whole_is_not_counted():
    part = rows()
    lost = (part["image_id"] == "i00") & (part["arm"] == "soft") & (part["target"] == "b")
    (figure,) = class_probabilities(part[~lost], "soft")
    assert [panel.texts[0].get_text()[-2:] for panel in figure.axes] == ["40", "39", "40", "39"]


def test_many_lines_go_on_in_another_figure():
    figures = class_probabilities(rows(methods=("gc", "ss", "ig", "rise")), "soft")
    assert [len(figure.axes) for figure in figures] == [12, 4]


def curve_cells(sources=("a", "b"), targets=("a", "b")):
    """What the matrix says of the rows above, with bounds ten points away."""
    lines = [
        (source, target, arm, accuracy, area)
        for source in sources
        for target in targets
        for arm, (accuracy, area) in ARMS.items()
        if arm != "image"
    ]
    frame = pd.DataFrame(lines, columns=["source", "target", "arm", "accuracy_feature", "kept_area"])
    bounds = {f"accuracy_feature_{end}": frame["accuracy_feature"] + by for end, by in (("low", -0.1), ("high", 0.1))}
    return frame.assign(method="gc", variant="", accuracy_image=0.9, images=40, **bounds)


def test_curves_run_through_the_accuracies_in_percent():
    figure = accuracy_by_area(curve_cells())
    assert [panel.get_title() for panel in figure.axes] == ["a (n = 40)", "b (n = 40)"]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["a · GC"].get_xdata().tolist() == pytest.approx([10, 30])
    assert lines["a · GC"].get_ydata().tolist() == pytest.approx([20, 60])
    assert lines["whole image"].get_ydata() == pytest.approx([90, 90])
    assert lines["random blobs"].get_ydata().tolist() == pytest.approx([10])
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((10, 70))


def test_curves_of_one_method_with_other_settings_are_told_apart():
    figure = accuracy_by_area(pd.concat([curve_cells(), curve_cells().assign(variant="method.draws=2")]))
    looks = {line.get_label(): (line.get_color(), line.get_marker()) for line in figure.axes[0].lines}
    of_source = [look for name, look in looks.items() if name.startswith("a ")]
    assert len(of_source) == len(set(of_source)) == 2


def test_curves_without_whole_images_have_no_level():
    figure = accuracy_by_area(curve_cells().assign(accuracy_image=np.nan))
    assert "whole image" not in {line.get_label() for line in figure.axes[0].lines}


def test_area_distributions_show_the_median_of_the_soft_map():
    figure = area_distributions(rows())
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["a · GC\n(n = 40)", "b · GC\n(n = 40)"]
    assert [line.get_xdata()[0] for line in panel.lines if len(line.get_xdata()) == 1] == pytest.approx([30, 30])


def cells():
    lines = [("a", "a", 0.9), ("a", "b", 0.8), ("b", "a", 1.04), ("b", "c", np.nan)]
    frame = pd.DataFrame(lines, columns=["source", "target", "retention"])
    return frame.assign(method="gc", arm="soft", variant="")


def test_the_heat_map_prints_percent_and_frames_the_sources_own_cell():
    figure = transfer_heat_maps(cells(), "retention")
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.texts] == ["90", "80", "–", "104", "–", "–"]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["a", "b", "c"]
    assert [(patch.get_x() > 0, patch.get_y() > 0) for patch in panel.patches] == [(False, False), (True, True)]


def test_the_scatter_has_a_panel_for_each_correlation_and_says_it():
    pairs = pd.DataFrame(
        {
            "method": ["gc", "gc", "gc", "ss"],
            "variant": "",
            "agreement": [0.8, 0.8, 0.5, 0.1],
            "cka": [0.9, 0.9, 0.4, 0.1],
            "above_control": [0.7, 0.6, 0.2, 0.1],
            "within_family": [True, True, False, True],
        }
    )
    correlations = pd.DataFrame(
        [("gc", "", "agreement", 0.87, 0.5, 1.0, 0.04, 3, 2), ("gc", "", "cka", *[np.nan] * 4, 3, 2)],
        columns=["method", "variant", "measure", "rho", "low", "high", "p", "pairs", "models"],
    )
    figure = transfer_against_likeness(pairs, correlations)
    first, second = ([points.get_offsets().tolist() for points in panel.collections] for panel in figure.axes)
    assert first == [[pytest.approx([80, 70]), pytest.approx([80, 60])], [pytest.approx([50, 20])]]
    assert second[1] == [pytest.approx([0.4, 20])]
    assert [panel.texts[0].get_text() for panel in figure.axes] == [
        "Spearman's ρ 0.87 [0.50, 1.00]\np 0.04, 3 pairs of 2 models",
        "Spearman's ρ undefined\n3 pairs of 2 models",
    ]

    # percent and a share have an axis of their own each
    assert figure.axes[0].get_xlim()[1] > 80
    assert figure.axes[1].get_xlim()[1] < 1


def test_a_setting_without_the_reports_arm_has_its_other_figures():
    matrix = curve_cells().assign(retention=0.5, above_control=np.nan)
    drawn = {figure.stem for figure in transfer_figures(rows(), matrix, "area50")}
    assert drawn == {"fig2", "accuracy_by_area", "area_distributions"}


@pytest.mark.parametrize(("methods", "models"), [(1, 1), (2, 5), (5, 4)])
@pytest.mark.slow
def test_the_heat_maps_titles_and_names_lie_within_the_figure(tmp_path, methods, models):
    names = [f"network_{number} (random)" for number in range(models)]
    lines = [(one, other, f"m{k}", 0.5) for one in names for other in names for k in range(methods)]
    frame = pd.DataFrame(lines, columns=["source", "target", "method", "retention"]).assign(arm="soft", variant="")
    figure = transfer_heat_maps(frame, "retention")
    save_figure(figure, tmp_path, "x")
    edges = figure.bbox
    for panel in figure.axes[:methods]:
        for text in (panel.title, *panel.get_yticklabels(), *panel.get_xticklabels()):
            if text.get_visible() and text.get_text():
                drawn = text.get_window_extent()
                assert edges.x0 <= drawn.x0 <= drawn.x1 <= edges.x1
                assert edges.y0 <= drawn.y0 <= drawn.y1 <= edges.y1


def test_four_targets_stand_two_by_two():
    figure = accuracy_by_area(curve_cells("ab", "abcd"))
    geometry = {panel.get_subplotspec().get_gridspec().get_geometry() for panel in figure.axes}
    assert geometry == {(2, 2)}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.slow
def test_hostile_and_long_names_are_drawn_as_they_are_and_leave_room(tmp_path, count):
    names = [f"$\\frac{{{number}$ <b>\u2028 {'x' * 90}{number}" for number in range(count)]
    for number, figure in enumerate(
        [*class_probabilities(rows(names, names), "soft"), accuracy_by_area(curve_cells(names, names))]
    ):
        save_figure(figure, tmp_path, str(number))
        assert figure.get_figwidth() <= TEXT_WIDTH + 1e-6
        assert all(panel.get_position().width * figure.get_figwidth() > 0.5 for panel in figure.axes)


@pytest.mark.slow
def test_files_are_the_same_every_time_with_embedded_fonts_and_settings_are_put_back(tmp_path):
    before = dict(matplotlib.rcParams)
    written = []
    for _ in range(2):
        save_figure(transfer_heat_maps(cells(), "retention"), tmp_path, "x")
        written.append([(tmp_path / f"x.{suffix}").read_bytes() for suffix in ("png", "pdf")])
    (png, pdf), again = written
    assert [png, pdf] == again
    assert Image.open(io.BytesIO(png)).info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert dict(matplotlib.rcParams) == before


def test_short_keeps_both_ends():
    assert short("efficientnet") == "efficientnet"
    assert short("a" * 20 + "b" * 20, 11) == "aaaaa…bbbbb"
    assert short("two\nlines") == "two lines"

import numpy as np
import pandas as pd
import pytest
from rows_in_memory import as_gathered

from harmonia.results.summary import summarise
from harmonia.statistics.comparison import cell_estimates, compare
from harmonia.statistics.inference import group_means, resamples

pytestmark = pytest.mark.usefixtures("few_resamples")


def compared(*cells):
    (comparison,) = compare(as_gathered(*cells))
    return comparison


def test_accuracy_and_retention_are_the_summarys(gathered_cell):
    cells = [gathered_cell(hits, arm=arm) for arm, hits in (("image", "11110"), ("soft", "10100"), ("dim", "11000"))]
    lines = cell_estimates(compared(*cells)).set_index("arm")
    summary = summarise(pd.concat(cells).assign(p_explained=0.5, in_top5=False))
    for arm in ("soft", "dim"):
        assert lines.loc[arm, "accuracy_feature"] == summary[f"e6/{arm}/accuracy"]
        assert lines.loc[arm, "accuracy_image"] == summary["e6/image/accuracy"]
        assert lines.loc[arm, "retention"] == summary[f"e6/{arm}/retention"]
        assert lines.loc[arm, "kept_area"] == pytest.approx(summary[f"e6/{arm}/kept_area"])
    assert lines.loc["soft", "above_control"] == 0
    assert lines.loc["dim", "reason"] == ""


def test_draws_are_a_slow_literal_resampling_of_the_images(gathered_cell, monkeypatch):
    image, soft, dim = "1111011111", "1010010110", "0110000111"
    cells = [gathered_cell(hits, arm=arm) for arm, hits in (("image", image), ("soft", soft), ("dim", dim))]
    monkeypatch.setattr("harmonia.statistics.inference.NUM_RESAMPLES", 40)
    comparison = compared(*cells)
    hits = {arm: np.array([hit == "1" for hit in text]) for arm, text in (("i", image), ("s", soft), ("d", dim))}
    expected = []
    for counts in np.concatenate(list(resamples(np.arange(10) % 2, 40))):
        images = np.repeat(np.arange(10), counts.astype(int))
        expected.append((hits["s"][images].sum() - hits["d"][images].sum()) / hits["i"][images].sum())
    assert comparison.above_control[:, 1] == pytest.approx(expected)


def test_a_feature_equal_to_its_control_is_above_it_by_nothing_for_certain(gathered_cell):
    hits = "10110" * 20
    cells = [gathered_cell("1" * 100, arm="image"), *(gathered_cell(hits, arm=arm) for arm in ("area30", "blobs30"))]
    line = cell_estimates(compared(*cells)).set_index("arm").loc["area30"]
    assert line[["above_control", "above_control_low", "above_control_high"]].tolist() == [0, 0, 0]
    assert line["retention_low"] < line["retention"] < line["retention_high"]


def test_images_that_an_arm_lacks_are_left_out_on_both_sides(gathered_cell):
    lines = cell_estimates(compared(gathered_cell("1110", arm="image"), gathered_cell("-01-", arm="soft")))
    assert lines["retention"].tolist() == [0.5]  # image n0001 lost, n0002 kept
    assert lines["accuracy_feature"].tolist() == [0.5]
    assert lines["accuracy_image"].tolist() == [0.75]
    assert lines["images"].tolist() == [2]


def test_pieces_of_any_size_compare_the_same(gathered_cell):
    cells = [gathered_cell(hits, arm=arm) for arm, hits in (("image", "11110"), ("soft", "1-100"), ("dim", "11000"))]
    whole = compared(*cells)
    for rows_at_once in (1, 4, 7):
        (pieces,) = compare(as_gathered(*cells, rows_at_once=rows_at_once))
        pd.testing.assert_frame_equal(cell_estimates(pieces), cell_estimates(whole), check_exact=True)
        np.testing.assert_array_equal(pieces.above_control, whole.above_control)


@pytest.mark.parametrize(
    ("image", "soft", "reason"),
    [
        ("0000", "0100", "no whole image is right"),
        ("1", "1", "too few images for an interval"),
        (None, "1100", "no whole images have run"),
    ],
)
def test_what_is_undefined_is_nan_and_says_why(gathered_cell, image, soft, reason):
    cells = [gathered_cell(soft, arm="soft")] + ([gathered_cell(image, arm="image")] if image else [])
    line = cell_estimates(compared(*cells)).iloc[0]
    assert line["reason"] == reason
    assert np.isnan(line["retention_low"])
    assert np.isnan(line["retention_high"])


def test_a_control_that_has_not_run_is_said(gathered_cell):
    line = cell_estimates(compared(gathered_cell("11", arm="image"), gathered_cell("10", arm="area30"))).iloc[0]
    assert line["reason"] == "the matched control has not run"
    assert line["retention"] == 0.5
    assert np.isnan(line["above_control"])


def test_without_a_label_nothing_is_right_or_wrong(gathered_cell):
    cells = [gathered_cell("1111", labels=[None] * 4, predicted=["a"] * 4, arm=arm) for arm in ("image", "soft")]
    line = cell_estimates(compared(*cells)).iloc[0]
    assert line["reason"] == "no image has a label"
    assert line[["accuracy_image", "accuracy_feature", "retention"]].isna().all()


def test_unlabelled_images_do_not_count(gathered_cell):
    labels = ["dog0", None, "dog0", None]
    given = {"labels": labels, "predicted": ["dog0", "dog0", "owl", "owl"]}
    line = cell_estimates(compared(*(gathered_cell("1111", **given, arm=arm) for arm in ("image", "soft")))).iloc[0]
    assert line["accuracy_feature"] == 0.5


def test_flagged_maps_and_lacking_classes_are_counted(gathered_cell):
    cell = gathered_cell("1100", arm="soft", flag=["zero", "", "", ""], p_label=[0.5, 0.5, np.nan, np.nan])
    line = cell_estimates(compared(gathered_cell("1111", arm="image"), cell)).iloc[0]
    assert (line["flagged"], line["lacking"]) == (1, 2)


def test_settings_are_never_compared(gathered_cell):
    rows = as_gathered(gathered_cell("11"), gathered_cell("10", fill="mean"), gathered_cell("10", label_policy="true"))
    assert [comparison.setting["fill"] for comparison in compare(rows)] == ["black", "mean", "black"]


def test_every_cell_of_a_setting_sees_the_same_resamples(gathered_cell):
    hits = "1010110101"
    cells = [gathered_cell(hits, arm="soft", target=target, method=method) for target in "ab" for method in "cd"]
    accuracy = compared(*cells).accuracy
    assert (accuracy == accuracy[:, :1]).all()
    assert len(np.unique(accuracy)) > 2


def test_a_mean_leaves_out_what_is_undefined_and_says_so():
    draws = np.array([[0.2, 0.4, np.nan], [0.1, 0.3, np.nan]])
    means, counts = group_means(draws, [np.array([0, 1, 2]), np.array([2]), np.array([], int)])
    assert means[:, 0] == pytest.approx([0.3, 0.2])
    assert np.isnan(means[:, 1:]).all()
    assert counts.tolist() == [2, 0, 0]

from itertools import permutations

import numpy as np
import pytest
from rows_in_memory import as_gathered
from scipy.stats import binomtest

from harmonia.statistics.comparison import compare, missing
from harmonia.statistics.contrasts import (
    capacity,
    controls,
    families,
    matrix,
    mean_transfer,
    methods,
    model_order,
    paired_tests,
)

pytestmark = pytest.mark.usefixtures("few_resamples")

IMAGE = "1111111111"


def compared(*cells):
    (comparison,) = compare(as_gathered(*cells))
    return comparison


@pytest.fixture
def transfer(gathered_cell):
    """transfer(area30=..., blobs30=..., target=...): a target's image arm, every image right, and these arms."""

    def make(arms, **options):
        return [gathered_cell(IMAGE, arm="image", **options)] + [
            gathered_cell("1" * hits + "0" * (10 - hits), arm=arm, **options) for arm, hits in arms.items()
        ]

    return make


def test_transfer_above_control_is_the_mean_over_the_other_targets(transfer):
    comparison = compared(
        *transfer({"area30": 9, "blobs30": 1}, target="e7"),  # the source itself does not count
        *transfer({"area30": 6, "blobs30": 2}, target="e6"),
        *transfer({"area30": 5, "blobs30": 3}, target="e5"),
    )
    (line,) = mean_transfer(comparison).to_dict("records")
    assert line["source"] == "e7"
    assert line["cells"] == 2
    assert line["retention"] == pytest.approx(0.55)
    assert line["control_retention"] == pytest.approx(0.25)
    assert line["above_control"] == pytest.approx(0.3)
    assert line["above_control_low"] < 0.3 < line["above_control_high"]


def test_above_the_centre_is_the_retention_less_that_of_the_box_of_the_same_area(transfer):
    arms = {"soft": 9, "dim": 9, "area30": 6, "blobs30": 2, "centre30": 5, "area50": 8}
    lines = mean_transfer(compared(*transfer(arms))).set_index(["source", "arm"])["above_centre"]
    assert lines["e7", "area30"] == pytest.approx(0.1)
    assert np.isnan(lines["e7", "area50"])
    assert np.isnan(lines["e7", "soft"])


def test_the_difference_is_that_of_the_two_numbers_beside_it_where_one_target_has_no_control(transfer):
    comparison = compared(*transfer({"area30": 6, "blobs30": 2}), *transfer({"area30": 1}, target="e5"))
    line = mean_transfer(comparison).iloc[0]
    assert line["cells"] == 1
    assert line["above_control"] == pytest.approx(line["retention"] - line["control_retention"])


def test_a_source_alone_has_one_block_and_no_mean_over_all_sources(transfer):
    arms = {"soft": 8, "dim": 2, "area30": 6, "blobs30": 1}
    lines = mean_transfer(compared(*transfer(arms), *transfer(arms, method="ss")))
    assert lines[["source", "method", "arm"]].to_numpy().tolist() == [
        ["e7", method, arm] for method in ("gc", "ss") for arm in ("soft", "area30")
    ]
    both = mean_transfer(compared(*transfer(arms), *transfer(arms, source="vit")))
    assert both["source"].tolist() == ["all", "all", "e7", "e7", "vit", "vit"]


def test_random_weights_are_no_part_of_the_mean_of_trained_sources(transfer):
    noise = transfer({"soft": 2, "dim": 2}, source="noise", random_weights=True)
    other = transfer({"soft": 4, "dim": 2}, source="vit")
    lines = mean_transfer(compared(*transfer({"soft": 8, "dim": 2}), *other, *noise))
    assert lines.set_index(["source", "random_weights"])["above_control"].to_dict() == pytest.approx(
        {("all", False): 0.4, ("e7", False): 0.6, ("vit", False): 0.2, ("noise", True): 0}
    )


def test_without_any_control_the_mean_above_it_is_nan(transfer):
    line = mean_transfer(compared(*transfer({"soft": 5}))).iloc[0]
    assert line["retention"] == 0.5
    assert np.isnan(line["above_control"])


def test_a_feature_stands_beside_every_control_of_its_area(transfer):
    arms = {"soft": 7, "dim": 6, "area30": 5, "blobs30": 4, "centre30": 3, "same_class30": 2, "centre50": 1}
    lines = controls(compared(*transfer(arms))).set_index("arm")
    assert lines.index.tolist() == ["soft", "area30"]
    assert lines.loc["area30", ["control_retention", "centre_retention", "same_class_retention"]].tolist() == [
        pytest.approx(0.4), pytest.approx(0.3), pytest.approx(0.2)
    ]  # fmt: skip
    assert lines.loc["soft", "control_retention"] == pytest.approx(0.6)
    assert np.isnan(lines.loc["soft", "centre_retention"])


def test_a_feature_in_whole_patches_stands_beside_controls_that_are_cut_alike(transfer):
    by_pixel = {"area30": 5, "blobs30": 4, "centre30": 3, "complement30": 1}
    in_patches = {"patch_area30": 9, "patch_blobs30": 7, "patch_centre30": 8}
    comparison = compared(*transfer(by_pixel | in_patches))
    lines = controls(comparison).set_index("arm")
    assert lines.index.tolist() == ["area30", "patch_area30"]
    assert lines["above_control"].tolist() == pytest.approx([0.1, 0.2])
    assert lines["centre_retention"].tolist() == pytest.approx([0.3, 0.8])
    assert np.isnan(lines.loc["patch_area30", "complement_retention"])
    means = mean_transfer(comparison).set_index("arm")
    assert means["above_centre"].to_dict() == pytest.approx({"area30": 0.2, "patch_area30": 0.1})


def test_a_target_without_patches_lacks_no_arm_in_whole_ones(transfer):
    of_patches = transfer({"area30": 5, "blobs30": 4, "patch_area30": 5, "patch_blobs30": 4}, target="vit")
    assert missing(compared(*of_patches, *transfer({"area30": 5, "blobs30": 4}))) == []
    lacking = transfer({"area30": 5, "blobs30": 4, "patch_area30": 5}, target="deit")
    assert missing(compared(*of_patches, *lacking)) == ["source e7, method gc, target deit: no arms patch_blobs30"]


def test_tests_ask_three_questions_and_holm_corrects_each_family(transfer):
    comparison = compared(
        *transfer({"soft": 9, "dim": 1, "area30": 5, "blobs30": 5}), *transfer({"soft": 4}, target="e7")
    )
    tests = paired_tests(comparison).set_index(["kind", "first_target", "first_arm"])
    p = binomtest(8, 8).pvalue
    control = tests.loc["arm, control"]
    assert control.loc[("e6", "soft"), "p"] == pytest.approx(p)
    assert control.loc[("e6", "soft"), "p_holm"] == pytest.approx(2 * p)
    assert control.loc[("e6", "area30"), ["p", "p_holm"]].tolist() == [1, 1]
    assert control.loc[("e6", "soft"), ["only_first", "only_second"]].tolist() == [8, 0]
    assert control.loc[("e6", "soft"), "difference"] == pytest.approx(0.8)
    image = tests.loc["arm, image"]
    assert image.loc[("e6", "soft"), ["only_first", "only_second"]].tolist() == [0, 1]
    (target,) = tests.loc["target, target"].itertuples()
    assert (target.second_target, target.second_arm, target.only_first) == ("e7", "soft", 5)


def test_methods_meet_on_the_same_cells_alone(transfer):
    comparison = compared(
        *transfer({"area30": 4}, method="gc"),
        *transfer({"area30": 7}, method="ss"),
        *transfer({"area30": 9}, method="ss", target="e5"),
    )
    line, mean = methods(comparison).itertuples()
    assert (line.first_method, line.second_method, line.first_target) == ("ss", "gc", "e6")
    assert (mean.first_target, mean.difference, mean.retention_difference) == (
        "others",
        line.difference,
        pytest.approx(0.3),
    )
    assert line.difference == pytest.approx(0.3)
    assert line.retention_difference == pytest.approx(0.3)
    assert line.p == line.p_holm == pytest.approx(binomtest(3, 3).pvalue)


def test_methods_that_ran_on_different_images_meet_on_those_that_both_have(transfer, gathered_cell):
    comparison = compared(
        *transfer({"area30": 5}, method="gc"),
        gathered_cell(IMAGE, method="ss", arm="image"),
        gathered_cell("--11100---", method="ss", arm="area30"),
    )
    line = methods(comparison).iloc[0]
    # of the five common images, the third to the seventh, Grad-CAM keeps three and Soundness Saliency three
    assert (line.difference, line.retention_difference) == (0, 0)
    assert (line.only_first, line.only_second, line.p) == (0, 0, 1)


def test_the_mean_over_targets_leaves_out_the_source_itself_and_is_paired(transfer):
    def of_methods(ss, gc, target):
        return [
            *transfer({"area30": ss}, method="ss", target=target),
            *transfer({"area30": gc}, method="gc", target=target),
        ]

    lines = methods(compared(*of_methods(10, 0, "e7"), *of_methods(7, 4, "e6"), *of_methods(6, 1, "e5"))).set_index(
        "first_target"
    )
    mean = lines.loc["others"]
    assert mean["difference"] == pytest.approx((0.3 + 0.5) / 2)
    assert mean["difference_low"] < mean["difference"] < mean["difference_high"]
    assert np.isnan(mean["p"])
    # the bounds of a mean of paired draws lie no further out than the mean of the single bounds
    assert mean["difference_low"] >= lines.loc[["e6", "e5"], "difference_low"].mean() - 1e-9


SIZES = {"lite0": 4.0, "lite2": 6.0}


def lite(transfer, source, target, hits, **options):
    sizes = {"source_parameters": SIZES.get(source, np.nan), "target_parameters": SIZES.get(target, np.nan)}
    kin = {"family": "lite", "target_family": "lite"}
    return transfer({"soft": hits}, source=source, target=target, **sizes | kin | options)


def test_capacity_sets_the_way_up_against_the_way_down(transfer):
    comparison = compared(
        *lite(transfer, "lite0", "lite2", 8),
        *lite(transfer, "lite2", "lite0", 5),
        *lite(transfer, "lite2", "lite2", 9),
        *lite(transfer, "lite2", "lite9", 9),  # of unknown size
        *lite(transfer, "lite2", "deit", 9, target_family="vit"),
    )
    (line,) = capacity(comparison).itertuples()
    assert (line.small, line.large) == ("lite0", "lite2")
    assert (line.to_larger, line.to_smaller) == (pytest.approx(0.8), pytest.approx(0.5))
    assert line.difference == pytest.approx(0.3)
    assert np.isnan(line.above_difference)  # no control has run


def test_capacity_says_what_is_left_above_control_and_what_each_way_keeps(transfer):
    sizes = {"lite0": 4.0, "lite2": 6.0}
    cells = []
    for source, target, hits, area in (("lite0", "lite2", 8, 0.4), ("lite2", "lite0", 5, 0.2)):
        given = {"source_parameters": sizes[source], "target_parameters": sizes[target], "kept_area": area}
        cells += transfer({"soft": hits, "dim": 2 * hits - 8}, source=source, target=target, **given)
    (line,) = capacity(compared(*cells)).itertuples()
    assert (line.above_to_larger, line.above_to_smaller) == (pytest.approx(0), pytest.approx(0.3))
    assert line.above_difference == pytest.approx(-0.3)
    assert (line.area_to_larger, line.area_to_smaller) == (pytest.approx(0.4), pytest.approx(0.2))


def test_a_way_that_has_not_run_is_nan(transfer):
    (line,) = capacity(compared(*lite(transfer, "lite2", "lite0", 5))).itertuples()
    assert np.isnan(line.to_larger)
    assert np.isnan(line.difference)
    assert line.to_smaller == 0.5


def test_families_part_the_targets(transfer):
    comparison = compared(
        *transfer({"soft": 9}, target="e7"),
        *transfer({"soft": 8}, target="e6"),
        *transfer({"soft": 6}, target="e5"),
        *transfer({"soft": 2}, target="vit", target_family="vit"),
    )
    (line,) = families(comparison).itertuples()
    assert (line.itself, line.within, line.between) == (0.9, pytest.approx(0.7), 0.2)
    assert (line.itself_cells, line.within_cells, line.between_cells) == (1, 2, 1)
    assert np.isnan(line.kinship)  # of one source, kin and the strength of targets cannot be told apart


def family_grid(transfer, retained):
    """Two families of two networks; retained(source, target) of ten images."""
    kin = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}
    cells = []
    for source, target in permutations(kin, 2):
        given = {"source": source, "target": target, "family": kin[source], "target_family": kin[target]}
        cells += transfer({"soft": retained(source, target), "dim": 1 + (target == "b2")}, **given)
    return compared(*cells)


@pytest.mark.slow
def test_kinship_is_what_families_add_to_strong_and_weak_networks(transfer):
    strength = {"a1": 1, "a2": 3, "b1": 0, "b2": 2}

    def retained(kinship):
        return lambda one, other: strength[one] + strength[other] // 2 + kinship * (one[0] == other[0]) + 2

    (line,) = families(family_grid(transfer, retained(2))).itertuples()
    assert line.kinship == pytest.approx(0.2)
    assert line.above_kinship == pytest.approx(0.2)  # the control's own differences lie with the target
    assert line.kinship_low <= 0.2 <= line.kinship_high
    (line,) = families(family_grid(transfer, retained(0))).itertuples()
    assert line.kinship == pytest.approx(0)


def test_a_weak_source_without_kin_is_no_sign_of_kinship(transfer):
    """Plain means say .4: the only within-family cells are those of the strong sources."""
    kin = {"lite0": "lite", "lite2": "lite", "deit": "vit", "mobile": "mobile"}
    cells = []
    for source, target in permutations(kin, 2):
        given = {"source": source, "target": target, "family": kin[source], "target_family": kin[target]}
        cells += transfer({"soft": 8 if kin[source] == "lite" else 2}, **given)
    (line,) = families(compared(*cells)).itertuples()
    assert line.within - line.between > 0.3
    assert line.kinship == pytest.approx(0)


def test_the_matrix_has_one_order_on_both_axes_and_nan_where_nothing_ran(transfer):
    comparison = compared(
        *transfer({"soft": 2}, source="vit", target="e6", family="vit"),
        *lite(transfer, "lite2", "lite0", 5),
        *lite(transfer, "lite0", "lite2", 8),
    )
    assert model_order(comparison) == ["e6", "lite0", "lite2", "vit"]
    table = matrix(comparison, "soft").set_index("source")
    assert table.index.tolist() == ["lite0", "lite2", "vit"]
    expected = [[np.nan, np.nan, 0.8], [np.nan, 0.5, np.nan], [0.2, np.nan, np.nan]]
    np.testing.assert_allclose(table[["e6", "lite0", "lite2"]].to_numpy(float), expected)
    assert table.loc["lite0", "lite2_low"] < 0.8 < table.loc["lite0", "lite2_high"]


def test_the_matrix_above_control_is_the_retention_less_the_controls(transfer):
    comparison = compared(*transfer({"soft": 8, "dim": 3}, target="e6"), *transfer({"soft": 5}, target="e5"))
    (line,) = matrix(comparison, "soft", above_control=True).to_dict("records")
    assert line["e6"] == pytest.approx(0.5)
    assert np.isnan(line["e5"])


def test_what_the_grid_lacks_is_named(transfer):
    comparison = compared(
        *transfer({"soft": 5, "dim": 1}),
        *transfer({"soft": 5}, target="e5"),
        *transfer({"soft": 5, "dim": 1}, method="ss"),
        *transfer({"soft": 5, "dim": 1}, source="vit"),
    )
    assert missing(comparison) == [
        "source e7, method gc, target e5: no arms dim",
        "source e7, method ss: target e5 has not run",
        "source vit: method ss has not run",
        "source vit, method gc: target e5 has not run",
    ]


def test_the_source_itself_is_no_target_that_others_lack(transfer):
    cells = [transfer({"soft": 5, "dim": 1}, source=source, target=source) for source in ("e7", "vit")]
    assert missing(compared(*cells[0], *cells[1])) == []
    shared = transfer({"soft": 5, "dim": 1}, source="e7", target="vit")
    assert missing(compared(*cells[0], *cells[1], *shared)) == []
    other = transfer({"soft": 5, "dim": 1}, source="vit", target="e7")
    assert missing(compared(*cells[1], *shared, *other)) == ["source e7, method gc: target e7 has not run"]


def test_a_whole_grid_lacks_nothing_and_gives_no_line_for_what_it_cannot_ask(transfer):
    comparison = compared(*transfer({"soft": 5, "dim": 1}))
    assert missing(comparison) == []
    assert methods(comparison).empty
    assert capacity(comparison).empty

import numpy as np
import pandas as pd
import pytest
from rows_in_memory import as_gathered
from statsmodels.stats.proportion import proportion_confint

from harmonia.results.summary import summarise
from harmonia.statistics.comparison import compare
from harmonia.statistics.splits import agreement, classes, source_right

pytestmark = pytest.mark.usefixtures("few_resamples")


def compared(*cells):
    (comparison,) = compare(as_gathered(*cells))
    return comparison


def test_classes_are_counted_one_by_one(gathered_cell):
    # dog0 at even places, dog1 at odd ones
    table = classes(compared(gathered_cell("111101", arm="image"), gathered_cell("100101", arm="soft")), "soft")
    by_class = table.set_index("label")
    assert by_class["images"].to_dict() == {"dog0": 3, "dog1": 3}
    assert by_class["accuracy_feature"].to_dict() == {"dog0": pytest.approx(1 / 3), "dog1": pytest.approx(2 / 3)}
    assert by_class["accuracy_image"].to_dict() == {"dog0": pytest.approx(2 / 3), "dog1": 1}
    assert by_class["retention"].to_dict() == {"dog0": pytest.approx(1 / 2), "dog1": pytest.approx(2 / 3)}
    expected = proportion_confint(1, 3, method="wilson")
    assert by_class.loc["dog0", ["accuracy_feature_low", "accuracy_feature_high"]].tolist() == pytest.approx(expected)


def test_a_class_that_the_target_lacks_has_no_accuracy(gathered_cell):
    lacking = [np.nan if number % 2 else 0.5 for number in range(4)]
    cells = [gathered_cell("1010", arm=arm, p_label=lacking) for arm in ("image", "soft")]
    table = classes(compared(*cells), "soft").set_index("label")
    assert table.loc["dog0", "accuracy_feature"] == 1
    assert table.loc["dog1", ["accuracy_image", "accuracy_feature", "accuracy_feature_low"]].isna().all()


def test_right_and_wrong_of_the_source_part_the_images(gathered_cell):
    given = {"source_right": "111000"}
    cells = [gathered_cell("111110", arm="image", **given), gathered_cell("110100", arm="soft", **given)]
    table = source_right(compared(*cells)).set_index("source_was")
    assert table["images"].to_dict() == {"right": 3, "wrong": 3}
    assert table["accuracy_feature"].to_dict() == {"right": pytest.approx(2 / 3), "wrong": pytest.approx(1 / 3)}
    assert table["retention"].to_dict() == {"right": pytest.approx(2 / 3), "wrong": pytest.approx(1 / 2)}


def test_a_source_that_was_never_wrong_has_nan_there(gathered_cell):
    table = source_right(compared(gathered_cell("1111", arm="image"), gathered_cell("1011", arm="soft")))
    wrong = table.set_index("source_was").loc["wrong"]
    assert wrong["images"] == 0
    assert wrong[["accuracy_feature", "retention", "retention_low"]].isna().all()


def test_agreement_counts_equal_answers_right_or_wrong(gathered_cell):
    # the source says dog0 dog1 cat cat on the images
    options = {"source_right": "1100"}
    cells = [
        gathered_cell("1111", arm="image", predicted=["dog0", "dog1", "cat", "owl"], **options),
        gathered_cell("1111", arm="soft", predicted=["dog0", "owl", "owl", "cat"], **options),
        gathered_cell("1111", arm="soft", predicted=["dog0", "owl", "cat", "owl"], target="e7", **options),
    ]
    agreements = agreement(compared(*cells)).set_index("target")
    assert agreements.loc["e6", ["on_image", "kept", "on_feature"]].tolist() == [0.75, 0.5, 0.5]
    assert np.isnan(agreements.loc["e7", "on_image"])
    assert agreements.loc["e7", ["kept", "on_feature"]].tolist() == [0.5, 1]


def test_agreement_needs_no_label_but_the_source_among_the_targets(gathered_cell):
    cells = [
        gathered_cell("11", labels=[None, None], predicted=["cat", "cat"], source_right="00", arm=arm)
        for arm in ("image", "soft")
    ]
    line = agreement(compared(*cells)).iloc[0]
    assert line[["on_image", "kept"]].tolist() == [1, 1]
    assert np.isnan(line["on_feature"])
    assert np.isnan(line["ece_feature"])


def test_the_calibration_error_is_the_summarys(gathered_cell):
    p = np.linspace(0.1, 0.9, 20)
    cells = [gathered_cell("10110" * 4, arm=arm, p_predicted=p) for arm in ("image", "soft")]
    line = agreement(compared(*cells)).iloc[0]
    summary = summarise(pd.concat(cells).assign(p_explained=0.5, in_top5=False))
    assert line["ece_feature"] == pytest.approx(summary["e6/soft/ece"], abs=1e-6)
    assert line["ece_image"] == pytest.approx(summary["e6/image/ece"], abs=1e-6)

"""Laws of the summary: F1 as the paper has it, calibration, retention, what is undefined."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rows_in_memory import frame, read_rows
from sklearn.metrics import f1_score
from torchmetrics.functional.classification import binary_calibration_error

from harmonia.errors import InputError
from harmonia.results.rows import row_writer
from harmonia.results.summary import calibration_error, summarise, summarise_job, with_in_top5


def summary_of(rows):
    return summarise(with_in_top5(rows))


def test_f1_by_hand():
    # cat: 2 of 3 found, nothing else called cat: precision 1, recall 2/3, F1 4/5.
    # dog: 1 of 1 found, one cat called dog: precision 1/2, recall 1, F1 2/3.
    # fox: 0 of 1 found (called owl, which is no label): F1 0. Present: cat, dog, fox; owl is not averaged.
    summary = summary_of(frame(["cat", "cat", "cat", "dog", "fox"], ["cat", "cat", "dog", "dog", "owl"]))
    assert summary["e6/image/f1_weighted"] == pytest.approx((3 * 4 / 5 + 2 / 3 + 0) / 5)
    assert summary["e6/image/f1_macro"] == pytest.approx((4 / 5 + 2 / 3 + 0) / 3)
    assert summary["e6/image/accuracy"] == 3 / 5


names = st.sampled_from([f"n{number}" for number in range(12)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(names.filter(lambda name: name < "n5"), names), min_size=1, max_size=40))
@pytest.mark.slow
def test_f1_is_scikit_learns_over_the_present_classes(pairs):
    labels, predicted = zip(*pairs, strict=True)
    summary = summary_of(frame(list(labels), list(predicted)))
    present = sorted(set(labels))
    for average in ("weighted", "macro"):
        expected = f1_score(labels, predicted, labels=present, average=average, zero_division=0)
        assert summary[f"e6/image/f1_{average}"] == pytest.approx(expected, abs=1e-6)


def test_macro_over_all_predicted_classes_would_be_far_lower():
    labels = ["cat", "dog"] * 50
    predicted = labels[:80] + [f"other{number}" for number in range(20)]
    everything = f1_score(labels, predicted, average="macro", zero_division=0)
    ours = summary_of(frame(labels, predicted))["e6/image/f1_macro"]
    assert everything < 0.1
    assert ours == pytest.approx(2 * 0.8 / 1.8)


def test_errors_outside_the_labels_give_the_papers_f1():
    random = np.random.default_rng(0)
    labels = [f"dog{number % 10}" for number in range(1000)]
    wrong = set(random.permutation(1000)[:216].tolist())
    predicted = [f"else{n}" if n in wrong else label for n, label in enumerate(labels)]
    summary = summary_of(frame(labels, predicted))
    assert summary["e6/image/accuracy"] == pytest.approx(0.784)
    for average in ("weighted", "macro"):  # Table 1 prints .87 beside 78.4 %
        assert summary[f"e6/image/f1_{average}"] == pytest.approx(2 * 0.784 / 1.784, abs=5e-3)


# Calibration


def slow_calibration_error(confidence, correct):
    total = 0.0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        last = number == 14
        inside = [i for i, c in enumerate(confidence) if low <= c and (c < high or (last and c <= high))]
        if inside:
            mean_confidence = sum(confidence[i] for i in inside) / len(inside)
            accuracy = sum(correct[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_is_the_slow_rewrite(seed):
    random = np.random.default_rng(seed)
    confidence = random.uniform(size=200)
    confidence[:30] = 1.0  # saturated, as real networks are
    correct = random.uniform(size=200) < 0.7
    predicted = ["cat" if hit else "dog" for hit in correct]
    summary = summary_of(frame(["cat"] * 200, predicted, p_predicted=confidence))
    assert summary["e6/image/ece"] == pytest.approx(slow_calibration_error(confidence, correct), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_is_that_of_torchmetrics(seed):
    random = np.random.default_rng(seed)
    confidence, correct = random.beta(4, 1, 300).round(seed + 1), random.uniform(size=300) < 0.7
    confidence = confidence.clip(0, 1 - 1e-12)  # its bins leave out their upper end
    theirs = binary_calibration_error(torch.from_numpy(confidence), torch.from_numpy(correct).long(), n_bins=15)
    assert calibration_error(pd.Series(confidence), pd.Series(correct)) == pytest.approx(float(theirs), abs=1e-12)


def test_calibration_error_of_a_sure_classifier_is_its_error_rate():
    summary = summary_of(frame(["cat"] * 4, ["cat", "cat", "cat", "dog"], p_predicted=[1 + 1e-7] * 4))
    assert summary["e6/image/ece"] == pytest.approx(1 / 4)  # 1 + 1e-7 is no logit


# Arms


def two_arms(accuracies=(4, 3), p_explained=((0.9, 0.8, 0.7, 0.6), (0.5, 0.8, 0.9, math.nan))):
    hits = [number < count for count in accuracies for number in range(4)]
    return frame(
        ["cat"] * 8,
        ["cat" if hit else "dog" for hit in hits],
        image_id=list("abcdabcd"),
        arm=["image"] * 4 + ["soft"] * 4,
        p_explained=[p for arm in p_explained for p in arm],
    )


def test_retention_and_drop_by_hand():
    summary = summary_of(two_arms())
    assert summary["e6/soft/retention"] == pytest.approx(3 / 4)
    # pairs: .9-.5, .8-.8, .7-.9; the fourth has no feature probability
    assert summary["e6/soft/drop_p_explained"] == pytest.approx((0.4 + 0 - 0.2) / 3)
    assert summary["e6/soft/p_explained"] == pytest.approx((0.5 + 0.8 + 0.9) / 3)
    assert "e6/image/retention" not in summary


def test_retention_of_an_arm_that_not_every_image_has_is_on_the_images_that_have_it():
    rows = two_arms(accuracies=(3, 2))  # images: a b c right; soft: a b right
    summary = summary_of(rows[(rows.arm == "image") | rows.image_id.isin(["b", "c", "d"])])
    assert summary["e6/soft/retention"] == pytest.approx(1 / 2)  # of b and c, b
    assert summary["e6/soft/images"] == 3


def test_above_control_is_the_retention_less_that_of_the_matched_control():
    arms = {"image": 4, "area30": 3, "blobs30": 1, "blobs10": 2, "soft": 2, "dim": 4, "centre30": 2}
    parts = [two_arms(accuracies=(4, hits)).iloc[4:].assign(arm=arm) for arm, hits in arms.items()]
    summary = summary_of(pd.concat(parts))
    assert summary["e6/area30/above_control"] == pytest.approx(3 / 4 - 1 / 4)
    assert summary["e6/soft/above_control"] == pytest.approx(2 / 4 - 4 / 4)
    assert [name for name in summary if name.endswith("above_control")] == [
        "e6/area30/above_control", "e6/soft/above_control",
    ]  # fmt: skip
    nothing_right = [two_arms(accuracies=(0, 0)).iloc[4:].assign(arm=arm) for arm in arms]
    assert summary_of(pd.concat(nothing_right))["e6/area30/above_control"] is None


def test_drop_pairs_images_whatever_their_order():
    rows = two_arms()
    shuffled = rows.sample(frac=1, random_state=3)
    assert summary_of(shuffled)["e6/soft/drop_p_explained"] == pytest.approx(
        summary_of(rows)["e6/soft/drop_p_explained"]
    )


def test_top5_counts_a_label_anywhere_among_the_five():
    five = [["a", "b", "c", "d", "cat"], ["cat", "b", "c", "d", "e"], ["a", "b", "c", "d", "e"]]
    assert summary_of(frame(["cat"] * 3, ["a", "cat", "a"], top5=five))["e6/image/top5"] == pytest.approx(2 / 3)


def test_what_is_undefined_is_none_and_never_zero():
    nothing_right = summary_of(two_arms(accuracies=(0, 0)))
    assert nothing_right["e6/soft/accuracy"] == 0
    assert nothing_right["e6/soft/retention"] is None

    no_label = summary_of(frame([None, None], ["cat", "dog"]))
    for metric in ("accuracy", "f1_weighted", "f1_macro", "top5", "ece"):
        assert no_label[f"e6/image/{metric}"] is None
    assert no_label["e6/image/images"] == 2

    unknown_class = summary_of(frame(["cat"], ["dog"], p_label=[math.nan], p_explained=[math.nan]))
    assert unknown_class["e6/image/p_label"] is None
    assert unknown_class["e6/image/p_explained"] is None

    broken = summary_of(frame(["cat"] * 2, ["cat"] * 2, p_predicted=[math.nan, 1], kept_area=[math.nan, 1]))
    assert broken["e6/image/ece"] is None
    assert broken["e6/image/kept_area"] is None

    lone = two_arms().query("arm == 'soft'")
    assert summary_of(lone)["e6/soft/retention"] is None
    assert summary_of(lone)["e6/soft/drop_p_explained"] is None
    assert summary_of(lone.iloc[:0]) == {}


def test_rows_of_two_jobs_are_not_summarised_as_one():
    with pytest.raises(InputError, match="summarise one job"):
        summary_of(pd.concat([two_arms(), two_arms()]))


def test_rows_on_disk_and_in_memory_give_the_same_summary(tmp_path):
    rows = two_arms()
    with row_writer(tmp_path) as append:
        for part in (rows.iloc[:3], rows.iloc[3:]):
            append({name: part[name].tolist() for name in part})
    expected = {name: pytest.approx(value, abs=1e-6) for name, value in summary_of(rows).items()}
    assert summary_of(read_rows(tmp_path)) == expected


def test_a_job_is_summarised_target_by_target_as_its_rows_together(tmp_path):
    rng = np.random.default_rng(0)
    names = np.array(["cat", "dog", "owl", "fox", "emu", "gnu"])
    with row_writer(tmp_path) as append:
        for target in ("e6", "e5"):
            for start in (0, 40):
                images = [f"{start + number}.png" for number in range(40)]
                pairs = [(image, arm) for image in images for arm in ("image", "soft", "dim")]
                five = [rng.permutation(names)[:5].tolist() for _ in pairs]
                constant = {"source": "e7", "method": "gc", "label_policy": "predicted", "fill": "black", "flag": ""}
                columns = {name: [value] * len(pairs) for name, value in constant.items()}
                columns |= {"image_id": [image for image, _ in pairs], "arm": [arm for _, arm in pairs]}
                columns |= {"path": columns["image_id"], "target": [target] * len(pairs)}
                columns |= {"label": [None if image == "7.png" else "cat" for image in columns["image_id"]]}
                columns |= {"predicted": [one[0] for one in five], "top5": five, "explained": ["cat"] * len(pairs)}
                columns |= {"source_predicted": ["cat"] * len(pairs)}
                for name in ("p_label", "p_explained", "p_predicted", "entropy", "kept_area"):
                    columns[name] = rng.uniform(size=len(pairs)).astype(np.float32)
                append(columns)
    expected = summary_of(read_rows(tmp_path))
    summary = summarise_job(tmp_path)
    assert summary == expected
    assert list(summary) == list(expected)
    assert len(summary) > 40
